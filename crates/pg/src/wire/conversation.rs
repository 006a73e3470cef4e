//! A conversation with a server: statements and commands, and their answers.
//!
//! Invariant: after an error the conversation is over, whoever wants more opens another; only a statement that the server
//! refused may be recovered from.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use model::cancel::CancelToken;
use postgres_protocol::message::frontend::{self, CopyData};

use super::body::{columns, readable, row};
use super::connect::{Way, connect, shown, ways};
use super::error::{ServerError, WireError};
use super::frames::{Frame, Frames};
use super::login::{Greeting, Purpose, log_in};
use super::passfile::{self, Wanted};
use super::settings::{Place, Role, Settings};
use crate::connection::Connection;
use crate::version::Version;

/// Rows of one answer at most: the answers here have few.
const ROWS_MAX: usize = 1 << 20;

/// A value that is a text, or nothing.
pub type Value = Option<Vec<u8>>;

/// What a statement answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, values as texts.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// A value as text, by row and column.
    pub fn text(&self, row: usize, column: usize) -> Option<&str> {
        std::str::from_utf8(self.rows.get(row)?.get(column)?.as_ref()?).ok()
    }

    /// The only row; anything else makes no sense.
    pub(crate) fn only(self, what: &str, columns: usize) -> Result<Vec<Value>, WireError> {
        let count = self.rows.len();
        let mut rows = self.rows.into_iter().filter(|row| row.len() >= columns);
        match (rows.next(), count) {
            (Some(row), 1) => Ok(row),
            _ => Err(WireError::nonsense(format!("{what} answered {count} rows"))),
        }
    }
}

/// What the server says next after a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A result.
    Rows(Rows),
    /// It begins to send a stream.
    CopyOut,
    /// It wants a stream.
    CopyIn,
    /// Both send streams.
    CopyBoth,
    /// The command is done, and the server ready for another.
    Ready,
}

/// What comes on a stream.
pub(crate) enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The server sends no more of it.
    End,
}

/// A connection to a server that takes statements or, for replication, commands.
pub struct Conversation {
    frames: Frames,
    greeting: Greeting,
    place: String,
}

impl Conversation {
    /// Connect and log in, trying one host after the other and one way after the other as libpq does. `environment`
    /// knows libpq's variables and `HOME`; whoever sets `cancel` ends every wait.
    ///
    /// # Errors
    /// Nobody answers, the certificate or the password is not believed, or the server refuses: that of the last try.
    pub fn open(
        connection: &Connection,
        purpose: Purpose,
        environment: &dyn Fn(&str) -> Option<String>,
        cancel: &CancelToken,
    ) -> Result<Self, WireError> {
        let settings = Settings::read(connection, environment)?;
        let mut last = None;
        for place in &settings.places {
            match open_at(&settings, place, purpose, cancel) {
                Ok(conversation) => return Ok(conversation),
                Err(WireError::Cancelled(cancelled)) => return Err(cancelled.into()),
                // Another host would say the same.
                Err(error @ WireError::Server(_)) if error.sqlstate().is_some_and(is_refusal) => {
                    return Err(error);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(WireError::Closed))
    }

    /// Where this leads, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        self.greeting.get("server_version").and_then(Version::find).unwrap_or(Version(0))
    }

    /// Whether nobody on the way can read along.
    pub fn is_private(&self) -> bool {
        self.frames.socket().is_private()
    }

    /// What the server has warned of since this was asked last.
    pub fn take_warnings(&mut self) -> Vec<ServerError> {
        self.frames.take_warnings()
    }

    /// Wait for at most that long whenever the server has to say something; a minute, unless set.
    pub fn set_patience(&mut self, patience: Duration) {
        self.frames.set_patience(patience);
    }

    /// Send a statement or a command and take all of its results.
    ///
    /// # Errors
    /// The server refuses it, or the conversation ends.
    pub fn query(&mut self, statement: &str) -> Result<Vec<Rows>, WireError> {
        self.send_query(statement)?;
        let mut results = Vec::new();
        loop {
            match self.answer()? {
                Answer::Rows(rows) => results.push(rows),
                Answer::Ready => return Ok(results),
                other => return Err(WireError::nonsense(format!("a stream was not asked for: {other:?}"))),
            }
        }
    }

    /// The same, for one that has one result.
    ///
    /// # Errors
    /// As [`Conversation::query`], or it has another number of results.
    pub fn query_one(&mut self, statement: &str) -> Result<Rows, WireError> {
        let mut results = self.query(statement)?;
        match (results.pop(), results.len()) {
            (Some(rows), 0) => Ok(rows),
            (_, more) => Err(WireError::nonsense(format!("{more} results where one belongs"))),
        }
    }

    pub(crate) fn send_query(&mut self, statement: &str) -> Result<(), WireError> {
        let mut message = BytesMut::new();
        frontend::query(statement, &mut message).map_err(|error| WireError::nonsense(error.to_string()))?;
        self.frames.send(&message)
    }

    /// What comes next of the answer to a command.
    pub(crate) fn answer(&mut self) -> Result<Answer, WireError> {
        let mut rows = None;
        loop {
            let Frame { kind, body } = self.frames.next()?;
            match (kind, &mut rows) {
                (b'T', None) => rows = Some(Rows { columns: columns(&body)?, rows: Vec::new() }),
                (b'D', Some(found)) if found.rows.len() < ROWS_MAX => found.rows.push(row(&body)?),
                (b'C', Some(_)) => return Ok(Answer::Rows(rows.take().unwrap_or_default())),
                (b'C' | b'I', None) => {}
                (b'H', None) => return Ok(Answer::CopyOut),
                (b'G', None) => return Ok(Answer::CopyIn),
                (b'W', None) => return Ok(Answer::CopyBoth),
                (b'Z', None) => return Ok(Answer::Ready),
                _ => return Err(WireError::nonsense(format!("a message of kind {:?}", char::from(kind)))),
            }
        }
    }

    /// A result, where one has to come.
    pub(crate) fn rows(&mut self, what: &str) -> Result<Rows, WireError> {
        match self.answer()? {
            Answer::Rows(rows) => Ok(rows),
            other => Err(WireError::nonsense(format!("{what}: {other:?} in place of rows"))),
        }
    }

    /// The end of a command, or of one that the server refused.
    pub(crate) fn ready(&mut self) -> Result<(), WireError> {
        match self.answer()? {
            Answer::Ready => Ok(()),
            other => Err(WireError::nonsense(format!("{other:?} after the end of a command"))),
        }
    }

    /// The next piece of a stream.
    pub(crate) fn piece(&mut self) -> Result<Piece, WireError> {
        piece_of(self.frames.next()?)
    }

    /// The next piece of a stream, or nothing if none is there at `until`.
    pub(crate) fn piece_before(&mut self, until: Instant) -> Result<Option<Piece>, WireError> {
        self.frames.next_before(until)?.map(piece_of).transpose()
    }

    /// Send a piece of a stream.
    pub(crate) fn send_piece(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut message = BytesMut::with_capacity(bytes.len() + 5);
        CopyData::new(bytes).map_err(|error| WireError::nonsense(error.to_string()))?.write(&mut message);
        self.frames.send(&message)
    }

    /// Send no more of a stream.
    pub(crate) fn send_end(&mut self) -> Result<(), WireError> {
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        self.frames.send(&message)
    }

    /// Say goodbye; without it the server notes that the connection was lost.
    pub fn close(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        // Whoever does not hear it notices all the same.
        self.frames.send(&message).ok();
    }
}

fn piece_of(frame: Frame) -> Result<Piece, WireError> {
    match frame.kind {
        b'd' => Ok(Piece::Bytes(frame.body)),
        b'c' => Ok(Piece::End),
        // A WAL sender that shuts down ends its command without ending the stream.
        b'C' => Err(WireError::Closed),
        other => Err(WireError::nonsense(format!("a message of kind {:?} in a stream", char::from(other)))),
    }
}

/// A server's no to this user and password: class 28.
fn is_refusal(sqlstate: &str) -> bool {
    sqlstate.starts_with("28")
}

/// No line of pg_hba.conf fits: the connection was of the wrong kind.
fn has_no_line(error: &WireError) -> bool {
    error.sqlstate() == Some("28000")
}

/// Try one place in every way.
fn open_at(
    settings: &Settings,
    place: &Place,
    purpose: Purpose,
    cancel: &CancelToken,
) -> Result<Conversation, WireError> {
    let mut refused = WireError::Closed;
    for way in ways(place, settings.sslmode) {
        match open_in(settings, place, *way, purpose, cancel) {
            Ok(conversation) => return Ok(conversation),
            Err(error @ (WireError::Connect { .. } | WireError::Cancelled(_))) => return Err(error),
            // The server may want the other way, as its pg_hba.conf says; otherwise what it said first is the reason.
            Err(error) if matches!(refused, WireError::Closed) || has_no_line(&refused) => refused = error,
            Err(_) => {}
        }
    }
    Err(refused)
}

fn open_in(
    settings: &Settings,
    place: &Place,
    way: Way,
    purpose: Purpose,
    cancel: &CancelToken,
) -> Result<Conversation, WireError> {
    cancel.check()?;
    let until = Instant::now() + settings.connect_timeout;
    let mut frames = Frames::new(connect(settings, place, way, until)?, cancel);
    let found;
    let password = match &settings.password {
        Some(password) => Some(password),
        None => {
            found = settings
                .passfile
                .as_deref()
                .and_then(|file| passfile::find(file, &wanted(settings, place, purpose)));
            found.as_ref()
        }
    };
    let greeting = log_in(&mut frames, settings, password, purpose, until)?;
    frames.trust();
    let mut conversation = Conversation { frames, greeting, place: shown(place) };
    if settings.role != Role::Any && conversation.role()? != settings.role {
        let reason = format!("{} is not of that kind", conversation.place);
        return Err(WireError::Parameter { name: "target_session_attrs", reason });
    }
    Ok(conversation)
}

/// libpq looks for the socket's default directory as `localhost`, and for replication as that database.
fn wanted<'a>(settings: &'a Settings, place: &'a Place, purpose: Purpose) -> Wanted<'a> {
    let database = match purpose {
        Purpose::Replication => "replication",
        Purpose::Statements => settings.database.as_deref().unwrap_or(&settings.user),
    };
    let host = match place.host.as_str() {
        "/var/run/postgresql" | "/tmp" => "localhost",
        host => host,
    };
    Wanted { host, port: place.port, database, user: &settings.user }
}

impl Conversation {
    /// Primary or standby: 14 and later say so when they greet.
    fn role(&mut self) -> Result<Role, WireError> {
        let told = self.greeting.get("in_hot_standby").map(str::to_owned);
        let is_standby = match told {
            Some(told) => told == "on",
            None => self.show("transaction_read_only")? == "on",
        };
        Ok(if is_standby { Role::Standby } else { Role::Primary })
    }

    /// A setting of the server; WAL senders tell it too.
    ///
    /// # Errors
    /// There is no such setting, or the conversation ends.
    pub fn show(&mut self, setting: &str) -> Result<String, WireError> {
        let row = self.query_one(&format!("SHOW {setting}"))?.only("SHOW", 1)?;
        Ok(readable(row[0].as_deref().unwrap_or_default()).into_owned())
    }
}

#[cfg(test)]
impl Conversation {
    /// One that is past its login.
    pub(crate) fn over(socket: std::os::unix::net::UnixStream, version: Version) -> Self {
        let socket = super::socket::Socket::Unix(socket).unblock().expect("a socket");
        let parameters = vec![("server_version".to_owned(), version.to_string())];
        let mut frames = Frames::new(socket, &CancelToken::new());
        frames.trust();
        Self { frames, greeting: Greeting { parameters }, place: "a test".to_owned() }
    }
}
