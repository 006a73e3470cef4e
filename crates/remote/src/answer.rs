//! What a server says instead of yes: HTTP status, its own code and words, and what they mean to us.

use std::io::{Error, ErrorKind};

use store::{Refusal, StoreError};

/// Characters of a server's words that we repeat at most.
const WORDS_MAX: usize = 300;

/// An answer that is no success.
#[derive(Debug, thiserror::Error)]
#[error("the server answers {status} {code} {words}")]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// The server's own name for it, as in `NoSuchKey`; empty where there is none.
    pub(crate) code: String,
    /// The server's words.
    pub(crate) words: String,
    /// The region that the bucket is in, where the server tells.
    pub(crate) region: Option<String>,
    /// Whether this is not the store, but who gives the credentials for it.
    pub(crate) is_about_credentials: bool,
}

/// What was asked for when the error came.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// `write`, `read`, `list` or `delete`.
    pub(crate) action: &'static str,
    /// Key or prefix.
    pub(crate) key: &'a str,
    /// Which store.
    pub(crate) place: &'a str,
}

impl Call<'_> {
    pub(crate) fn not_found(self) -> StoreError {
        StoreError::NotFound { key: self.key.into(), place: self.place.into() }
    }

    pub(crate) fn exists(self) -> StoreError {
        StoreError::AlreadyExists { key: self.key.into(), place: self.place.into() }
    }

    pub(crate) fn short(self) -> StoreError {
        StoreError::Short { key: self.key.into(), place: self.place.into() }
    }

    pub(crate) fn io(self, kind: ErrorKind, words: impl Into<String>) -> StoreError {
        let cause = Error::new(kind, words.into());
        StoreError::Io { action: self.action, key: self.key.into(), place: self.place.into(), cause }
    }

    pub(crate) fn refused(self, why: Refusal) -> StoreError {
        StoreError::Refused { action: self.action, key: self.key.into(), place: self.place.into(), why }
    }

    pub(crate) fn wrong(self, what: impl Into<String>) -> StoreError {
        let what = what.into();
        StoreError::Wrong { action: self.action, key: self.key.into(), place: self.place.into(), what }
    }
}

impl Answer {
    /// From the parts of a response; `body` is XML, JSON or nothing.
    pub(crate) fn read(status: u16, code: Option<&str>, region: Option<&str>, body: &str) -> Self {
        let between = |open: &str, close: &str| {
            let (_, rest) = body.split_once(open)?;
            Some(rest.split_once(close)?.0.trim().to_owned())
        };
        let tag = |name: &str| between(&format!("<{name}>"), &format!("</{name}>"));
        // JSON of Google: {"error": {"code": 404, "message": "…", "errors": [{"reason": "notFound", …}]}}
        let json = |name: &str| {
            let (_, rest) = body.split_once(&format!("\"{name}\""))?;
            Some(rest.split('"').nth(1)?.to_owned())
        };
        let code = code.map(str::to_owned).or_else(|| tag("Code")).or_else(|| json("reason"));
        let words = tag("Message").or_else(|| json("message")).unwrap_or_default();
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS_MAX).collect();
        let region = region.map(str::to_owned).or_else(|| tag("Region"));
        Self { status, code: code.unwrap_or_default(), words, region, is_about_credentials: false }
    }

    /// What it means for the call.
    pub(crate) fn judge(&self, call: Call<'_>) -> StoreError {
        if self.is_about_credentials {
            return match self.status {
                408 | 429 | 500.. => call.io(ErrorKind::ResourceBusy, self.to_string()),
                _ => call.refused(Refusal::NoCredentials(self.to_string())),
            };
        }
        if let Some(error) = self.judge_code(call) {
            return error;
        }
        match self.status {
            301 | 307 | 308 => call.refused(Refusal::WrongRegion(self.region.clone())),
            304 | 412 => call.exists(),
            404 if call.action == "read" || call.action == "delete" => call.not_found(),
            404 => call.refused(Refusal::NoBucket),
            416 => call.short(),
            // S3 says 403 for everything; the others say 401 where nobody of that name is known.
            401 => call.refused(Refusal::UnknownCredentials(self.own_words())),
            403 => call.refused(Refusal::Denied(self.own_words())),
            507 => call.refused(Refusal::Full(self.own_words())),
            // Somebody writes the same name right now, or the server wants us to come back.
            408 | 409 | 425 | 429 | 500 | 502..=506 => call.io(ErrorKind::ResourceBusy, self.to_string()),
            _ => call.refused(Refusal::Other(self.to_string())),
        }
    }

    /// By the server's own code, where that says more than the status.
    fn judge_code(&self, call: Call<'_>) -> Option<StoreError> {
        Some(match self.code.as_str() {
            "NoSuchKey" | "NoSuchVersion" | "NoSuchUpload" | "BlobNotFound" => call.not_found(),
            "NoSuchBucket" | "ContainerNotFound" => call.refused(Refusal::NoBucket),
            "BlobAlreadyExists" => call.exists(),
            // What was asked for is on its way.
            "RestoreAlreadyInProgress" => call.exists(),
            "InvalidAccessKeyId" => call.refused(Refusal::UnknownCredentials(self.own_words())),
            "SignatureDoesNotMatch" => call.refused(Refusal::WrongSecret),
            "ExpiredToken" | "ExpiredTokenException" => call.refused(Refusal::Expired),
            "InvalidToken" => call.refused(Refusal::UnknownCredentials(self.own_words())),
            "RequestTimeTooSkewed" => call.refused(Refusal::Clock),
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
                call.refused(Refusal::WrongRegion(self.region.clone()))
            }
            "InvalidObjectState" => call.refused(Refusal::Archived),
            "QuotaExceeded" | "XMinioStorageFull" => call.refused(Refusal::Full(self.own_words())),
            // Bytes that were damaged or lost on the way are sent again.
            "BadDigest"
            | "XAmzContentSHA256Mismatch"
            | "IncompleteBody"
            | "RequestTimeout"
            | "SlowDown"
            | "Md5Mismatch" => call.io(ErrorKind::ResourceBusy, self.to_string()),
            _ => return None,
        })
    }

    fn own_words(&self) -> String {
        [self.code.as_str(), self.words.as_str()].join(" ").trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'static> = Call { action: "write", key: "config", place: "s3://b" };

    fn xml(status: u16, code: &str) -> StoreError {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>so  it is</Message></Error>");
        Answer::read(status, None, None, &body).judge(CALL)
    }

    #[test]
    fn codes_become_what_is_to_be_mended() {
        let refused = |error| match error {
            StoreError::Refused { why, .. } => why,
            other => panic!("{other}"),
        };
        assert_eq!(refused(xml(404, "NoSuchBucket")), Refusal::NoBucket);
        // Also of a lock that is to be set.
        assert!(xml(404, "NoSuchVersion").is_not_found());
        assert_eq!(refused(xml(403, "SignatureDoesNotMatch")), Refusal::WrongSecret);
        assert_eq!(refused(xml(403, "RequestTimeTooSkewed")), Refusal::Clock);
        assert_eq!(refused(xml(400, "ExpiredToken")), Refusal::Expired);
        assert_eq!(refused(xml(403, "InvalidObjectState")), Refusal::Archived);
        assert_eq!(refused(xml(403, "AccessDenied")), Refusal::Denied("AccessDenied so it is".into()));
        let answer = Answer::read(301, None, Some("eu-central-1"), "");
        assert_eq!(refused(answer.judge(CALL)), Refusal::WrongRegion(Some("eu-central-1".into())));
        let google = r#"{"error": {"code": 403, "message": "no", "errors": [{"reason": "forbidden"}]}}"#;
        let google = Answer::read(403, None, None, google);
        assert_eq!(refused(google.judge(CALL)), Refusal::Denied("forbidden no".into()));
    }

    #[test]
    fn what_passes_by_itself_is_transient() {
        for (status, code) in [
            (503, "SlowDown"),
            (409, "ConditionalRequestConflict"),
            (409, "OperationAborted"),
            (500, "InternalError"),
            (400, "RequestTimeout"),
            (400, "BadDigest"),
            (429, ""),
        ] {
            assert!(xml(status, code).is_transient(), "{status} {code}");
        }
        for (status, code) in [(403, "AccessDenied"), (501, "NotImplemented"), (400, "InvalidArgument")] {
            assert!(!xml(status, code).is_transient(), "{status} {code}");
        }
        assert!(xml(412, "PreconditionFailed").is_already_exists());
        assert!(xml(409, "BlobAlreadyExists").is_already_exists());
    }
}
