//! Backup mode: between start and stop, files of a running cluster may be copied, and WAL makes them consistent.
//!
//! Non-exclusive backup mode belongs to one session (PostgreSQL manual, 26.3.3): a psql of ours stays connected, and if we
//! die, the server ends the mode by itself. A temporary slot of that session keeps the WAL that the copy needs, where
//! the role may make one. `backup_label` and `tablespace_map` come from the stop and belong into the backup, never into
//! the data directory.

use model::cancel::CancelToken;
use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::SegmentSize;
use serde::{Deserialize, Serialize};

use crate::page::PAGE_LEN;
use crate::psql::QueryError;
use crate::quote::literal;
use crate::replication::SlotName;
use crate::server::Server;
use crate::version::Version;

/// The oldest release that is backed up: those before have no backup manifest.
pub const VERSION_MIN: Version = Version::new(13, 0);
/// How the names of slots begin that keep no WAL and say which backup was the last one.
pub const MARK_SLOT: &str = "mainstay_mark_";
/// From here on the functions have their present names.
const RENAMED: Version = Version::new(15, 0);

mod conversation;

use conversation::Conversation;

/// A tablespace beside the two that every cluster has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its number, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it is.
    pub location: String,
}

/// What a cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ClusterFacts {
    /// Its number.
    pub system_id: SystemId,
    /// Where its files are, on its host; only some roles may know.
    pub data_directory: Option<String>,
    /// When its server was started, in seconds since 1970.
    pub started_at: i64,
    /// Whether it replays another one's WAL.
    pub is_standby: bool,
    /// Whether pages have checksums.
    pub has_checksums: bool,
    /// Whether it keeps WAL summaries.
    pub summarizes: bool,
    /// Whether finished segments are archived.
    pub archives: bool,
    /// Bytes of a segment of WAL.
    segment_size: u64,
    page_size: u64,
    /// Whether files of some of its databases may be zeros.
    is_partial: bool,
    /// `wal_level`.
    pub wal_level: String,
    /// Slots that say which backup was the last one, by their names.
    pub marks: Vec<String>,
    /// Its tablespaces.
    pub tablespaces: Vec<Tablespace>,
}

/// What the archiver of the server says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Archiver {
    /// The newest file that it has archived.
    pub last_archived: Option<String>,
    /// The one that failed last.
    pub last_failed: Option<String>,
    /// How often it failed.
    pub failures: u64,
}

/// What makes the copied files a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Recovery begins here.
    pub start: Lsn,
    /// From here on it is consistent.
    pub stop: Lsn,
    /// On this timeline.
    pub timeline: Timeline,
    /// Content of `backup_label`.
    pub label: String,
    /// Content of `tablespace_map`; empty where there are no tablespaces.
    pub tablespace_map: String,
}

/// A cluster cannot be backed up as files.
#[derive(Debug, thiserror::Error)]
pub enum BackupModeError {
    /// The server refused, in its own words.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too old.
    #[error("the server is version {0}; clusters are backed up from version 13 on")]
    Version(Version),
    /// Built with other pages.
    #[error("the server has pages of {0} bytes; only those of 8192 are understood")]
    PageSize(u64),
    /// Built with other segments than can be.
    #[error("the server says that its segments have {0} bytes")]
    SegmentSize(u64),
    /// Its WAL does not suffice.
    #[error("the server's wal_level is minimal, which allows no backup of a running cluster")]
    WalLevel,
    /// Some of it may be zeros.
    #[error(
        "ignore_invalid_pages is on, as after a restore of some databases alone: those that were left out are zeros \
         here; drop them, ALTER SYSTEM RESET ignore_invalid_pages, and restart"
    )]
    Partial,
    /// Its log is of two timelines, and what was copied fits neither alone.
    #[error(
        "the standby went over from timeline {from} to timeline {to} since its last restart point; after a CHECKPOINT on \
         the primary and one on the standby, take the backup again"
    )]
    WentOver {
        /// It was begun on this one.
        from: Timeline,
        /// It was ended on this one.
        to: Timeline,
    },
}

const FACTS: &str = r"
SELECT pg_catalog.json_build_object(
 'system_id', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
 'started_at', floor(extract(epoch FROM pg_catalog.pg_postmaster_start_time()))::bigint,
 'data_directory', CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
    THEN pg_catalog.current_setting('data_directory') END,
 'summarizes', coalesce(pg_catalog.current_setting('summarize_wal', true), 'off') = 'on',
 'is_standby', pg_catalog.pg_is_in_recovery(),
 'has_checksums', pg_catalog.current_setting('data_checksums') = 'on',
 'archives', pg_catalog.current_setting('archive_mode') = 'always'
    OR (pg_catalog.current_setting('archive_mode') = 'on' AND NOT pg_catalog.pg_is_in_recovery()),
 'segment_size', pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')),
 'page_size', pg_catalog.current_setting('block_size')::bigint,
 'wal_level', pg_catalog.current_setting('wal_level'),
 'is_partial', coalesce(pg_catalog.current_setting('ignore_invalid_pages', true), 'off') = 'on',
 'marks', (SELECT coalesce(pg_catalog.json_agg(slot_name::text ORDER BY slot_name), '[]')
     FROM pg_catalog.pg_replication_slots
     WHERE slot_type = 'physical' AND NOT active AND pg_catalog.starts_with(slot_name::text, 'mainstay_mark_')),
 'tablespaces', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
     'oid', oid::bigint, 'location', pg_catalog.pg_tablespace_location(oid)) ORDER BY oid), '[]')
     FROM pg_catalog.pg_tablespace WHERE pg_catalog.pg_tablespace_location(oid) <> ''));
";

/// Whatever ends idle or slow sessions shall leave this one alone.
const PATIENCE: &str = "DO $$BEGIN PERFORM pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
    WHERE name IN ('idle_session_timeout', 'statement_timeout', 'lock_timeout', 'transaction_timeout'); END$$;\n";

/// The slot goes with the session. Without one, WAL may be removed too early, which is noticed.
const SLOT: &str = "DO $$BEGIN PERFORM pg_catalog.pg_create_physical_replication_slot(\
    'mainstay_' || pg_catalog.pg_backend_pid(), true, true); EXCEPTION WHEN OTHERS THEN NULL; END$$;\n";

const SLOT_NAME: &str = "SELECT coalesce(pg_catalog.to_json((SELECT slot_name FROM \
    pg_catalog.pg_replication_slots WHERE active_pid = pg_catalog.pg_backend_pid() AND slot_name LIKE 'mainstay\\_%' \
    LIMIT 1)::text), 'null');\n";

const ARCHIVER: &str = "SELECT pg_catalog.json_build_object('last_archived', last_archived_wal, \
    'last_failed', last_failed_wal, 'failures', failed_count) FROM pg_catalog.pg_stat_archiver;\n";

/// The timeline up to which a standby has to recover; zero on a primary.
const RECOVERED: &str =
    "SELECT coalesce(min_recovery_end_timeline, 0) FROM pg_catalog.pg_control_recovery();\n";

const SUMMARIZED: &str = "SELECT pg_catalog.to_json(summarized_lsn::text) \
    FROM pg_catalog.pg_get_wal_summarizer_state();\n";

impl ClusterFacts {
    /// Ask `server`.
    ///
    /// # Errors
    /// Where it does not say it, or cannot be backed up.
    pub fn ask(server: &Server) -> Result<Self, BackupModeError> {
        if server.version() < VERSION_MIN {
            return Err(BackupModeError::Version(server.version()));
        }
        let facts: Self = server.ask_server("what the cluster is", FACTS, &[])?;
        if facts.page_size != PAGE_LEN as u64 {
            return Err(BackupModeError::PageSize(facts.page_size));
        }
        if facts.wal_level == "minimal" {
            return Err(BackupModeError::WalLevel);
        }
        if facts.is_partial {
            return Err(BackupModeError::Partial);
        }
        SegmentSize::new(facts.segment_size).ok_or(BackupModeError::SegmentSize(facts.segment_size))?;
        Ok(facts)
    }

    /// Bytes of a segment of WAL.
    pub fn segment_size(&self) -> SegmentSize {
        SegmentSize::new(self.segment_size).unwrap_or(SegmentSize::DEFAULT)
    }
}

impl Archiver {
    /// Ask `server`.
    ///
    /// # Errors
    /// What the server says.
    pub fn ask(server: &Server) -> Result<Self, QueryError> {
        server.ask_server("the archiver", ARCHIVER, &[])
    }

    /// Whether it has passed the segment `name`.
    pub fn has_passed(&self, name: &str) -> bool {
        self.last_archived.as_deref().and_then(|last| last.get(..name.len())).is_some_and(|last| last >= name)
    }
}

/// Whether `server` has that replication slot.
///
/// # Errors
/// What the server says.
pub fn has_slot(server: &Server, name: &SlotName) -> Result<bool, QueryError> {
    let sql = "SELECT pg_catalog.to_json(EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = :'name'));\n";
    server.ask_server("a replication slot", sql, &[("name", &name.to_string())])
}

/// Drop those of `names` that `server` has as slots and that nobody uses.
///
/// # Errors
/// What the server says: the role may not.
pub fn drop_slots(server: &Server, names: &[&str]) -> Result<(), QueryError> {
    let sql = "SELECT count(pg_catalog.pg_drop_replication_slot(slot_name)) FROM pg_catalog.pg_replication_slots \
        WHERE NOT active AND slot_name::text = ANY (pg_catalog.string_to_array(:'names', ','));\n";
    server.ask_server::<u64>("to drop replication slots", sql, &[("names", &names.join(","))]).map(drop)
}

/// What the small file `name` in the data directory of `server` holds; `Some(None)` where there is none, and nothing
/// where the role may not know.
pub fn read_in_data_directory(server: &Server, name: &str) -> Option<Option<String>> {
    // Asked for first, since a refusal stands in the server's log.
    let may = "SELECT pg_catalog.to_json(pg_catalog.has_function_privilege(\
        'pg_catalog.pg_read_file(text, bigint, bigint, boolean)', 'EXECUTE'));\n";
    let read =
        "SELECT coalesce(pg_catalog.to_json(pg_catalog.pg_read_file(:'name', 0, 4096, true)), 'null');\n";
    server.ask_server::<bool>("for a right", may, &[]).ok().filter(|may| *may)?;
    server.ask_server("for a file", read, &[("name", name)]).ok()
}

/// A cluster in backup mode. Dropped, the server ends the mode, and lets go of the WAL.
pub struct BackupMode {
    conversation: Conversation,
    start: Lsn,
    timeline: Timeline,
    slot: Option<String>,
    version: Version,
}

impl BackupMode {
    /// Begin: waits for a checkpoint, an immediate one if `fast`.
    ///
    /// # Errors
    /// What the server says; [`crate::ProgramError::Cancelled`].
    pub fn start(
        server: &Server,
        label: &str,
        fast: bool,
        cancel: &CancelToken,
    ) -> Result<Self, BackupModeError> {
        let mut conversation = Conversation::begin(server)?;
        let version = server.version();
        let label = literal(label);
        let call = match version >= RENAMED {
            true => format!("pg_catalog.pg_backup_start({label}, {fast})"),
            false => format!("pg_catalog.pg_start_backup({label}, {fast}, false)"),
        };
        conversation.say(&format!("{PATIENCE}{SLOT}SELECT pg_catalog.to_json({call}::text);\n"))?;
        let start = conversation.answer("the start of the backup", cancel)?;
        conversation.say("SELECT timeline_id FROM pg_catalog.pg_control_checkpoint();\n")?;
        let timeline = conversation.answer("the timeline", cancel)?;
        // Also at the end, but this is before anything was read.
        verify_stays(&mut conversation, timeline, cancel)?;
        conversation.say(SLOT_NAME)?;
        let slot = conversation.answer("the slot of the session", cancel)?;
        Ok(Self { conversation, start, timeline, slot, version })
    }

    /// Where recovery will begin.
    pub fn start_lsn(&self) -> Lsn {
        self.start
    }

    /// The timeline that it began on.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The slot of the session, where the role may make one: `pg_replslot` of the server that was asked has a directory of
    /// that name, and no other one has.
    pub fn slot(&self) -> Option<&str> {
        self.slot.as_deref()
    }

    /// End backup mode. The WAL that is needed stays as long as this value does.
    ///
    /// # Errors
    /// As [`BackupMode::start`].
    pub fn stop(&mut self, cancel: &CancelToken) -> Result<Stopped, BackupModeError> {
        #[derive(Deserialize)]
        struct Answer {
            lsn: Lsn,
            labelfile: String,
            spcmapfile: Option<String>,
        }
        let call = match self.version >= RENAMED {
            true => "pg_catalog.pg_backup_stop(false)",
            false => "pg_catalog.pg_stop_backup(false, false)",
        };
        self.conversation.say(&format!(
            "SELECT pg_catalog.json_build_object('lsn', lsn::text, 'labelfile', labelfile, 'spcmapfile', spcmapfile) \
             FROM {call};\n"
        ))?;
        let question = "the end of the backup";
        let answer: Answer = self.conversation.answer(question, cancel)?;
        let timeline = answer.labelfile.lines().find_map(|line| line.strip_prefix("START TIMELINE: "));
        let timeline = timeline.and_then(|number| number.trim().parse().ok()).ok_or_else(|| {
            QueryError::Answer { question, reason: "backup_label names no timeline".to_owned() }
        })?;
        let timeline = Timeline(timeline);
        verify_stays(&mut self.conversation, timeline, cancel)?;
        Ok(Stopped {
            start: self.start,
            stop: answer.lsn,
            timeline,
            label: answer.labelfile,
            tablespace_map: answer.spcmapfile.unwrap_or_default(),
        })
    }

    /// How far the server has summarised its WAL; 17 and later.
    ///
    /// # Errors
    /// As [`BackupMode::start`].
    pub fn summarized(&mut self, cancel: &CancelToken) -> Result<Lsn, BackupModeError> {
        self.conversation.say(SUMMARIZED)?;
        Ok(self.conversation.answer("the summarizer", cancel)?)
    }
}

/// That a standby recovers along this timeline and no other one.
fn verify_stays(
    conversation: &mut Conversation,
    from: Timeline,
    cancel: &CancelToken,
) -> Result<(), BackupModeError> {
    conversation.say(RECOVERED)?;
    let to = conversation.answer("the timeline of the end", cancel)?;
    match to {
        Timeline(0) => Ok(()),
        to if to == from => Ok(()),
        to => Err(BackupModeError::WentOver { from, to }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_asked_for_by_the_name_that_they_have() {
        assert!(FACTS.contains(&format!("'{MARK_SLOT}'")));
        assert!(format!("{MARK_SLOT}{:032x}", 0).len() <= 63, "a name of a slot has 63 bytes");
    }
}
