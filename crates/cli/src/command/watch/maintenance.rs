//! What nobody notices when it stops: prune, verification, and who holds the keys of a repository.
//!
//! All of it is read from the repository, not from what a job says of itself (threat 15).

use std::collections::BTreeMap;
use std::path::Path;

use ::watch::judge::{Alarm, Fault};
use config::configuration::{Tenant, Watch};
use engine::{EngineError, delete};
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::span::show_span;
use repo::Repository;
use serde::{Deserialize, Serialize};

use super::super::sources::is_of;
use crate::error::{CliError, Result};

/// What is wrong with the care of a tenant's repository.
pub(super) fn judge_care(
    tenant: &Tenant,
    watch: &Watch,
    repository: &Repository,
    records: &[BackupRecord],
    now: Timestamp,
) -> Result<Vec<Alarm>> {
    let mut alarms = vec![];
    if let Some(max) = watch.prune {
        let oldest = delete::list_deleted(repository)?.iter().map(|one| one.deleted_at).min();
        if let Some(oldest) = oldest.filter(|oldest| now.duration_since(*oldest) > max) {
            let words = format!(
                "what was deleted on {oldest:.0} still waits for prune, longer than {}",
                show_span(max)
            );
            alarms.push(Alarm { name: tenant.name.to_string(), fault: Fault::Prune, words });
        }
    }
    let Some(max) = watch.verify else { return Ok(alarms) };
    for source in &tenant.sources {
        let of_source: Vec<_> = records.iter().filter(|record| is_of(tenant, source, record)).collect();
        let good = of_source.iter().filter_map(|record| record.last_verification.as_ref());
        let newest = good.filter(|last| last.result == "passed").map(|last| last.at).max();
        // Before its first backup is so old, nobody can expect that one was verified.
        let Some(since) = newest.or_else(|| of_source.iter().map(|record| record.created_at).min()) else {
            continue;
        };
        if now.duration_since(since) > max {
            let words = match newest {
                Some(at) => {
                    format!("the last verification that passed is of {at:.0}, older than {}", show_span(max))
                }
                None => format!(
                    "none of its backups was ever verified, and the first is older than {}",
                    show_span(max)
                ),
            };
            alarms.push(Alarm {
                name: format!("{}/{}", tenant.name, source.name),
                fault: Fault::Verify,
                words,
            });
        }
    }
    Ok(alarms)
}

/// Which repository each tenant had, and which keys opened it.
///
/// Form: JSON, an object of `tenant` → [`Seen`]. Invariant: what differs alarms until somebody accepts it; a file that is lost
/// takes what is there for right once more.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pins(BTreeMap<String, Seen>);

/// What was seen of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    repository: String,
    keys: Vec<String>,
}

impl Seen {
    fn of(repository: &Repository) -> Result<Self> {
        let keys = repository.keys().map_err(EngineError::from)?;
        let mut keys: Vec<_> = keys.into_iter().map(|key| key.id.to_hex()).collect();
        keys.sort();
        Ok(Self { repository: repository.config().id.to_hex(), keys })
    }
}

impl Pins {
    pub(super) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(super) fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
        serde_json::to_writer_pretty(&mut temporary, self)?;
        temporary.persist(path)?;
        Ok(())
    }

    /// What is there from now on is right.
    pub(super) fn accept(&mut self, tenant: &str, repository: &Repository) -> Result<()> {
        self.0.insert(tenant.to_owned(), Seen::of(repository)?);
        Ok(())
    }

    /// What differs from what was seen first, or accepted.
    pub(super) fn judge(&mut self, tenant: &str, repository: &Repository) -> Result<Option<Alarm>> {
        let now = Seen::of(repository)?;
        let Some(known) = self.0.get(tenant) else {
            self.0.insert(tenant.to_owned(), now);
            return Ok(None);
        };
        let other = |keys: &[String], than: &[String]| keys.iter().filter(|key| !than.contains(key)).count();
        let words = match (other(&now.keys, &known.keys), other(&known.keys, &now.keys)) {
            _ if now.repository != known.repository => {
                "it is another repository than the one that was there".to_owned()
            }
            (0, 0) => return Ok(None),
            (new, gone) => format!("its keys are others than before: {new} new, {gone} gone"),
        };
        let words = format!("{words}; where that was meant, say `mainstay watch --accept {tenant}`");
        Ok(Some(Alarm { name: tenant.to_owned(), fault: Fault::Keys, words }))
    }
}

/// What cannot be told is no reason to be silent.
pub(super) fn unknown(tenant: &Tenant, error: &CliError) -> Alarm {
    let words = format!("nobody can look at its care: {}", error.message);
    Alarm { name: tenant.name.to_string(), fault: Fault::Unreadable, words }
}
