//! `mainstay lock extend`: what backups rest on stays locked for longer.
//!
//! It needs the rights to list, to read, and to extend locks, and no others. Invariant: no lock is ever shortened, and
//! where something is missing or damaged, everything that is there is extended, needed or not.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use engine::needed::{self, Needed};
use engine::reading;
use jiff::{SignedDuration, Timestamp};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use model::size::ByteSize;
use remote::lock::LOCK_DAYS_MAX;
use remote::locker::{Hidden, Plan, Stored, plan_extend};
use serde_json::{Value, json};
use store::Key;
use store::meter::{Prices, Traffic};

use crate::arguments::{Extend, Global, Lock};
use crate::command::forget::duration;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::locks::{Locks, refuse_without};
use crate::progress_line::ProgressLine;
use crate::{interrupt, place};

/// Where objects lie that locks are for; the whole name of one that lies by itself.
const FOLDERS: [&str; 6] = ["config", "keys/", "snapshots/", "index/", "data/", "wal/"];
/// How long a bucket knows at least what was deleted: lifecycle rules count in days.
const HISTORY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Names that are shown to people at most.
const SHOWN: usize = 20;

pub(crate) fn run(global: &Global, order: &Lock, environment: &Environment, face: &Face) -> Result<()> {
    let Lock::Extend(order) = order;
    let wanted = wanted(order, Timestamp::now())?;
    let slack = duration(&order.slack)?.unsigned_abs();
    let cancel = interrupt::watch()?;
    let url = place::address(global, environment)?;
    let progress = Progress::new();
    let locks = Locks::of(&url, environment, &progress, &cancel)?;
    refuse_without(&url, environment)?;
    let needed = look(global, environment, face, &progress, &cancel);
    cancel.check().map_err(engine::EngineError::from)?;
    let (needed, unread) = match needed {
        Ok(needed) => (needed, None),
        // The password and the address are not a thief's work.
        Err(error) if error.kind == Kind::Usage => return Err(error),
        Err(error) => (Needed::default(), Some(error)),
    };
    let line = ProgressLine::start(face, &progress);
    let (found, lists) = locks.versions(&FOLDERS)?;
    let (deleted, pages) = locks.hidden("snapshots/")?;
    let (tombs, more_pages) = locks.hidden("x/deleted/")?;
    let vanished = vanished(&needed, &deleted, &tombs, SystemTime::now());
    let needed = Needed { damage: [needed.damage, vanished].concat(), ..needed };
    let survey = Survey::of(found, needed, lists + pages + more_pages, unread)?;
    let (mut known, mut failed) = (vec![], vec![]);
    for asked in locks.ask_until(&survey.stored)? {
        match asked {
            Ok(asked) => known.push(asked),
            Err(error) => failed.push(error),
        }
    }
    let plan = plan_extend(known, wanted, slack);
    let not_locked = if order.dry_run { vec![] } else { locks.extend(&plan.extend, wanted)? };
    drop(line);
    survey.show(&plan, not_locked.len(), wanted, order.dry_run, &locks.location(), face);
    failed.extend(not_locked);
    if !failed.is_empty() {
        let words: Vec<_> = failed.iter().map(|error| error.message.clone()).collect();
        face.warn(&format!("not extended: {}", shortened(&words)));
    }
    // What is damaged is worse than what can be done by running it again.
    survey.verdict().and_then(|()| verdict_on(failed))
}

/// Snapshots that somebody hid who is none of us, with all that tells of them. Who deletes leaves a tombstone; prune takes
/// that away in the end, and for a day the bucket knows at least that there was one: a lifecycle counts in days. After that
/// it may be long gone, unless no backup is seen at all: then nobody is believed who left no tombstone.
fn vanished(needed: &Needed, hidden: &[Hidden], tombs: &[Hidden], now: SystemTime) -> Vec<String> {
    let nothing_is_seen = !needed.objects.iter().any(|key| key.as_str().starts_with("snapshots/"));
    let buried: BTreeSet<_> = tombs.iter().filter_map(|tomb| snapshot_of(&tomb.key, "x/deleted/")).collect();
    let is_told = |hidden: &Hidden, id: &Digest| {
        let is_old = now.duration_since(hidden.since).is_ok_and(|age| age >= HISTORY_KEPT);
        needed.deleted.contains(id) || (!nothing_is_seen && (is_old || buried.contains(id)))
    };
    let ids = hidden.iter().filter_map(|hidden| Some((hidden, snapshot_of(&hidden.key, "snapshots/")?)));
    let vanished = ids.filter(|(hidden, id)| !is_told(hidden, id));
    vanished.map(|(hidden, _)| format!("{} was deleted, and no tombstone tells of it", hidden.key)).collect()
}

/// Of which snapshot something in `folder` is, by its name.
fn snapshot_of(key: &Key, folder: &str) -> Option<Digest> {
    key.as_str().strip_prefix(folder)?.split('/').next()?.parse().ok()
}

/// What is needed, as far as the repository can be read.
fn look(
    global: &Global,
    environment: &Environment,
    face: &Face,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Needed> {
    let repository = place::open(global, environment, face)?;
    let _lease = reading::begin(&repository, "lock", &place::identity(environment))?;
    let _line = ProgressLine::start(face, progress);
    progress.begin("looking for what is needed", 0);
    Ok(needed::find(&repository, cancel)?)
}

/// The day until which everything is to be locked.
fn wanted(order: &Extend, now: Timestamp) -> Result<SystemTime> {
    let span = order.span.as_deref().map(duration).transpose()?;
    let wanted = match (order.until, span) {
        (Some(until), _) => Some(until),
        (None, span) => span.and_then(|span| now.checked_add(span).ok()),
    };
    let ahead = wanted.map(|wanted| wanted.duration_since(now)).unwrap_or_default();
    match wanted {
        Some(wanted)
            if ahead > SignedDuration::ZERO
                && ahead <= SignedDuration::from_hours(24 * i64::from(LOCK_DAYS_MAX)) =>
        {
            Ok(wanted.into())
        }
        _ => Err(CliError::usage(format!("locks end in the future, and at most {LOCK_DAYS_MAX} days ahead"))
            .hint("nobody can shorten a lock, and what is locked is paid for")),
    }
}

/// What is to be locked, and what is odd about it.
struct Survey {
    stored: Vec<Stored>,
    /// Needed, and there in several versions: somebody stored it again.
    repeated: Vec<String>,
    /// Needed, and deleted by somebody.
    deleted: Vec<String>,
    damage: Vec<String>,
    /// Why nobody can tell what is needed.
    unread: Option<CliError>,
    lists: u64,
}

impl Survey {
    fn of(found: Vec<Stored>, needed: Needed, lists: u64, unread: Option<CliError>) -> Result<Self> {
        let Needed { objects, mut damage, .. } = needed;
        match unread {
            // Nothing is there, nor ever was.
            Some(error) if found.is_empty() => return Err(error),
            Some(ref error) => damage.push(error.message.clone()),
            None => {}
        }
        let of_needed = || found.iter().filter(|stored| objects.contains(&stored.key));
        let seen: BTreeSet<_> =
            of_needed().filter(|stored| !stored.is_hidden).map(|stored| &stored.key).collect();
        let hidden: BTreeSet<_> =
            of_needed().filter(|stored| stored.is_hidden).map(|stored| &stored.key).collect();
        let name = |key: &store::Key| key.to_string();
        let repeated = hidden.iter().filter(|key| seen.contains(*key)).map(|key| name(key)).collect();
        let deleted: Vec<_> = objects.iter().filter(|key| !seen.contains(key)).map(name).collect();
        let is_whole = damage.is_empty() && deleted.is_empty();
        let chosen = found.iter().filter(|stored| !is_whole || objects.contains(&stored.key));
        Ok(Self { stored: chosen.cloned().collect(), repeated, deleted, damage, unread, lists })
    }

    fn show(
        &self,
        plan: &Plan,
        not_locked: usize,
        wanted: SystemTime,
        dry_run: bool,
        location: &str,
        face: &Face,
    ) {
        let until = Timestamp::try_from(wanted).unwrap_or(Timestamp::MAX);
        let bytes: u64 = self.stored.iter().map(|stored| stored.size).sum();
        let extended = plan.extend.len() - not_locked;
        let calls = Traffic {
            lists: self.lists,
            gets: self.stored.len() as u64,
            puts: plan.extend.len() as u64,
            ..Traffic::default()
        };
        let cost = Prices::of(location).map_or(0, |prices| calls.cost_micro_usd(&prices));
        let Traffic { lists, gets, puts, .. } = calls;
        let requests: Value =
            json!({ "lists": lists.to_string(), "gets": gets.to_string(), "puts": puts.to_string() });
        let document = json!({
            "until": until.to_string(),
            "objects": self.stored.len(),
            "bytes": bytes.to_string(),
            "enough": plan.enough,
            "extended": extended,
            "repeated": self.repeated,
            "deleted": self.deleted,
            "damage": self.damage,
            "requests": requests,
            "costMicroUsd": cost.to_string(),
            "dryRun": dry_run,
        });
        face.result(&document, || {
            let mood = if dry_run { "would be locked" } else { "are now locked" };
            format!(
                "{} objects ({}) are needed: {} were locked long enough, {extended} {mood} until {until:.0}\n\
                 {lists} list, {gets} get and {puts} put calls, about ${:.6}",
                self.stored.len(),
                ByteSize(bytes),
                plan.enough,
                cost as f64 / 1e6
            )
        });
        if !self.repeated.is_empty() {
            face.warn(&format!(
                "stored again after it was there, every version is kept: {}",
                shortened(&self.repeated)
            ));
        }
        for (what, names) in
            [("deleted behind our back", &self.deleted), ("damaged or not to be read", &self.damage)]
        {
            if !names.is_empty() {
                face.warn(&format!("{what}: {}", shortened(names)));
            }
        }
    }

    /// Backups that cannot be read are said once the locks are extended.
    fn verdict(self) -> Result<()> {
        let error = match (self.unread, self.deleted.len() + self.damage.len()) {
            (None, 0) => return Ok(()),
            // Versions of it are there: a script that makes what is missing must not make this.
            (Some(error), _) if error.kind == Kind::NotFound => CliError { kind: Kind::Damaged, ..error },
            (Some(error), _) => error,
            (None, count) => CliError::new(
                Kind::Damaged,
                format!("integrity check failed: {count} things that backups need are deleted or damaged"),
            ),
        };
        Err(error.hint(
            "everything that is there was taken for needed; find out who did it, and read the repository as it was \
             with --at (docs: how-to/survive-a-stolen-key)",
        ))
    }
}

/// The first of what kept locks from being extended stands for all of them.
fn verdict_on(failed: Vec<CliError>) -> Result<()> {
    let count = failed.len();
    failed.into_iter().next().map_or(Ok(()), |first| {
        let message = format!("{count} of the locks were not extended, all others were: {}", first.message);
        Err(CliError { message, ..first })
    })
}

fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hidden_snapshot_is_believed_where_something_of_ours_tells_of_it() {
        let now = SystemTime::UNIX_EPOCH + 100 * HISTORY_KEPT;
        let id = |n: u8| Digest([n; 32]);
        let hidden = |name: String, days: u32| Hidden {
            key: name.parse().unwrap(),
            since: now - days * HISTORY_KEPT + Duration::from_secs(1),
        };
        let snapshots: Vec<_> = [(1, 1), (2, 1), (3, 1), (4, 2)]
            .map(|(n, days)| hidden(format!("snapshots/{}", id(n)), days))
            .into();
        let tombs = [hidden(format!("x/deleted/{}/ab", id(2)), 1)];
        let names = |seen: &[Key]| -> Vec<u8> {
            let objects = seen.iter().cloned().collect();
            let needed = Needed { objects, deleted: [id(1)].into(), ..Needed::default() };
            let found = vanished(&needed, &snapshots, &tombs, now);
            let number = |n: &u8| found.iter().any(|words| words.contains(&id(*n).to_string()));
            (1..=4).filter(number).collect()
        };
        let seen = format!("snapshots/{}", id(9)).parse().unwrap();
        assert_eq!(names(&[seen]), [3], "one of a day ago, of which nothing tells");
        assert_eq!(
            names(&["config".parse().unwrap()]),
            [2, 3, 4],
            "where none is left only a tombstone is believed"
        );
    }
}
