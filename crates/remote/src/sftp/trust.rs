//! Which host keys are believed: pinned fingerprints, or else the lines of `known_hosts`.
//!
//! Invariant: a key is believed only where a line or a pin names exactly it, and no line revokes it. An unknown key is
//! never learned: whoever is there first would be believed for ever.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::Preferred;
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyBase64};
use sha1::Sha1;

/// Why a host key is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostKeyTrouble {
    /// Nothing is known of this host.
    #[error("the host key of {host} is not known: {kind} {fingerprint}")]
    Unknown {
        /// As `known_hosts` would name it.
        host: String,
        /// Kind of its key.
        kind: String,
        /// What a person can compare.
        fingerprint: String,
    },
    /// Something else is known of it, so this may be somebody in between.
    #[error("the host key of {host} has changed: it shows {kind} {fingerprint}, which {place} does not have")]
    Changed {
        /// As `known_hosts` names it.
        host: String,
        /// Kind of the key that it shows.
        kind: String,
        /// What a person can compare.
        fingerprint: String,
        /// Where the other key is written.
        place: String,
    },
    /// The key was declared stolen.
    #[error("the host key of {host} is revoked by {place}: {fingerprint}")]
    Revoked {
        /// As `known_hosts` names it.
        host: String,
        /// What a person can compare.
        fingerprint: String,
        /// Where that is written.
        place: String,
    },
}

/// What is believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    pins: Vec<String>,
    lines: Vec<Line>,
}

/// A line of `known_hosts`: sshd(8).
#[derive(Clone, Debug)]
struct Line {
    place: String,
    is_revocation: bool,
    hosts: String,
    kind: String,
    key: String,
}

impl Trust {
    /// Believe these fingerprints (`SHA256:…`) and nothing else, where there are some.
    pub(super) fn pinned(mut self, pins: &str) -> Self {
        self.pins.extend(pins.split([',', ' ']).filter(|pin| !pin.is_empty()).map(str::to_owned));
        self
    }

    /// Believe the lines of a `known_hosts` file, too.
    pub(super) fn known(mut self, file: &str, text: &str) -> Self {
        let line = |(number, text)| Line::parse(format!("{file}:{}", number + 1), text);
        self.lines.extend(text.lines().enumerate().filter_map(line));
        self
    }

    /// Whether this is the key of that host.
    pub(super) fn verify(&self, host: &str, port: u16, key: &PublicKey) -> Result<(), HostKeyTrouble> {
        let host = name_with_port(host, port);
        let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
        let (kind, blob) = (key.algorithm().as_str().to_owned(), key.public_key_base64());
        if !self.pins.is_empty() {
            return match self.pins.contains(&fingerprint) {
                true => Ok(()),
                false => Err(HostKeyTrouble::Changed { host, kind, fingerprint, place: "the pin".into() }),
            };
        }
        let of_host: Vec<_> = self.lines.iter().filter(|line| line.is_of(&host)).collect();
        let same = |line: &&&Line| line.key == blob;
        if let Some(line) = of_host.iter().filter(same).find(|line| line.is_revocation) {
            return Err(HostKeyTrouble::Revoked { host, fingerprint, place: line.place.clone() });
        }
        if of_host.iter().any(|line| same(&line)) {
            return Ok(());
        }
        Err(match of_host.iter().find(|line| !line.is_revocation) {
            Some(line) => HostKeyTrouble::Changed { host, kind, fingerprint, place: line.place.clone() },
            None => HostKeyTrouble::Unknown { host, kind, fingerprint },
        })
    }

    /// What to ask the server for: first those kinds of key of which one is known, and never SHA-1.
    pub(super) fn preferred(&self, host: &str, port: u16) -> Preferred {
        let host = name_with_port(host, port);
        let known: Vec<_> =
            self.lines.iter().filter(|line| line.is_of(&host) && !line.is_revocation).collect();
        let is_known = |kind: &Algorithm| known.iter().any(|line| is_of_kind(kind, &line.kind));
        let mut kinds: Vec<_> = Preferred::DEFAULT.key.to_vec();
        kinds.retain(|kind| *kind != Algorithm::Rsa { hash: None });
        kinds.sort_by_key(|kind| !is_known(kind));
        Preferred { key: Cow::Owned(kinds), ..Preferred::DEFAULT }
    }
}

/// One kind of RSA key makes signatures of several kinds.
fn is_of_kind(asked: &Algorithm, line: &str) -> bool {
    match asked {
        Algorithm::Rsa { .. } => line == "ssh-rsa",
        other => other.as_str() == line,
    }
}

fn name_with_port(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

impl Line {
    fn parse(place: String, text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().peekable();
        if words.peek()?.starts_with('#') {
            return None;
        }
        let mark = words.next_if(|word| word.starts_with('@'));
        // Authorities sign certificates, which we do not ask for; an unknown mark may mean anything.
        if mark.is_some_and(|mark| mark != "@revoked") {
            return None;
        }
        let [hosts, kind, key] = [words.next()?, words.next()?, words.next()?].map(str::to_owned);
        Some(Self { place, is_revocation: mark.is_some(), hosts, kind, key })
    }

    fn is_of(&self, host: &str) -> bool {
        let is_named = |pattern: &str| match pattern.strip_prefix("|1|") {
            Some(hashed) => is_hash_of(hashed, host),
            None => is_match(&pattern.to_lowercase(), host),
        };
        let (no, yes): (Vec<_>, Vec<_>) = self.hosts.split(',').partition(|pattern| pattern.starts_with('!'));
        yes.into_iter().any(is_named) && !no.iter().any(|pattern| is_named(&pattern[1..]))
    }
}

/// `salt|HMAC-SHA1(salt, host)`, both in base64.
fn is_hash_of(hashed: &str, host: &str) -> bool {
    let decoded = |text: &str| STANDARD.decode(text).ok();
    let Some((salt, hash)) = hashed.split_once('|').and_then(|(a, b)| Some((decoded(a)?, decoded(b)?)))
    else {
        return false;
    };
    Hmac::<Sha1>::new_from_slice(&salt).is_ok_and(|mac| mac.chain_update(host).verify_slice(&hash).is_ok())
}

/// `*` stands for anything, `?` for one character.
fn is_match(pattern: &str, host: &str) -> bool {
    let mut rest = host.chars();
    let mut letters = pattern.chars();
    match letters.next() {
        None => host.is_empty(),
        Some('*') => {
            let after = letters.as_str();
            std::iter::successors(Some(host), |rest| {
                let mut rest = rest.chars();
                rest.next().map(|_| rest.as_str())
            })
            .any(|rest| is_match(after, rest))
        }
        Some('?') => rest.next().is_some() && is_match(letters.as_str(), rest.as_str()),
        Some(letter) => rest.next() == Some(letter) && is_match(letters.as_str(), rest.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Keys made with ssh-keygen for this test, and lines hashed by `ssh-keygen -H`.
    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIZqlEsCLQZZGXzud2ICD9za9z55FpqmyKwhVDFEhi78";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPdEHwMjAZ3FW5qZtCMLfrxv9IM9HJ8fgWjyaSL1jkY5";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDEPzCsKGexsrR7yFOzxJZuhOGgx7jrAoMkahQ8QAmt/VtwX4CCU2IGw/N4hS1kTlyVA5xjQD4kYumyWMQvRW3DlHXw9w7kzLvhJLgmVuVqnhZzlCMTf0GghexyxO4dZPj73qVEk6nLZhW4n0R2qneUIEIMQ0NvrIoUhqWwnT5GvQ/jx6MrgdsMYjm+yuNyy99YbmjBRBEloJfXVOwG/iBBOwPHwVj+ZyvUetKzJTByshAEizrwnSMiPfzXN8DxYtH3RxTBHgD0FrTDvqlFD03XeCMLegL+fQMkjiT7F0Vxd77NHVquCt1i8k5eHoTm3Sk2rwaovu5wPtc8yo2ZVoFj";
    const HASHED: &str = "|1|3VJuM6A9z+yjv33ebcRHwfZmuc4=|Cy3NHdyXRXiKmRR2DqiKJ+T1bFg= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIZqlEsCLQZZGXzud2ICD9za9z55FpqmyKwhVDFEhi78";

    fn key(line: &str) -> PublicKey {
        PublicKey::from_openssh(line).unwrap()
    }

    fn verdict(known: &str, host: &str, port: u16, shown: &str) -> Result<(), HostKeyTrouble> {
        Trust::default().known("known_hosts", known).verify(host, port, &key(shown))
    }

    #[test]
    fn a_key_is_believed_where_a_line_names_exactly_it() {
        let table = [
            (format!("nas {ONE}"), "nas", 22, true),
            (format!("nas {ONE} comment"), "NAS", 22, true),
            (format!("# nas {ONE}"), "nas", 22, false),
            (format!("nas {ONE}"), "nas", 2222, false),
            (format!("[nas]:2222 {ONE}"), "nas", 2222, true),
            (format!("[nas]:2222 {ONE}"), "nas", 22, false),
            (format!("other,nas,10.0.0.1 {ONE}"), "10.0.0.1", 22, true),
            (format!("*.example.org {ONE}"), "a.example.org", 22, true),
            (format!("*.example.org,!b.example.org {ONE}"), "b.example.org", 22, false),
            (format!("na? {ONE}"), "nas", 22, true),
            (format!("na? {ONE}"), "na", 22, false),
            (format!("nas {TWO}\nnas {ONE}"), "nas", 22, true),
            (format!("nas {TWO}"), "nas", 22, false),
            (format!("nas {RSA}"), "nas", 22, false),
            (format!("@cert-authority nas {ONE}"), "nas", 22, false),
            (format!("@revoked * {ONE}\nnas {ONE}"), "nas", 22, false),
            (format!("nas {ONE}\n@revoked nas {TWO}"), "nas", 22, true),
            (HASHED.to_owned(), "nas.example.org", 22, true),
            (HASHED.to_owned(), "nas.example.com", 22, false),
            ("nas".to_owned(), "nas", 22, false),
            (String::new(), "nas", 22, false),
        ];
        for (known, host, port, believed) in table {
            let found = verdict(&known, host, port, ONE);
            assert_eq!(found.is_ok(), believed, "{known:?} {host} {port}: {found:?}");
        }
    }

    #[test]
    fn unknown_changed_and_revoked_are_told_apart() {
        let shown = key(ONE).fingerprint(HashAlg::Sha256).to_string();
        let unknown = verdict("", "nas", 2222, ONE).unwrap_err();
        assert!(matches!(&unknown, HostKeyTrouble::Unknown { host, .. } if host == "[nas]:2222"));
        assert!(unknown.to_string().contains(&shown), "{unknown}");
        let changed = verdict(&format!("\nnas {TWO}"), "nas", 22, ONE).unwrap_err();
        assert!(matches!(&changed, HostKeyTrouble::Changed { place, .. } if place == "known_hosts:2"));
        // Known by a key of another kind only: somebody in between could show a kind that is not on record.
        assert!(matches!(
            verdict(&format!("nas {RSA}"), "nas", 22, ONE),
            Err(HostKeyTrouble::Changed { .. })
        ));
        let revoked = verdict(&format!("@revoked nas {ONE}"), "nas", 22, ONE).unwrap_err();
        assert!(matches!(revoked, HostKeyTrouble::Revoked { .. }));
    }

    #[test]
    fn with_a_pin_nothing_else_is_believed() {
        let trust = Trust::default().known("known_hosts", &format!("nas {ONE}"));
        let fingerprint = key(TWO).fingerprint(HashAlg::Sha256).to_string();
        let pinned = trust.pinned(&fingerprint);
        assert_eq!(pinned.verify("nas", 22, &key(TWO)), Ok(()));
        assert!(pinned.verify("nas", 22, &key(ONE)).is_err());
    }

    #[test]
    fn the_server_is_asked_for_kinds_that_are_known() {
        let first = |known: &str| Trust::default().known("k", known).preferred("nas", 22).key[0].clone();
        assert_eq!(first(""), Algorithm::Ed25519);
        assert!(matches!(first(&format!("nas {RSA}")), Algorithm::Rsa { hash: Some(_) }));
    }
}
