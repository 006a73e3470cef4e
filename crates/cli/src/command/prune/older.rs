//! What prune leaves behind in a bucket that keeps versions: there a delete hides an object, and frees nothing.

use std::collections::HashSet;
use std::time::SystemTime;

use jiff::Timestamp;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use model::size::ByteSize;
use remote::locker::Stored;
use repo::repository::FileKind;
use serde_json::{Value, json};
use store::Key;
use store::meter::Prices;

use crate::environment::Environment;
use crate::error::Result;
use crate::locks::Locks;

/// Packs that nobody sees any more, and that are still paid for.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// Those of this run.
    packs: u64,
    bytes: u64,
    /// How many of those nobody can delete yet, and until when the last of them.
    locked: u64,
    until: Option<SystemTime>,
    /// All that were ever deleted and are still there.
    all_packs: u64,
    all_bytes: u64,
    /// What keeping all of them costs.
    month_micro_usd: u64,
}

/// Look for the packs that are `gone`; `None` where the bucket keeps no versions, or there is nothing to look for.
///
/// # Errors
/// What the store says; a pruner need not have the right to ask.
pub(super) fn look(
    url: &str,
    gone: &[Digest],
    environment: &Environment,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Option<Older>> {
    let keeps_versions =
        || environment.wire().protection(url).is_ok_and(|found| found.keeps_versions == Some(true));
    if gone.is_empty() || !remote::is_object_storage(url) || !keeps_versions() {
        return Ok(None);
    }
    let locks = Locks::of(url, environment, progress, cancel)?;
    let gone: HashSet<Key> = gone.iter().map(|id| FileKind::Pack.object(id)).collect();
    let (found, _) = locks.versions(&["data/"])?;
    let (ours, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|stored| gone.contains(&stored.key));
    let others: Vec<_> = others.into_iter().filter(|stored| stored.is_hidden).collect();
    let bytes = |packs: &[Stored]| packs.iter().map(|stored| stored.size).sum::<u64>();
    let all_bytes = bytes(&ours) + bytes(&others);
    let mut older = Older {
        packs: ours.len() as u64,
        bytes: bytes(&ours),
        all_packs: (ours.len() + others.len()) as u64,
        all_bytes,
        month_micro_usd: Prices::of(&locks.location()).map_or(0, |prices| prices.month_micro_usd(all_bytes)),
        ..Older::default()
    };
    let now = SystemTime::now();
    for asked in locks.ask_until(&ours)? {
        let (_, until) = asked?;
        let until = until.filter(|until| *until > now);
        older.locked += u64::from(until.is_some());
        older.until = older.until.max(until);
    }
    Ok(Some(older))
}

impl Older {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "packs": self.packs,
            "bytes": self.bytes.to_string(),
            "locked": self.locked,
            "lockedUntil": self.day(),
            "allPacks": self.all_packs,
            "allBytes": self.all_bytes.to_string(),
            "monthMicroUsd": self.month_micro_usd.to_string(),
        })
    }

    pub(super) fn describe(&self) -> String {
        let locked = match self.locked {
            0 => String::new(),
            count => format!(", {count} of them locked until {}", self.day()),
        };
        format!(
            "versions  {} packs ({}) stay as older versions{locked}; {} in all ({}, about ${:.6} a month) are paid for \
             until a lifecycle rule takes them",
            self.packs,
            ByteSize(self.bytes),
            self.all_packs,
            ByteSize(self.all_bytes),
            self.month_micro_usd as f64 / 1e6
        )
    }

    fn day(&self) -> String {
        let until = self.until.and_then(|until| Timestamp::try_from(until).ok());
        until.map(|until| format!("{until:.0}")).unwrap_or_default()
    }
}
