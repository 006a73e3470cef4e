//! A POST, and a sign of life. Encrypted, but for this machine itself; nobody sends us elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::error::NotifyError;
use crate::message::Message;

/// The whole of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Send `message` to `url`, trusting the authority in `ca`, or the system's.
///
/// # Errors
/// [`NotifyError`]; answers other than 2xx too.
pub fn post(url: &str, ca: Option<&Path>, message: &Message) -> Result<(), NotifyError> {
    let body = message.json.to_string();
    let agent = agent(url, ca)?;
    let sent = agent.post(url).header("content-type", "application/json").send(&body);
    judge(url, sent)
}

/// Say that we are alive.
///
/// # Errors
/// As [`post`].
pub fn ping(url: &str) -> Result<(), NotifyError> {
    judge(url, agent(url, None)?.get(url).call())
}

fn judge<B>(url: &str, answer: Result<ureq::http::Response<B>, ureq::Error>) -> Result<(), NotifyError> {
    let failed = |reason: String| NotifyError::Web { host: host(url).to_owned(), reason };
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(failed(format!("answered {}", answer.status()))),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn agent(url: &str, ca: Option<&Path>) -> Result<Agent, NotifyError> {
    let is_own = ["127.0.0.1", "localhost", "[::1]"]
        .contains(&host(url).rsplit_once(':').map_or(host(url), |(host, _)| host));
    if !url.starts_with("https://") && !is_own {
        let reason = "only https:// leaves this machine".to_owned();
        return Err(NotifyError::Web { host: host(url).to_owned(), reason });
    }
    let tls = TlsConfig::builder()
        .root_certs(roots(ca)?)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let agent =
        Agent::config_builder().timeout_global(Some(PATIENCE)).max_redirects(0).tls_config(tls).build();
    Ok(agent.into())
}

fn roots(ca: Option<&Path>) -> Result<RootCerts, NotifyError> {
    let certificates: Vec<Certificate<'static>> = match ca {
        Some(path) => {
            let bad = |reason: String| NotifyError::Authority { path: path.display().to_string(), reason };
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            let items = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(bad(error.to_string()))),
            });
            items.collect::<Result<_, _>>()?
        }
        None => {
            let found = rustls_native_certs::load_native_certs().certs;
            found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
        }
    };
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The part of an address that is surely no secret.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_an_address_is_shown() {
        for url in ["https://u:hunter2@h.example/hunter2?hunter2", "https://h.example/hunter2#hunter2"] {
            assert_eq!(host(url), "h.example");
        }
        let words = ping("http://h.example/hunter2").unwrap_err().to_string();
        assert!(words.contains("only https") && !words.contains("hunter2"), "{words}");
    }
}
