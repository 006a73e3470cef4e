//! One connection: TCP, SSH with a host key that is believed, a login, and the SFTP subsystem with what it can do.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::ChannelStream;
use russh::client::{self, Handle, Handler, Msg};
use russh::keys::PublicKeyOrCertificate;
use russh_sftp::client::RawSftpSession;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::login::Login;
use super::trust::{HostKeyTrouble, Trust};

/// For the TCP connection, and again for the handshake with the login: a server under load is slow.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// For one answer: a slow disk syncs a large object, or the requests before it still wait for a line of 30 KiB a second.
/// A dead connection is noticed by its missing signs of life, long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// How soon whoever waits for an answer learns that the connection has ended.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A connection without traffic shows that it lives.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// So many unanswered signs of life end it.
const KEEPALIVE_MAX: usize = 4;
/// Bytes of one read or write: so that a window of 2 MiB has several, and no server refuses them as too many.
const PIECE_LEN: u32 = 128 * 1024;
/// The same where the server does not tell its limits: what every server must take.
const PIECE_LEN_UNTOLD: u32 = 32 * 1024;
/// Open handles of one connection. russh-sftp keeps them as text, and OpenSSH's, which are numbers of four bytes, are
/// text up to 127.
const HANDLES: u32 = 64;
const _: () = assert!(HANDLES < 128);

/// Where to, as whom, and whom to believe.
pub(crate) struct Dial {
    pub address: Address,
    pub login: Login,
    pub trust: Trust,
}

/// A connection.
pub(super) struct Link {
    pub sftp: RawSftpSession,
    ssh: Handle<Gatekeeper>,
    handles: Semaphore,
    /// The directory of the store, absolute.
    pub root: String,
    /// Bytes of one request to read.
    pub read_len: u32,
    /// Bytes of one request to write.
    pub write_len: u32,
    /// `fsync@openssh.com`.
    pub can_sync: bool,
    /// `hardlink@openssh.com`.
    pub can_link: bool,
    /// `statvfs@openssh.com`.
    pub can_measure: bool,
}

impl Link {
    /// Connect.
    ///
    /// # Errors
    /// With the kind that the store passes on; a [`HostKeyTrouble`] is inside of `PermissionDenied`.
    pub(super) async fn connect(dial: &Dial) -> io::Result<Self> {
        let ssh = connect(dial).await?;
        let began = timeout(CONNECT_TIMEOUT, Self::open_sftp(ssh, dial)).await;
        began.map_err(|_| io::Error::new(ErrorKind::TimedOut, "no SFTP session"))?
    }

    async fn open_sftp(ssh: Handle<Gatekeeper>, dial: &Dial) -> io::Result<Self> {
        let stream = open_channel(&ssh).await?;
        let config = russh_sftp::client::Config {
            request_timeout_secs: ANSWER_TIMEOUT.as_secs(),
            ..russh_sftp::client::Config::default()
        };
        Self::begin(RawSftpSession::new_with_config(stream, config), ssh, &dial.address.path).await
    }

    async fn begin(sftp: RawSftpSession, ssh: Handle<Gatekeeper>, path: &str) -> io::Result<Self> {
        let can = sftp.init().await.map_err(sftp_error)?.extensions;
        let limits = match can.contains_key("limits@openssh.com") {
            true => Some(sftp.limits().await.map_err(sftp_error)?),
            false => None,
        };
        let piece = |limit: Option<u64>| match limit {
            // Zero means that there is no limit.
            Some(0) => PIECE_LEN,
            Some(limit) => PIECE_LEN.min(u32::try_from(limit).unwrap_or(PIECE_LEN)),
            None => PIECE_LEN_UNTOLD,
        };
        let root = match path.starts_with('/') {
            true => path.to_owned(),
            false => {
                let home = sftp.realpath(".").await.map_err(sftp_error)?;
                let home = home.files.first().map(|file| file.filename.as_str()).unwrap_or_default();
                format!("{}/{path}", home.trim_end_matches('/'))
            }
        };
        Ok(Self {
            root,
            read_len: piece(limits.as_ref().map(|limits| limits.max_read_len)),
            write_len: piece(limits.as_ref().map(|limits| limits.max_write_len)),
            can_sync: can.contains_key("fsync@openssh.com"),
            can_link: can.contains_key("hardlink@openssh.com"),
            can_measure: can.contains_key("statvfs@openssh.com"),
            handles: Semaphore::new(HANDLES as usize),
            sftp,
            ssh,
        })
    }

    /// Room for so many open handles; dropping it gives it back.
    pub(super) async fn handles(&self, number: u32) -> io::Result<SemaphorePermit<'_>> {
        self.handles.acquire_many(number).await.map_err(io::Error::other)
    }

    /// Wait until it has ended. A request that was made in the moment of the end is never answered, and nobody tells
    /// whoever waits for it.
    pub(super) async fn ended(&self) {
        while !self.is_closed() {
            sleep(LOOK_EVERY).await;
        }
        // Answers that came before are still being handed out.
        sleep(LOOK_EVERY).await;
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.ssh.is_closed()
    }
}

/// A channel to the SFTP of a server, for messages of the caller's.
pub(crate) struct Channel {
    /// What is said and answered.
    pub(crate) stream: ChannelStream<Msg>,
    /// The connection ends with it.
    _ssh: Handle<Gatekeeper>,
}

impl Channel {
    /// Connect and log in.
    ///
    /// # Errors
    /// As of a [`Link`].
    pub(crate) async fn open(dial: &Dial) -> io::Result<Self> {
        let ssh = connect(dial).await?;
        let opened = timeout(CONNECT_TIMEOUT, open_channel(&ssh)).await;
        let stream = opened.map_err(|_| io::Error::new(ErrorKind::TimedOut, "no SFTP session"))??;
        Ok(Self { stream, _ssh: ssh })
    }
}

async fn connect(dial: &Dial) -> io::Result<Handle<Gatekeeper>> {
    let Address { host, port, .. } = &dial.address;
    let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect((host.as_str(), *port)));
    let socket = socket.await.map_err(|_| io::Error::from(ErrorKind::TimedOut))?.map_err(unreachable)?;
    socket.set_nodelay(true)?;
    let ssh = timeout(CONNECT_TIMEOUT, shake_hands(socket, dial)).await;
    ssh.map_err(|_| io::Error::new(ErrorKind::TimedOut, "no SSH handshake"))?
}

async fn open_channel(ssh: &Handle<Gatekeeper>) -> io::Result<ChannelStream<Msg>> {
    let channel = ssh.channel_open_session().await.map_err(ssh_error)?;
    channel.request_subsystem(true, "sftp").await.map_err(ssh_error)?;
    Ok(channel.into_stream())
}

async fn shake_hands(socket: TcpStream, dial: &Dial) -> io::Result<Handle<Gatekeeper>> {
    let Address { host, port, .. } = &dial.address;
    let config = client::Config {
        preferred: dial.trust.preferred(host, *port),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVE_MAX,
        nodelay: true,
        ..client::Config::default()
    };
    let trouble = Arc::new(Mutex::new(None));
    let gatekeeper =
        Gatekeeper { host: host.clone(), port: *port, trust: dial.trust.clone(), trouble: trouble.clone() };
    let mut ssh = match client::connect_stream(Arc::new(config), socket, gatekeeper).await {
        Ok(ssh) => ssh,
        Err(error) => {
            let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Err(trouble.map_or_else(
                || ssh_error(error),
                |trouble: HostKeyTrouble| io::Error::new(ErrorKind::PermissionDenied, trouble),
            ));
        }
    };
    dial.login.log_in(&mut ssh).await?;
    Ok(ssh)
}

/// Asked by the protocol whether the server is the right one.
struct Gatekeeper {
    host: String,
    port: u16,
    trust: Trust,
    trouble: Arc<Mutex<Option<HostKeyTrouble>>>,
}

impl Handler for Gatekeeper {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        // Certificates are not asked for, so a server that shows one is not believed.
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let verdict = self.trust.verify(&self.host, self.port, key);
        let is_believed = verdict.is_ok();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = verdict.err();
        Ok(is_believed)
    }
}

/// A name that is not found now may be found later; the system gives it no kind of its own.
fn unreachable(cause: io::Error) -> io::Error {
    match cause.raw_os_error() {
        Some(_) => cause,
        None => io::Error::new(ErrorKind::HostUnreachable, cause),
    }
}

fn ssh_error(error: russh::Error) -> io::Error {
    use russh::Error;
    let kind = match &error {
        Error::IO(cause) if cause.kind() != ErrorKind::UnexpectedEof => cause.kind(),
        Error::ConnectionTimeout | Error::KeepaliveTimeout | Error::InactivityTimeout | Error::Elapsed(_) => {
            ErrorKind::TimedOut
        }
        Error::IO(_)
        | Error::Disconnect
        | Error::HUP
        | Error::SendError
        | Error::RecvError
        | Error::Join(_) => ErrorKind::ConnectionReset,
        Error::ChannelOpenFailure(_) | Error::RequestDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// The system's word for what SFTP says; one of a kind that [`is_broken`] knows where the connection is of no more use.
pub(super) fn sftp_error(error: SftpError) -> io::Error {
    let kind = match &error {
        SftpError::Status(status) => match status.status_code {
            StatusCode::NoSuchFile => ErrorKind::NotFound,
            StatusCode::PermissionDenied => ErrorKind::PermissionDenied,
            StatusCode::Eof => ErrorKind::UnexpectedEof,
            StatusCode::OpUnsupported => ErrorKind::Unsupported,
            StatusCode::NoConnection | StatusCode::ConnectionLost => ErrorKind::ConnectionReset,
            _ => ErrorKind::Other,
        },
        SftpError::Timeout => ErrorKind::TimedOut,
        SftpError::Limited(_) => ErrorKind::InvalidInput,
        SftpError::IO(_) | SftpError::UnexpectedPacket | SftpError::UnexpectedBehavior(_) => {
            ErrorKind::ConnectionReset
        }
    };
    io::Error::new(kind, error.to_string())
}

/// Whether the connection is to be given up.
pub(super) fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::TimedOut)
}
