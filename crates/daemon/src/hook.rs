//! Commands around a run: by the shell, each with a time after which it is killed, and what they say is kept.
//!
//! Invariant: none of them outlives its time, nor do its children that stay in its process group; what it says is read to its
//! end, so that it never waits for us, and the last part of it is kept.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use model::cancel::CancelToken;
use rusqlite::{Row, params};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::history::{History, Result};

/// Bytes of what it says that are kept: the end, where the reason is.
const OUTPUT_MAX: usize = 4 << 10;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long it may take to say goodbye before it is killed.
const GRACE: Duration = Duration::from_secs(3);
/// How long is waited for what it says once it has ended: a child of its own may hold the pipe for ever.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A command, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    /// `before`, `after` or `on_failure`.
    pub stage: String,
    /// For the shell.
    pub command: String,
    /// `ok`, or how it ended.
    pub outcome: String,
    /// How long it took.
    pub seconds: u64,
    /// The end of what it said.
    pub output: String,
}

impl HookRun {
    /// From its stage, command, outcome, seconds and output.
    pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            stage: row.get(0)?,
            command: row.get(1)?,
            outcome: row.get(2)?,
            seconds: u64::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
            output: row.get(4)?,
        })
    }

    /// Whether it did what it should.
    pub fn is_good(&self) -> bool {
        self.outcome == "ok"
    }
}

/// Run `command`, for `timeout` at most, with these variables above those that we have.
pub fn run(
    stage: &str,
    command: &str,
    timeout: Duration,
    variables: &[(&str, String)],
    cancel: &CancelToken,
) -> HookRun {
    let began = Instant::now();
    let (outcome, output) = match start(command, variables) {
        Ok((child, words)) => {
            let outcome = wait(child, timeout, cancel);
            (outcome, words.recv_timeout(LAST_WORDS).unwrap_or_default())
        }
        Err(error) => (format!("cannot be started: {error}"), vec![]),
    };
    HookRun {
        stage: stage.to_owned(),
        command: command.to_owned(),
        outcome,
        seconds: began.elapsed().as_secs(),
        output: String::from_utf8_lossy(&output).trim_end().to_owned(),
    }
}

fn start(command: &str, variables: &[(&str, String)]) -> io::Result<(Child, Receiver<Vec<u8>>)> {
    let (reader, writer) = io::pipe()?;
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).process_group(0);
    shell.stdout(writer.try_clone()?).stderr(writer);
    shell.envs(variables.iter().map(|(name, value)| (*name, value)));
    let child = shell.spawn()?;
    // Our own ends of the pipe go with it: the reader sees the end when nobody can write any more.
    drop(shell);
    let (tell, told) = sync_channel(1);
    std::thread::spawn(move || {
        // Nobody may be left to listen.
        tell.send(last_part(reader)).ok();
    });
    Ok((child, told))
}

fn wait(mut child: Child, timeout: Duration, cancel: &CancelToken) -> String {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return ending(status),
            Ok(None) => {}
            Err(error) => return format!("cannot be waited for: {error}"),
        }
        let why = match () {
            () if cancel.is_cancelled() => "it was told to stop".to_owned(),
            () if began.elapsed() >= timeout => format!("it was killed after {} s", timeout.as_secs()),
            () => {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
        };
        end(&mut child);
        return why;
    }
}

fn end(child: &mut Child) {
    let group = Pid::from_child(child);
    // It may have ended by itself; either way it must be reaped.
    kill_process_group(group, Signal::TERM).ok();
    let began = Instant::now();
    while began.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(LOOK_EVERY);
    }
    kill_process_group(group, Signal::KILL).ok();
    child.wait().ok();
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ok".to_owned(),
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, signal) => format!("it was killed by signal {}", signal.unwrap_or_default()),
    }
}

fn last_part(mut pipe: impl Read) -> Vec<u8> {
    let mut words = vec![];
    let mut buffer = [0; 4096];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => words.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        let too_many = words.len().saturating_sub(OUTPUT_MAX);
        words.drain(..too_many);
    }
    words
}

impl History {
    /// What the commands around the run `id` did.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remember_hooks(&self, id: i64, hooks: &[HookRun]) -> Result<()> {
        for HookRun { stage, command, outcome, seconds, output } in hooks {
            let values =
                params![id, stage, command, outcome, i64::try_from(*seconds).unwrap_or(i64::MAX), output];
            self.connection.execute("INSERT INTO hooks VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values)?;
        }
        Ok(())
    }

    /// The commands around the run `id`, in their order.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn hooks(&self, id: i64) -> Result<Vec<HookRun>> {
        let sql = "SELECT stage, command, outcome, seconds, output FROM hooks WHERE run = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([id], HookRun::read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(command: &str, timeout: Duration) -> HookRun {
        let variables = [("MAINSTAY_SOURCE", "app".to_owned())];
        run("before", command, timeout, &variables, &CancelToken::new())
    }

    #[test]
    fn what_it_says_is_kept_and_how_it_ends_is_told() {
        let long = Duration::from_secs(20);
        let good = tried("echo out $MAINSTAY_SOURCE; echo err >&2", long);
        assert!(good.is_good() && good.output == "out app\nerr", "{good:?}");
        let bad = tried("echo no; exit 3", long);
        assert_eq!((bad.outcome.as_str(), bad.output.as_str()), ("it ended with exit status 3", "no"));
        let loud = tried("yes | head -c 100000; echo end", long);
        assert!(loud.output.len() <= OUTPUT_MAX && loud.output.ends_with("end"), "{}", loud.output.len());
        // What it leaves behind does not keep it.
        assert!(tried("sleep 30 & echo gone", long).is_good());
    }

    #[test]
    fn one_that_takes_too_long_is_killed_with_its_children() {
        let late = tried("sleep 100 & echo $!; wait", Duration::from_millis(200));
        assert_eq!(late.outcome, "it was killed after 0 s");
        let child = format!("/proc/{}/cmdline", late.output);
        let deadline = Instant::now() + Duration::from_secs(5);
        // Of one that is dead and not yet reaped nothing stands there.
        while std::fs::read_to_string(&child).is_ok_and(|line| line.contains("sleep")) {
            assert!(Instant::now() < deadline, "{child} lives");
        }
        let cancel = CancelToken::new();
        cancel.cancel();
        assert_eq!(
            run("before", "sleep 9", Duration::from_secs(9), &[], &cancel).outcome,
            "it was told to stop"
        );
    }

    #[test]
    fn the_history_keeps_them_with_their_run() {
        let history = History::in_memory().unwrap();
        let now = jiff::Timestamp::now();
        let id = history.begin("a", "s", now, now).unwrap();
        let hook = tried("echo hello", Duration::from_secs(9));
        history.remember_hooks(id, std::slice::from_ref(&hook)).unwrap();
        assert_eq!(history.hooks(id).unwrap(), [hook]);
        assert!(history.hooks(id + 1).unwrap().is_empty());
    }
}
