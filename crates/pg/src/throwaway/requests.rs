//! How a server that recovers asks for its WAL, and is given it, without a program, a password or a network in between.
//!
//! Form: `restore_command` runs a script of the shell, which writes the name of a file into the pipe `ask`, reads one word
//! from the pipe `tell`, and moves the file `given` to where the server wants it. A server asks for one file at a time.
//! Invariant: the word comes when the file is there, whole; a script that nobody answers waits, and ends with its server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use super::identity::Identity;
use crate::recovery::script_command;

/// 1 means that there is none; a server takes 255 for a failure, and stops.
const SCRIPT: &str = r#"run=${0%/*}
printf '%s\n' "$1" > "$run/ask" || exit 255
read -r word < "$run/tell" || exit 255
case "$word" in
here) mv -f "$run/given" "$2" || exit 255 ;;
none) exit 1 ;;
*) exit 255 ;;
esac
"#;

/// How long is waited for a request before something else is looked at.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The pipes, held open from both ends, so that nobody waits for us to open them.
pub struct WalRequests {
    run: PathBuf,
    ask: File,
    tell: File,
    begun: Vec<u8>,
}

impl WalRequests {
    /// Make pipes and script in `run`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(run: &Path) -> io::Result<Self> {
        fs::write(run.join("fetch"), SCRIPT)?;
        let pipe = |name: &str| -> io::Result<File> {
            let path = run.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
            let nonblocking = OFlags::NONBLOCK.bits() as i32;
            OpenOptions::new().read(true).write(true).custom_flags(nonblocking).open(path)
        };
        Ok(Self { run: run.to_owned(), ask: pipe("ask")?, tell: pipe("tell")?, begun: vec![] })
    }

    /// The `restore_command` that asks here.
    pub fn command(run: &Path) -> String {
        script_command(&run.join("fetch"))
    }

    /// The name of the file that is wanted; nothing where nobody asked for a moment.
    ///
    /// # Errors
    /// What the system says.
    pub fn wait(&mut self) -> io::Result<Option<String>> {
        let mut polled = [PollFd::new(&self.ask, PollFlags::IN)];
        match poll(&mut polled, Some(&PATIENCE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            polled => polled?,
        };
        let mut bytes = [0; 256];
        match self.ask.read(&mut bytes) {
            Ok(count) => self.begun.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let line: Vec<u8> = self.begun.drain(..=end).collect();
        Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()))
    }

    /// Give the file that was asked for.
    ///
    /// # Errors
    /// What the system says.
    pub fn give(&mut self, bytes: &[u8]) -> io::Result<()> {
        let given = self.run.join("given");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&given)?;
        file.write_all(bytes)?;
        Identity::find().own(&given)?;
        self.tell.write_all(b"here\n")
    }

    /// There is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn none(&mut self) -> io::Result<()> {
        self.tell.write_all(b"none\n")
    }

    /// The server must not go on.
    ///
    /// # Errors
    /// What the system says.
    pub fn stop(&mut self) -> io::Result<()> {
        self.tell.write_all(b"stop\n")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_asked_for_is_given_and_what_is_missing_differs_from_what_failed() {
        let run = tempfile::Builder::new().prefix("a b").tempdir().unwrap();
        let mut requests = WalRequests::open(run.path()).unwrap();
        let command = |name: &str| {
            let words = WalRequests::command(run.path()).replace("%f", name).replace("%p", "got");
            Command::new("sh").args(["-c", &words]).current_dir(run.path()).spawn().unwrap()
        };
        let mut asked = |name: &str| {
            let mut child = command(name);
            loop {
                if let Some(asked) = requests.wait().unwrap() {
                    assert_eq!(asked, name);
                    break;
                }
            }
            match name {
                "none" => requests.none().unwrap(),
                "stop" => requests.stop().unwrap(),
                _ => requests.give(name.as_bytes()).unwrap(),
            }
            child.wait().unwrap().code()
        };
        assert_eq!(asked("000000010000000000000001"), Some(0));
        assert_eq!(asked("none"), Some(1));
        assert_eq!(asked("stop"), Some(255));
        assert_eq!(asked("00000002.history"), Some(0));
        assert_eq!(fs::read(run.path().join("got")).unwrap(), b"00000002.history");
    }
}
