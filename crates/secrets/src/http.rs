//! Questions over HTTP to a keeper: TLS that is checked, no redirects, bounded answers, and patience with an end.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::secret::Secret;
use rustls::crypto::aws_lc_rs;
use ureq::config::{Config, ConfigBuilder};
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;
use ureq::{Agent, Error};
use zeroize::Zeroizing;

use crate::keeper_error::KeeperError;

/// Bytes of an answer at most: a Secret of Kubernetes has 1 MiB, in base64.
const ANSWER_MAX: u64 = 2 << 20;
/// Before the second try, doubled before each further one.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long a keeper is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one answer.
    pub answer: Duration,
    /// For all tries together; the last one may begin just before.
    pub together: Duration,
}

impl Default for Patience {
    /// A keeper that restarts is back within half a minute; what is down for longer is an outage that somebody must see.
    fn default() -> Self {
        Self { answer: Duration::from_secs(10), together: Duration::from_secs(30) }
    }
}

/// One keeper, at its address.
pub(crate) struct Client {
    agent: Agent,
    address: String,
    /// Whom errors name.
    pub(crate) host: String,
    patience: Patience,
}

/// A question.
pub(crate) struct Question<'a> {
    pub(crate) method: Method,
    /// Behind the address, escaped.
    pub(crate) path: String,
    pub(crate) headers: &'a [(&'static str, &'a Secret)],
    /// JSON.
    pub(crate) body: Option<Zeroizing<Vec<u8>>>,
}

/// An answer that is neither an outage nor a broken connection.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// Of the keeper at `address`, which `name` says; believes the authorities of the system, or those of a file alone.
    ///
    /// # Errors
    /// An address that would be spoken to in the clear; authorities that cannot be read.
    pub(crate) fn new(
        address: &str,
        name: &'static str,
        authorities: Option<&Path>,
        patience: Patience,
    ) -> Result<Self, KeeperError> {
        let uri: Uri = address.trim_end_matches('/').parse().map_err(|_| KeeperError::Address(name))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(KeeperError::Address(name))?;
        let is_here = is_loopback(host);
        let has_more = uri.query().is_some() || uri.authority().is_some_and(|it| it.as_str().contains('@'));
        match uri.scheme_str() {
            Some("https") if !has_more => {}
            Some("http") if is_here && !has_more => {}
            _ => return Err(KeeperError::Address(name)),
        }
        let mut config = config(patience).tls_config(tls(authorities)?);
        if is_here || authorities.is_some() {
            // Next door: a proxy would only be one more that could listen.
            config = config.proxy(None);
        }
        let host = uri.authority().map_or(host, |authority| authority.as_str()).to_owned();
        let address = uri.to_string().trim_end_matches('/').to_owned();
        Ok(Self { agent: config.build().new_agent(), address, host, patience })
    }

    /// The answer to `question`; asked again, with growing pauses, while the keeper is down.
    pub(crate) fn ask(&self, question: &Question<'_>) -> Result<Answer, KeeperError> {
        let began = Instant::now();
        let within = self.patience.together;
        let mut pause = PAUSE;
        for tries in 1.. {
            let failure = match self.once(question) {
                Ok(answer) if !is_outage(answer.status) => return Ok(answer),
                Ok(answer) => {
                    KeeperError::Outage { host: self.host.clone(), status: answer.status, tries, within }
                }
                Err(error) => {
                    let is_final = !may_pass(&error);
                    let cause = error.to_string();
                    let failure = KeeperError::Unreachable { host: self.host.clone(), tries, within, cause };
                    if is_final {
                        return Err(failure);
                    }
                    failure
                }
            };
            let next = jittered(pause);
            if began.elapsed() + next >= within {
                return Err(failure);
            }
            std::thread::sleep(next);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        unreachable!("the tries end with the patience")
    }

    fn once(&self, question: &Question<'_>) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(format!("{}{}", self.address, question.path));
        for (name, value) in question.headers {
            request = request.header(*name, value.expose());
        }
        let mut response = match &question.body {
            None => self.agent.run(request.body(())?)?,
            Some(body) => {
                self.agent.run(request.header("Content-Type", "application/json").body(body.as_slice())?)?
            }
        };
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?;
        Ok(Answer { status, body: Zeroizing::new(body) })
    }

    /// An answer that is none.
    pub(crate) fn nonsense(&self, answer: &Answer, what: &'static str) -> KeeperError {
        KeeperError::Answer { host: self.host.clone(), status: answer.status, what }
    }
}

fn config(patience: Patience) -> ConfigBuilder<AgentScope> {
    Config::builder()
        .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .timeout_global(Some(patience.answer))
}

fn tls(authorities: Option<&Path>) -> Result<TlsConfig, KeeperError> {
    let certificates = match authorities {
        // A broken certificate among the system's is no reason to stop; none at all shows when a server is checked.
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|certificate| Certificate::from_der(certificate).to_owned())
            .collect(),
        Some(path) => read_authorities(path)
            .map_err(|cause| KeeperError::Authorities { path: path.to_owned(), cause })?,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build())
}

fn read_authorities(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let certificates: Result<Vec<_>, _> = parse_pem(&text)
        .filter_map(|item| match item {
            Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error.to_string())),
        })
        .collect();
    match certificates? {
        none if none.is_empty() => Err("there is no certificate in it".to_owned()),
        certificates => Ok(certificates),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Statuses of a keeper that is up again later.
fn is_outage(status: u16) -> bool {
    matches!(status, 429 | 500 | 502 | 503 | 504)
}

/// Whether another try can do better. A certificate that is wrong stays wrong.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Rustls(_) | Error::Tls(_) | Error::BodyExceedsLimit(_) | Error::Http(_) | Error::BadUri(_) => {
            false
        }
        Error::Io(cause) => {
            !cause.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        }
        _ => true,
    }
}

/// Between half of it and all of it, so that those who failed together do not come back together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the whole pause is as good.
    let part = if getrandom::fill(&mut random).is_ok() { u32::from(random[0]) } else { 255 };
    pause / 2 + pause * part / 510
}

/// `text` as one part of a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            write!(out, "%{byte:02X}").ok();
        }
    }
    out
}
