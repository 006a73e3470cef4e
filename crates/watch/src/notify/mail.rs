//! An e-mail by SMTP. Always encrypted: from the first byte (`smtps://`), or by STARTTLS, which a server must offer (RFC
//! 3207; one that does not, or an attacker who takes its offer away, is told nothing).

use std::path::Path;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message as Mail, SmtpTransport, Transport};
use model::secret::Secret;

use super::error::NotifyError;
use crate::message::Message;

/// A server that says nothing for so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who sends.
pub struct Login<'a> {
    /// `smtps://user@host:465` or `smtp://user@host:587`.
    pub server: &'a str,
    /// The user's password.
    pub password: Option<&'a Secret>,
    /// The authority that vouches for the server; the system's where none is said.
    pub ca: Option<&'a Path>,
}

/// Send `message`.
///
/// # Errors
/// [`NotifyError`]; the mail was then not accepted.
pub fn send(login: &Login<'_>, from: &str, to: &[String], message: &Message) -> Result<(), NotifyError> {
    let mut mail = Mail::builder().from(mailbox("sender", from)?).subject(&message.subject);
    for one in to {
        mail = mail.to(mailbox("receiver", one)?);
    }
    let failed = |reason: String| NotifyError::Mail { server: host(login.server), reason };
    let mail = mail.body(message.body.clone()).map_err(|error| failed(error.to_string()))?;
    transport(login)?.send(&mail).map(drop).map_err(|error| failed(error.to_string()))
}

fn mailbox(what: &'static str, text: &str) -> Result<Mailbox, NotifyError> {
    text.parse().map_err(|error: lettre::address::AddressError| NotifyError::Address {
        what,
        text: text.to_owned(),
        reason: error.to_string(),
    })
}

fn transport(login: &Login<'_>) -> Result<SmtpTransport, NotifyError> {
    let wrong = |reason: &str| NotifyError::Address {
        what: "mail server",
        text: login.server.to_owned(),
        reason: reason.to_owned(),
    };
    let (scheme, rest) =
        login.server.split_once("://").ok_or_else(|| wrong("it begins with smtps:// or smtp://"))?;
    let (user, place) = match rest.trim_end_matches('/').rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest.trim_end_matches('/')),
    };
    let usual = if scheme == "smtps" { 465 } else { 587 };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong("its port is no number"))?),
        None => (place, usual),
    };
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(path) = login.ca {
        let bad = |reason: String| NotifyError::Authority { path: path.display().to_string(), reason };
        let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let authority = Certificate::from_pem(&pem).map_err(|error| bad(error.to_string()))?;
        parameters = parameters.add_root_certificate(authority);
    }
    let parameters = parameters.build().map_err(|error| wrong(&error.to_string()))?;
    let tls = match scheme {
        "smtps" => Tls::Wrapper(parameters),
        "smtp" => Tls::Required(parameters),
        _ => return Err(wrong("it begins with smtps:// or smtp://")),
    };
    let mut transport = SmtpTransport::builder_dangerous(host).port(port).tls(tls).timeout(Some(PATIENCE));
    if let (Some(user), Some(password)) = (user, login.password) {
        transport = transport.credentials(Credentials::new(user.to_owned(), password.expose().to_owned()));
    }
    Ok(transport.build())
}

fn host(server: &str) -> String {
    server
        .rsplit('@')
        .next()
        .unwrap_or_default()
        .trim_start_matches("smtps://")
        .trim_start_matches("smtp://")
        .to_owned()
}
