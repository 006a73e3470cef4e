//! The same of stores.

use std::io::ErrorKind;

use store::{Refusal, StoreError};

use super::{CliError, Kind};

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::BadUrl { .. } => Kind::Usage,
            StoreError::NotFound { .. } => Kind::NotFound,
            StoreError::AlreadyExists { .. } => Kind::Refused,
            StoreError::Short { .. } => Kind::Damaged,
            StoreError::Refused { why, .. } => kind_of_refusal(why),
            StoreError::Io { .. } | StoreError::Wrong { .. } => Kind::Failed,
        };
        let shown = Self { is_of_store: true, ..Self::new(kind, error.to_string()) };
        match &error {
            StoreError::Refused { why: Refusal::NoCredentials(_), place, .. } => {
                shown.hint(where_credentials_come_from(place))
            }
            StoreError::Refused { action: "delete", why: Refusal::Denied(_), .. } => shown.hint(
                "these credentials may not delete, as a writer's should be: run delete, forget and prune with others",
            ),
            StoreError::Refused { why, .. } => shown.hint(what_to_mend(why)),
            StoreError::Io { action: "write", cause, .. }
                if matches!(cause.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                shown.hint(
                    "make room there, or raise the quota, then run this again; `forget` and `prune` need some room too \
                     before they free any (docs: how-to/prune-safely, \"When the disk is full\")",
                )
            }
            _ if error.is_transient() => shown.hint(
                "is the address right, and the store up? run this again: what is stored is not sent twice",
            ),
            StoreError::Wrong { .. } => {
                shown.hint("do not trust this store with backups before that is mended")
            }
            _ => shown,
        }
    }
}

/// What is wrong here, and not with the store, is wrong usage or configuration.
fn kind_of_refusal(why: &Refusal) -> Kind {
    match why {
        Refusal::NoBucket => Kind::NotFound,
        Refusal::NoCredentials(_)
        | Refusal::UnknownCredentials(_)
        | Refusal::WrongSecret
        | Refusal::NoLogin(_)
        | Refusal::Past
        | Refusal::NoVersions
        | Refusal::WrongRegion(_) => Kind::Usage,
        _ => Kind::Failed,
    }
}

/// Each provider's own names.
fn where_credentials_come_from(place: &str) -> &'static str {
    match place.split_once("://") {
        Some(("gs", _)) => {
            "set GOOGLE_APPLICATION_CREDENTIALS to a service account's file, or run `gcloud auth application-default login`"
        }
        Some(("az", _)) => "set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN",
        _ => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (docs: reference/environment)",
    }
}

/// The next step when a store says no.
pub(super) fn what_to_mend(why: &Refusal) -> &'static str {
    match why {
        Refusal::NoCredentials(_) => "give credentials for this store",
        Refusal::UnknownCredentials(_) => {
            "is this the access key or token of this store, and is it still active?"
        }
        Refusal::WrongSecret => "check the secret; a missing character at its end is the usual reason",
        Refusal::Expired => "get new temporary credentials, then run this again",
        Refusal::Denied(_) => {
            "the credentials need the rights to list the bucket, and to read and write below the prefix"
        }
        Refusal::NoBucket => "make the bucket first, or correct its name",
        Refusal::WrongRegion(_) => "set AWS_REGION, or ?region=… in the address",
        Refusal::Clock => "set this machine's clock (NTP); signatures are valid for 15 minutes",
        Refusal::Untrusted(_) => {
            "name the authority with ?ca-file=…, or pin the certificate with ?pin=sha256:…"
        }
        Refusal::Archived => {
            "restore, export, verify and copy warm up what they read; a pack of trees that is not in the hot part comes \
             back with `mainstay repair hot`"
        }
        Refusal::UnknownHostKey(_) => {
            "compare the fingerprint with the server's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), \
             then log in once with ssh, or pin it with --sftp-host-key SHA256:…"
        }
        Refusal::WrongHostKey(_) => {
            "somebody may stand between; ask who runs the server for the fingerprint, and only then replace the old key"
        }
        Refusal::NoLogin(_) => {
            "give a key that the server knows: --sftp-key FILE, ssh-add, or a file in ~/.ssh; ~/.ssh/config is not read"
        }
        Refusal::Past => "leave --at and ?at= away to write into the repository of today",
        Refusal::NoVersions => {
            "another copy of the repository is the way back; turn versioning on, so that there is one next time \
             (docs: how-to/survive-a-stolen-key)"
        }
        Refusal::Full(_) => {
            "make room or raise the quota, then run this again; what is stored already is not sent twice"
        }
        Refusal::Other(_) => "the words in the message are the store's own",
    }
}
