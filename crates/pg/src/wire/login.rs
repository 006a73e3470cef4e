//! The beginning of a conversation: who we are, and the proof of it.
//!
//! Spoken: trust, a password in the clear (only where nobody on the way can read it), MD5, SCRAM-SHA-256 and, in TLS,
//! SCRAM-SHA-256-PLUS bound to the server's certificate (PostgreSQL manual, chapters 55.2 and 55.3). Invariant: a server
//! that began SCRAM has proved that it knows the password before it is believed, and `channel_binding=require` ends
//! everything that is not bound.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use model::secret::Secret;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;

use super::body::{Body, readable, server_error};
use super::end_point;
use super::error::WireError;
use super::frames::{Frame, Frames};
use super::settings::{ChannelBinding, Settings};

/// What the conversation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Statements, in a database.
    Statements,
    /// Physical replication: the commands of a WAL sender.
    Replication,
}

/// What the server told about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeting {
    /// Its settings that clients are told, by name.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Greeting {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Say who we are and prove it, until the server is ready.
pub(crate) fn log_in(
    frames: &mut Frames,
    settings: &Settings,
    password: Option<&Secret>,
    purpose: Purpose,
    until: Instant,
) -> Result<Greeting, WireError> {
    frames.send(&startup(settings, purpose)?)?;
    Login { frames, settings, password, until }.authenticate()?;
    let mut greeting = Greeting::default();
    loop {
        let Frame { kind, body } = next(frames, settings, until)?;
        match kind {
            b'S' => {
                let mut body = Body::new(&body);
                let name = readable(body.text()?).into_owned();
                greeting.parameters.push((name, readable(body.text()?).into_owned()));
            }
            b'Z' => return Ok(greeting),
            // The key to cancel a statement; nothing here is ended but with its connection.
            b'K' | b'N' => {}
            other => return Err(unexpected(other)),
        }
    }
}

fn startup(settings: &Settings, purpose: Purpose) -> Result<BytesMut, WireError> {
    let mut parameters = vec![
        ("user", settings.user.as_str()),
        ("application_name", &settings.application_name),
        ("client_encoding", "UTF8"),
    ];
    match purpose {
        Purpose::Replication => parameters.push(("replication", "true")),
        Purpose::Statements => {
            parameters.push(("database", settings.database.as_deref().unwrap_or(&settings.user)));
        }
    }
    if let Some(options) = &settings.options {
        parameters.push(("options", options));
    }
    let mut message = BytesMut::new();
    frontend::startup_message(parameters, &mut message)
        .map_err(|error| WireError::nonsense(error.to_string()))?;
    Ok(message)
}

/// The next message but notices; what the server refuses is an error.
fn next(frames: &mut Frames, settings: &Settings, until: Instant) -> Result<Frame, WireError> {
    let frame = frames.any_before(until)?.ok_or(WireError::Silent(settings.connect_timeout))?;
    match frame.kind {
        b'E' => Err(WireError::Server(Box::new(server_error(&frame.body)?))),
        _ => Ok(frame),
    }
}

fn unexpected(kind: u8) -> WireError {
    WireError::nonsense(format!("a message of kind {:?} while logging in", char::from(kind)))
}

struct Login<'a> {
    frames: &'a mut Frames,
    settings: &'a Settings,
    password: Option<&'a Secret>,
    until: Instant,
}

impl<'a> Login<'a> {
    fn authenticate(mut self) -> Result<(), WireError> {
        let (request, rest) = self.request()?;
        let is_bound = match request {
            0 => false,
            3 if self.frames.socket().is_private() => {
                self.send_password(self.password()?.as_bytes())?;
                false
            }
            3 => {
                return Err(WireError::Authentication("a password in the clear, over a network without TLS"));
            }
            5 => {
                let salt = rest.first_chunk().ok_or_else(|| WireError::nonsense("MD5 without a salt"))?;
                let hash = md5_hash(self.settings.user.as_bytes(), self.password()?.as_bytes(), *salt);
                self.send_password(hash.as_bytes())?;
                false
            }
            10 => self.scram(&rest)?,
            7 | 9 => return Err(WireError::Authentication("Kerberos, which is not spoken here")),
            _ => return Err(WireError::Authentication("a proof that is not known here")),
        };
        if self.settings.channel_binding == ChannelBinding::Require && !is_bound {
            return Err(WireError::Scram("channel_binding=require, and the server does not bind".to_owned()));
        }
        match request {
            0 => Ok(()),
            _ => self.expect(0).map(drop),
        }
    }

    /// What the server asks for next.
    fn request(&mut self) -> Result<(i32, Bytes), WireError> {
        loop {
            let frame = next(self.frames, self.settings, self.until)?;
            match frame.kind {
                b'R' => {
                    let request = Body::new(&frame.body).i32()?;
                    return Ok((request, frame.body.slice(4..)));
                }
                // A notice, or that the server speaks an older minor version, which ours is.
                b'N' | b'v' => {}
                other => return Err(unexpected(other)),
            }
        }
    }

    fn expect(&mut self, request: i32) -> Result<Bytes, WireError> {
        match self.request()? {
            (found, rest) if found == request => Ok(rest),
            (found, _) => Err(WireError::nonsense(format!("authentication {found} in place of {request}"))),
        }
    }

    fn password(&self) -> Result<&'a str, WireError> {
        self.password.map(Secret::expose).ok_or(WireError::NoPassword)
    }

    fn send_password(&mut self, proof: &[u8]) -> Result<(), WireError> {
        let mut message = BytesMut::new();
        frontend::password_message(proof, &mut message)
            .map_err(|error| WireError::nonsense(error.to_string()))?;
        self.frames.send(&message)
    }

    /// Whether the login is bound to the certificate.
    fn scram(&mut self, offered: &[u8]) -> Result<bool, WireError> {
        let offers =
            |mechanism: &str| offered.split(|byte| *byte == 0).any(|one| one == mechanism.as_bytes());
        let end_point = match self.settings.channel_binding {
            ChannelBinding::Disable => None,
            _ => self.frames.socket().certificate().and_then(end_point::binding),
        };
        let (mechanism, binding) = match end_point {
            Some(hash) if offers(SCRAM_SHA_256_PLUS) => {
                (SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash))
            }
            // "We could, you say that you cannot": a server that does offer it notices who took the offer away.
            Some(_) => (SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
            None => (SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
        };
        if !offers(mechanism) {
            return Err(WireError::Authentication("SASL in a way that is not spoken here"));
        }
        let wrong = |error: std::io::Error| WireError::Scram(error.to_string());
        let mut scram = ScramSha256::new(self.password()?.as_bytes(), binding);
        let mut message = BytesMut::new();
        frontend::sasl_initial_response(mechanism, scram.message(), &mut message).map_err(wrong)?;
        self.frames.send(&message)?;
        scram.update(&self.expect(11)?).map_err(wrong)?;
        message.clear();
        frontend::sasl_response(scram.message(), &mut message).map_err(wrong)?;
        self.frames.send(&message)?;
        scram.finish(&self.expect(12)?).map_err(wrong)?;
        Ok(mechanism == SCRAM_SHA_256_PLUS)
    }
}
