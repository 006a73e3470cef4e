//! pg_restore as a judge: whether it can read the table of contents of an archive that passes by.
//!
//! It is given the archive from its beginning on and takes what it needs; what it does not want is passed over.

use std::io::{self, ErrorKind, PipeWriter, Write};
use std::process::{Command, Stdio};

use model::cancel::CancelToken;
use rustix::event::PollFlags;

use crate::client::Client;
use crate::program::{ProgramError, Running, input_pipe, wait_ready};

/// A run of `pg_restore --list` that reads what is written here.
pub struct Listing {
    running: Running,
    /// None where pg_restore has all that it wants.
    pipe: Option<PipeWriter>,
    cancel: CancelToken,
}

impl Listing {
    /// Start it.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(client: &Client, cancel: &CancelToken) -> Result<Self, ProgramError> {
        let program = client.program("pg_restore");
        let mut command = Command::new(&program);
        command.arg("--list");
        let (stdin, pipe) = input_pipe().map_err(|source| ProgramError::Start { program, source })?;
        let running = Running::start("pg_restore", command, stdin, Stdio::null())?;
        Ok(Self { running, pipe: Some(pipe), cancel: cancel.clone() })
    }

    /// All was written: what it says.
    ///
    /// # Errors
    /// Its words, where it cannot read the archive.
    pub fn finish(self) -> Result<(), ProgramError> {
        drop(self.pipe);
        self.running.finish(&self.cancel).map(drop)
    }
}

impl Write for Listing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let Some(pipe) = &mut self.pipe else { return Ok(bytes.len()) };
            wait_ready(pipe, PollFlags::OUT, &self.cancel)?;
            match pipe.write(bytes) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => self.pipe = None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
