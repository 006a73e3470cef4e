//! The connection that commands go over: into TLS, logged in, and one reply for each command.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use model::secret::Secret;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::super::address::FtpAddress;
use super::super::far::NoPassword;
use super::features::Features;
use super::reply::{Growing, LINE_LEN_MAX, Reply, data_address, garbled};
use super::wire::{Wire, connect, connect_to};

/// Sessions that one connection remembers: a few data connections end before the next begins.
const SESSIONS: usize = 32;
/// Bytes read at once.
const READ_LEN: usize = 16 << 10;

/// Where to, as whom, and whom to believe.
#[derive(Clone)]
pub(in super::super) struct Door {
    pub(in super::super) address: FtpAddress,
    pub(in super::super) password: Option<Secret>,
    pub(in super::super) tls: ClientConfig,
}

/// A connection for commands.
pub(super) struct Control {
    wire: Wire,
    received: Vec<u8>,
    taken: usize,
    peer: SocketAddr,
    tls: Arc<ClientConfig>,
    server: ServerName<'static>,
    /// `EPSV` was refused once.
    is_old: bool,
    /// Last replies that are still to come.
    owed: usize,
    pub(super) features: Features,
}

impl Control {
    /// Connect, begin TLS, log in, and ask for protected data connections.
    pub(super) fn open(door: &Door) -> io::Result<Self> {
        let FtpAddress { host, port, .. } = &door.address;
        let server = ServerName::try_from(host.clone());
        let server = server.map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let socket = connect(host, *port)?;
        let peer = socket.peer_addr()?;
        let mut tls = door.tls.clone();
        // Of its own: keys of tickets differ from connection to connection where each has a process of the server.
        tls.resumption = Resumption::in_memory_sessions(SESSIONS);
        let tls = Arc::new(tls);
        let wire = match door.address.is_implicit() {
            true => Wire::tls(socket, &tls, &server)?,
            false => Wire::Plain(socket),
        };
        let features = Features::default();
        let mut control =
            Self { wire, received: vec![], taken: 0, peer, tls, server, is_old: false, owed: 1, features };
        control.wire.shake_hands()?;
        let greeting = control.reply()?;
        if !greeting.is_done() {
            return Err(greeting.refusal());
        }
        if !door.address.is_implicit() {
            control.begin_tls()?;
        }
        control.log_in(door)?;
        control.protect()?;
        control.settle()?;
        Ok(control)
    }

    fn begin_tls(&mut self) -> io::Result<()> {
        let reply = self.call(b"AUTH TLS")?;
        if !reply.is_done() {
            let words =
                format!("it does not begin TLS, and without nothing is said to it: {}", reply.words());
            return Err(io::Error::new(ErrorKind::Unsupported, words));
        }
        // Whoever stands between could have put words in front of what TLS protects.
        if self.taken < self.received.len() {
            return Err(garbled("words in the clear behind the beginning of TLS"));
        }
        self.wire = Wire::tls(self.wire.socket()?, &self.tls, &self.server)?;
        self.wire.shake_hands()
    }

    fn log_in(&mut self, door: &Door) -> io::Result<()> {
        let mut reply = self.call(&[b"USER ", door.address.user.as_bytes()].concat())?;
        if matches!(reply.code, 331 | 332) {
            let none = || io::Error::new(ErrorKind::PermissionDenied, NoPassword(door.address.user.clone()));
            let password = door.password.as_ref().ok_or_else(none)?;
            reply = self.call(&[b"PASS ", password.expose().as_bytes()].concat())?;
        }
        if reply.is_done() { Ok(()) } else { Err(reply.refusal()) }
    }

    /// Nothing is listed or read in the clear.
    fn protect(&mut self) -> io::Result<()> {
        self.call(b"PBSZ 0")?;
        let reply = self.call(b"PROT P")?;
        if reply.is_done() {
            return Ok(());
        }
        let words = format!("it does not protect data connections: {}", reply.words());
        Err(io::Error::new(ErrorKind::Unsupported, words))
    }

    fn settle(&mut self) -> io::Result<()> {
        let told = self.call(b"FEAT")?;
        self.features = Features::of(&told);
        if !told.is_done() {
            // Older than the question: of what is not known they say so, of a directory anything else.
            let is_known = |reply: Reply| !matches!(reply.code, 500..=504);
            self.features.times = is_known(self.call(b"MDTM .")?);
            self.features.sizes = is_known(self.call(b"SIZE .")?);
        }
        if self.features.utf8 {
            // Most servers do it anyway, and some say that they do not know the command.
            self.call(b"OPTS UTF8 ON")?;
        }
        if let Some(facts) = &self.features.facts {
            let command = format!("OPTS MLST {facts}");
            self.call(command.as_bytes())?;
        }
        let reply = self.call(b"TYPE I")?;
        if reply.is_done() { Ok(()) } else { Err(reply.refusal()) }
    }

    /// Send commands, each of which gets a reply.
    pub(super) fn send(&mut self, commands: &[&[u8]]) -> io::Result<()> {
        let mut bytes = vec![];
        for command in commands {
            if command.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
                return Err(io::Error::new(ErrorKind::InvalidInput, "no command of FTP can say its name"));
            }
            bytes.extend_from_slice(command);
            bytes.extend_from_slice(b"\r\n");
        }
        self.owed += commands.len();
        let sent = self.wire.write(&bytes);
        zeroize::Zeroize::zeroize(&mut bytes);
        sent
    }

    /// The next reply.
    pub(super) fn reply(&mut self) -> io::Result<Reply> {
        let mut growing = Growing::default();
        loop {
            let line = self.line()?;
            if let Some(reply) = growing.add(&line)? {
                if !reply.is_begun() {
                    self.owed = self.owed.checked_sub(1).ok_or_else(|| garbled("a reply to nothing"))?;
                }
                return Ok(reply);
            }
        }
    }

    /// Whether every reply has come.
    pub(super) fn is_idle(&self) -> bool {
        self.owed == 0 && self.taken == self.received.len()
    }

    /// One command and its reply.
    pub(super) fn call(&mut self, command: &[u8]) -> io::Result<Reply> {
        self.send(&[command])?;
        self.reply()
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let rest = &self.received[self.taken..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).to_vec();
                self.taken += end + 1;
                return Ok(line);
            }
            if rest.len() > LINE_LEN_MAX {
                return Err(garbled("a line without an end"));
            }
            self.received.drain(..self.taken);
            self.taken = 0;
            let len = self.received.len();
            self.received.resize(len + READ_LEN, 0);
            let count = self.wire.read(&mut self.received[len..]);
            self.received.truncate(len + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Err(io::Error::new(
                    ErrorKind::ConnectionReset,
                    "the server has ended the connection",
                ));
            }
        }
    }

    /// The command that asks for a data connection.
    pub(super) fn passive(&self) -> &'static [u8] {
        if self.is_old { b"PASV" } else { b"EPSV" }
    }

    /// A data connection after the `reply` to that command; TLS has begun on it.
    pub(super) fn data(&mut self, reply: Reply) -> io::Result<Wire> {
        let port = if self.is_old { reply.passive_port() } else { reply.extended_port() };
        let port = match port.filter(|_| reply.is_done()) {
            Some(port) => port,
            None if !self.is_old && reply.code >= 500 => {
                self.is_old = true;
                let reply = self.call(b"PASV")?;
                return self.data(reply);
            }
            None if reply.is_done() => return Err(garbled("no port for data")),
            None => return Err(reply.refusal()),
        };
        Wire::tls(connect_to(data_address(self.peer, port))?, &self.tls, &self.server)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // A goodbye; nobody waits for the answer.
        self.wire.write(b"QUIT\r\n").ok();
    }
}
