//! From a place to a socket, with TLS begun where the settings ask for it.
//!
//! As libpq: a Unix socket never has TLS; `prefer` takes what the server offers. Invariant: the one byte that a server
//! answers before TLS is read alone, so nothing that somebody slipped in behind it is taken for the server's.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::error::WireError;
use super::settings::{Place, Settings, SslMode};
use super::socket::Socket;
use super::trust::client_config;

/// How a place is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the clear.
    Plain,
    /// In TLS if the server has it.
    TlsIfOffered,
    /// In TLS or not at all.
    Tls,
}

/// The ways that `sslmode` means, in their order; a later one is tried if the server refuses the one before.
pub(crate) fn ways(place: &Place, sslmode: SslMode) -> &'static [Way] {
    match sslmode {
        _ if is_socket(place) => &[Way::Plain],
        SslMode::Disable => &[Way::Plain],
        SslMode::Allow => &[Way::Plain, Way::Tls],
        SslMode::Prefer => &[Way::TlsIfOffered, Way::Plain],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Way::Tls],
    }
}

/// A host that is a directory.
fn is_socket(place: &Place) -> bool {
    place.address.is_none() && place.host.starts_with('/')
}

/// Connect to `place` before `until`.
pub(crate) fn connect(
    settings: &Settings,
    place: &Place,
    way: Way,
    until: Instant,
) -> Result<Socket, WireError> {
    let shown = shown(place);
    let failed = |source| WireError::Connect { place: shown.clone(), source };
    if is_socket(place) {
        let path = Path::new(&place.host).join(format!(".s.PGSQL.{}", place.port));
        let socket = UnixStream::connect(path).map_err(failed)?;
        return Socket::Unix(socket).unblock().map_err(failed);
    }
    let socket = reach(place, until).map_err(failed)?;
    if way == Way::Plain || !offers_tls(&socket).map_err(failed)? {
        if way == Way::Tls {
            return Err(WireError::Tls { place: shown, reason: "the server does not offer it".to_owned() });
        }
        return Socket::Tcp(socket).unblock().map_err(failed);
    }
    let stream = shake_hands(settings, place, socket, until);
    Socket::Tls(Box::new(stream.map_err(|error| tls_error(&shown, error))?)).unblock().map_err(failed)
}

/// How a place is named to people.
pub(crate) fn shown(place: &Place) -> String {
    match is_socket(place) {
        true => format!("{}/.s.PGSQL.{}", place.host, place.port),
        false => format!("{}:{}", place.host, place.port),
    }
}

fn reach(place: &Place, until: Instant) -> io::Result<TcpStream> {
    let host = place.address.as_ref().unwrap_or(&place.host);
    let mut last = io::Error::new(io::ErrorKind::HostUnreachable, "the name has no address");
    for address in (host.as_str(), place.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)) {
            Ok(socket) => {
                socket.set_nodelay(true)?;
                // A machine that is gone says nothing: the kernel asks, as with libpq.
                rustix::net::sockopt::set_socket_keepalive(&socket, true)?;
                socket.set_read_timeout(Some(left(until)))?;
                socket.set_write_timeout(Some(left(until)))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Never nothing: sockets take that for "for ever".
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn offers_tls(mut socket: &TcpStream) -> io::Result<bool> {
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request)?;
    let mut answer = [0];
    socket.read_exact(&mut answer)?;
    match answer[0] {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "this is no PostgreSQL server, or it has no room"))
        }
    }
}

fn shake_hands(
    settings: &Settings,
    place: &Place,
    mut socket: TcpStream,
    until: Instant,
) -> Result<StreamOwned<ClientConnection, TcpStream>, WireError> {
    let config = Arc::new(client_config(settings)?);
    let name = ServerName::try_from(place.host.clone())
        .map_err(|_| WireError::Parameter { name: "host", reason: "is no name of a server".to_owned() })?;
    let mut connection = ClientConnection::new(config, name)
        .map_err(|error| WireError::Tls { place: shown(place), reason: error.to_string() })?;
    while connection.is_handshaking() {
        socket.set_read_timeout(Some(left(until))).map_err(WireError::Broken)?;
        connection.complete_io(&mut socket).map_err(WireError::Broken)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// A handshake that broke is told as what it was.
fn tls_error(place: &str, error: WireError) -> WireError {
    let WireError::Broken(error) = error else { return error };
    let reason = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "the server did not answer in time".to_owned(),
        _ => error.to_string(),
    };
    WireError::Tls { place: place.to_owned(), reason }
}
