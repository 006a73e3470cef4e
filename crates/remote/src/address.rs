//! An address taken apart: `scheme://place/prefix?option=value`, or as restic writes it, `s3:https://host/bucket/prefix`.
//!
//! Options of the address win over those of flags; a name that no store knows is refused, never ignored.

use std::collections::BTreeMap;

use store::{Key, StoreError};

use crate::settings::Settings;

/// A prefix in front of every key, in bytes: S3 allows names of 1,024, and our own keys take up to 700.
const PREFIX_LEN_MAX: usize = 300;

/// Names that the query of an address may have.
const OPTIONS: [&str; 14] = [
    "account",
    "at",
    "ca-file",
    "endpoint",
    "object-lock",
    "path-style",
    "pin",
    "profile",
    "region",
    "sse",
    "sse-kms-key",
    "storage-class",
    "timeout",
    "whole-objects",
];

/// Where objects are kept, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `s3`, `gs` or `az`.
    pub(crate) scheme: &'static str,
    /// The bucket or container.
    pub(crate) bucket: String,
    /// What stands in front of every key; empty, or parts joined by `/`.
    pub(crate) prefix: String,
    options: BTreeMap<&'static str, String>,
    url: String,
}

impl Address {
    /// The parts of `url`; `None` where it is no address of object storage.
    pub(crate) fn parse(url: &str) -> Option<Result<Self, StoreError>> {
        for (start, scheme) in [("s3://", "s3"), ("gs://", "gs"), ("az://", "az"), ("azure://", "az")] {
            if let Some(rest) = url.strip_prefix(start) {
                return Some(Self::from_parts(url, scheme, rest));
            }
        }
        let rest = url.strip_prefix("s3:")?;
        Some(Self::from_restic(url, rest))
    }

    /// `rest` is `bucket/prefix?options`.
    fn from_parts(url: &str, scheme: &'static str, rest: &str) -> Result<Self, StoreError> {
        let refuse = |reason: String| StoreError::BadUrl { url: url.to_owned(), reason };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() || bucket.contains(['@', ':', '%', '\\']) {
            return Err(refuse(format!("needs a bucket, as in {scheme}://bucket/prefix")));
        }
        if prefix.len() > PREFIX_LEN_MAX || !(prefix.is_empty() || prefix.parse::<Key>().is_ok()) {
            return Err(refuse(format!(
                "the prefix has to be plain names joined by /, {PREFIX_LEN_MAX} bytes at most"
            )));
        }
        let mut options = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(known) = OPTIONS.iter().find(|known| **known == name) else {
                return Err(refuse(format!("{name:?} is no option; there are {}", OPTIONS.join(", "))));
            };
            let value = decoded(value).ok_or_else(|| refuse(format!("{name} is not well encoded")))?;
            if options.insert(*known, value).is_some() {
                return Err(refuse(format!("{name} stands there twice")));
            }
        }
        Ok(Self { scheme, bucket: bucket.into(), prefix: prefix.into(), options, url: url.into() })
    }

    /// `rest` is `https://host[:port]/bucket/prefix` or `host/bucket/prefix`.
    fn from_restic(url: &str, rest: &str) -> Result<Self, StoreError> {
        let (scheme, rest) = match rest.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
            None => ("https", rest.trim_start_matches('/')),
            Some(_) => {
                return Err(StoreError::BadUrl { url: url.into(), reason: "s3: takes http or https".into() });
            }
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut address = Self::from_parts(url, "s3", path)?;
        if !host.ends_with("amazonaws.com") {
            address.options.insert("endpoint", format!("{scheme}://{host}"));
        }
        Ok(address)
    }

    /// An option of the address or, where that has none, of the flags.
    pub(crate) fn option<'a>(&'a self, name: &'static str, settings: &'a Settings) -> Option<&'a str> {
        debug_assert!(OPTIONS.contains(&name), "{name} is not among the options");
        self.options.get(name).map(String::as_str).or_else(|| settings.chosen(name)).filter(|v| !v.is_empty())
    }

    /// A yes or no.
    ///
    /// # Errors
    /// Where it is neither.
    pub(crate) fn flag(&self, name: &'static str, settings: &Settings) -> Result<Option<bool>, StoreError> {
        match self.option(name, settings) {
            None => Ok(None),
            Some("true" | "yes" | "1") => Ok(Some(true)),
            Some("false" | "no" | "0") => Ok(Some(false)),
            Some(other) => Err(self.refused(format!("{name} is true or false, not {other:?}"))),
        }
    }

    /// An error about this address.
    pub(crate) fn refused(&self, reason: impl Into<String>) -> StoreError {
        StoreError::BadUrl { url: self.url.clone(), reason: reason.into() }
    }

    /// The address that people and records see: it opens again, and has no secrets. `options` are those without which
    /// it would be another place.
    pub(crate) fn shown(&self, options: &[(&str, Option<&str>)]) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let given = options.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?)));
        let query = given.collect::<Vec<_>>().join("&");
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}://{}{slash}{}{mark}{query}", self.scheme, self.bucket, self.prefix)
    }
}

/// `%xx` replaced by bytes.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address, StoreError> {
        Address::parse(url).expect("an address of object storage")
    }

    #[test]
    fn an_address_has_a_bucket_a_prefix_and_options() {
        let address =
            parse("s3://acme/pg/main/?region=eu-central-1&endpoint=http%3A//localhost:9000").unwrap();
        assert_eq!((address.scheme, &*address.bucket, &*address.prefix), ("s3", "acme", "pg/main"));
        let settings = Settings::default().with("region", "other").with("pin", "p");
        assert_eq!(address.option("region", &settings), Some("eu-central-1"));
        assert_eq!(address.option("endpoint", &settings), Some("http://localhost:9000"));
        assert_eq!(address.option("pin", &settings), Some("p"));
        assert_eq!(parse("gs://b").unwrap().prefix, "");
    }

    #[test]
    fn restics_addresses_mean_the_same() {
        let address = parse("s3:http://127.0.0.1:9000/acme/pg").unwrap();
        assert_eq!((&*address.bucket, &*address.prefix), ("acme", "pg"));
        assert_eq!(address.option("endpoint", &Settings::default()), Some("http://127.0.0.1:9000"));
        let aws = parse("s3:s3.amazonaws.com/acme/pg").unwrap();
        assert_eq!((&*aws.bucket, aws.option("endpoint", &Settings::default())), ("acme", None));
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for url in [
            "s3://",
            "s3:///prefix",
            "s3://key:secret@bucket/p",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket?colour=red",
            "s3://bucket?region=a&region=b",
            "s3://bucket?region=%2",
            "s3:ftp://host/bucket",
            "s3:https://host",
        ] {
            assert!(matches!(parse(url), Err(StoreError::BadUrl { .. })), "{url}");
        }
        assert!(
            parse("s3://b?path-style=perhaps").unwrap().flag("path-style", &Settings::default()).is_err()
        );
        for url in ["/srv/backups", "sftp://host/p", "file:///x"] {
            assert!(Address::parse(url).is_none(), "{url}");
        }
    }

    #[test]
    fn what_is_shown_opens_again() {
        let address = parse("s3:http://127.0.0.1:9000/acme/pg").unwrap();
        let shown = address.shown(&[("endpoint", address.option("endpoint", &Settings::default()))]);
        assert_eq!(shown, "s3://acme/pg?endpoint=http://127.0.0.1:9000");
        let again = parse(&shown).unwrap();
        assert_eq!(
            (again.bucket, again.prefix, again.options),
            (address.bucket, address.prefix, address.options)
        );
    }
}
