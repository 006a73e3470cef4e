//! Bytes to and from a server: over TCP, a Unix socket, or TLS over TCP.
//!
//! Form: the socket never blocks; who waits does it in short slices, so that a wish to stop is seen soon. Invariant:
//! nothing that came before TLS is read as if it had come through it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::{ClientConnection, StreamOwned};

/// How long a wait is at most before the wish to stop is looked at.
const SLICE: Duration = Duration::from_millis(100);

/// A connection that is made.
pub(crate) enum Socket {
    /// In the clear, over a network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// In TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Make all that follows not block.
    pub(crate) fn unblock(self) -> io::Result<Self> {
        match &self {
            Self::Tcp(socket) => socket.set_nonblocking(true)?,
            Self::Unix(socket) => socket.set_nonblocking(true)?,
            Self::Tls(stream) => stream.sock.set_nonblocking(true)?,
        }
        Ok(self)
    }

    /// Whether others on the way can read along.
    pub(crate) fn is_private(&self) -> bool {
        !matches!(self, Self::Tcp(_))
    }

    /// The certificate that the server showed, in DER, where there is TLS.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.conn.peer_certificates()?.first().map(AsRef::as_ref),
            _ => None,
        }
    }

    /// What is there; `WouldBlock` where nothing is.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(buffer),
            Self::Unix(socket) => socket.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // A server that is killed says no goodbye; messages have lengths, so nothing can be cut unseen.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }

    /// Wait for something to read, for a slice of time at most.
    pub(crate) fn wait_readable(&self, until: Instant) -> io::Result<()> {
        self.wait(PollFlags::IN, until)
    }

    /// Write all of `bytes` before `until`.
    pub(crate) fn write_all(&mut self, mut bytes: &[u8], until: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer().write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => bytes = &bytes[len..],
                Err(error) => self.go_on(error, until)?,
            }
        }
        while let Err(error) = self.writer().flush() {
            self.go_on(error, until)?;
        }
        Ok(())
    }

    /// After a write that did not work: wait, where that helps.
    fn go_on(&self, error: io::Error, until: Instant) -> io::Result<()> {
        match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            ErrorKind::WouldBlock if Instant::now() < until => self.wait(PollFlags::OUT, until),
            ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            _ => Err(error),
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Tcp(socket) => socket,
            Self::Unix(socket) => socket,
            Self::Tls(stream) => stream,
        }
    }

    fn wait(&self, flags: PollFlags, until: Instant) -> io::Result<()> {
        let time = until.saturating_duration_since(Instant::now()).min(SLICE);
        let time = Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(self.fd(), flags)], Some(&time)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
