//! Bytes to and from a server, in the clear or in TLS, with a limit of time on each.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::super::far::NotBelieved;

/// For a connection: a server under load is slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// For the next bytes: a slow disk, a listing of a large directory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// A connection.
pub(super) enum Wire {
    /// In the clear.
    Plain(TcpStream),
    /// In TLS.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Connect to a name or a number.
pub(super) fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    // A name that is not found now may be found later.
    let unreachable = |cause: io::Error| io::Error::new(ErrorKind::HostUnreachable, cause);
    let mut last = io::Error::new(ErrorKind::HostUnreachable, "the name has no address");
    for address in (host, port).to_socket_addrs().map_err(unreachable)? {
        match connect_to(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connect to an address.
pub(super) fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

impl Wire {
    /// TLS over `socket`. The handshake comes with the first bytes.
    pub(super) fn tls(
        socket: TcpStream,
        tls: &Arc<ClientConfig>,
        server: &ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = ClientConnection::new(tls.clone(), server.clone()).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, socket))))
    }

    /// Say hello without waiting for an answer.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.conn.write_tls(&mut stream.sock).map(drop).map_err(explain),
        }
    }

    /// Shake hands to the end.
    pub(super) fn shake_hands(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => {
                while stream.conn.is_handshaking() {
                    stream.conn.complete_io(&mut stream.sock).map_err(explain)?;
                }
                Ok(())
            }
        }
    }

    /// Some bytes; none at the end, which TLS has said itself.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer).map_err(explain),
            Self::Tls(stream) => stream.read(buffer).map_err(explain),
        }
    }

    /// All of `bytes`.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes).map_err(explain),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()).map_err(explain),
        }
    }

    /// Say the end and let go: the other side may wait for it before it says another word elsewhere.
    pub(super) fn close(mut self) {
        if let Self::Tls(stream) = &mut self {
            stream.conn.send_close_notify();
            stream.conn.write_tls(&mut stream.sock).ok();
        }
    }

    /// The socket, for TLS to begin on it.
    pub(super) fn socket(&self) -> io::Result<TcpStream> {
        match self {
            Self::Plain(socket) => socket.try_clone(),
            Self::Tls(stream) => stream.sock.try_clone(),
        }
    }
}

/// A certificate that is not believed is told as that; an end without TLS's own is a cut.
fn explain(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(broken @ rustls::Error::InvalidCertificate(_)) = tls {
        let words = NotBelieved(broken.to_string());
        return io::Error::new(ErrorKind::PermissionDenied, words);
    }
    match error.kind() {
        // The system's word for a limit of time on a socket.
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::ConnectionReset, "the connection was cut"),
        ErrorKind::InvalidData => io::Error::new(ErrorKind::ConnectionAborted, error.to_string()),
        _ => error,
    }
}
