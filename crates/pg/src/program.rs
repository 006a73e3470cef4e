//! One run of a PostgreSQL client program, watched from its start to its end.
//!
//! Its stderr is drained by a thread, so that it can never block on it; the last part is kept. Invariant: the child
//! is reaped, killed if need be, before this value is gone.

use std::io::{self, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use model::cancel::{CancelToken, Cancelled};
use rustix::process::{Pid, Signal, kill_process_group};

/// Bytes of stderr that are kept: the end of it, where the reason is.
const WORDS_LEN_MAX: usize = 64 << 10;

/// How often a wait looks at the cancel token.
pub(crate) const CANCEL_POLL: Duration = Duration::from_millis(100);

/// How long a program may take to say goodbye before it is killed.
const GRACE: Duration = Duration::from_secs(3);

/// A client program did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It could not be started.
    #[error("cannot start {program}: {source}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended badly, or said that something went wrong.
    #[error("{program} {ending}: {words}")]
    Ended {
        /// The program's name.
        program: &'static str,
        /// Exit status or signal.
        ending: String,
        /// What it said itself.
        words: String,
    },
    /// Its pipes broke.
    #[error("cannot exchange bytes with {program}: {source}")]
    Pipe {
        /// The program's name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Somebody asked to stop; the program was ended.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// A running client program.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    words: Receiver<Vec<u8>>,
    ended: bool,
}

impl Running {
    /// Start `command`, which runs the program `name`, in a process group of its own, so that Ctrl-C reaches it only
    /// through us.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        stdin: Stdio,
        stdout: Stdio,
    ) -> Result<Self, ProgramError> {
        let program = PathBuf::from(command.get_program());
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(source) => return Err(ProgramError::Start { program, source }),
        };
        let (send, words) = sync_channel(1);
        if let Some(stderr) = child.stderr.take() {
            std::thread::spawn(move || {
                // The receiver may be gone: then nobody wants the words.
                send.send(drain(stderr)).ok();
            });
        }
        Ok(Self { name, child, words, ended: false })
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(crate) fn pipe_error(&self, source: io::Error) -> ProgramError {
        ProgramError::Pipe { program: self.name, source }
    }

    /// Wait for the end. Warnings if all went well, otherwise the program's own words.
    pub(crate) fn finish(mut self, cancel: &CancelToken) -> Result<Vec<String>, ProgramError> {
        let words = loop {
            cancel.check()?;
            match self.words.recv_timeout(CANCEL_POLL) {
                Ok(words) => break words,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Vec::new(),
            }
        };
        let status = self.child.wait().map_err(|source| self.pipe_error(source))?;
        self.ended = true;
        let words = String::from_utf8_lossy(&words);
        let words = words.trim_end();
        if !status.success() || words.lines().any(is_error) {
            let words = if words.is_empty() { "it said nothing" } else { words };
            return Err(ProgramError::Ended {
                program: self.name,
                ending: describe(status),
                words: words.to_owned(),
            });
        }
        Ok(words.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }
}

impl Drop for Running {
    /// On SIGTERM the programs ask the server to cancel what it does for them; killed, they would leave it waiting
    /// for a lock or building an index. The group holds the workers of a parallel restore too.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let group = Pid::from_child(&self.child);
        // It may have ended by itself; either way it must be reaped, and nobody is left to tell.
        kill_process_group(group, Signal::TERM).ok();
        let begin = Instant::now();
        while begin.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process_group(group, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// `pg_dump: error: …` since 12, `pg_dump: [archiver] …` before; the latter come with a bad exit status.
fn is_error(line: &str) -> bool {
    line.starts_with("pg_") && (line.contains(": error: ") || line.contains(": fatal: "))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn drain(mut stderr: impl Read) -> Vec<u8> {
    let mut words = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => return words,
            Ok(count) => words.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return words,
        }
        if words.len() > 2 * WORDS_LEN_MAX {
            words.drain(..words.len() - WORDS_LEN_MAX);
        }
    }
}

/// Wait until `pipe` is ready, at most until somebody cancels.
pub(crate) fn wait_ready(
    pipe: &impl AsFd,
    flags: rustix::event::PollFlags,
    cancel: &CancelToken,
) -> io::Result<()> {
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: CANCEL_POLL.subsec_nanos().into() };
    loop {
        cancel.check().map_err(io::Error::other)?;
        let mut polled = [rustix::event::PollFd::new(pipe, flags)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Make a pipe hold 1 MiB, so that both sides work in long stretches. A smaller one is only slower.
pub(crate) fn enlarge(pipe: &impl AsFd) {
    rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20).ok();
}

/// A pipe to a child's stdin whose writing end never blocks us for longer than a poll.
pub(crate) fn input_pipe() -> io::Result<(Stdio, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    enlarge(&writer);
    let flags = rustix::fs::fcntl_getfl(&writer)?;
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK)?;
    Ok((Stdio::from(reader), writer))
}
