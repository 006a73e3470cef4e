//! The way over the replication protocol: the server reads its files and sends them, with WAL and manifest.
//!
//! From 17 on the server itself makes increments, by its WAL summaries: it is given the manifest of the backup before
//! (`UPLOAD_MANIFEST`, PostgreSQL manual, chapter 53.4), and what it sends is the next link of that one's chain. Which backup may be
//! that one is decided as on the way from the data directory; where its mark is the file in there, the file comes with the
//! others and is looked at then. Invariant: where there is doubt, before or behind the first byte, all of it is sent anew.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pg::backup_label::{BACKUP_LABEL, BackupLabel};
use pg::backup_manifest;
use pg::backup_mode::{BackupModeError, Stopped, has_slot, read_in_data_directory};
use pg::base_backup::{BaseBackup, Finished, INCREMENTS, Options};
use pg::data_directory::MARKER;
use pg::replication::{self, Identity, SlotName, drop_slot_if_there, identify_system, read_slot};
use pg::wal_summary::Limits;
use pg::wire::{Conversation, Purpose, WireError};
use repo::RepoError;

use super::archive::{ArchivedLog, without_gap};
use super::earlier::{ELSEWHERE, Earlier, NO_MARK};
use super::receive::Receiving;
use super::{Begun, Saved, Waited, marker};
use crate::catalog;
use crate::cluster_manifest::link_name;
use crate::error::{EngineError, Result};
use crate::writing::Order;

/// What was asked for, or why it cannot be had of an increment, in words.
type Doubtful<T> = std::result::Result<T, String>;

/// Let the server of `begun` send its files.
pub(super) fn save(begun: &Begun<'_>) -> Result<Saved> {
    if let Some(earlier) = choose(begun)? {
        match send(begun, Some(earlier))? {
            Ok(saved) => return Ok(saved),
            Err(why) => (begun.source.tell)(&format!("{why}, so this backup is a full one")),
        }
    }
    // Nothing speaks against a full one but what the server itself has said.
    send(begun, None)?.map_err(|why| WireError::Nonsense(why).into())
}

/// The backup that this one can be an increment of, as far as that is known before the first byte.
fn choose(begun: &Begun<'_>) -> Result<Option<Earlier>> {
    let Begun { server, facts, writing, source, order } = begun;
    if source.full {
        return Ok(None);
    }
    let tell = source.tell;
    if server.version() < INCREMENTS {
        if Earlier::is_first(writing, order)? {
            let version = server.version();
            tell(&format!(
                "a server of version {version} sends no increments, those of 17 and later do: over the stream each backup \
                 is a full one, of which only what is new is stored"
            ));
        }
        return Ok(None);
    }
    if !facts.summarizes {
        if !Earlier::is_first(writing, order)? {
            tell(
                "summarize_wal is off, so the server does not know what changed, and this backup is a full one",
            );
        }
        return Ok(None);
    }
    // The file comes with the others, late; who may read it, knows sooner.
    let in_file = OnceCell::new();
    let is_in_file = |mark: &str| {
        let told = in_file.get_or_init(|| read_in_data_directory(server, MARKER));
        told.as_ref().is_none_or(|told| told.as_deref().map(str::trim) == Some(mark))
    };
    let may_be = |mark: &str| match marker::is_slot(mark) {
        true => facts.marks.iter().any(|known| known == mark),
        false => is_in_file(mark),
    };
    let Some(earlier) = Earlier::find(begun, &may_be)? else { return Ok(None) };
    let archived = ArchivedLog::list(&writing.repository, facts.system_id, facts.segment_size())?;
    without_gap(begun, earlier, archived)
}

/// An answer that has begun.
struct Started {
    backup: BaseBackup,
    limits: Limits,
    /// How long the server took before it sent anything.
    checkpoint: Duration,
    /// The slot for which the server keeps the WAL of this backup; it goes with the conversation.
    held: Option<SlotName>,
}

/// Let the server send everything, or what changed since `earlier`.
fn send(begun: &Begun<'_>, earlier: Option<Earlier>) -> Result<Doubtful<Saved>> {
    let Begun { facts, writing, source, order, .. } = begun;
    let Started { mut backup, limits, checkpoint, held } = match start(begun, earlier.as_ref())? {
        Ok(started) => started,
        Err(doubt) => return Ok(Err(doubt)),
    };
    order.progress.begin("receiving", 0);
    let (start, begun_on) = (backup.start_lsn(), backup.timeline());
    let mut receiving = Receiving::begin(&writing.saver, order, &limits)?;
    loop {
        let taken = take_next(&mut backup, &mut receiving, earlier.as_ref(), order);
        // Also where it ended the backup: what it found is worth knowing.
        for warning in backup.take_warnings() {
            (source.tell)(&format!("the server warns: {}", warning.message));
        }
        if !taken? {
            break;
        }
    }
    if let Some(doubt) = receiving.doubt() {
        return Ok(Err(doubt.to_owned()));
    }
    if !is_marked(earlier.as_ref(), &receiving) {
        return Ok(Err(NO_MARK.to_owned()));
    }
    let (Finished { stop, timeline, manifest }, mut server) = backup.finish()?;
    if begun_on != timeline {
        return Err(BackupModeError::WentOver { from: begun_on, to: timeline }.into());
    }
    // A server has few slots, and the mark needs one.
    held.map(|held| drop_slot_if_there(&mut server, &held)).transpose()?;
    let label = match label_of(&receiving, earlier.as_ref()) {
        Ok(label) => label,
        Err(doubt) => return Ok(Err(doubt)),
    };
    let makes_increments = server.version() >= INCREMENTS && facts.summarizes;
    let has_slot = |name: &SlotName| has_slot(&begun.server, name).unwrap_or_default();
    let slot = makes_increments.then(|| {
        let (prefix, there) = begun.own_marks();
        marker::make_slot(&mut server, (&prefix, &there), &has_slot, source.tell)
    });
    server.close();
    let stopped_at = Timestamp::now();
    receiving.manifest(manifest)?;
    let position = earlier.as_ref().map_or(0, |earlier| earlier.links.len());
    let (link, seen) = receiving.finish(&link_name(position))?;
    let stopped = Stopped { start, stop, timeline, label, tablespace_map: String::new() };
    let waited = Waited { checkpoint, ..Waited::default() };
    Ok(Ok(Saved { link, seen, stopped, stopped_at, marker: slot.flatten(), earlier, waited }))
}

/// Take the next file, if there is one, and if it is worth going on.
fn take_next(
    backup: &mut BaseBackup,
    receiving: &mut Receiving<'_>,
    earlier: Option<&Earlier>,
    order: &Order,
) -> Result<bool> {
    let Some(entry) = backup.next_entry()? else { return Ok(false) };
    order.cancel.check()?;
    receiving.take(entry)?;
    let is_of_another = receiving.marker().is_some() && !is_marked(earlier, receiving);
    Ok(!is_of_another && receiving.doubt().is_none())
}

/// Ask the server for it, and where relations were cut off since `earlier`.
fn start(begun: &Begun<'_>, earlier: Option<&Earlier>) -> Result<Doubtful<Started>> {
    let Begun { facts, source, order, .. } = begun;
    let connection = source.session.connection();
    let mut server =
        Conversation::open(connection, Purpose::Replication, &source.environment, &order.cancel)?;
    let Identity { system_id, timeline, flushed } = identify_system(&mut server)?;
    if system_id != facts.system_id {
        return Err(EngineError::Unsuitable(format!(
            "for replication the connection leads to cluster {system_id}, for statements to {}",
            facts.system_id
        )));
    }
    if earlier.is_some_and(|earlier| !earlier.leads_to(timeline, flushed)) {
        return Ok(Err(ELSEWHERE.to_owned()));
    }
    // Where several hosts are named, the one that sends may be another than the one that was asked.
    if earlier.is_some_and(|earlier| is_slot_missing(earlier, &mut server)) {
        return Ok(Err(NO_MARK.to_owned()));
    }
    let parent = match earlier.map(|earlier| manifest_of(begun, earlier)).transpose() {
        Err(error) if error.is_damage() => return Ok(Err(format!("the backup before is damaged: {error}"))),
        parent => parent?,
    };
    let held = hold_wal(begun, &mut server)?;
    let options = Options {
        label: format!("mainstay {}", order.source),
        is_fast: source.fast,
        rate_kib_max: source.rate_kib_max,
        parent,
        ..Options::default()
    };
    let began = Instant::now();
    let backup = match BaseBackup::start(server, &options) {
        Err(error) if earlier.is_some() && is_refusal(&error) => {
            return Ok(Err(format!("the server makes no increment: {error}")));
        }
        started => started?,
    };
    let checkpoint = began.elapsed();
    if earlier.is_some_and(|earlier| !earlier.leads_to(backup.timeline(), backup.start_lsn())) {
        return Ok(Err(ELSEWHERE.to_owned()));
    }
    Ok(limits(begun, earlier, &backup).map(|limits| Started { backup, limits, checkpoint, held }))
}

/// Let the server keep the WAL that it will send at the end. Where it makes no slot, it may remove that sooner, which ends the
/// backup then.
fn hold_wal(begun: &Begun<'_>, server: &mut Conversation) -> Result<Option<SlotName>> {
    let name = marker::held_slot().map_err(WireError::Broken)?;
    match replication::hold_wal(server, &name) {
        Ok(()) => Ok(Some(name)),
        Err(error @ WireError::Server(_)) => {
            (begun.source.tell)(&format!(
                "no replication slot keeps the WAL of this backup: where the server removes it sooner, the backup ends: {error}"
            ));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Where relations were cut off between `earlier` and the start of `backup`: what the server sends does not say it, and grows
/// back to what it was before.
fn limits(begun: &Begun<'_>, earlier: Option<&Earlier>, backup: &BaseBackup) -> Doubtful<Limits> {
    let Some(earlier) = earlier else { return Ok(Limits::default()) };
    let from = earlier.manifest.start_lsn;
    match Limits::ask(&begun.server, backup.timeline(), from, backup.start_lsn()) {
        Ok(Some(limits)) => Ok(limits),
        Ok(None) => Err("the server's summaries do not say where tables were cut off".to_owned()),
        Err(error) => Err(format!("the server does not tell where tables were cut off: {error}")),
    }
}

/// The manifest that the server is given: of all files that the backup before has, as its newest link names them.
fn manifest_of(begun: &Begun<'_>, earlier: &Earlier) -> Result<Vec<u8>> {
    let writing = &begun.writing;
    let tree = earlier.newest_tree().ok_or_else(|| RepoError::damaged("a link", "is no directory"))?;
    let sound = writing.load_sound()?;
    catalog::load_small_file(&writing.repository, &sound, &tree, backup_manifest::NAME)
}

/// The server's own no, which may be about the increment alone: then it sends all of it. Memory and what settings bound may
/// be too little for the summaries, and suffice without them.
fn is_refusal(error: &WireError) -> bool {
    let is_for_want_of_room = matches!(error.sqlstate(), Some("53200" | "53400"));
    matches!(error, WireError::Server(_)) && (is_for_want_of_room || !error.is_passing())
}

/// Whether the mark of the backup before is a slot that this server has not.
fn is_slot_missing(earlier: &Earlier, server: &mut Conversation) -> bool {
    let mark = earlier.manifest.marker.as_deref().filter(|mark| marker::is_slot(mark));
    let name = mark.and_then(|mark| mark.parse().ok());
    name.is_some_and(|name| !matches!(read_slot(server, &name), Ok(Some(_))))
}

/// Whether the data directory has the mark of the backup before. A slot was asked for at the beginning.
fn is_marked(earlier: Option<&Earlier>, receiving: &Receiving<'_>) -> bool {
    let mark = earlier.and_then(|earlier| earlier.manifest.marker.as_deref());
    mark.is_none_or(|mark| marker::is_slot(mark) || receiving.marker() == Some(mark.as_bytes()))
}

/// The label that came along: it says of which backup this one is an increment.
fn label_of(receiving: &Receiving<'_>, earlier: Option<&Earlier>) -> Doubtful<String> {
    let (label, BackupLabel { incremental_from, .. }) =
        receiving.label().map_err(|error| format!("the server's {BACKUP_LABEL}: {error}"))?;
    match incremental_from == earlier.map(|earlier| earlier.manifest.start_lsn) {
        true => Ok(label),
        false => Err(format!("the server's {BACKUP_LABEL} is of another increment than was asked for")),
    }
}

#[cfg(test)]
mod tests {
    use pg::wire::ServerError;

    use super::*;

    #[test]
    fn a_server_without_room_for_an_increment_may_have_it_for_a_full_one() {
        let refused = |sqlstate: &str| {
            let error = ServerError { sqlstate: sqlstate.to_owned(), ..ServerError::default() };
            is_refusal(&WireError::Server(Box::new(error)))
        };
        // Summaries that are gone; memory; a bound that is set.
        assert!(["55000", "53200", "53400"].map(refused).iter().all(|refused| *refused));
        // It shuts down, has no connections left, or its disk is full: a full one would fare no better.
        assert!(["57P01", "53300", "53100"].map(refused).iter().all(|refused| !*refused));
        assert!(!is_refusal(&WireError::Closed));
    }
}
