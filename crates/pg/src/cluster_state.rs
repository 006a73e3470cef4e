//! What a server says of itself that backups of its cluster, and its WAL, depend on. Asked in one query, which changes nothing.

use std::collections::BTreeMap;

use model::lsn::{Lsn, SystemId, Timeline};
use serde::Deserialize;

use crate::psql::QueryError;
use crate::server::Server;

/// What it says.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterState {
    /// Its number.
    pub system_id: SystemId,
    /// The timeline of its last checkpoint.
    pub timeline: Timeline,
    /// Where its log is: written or, on a standby, replayed.
    pub lsn: Lsn,
    /// Whether it replays another one's WAL.
    pub is_standby: bool,
    /// Where its files are, on its host; only some roles may know.
    pub data_directory: Option<String>,
    /// Settings by their names, in their base units; those that its version does not have are missing.
    pub settings: BTreeMap<String, String>,
    /// What its archiver did.
    pub archiver: ArchiverState,
    /// Slots that nobody uses.
    pub idle_slots: Vec<IdleSlot>,
    /// Slots that say which backup was the last one, by their names; no WAL is kept for them.
    pub marks: Vec<String>,
    /// Who takes WAL from it now: standbys, receivers, base backups.
    pub receivers: u64,
    /// What the role that asks may do.
    pub role: RoleState,
}

/// What the archiver of a server did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ArchiverState {
    /// The newest file that it archived.
    pub last_archived: Option<String>,
    /// So many seconds ago.
    pub archived_s_ago: Option<i64>,
    /// The one that failed last.
    pub last_failed: Option<String>,
    /// So many seconds ago.
    pub failed_s_ago: Option<i64>,
    /// Whether nothing was archived since it failed last.
    pub is_failing: bool,
    /// How often it failed, since statistics were reset.
    pub failures: u64,
}

/// A slot that nobody uses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IdleSlot {
    /// Its name.
    pub name: String,
    /// Bytes of WAL that the server keeps for it, if it keeps any.
    pub kept: Option<i64>,
    /// Whether the server has given up WAL that it should have kept.
    pub is_lost: bool,
}

/// What a role may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RoleState {
    /// Its name.
    pub name: String,
    /// Everything.
    pub is_superuser: bool,
    /// Stream, and make slots.
    pub may_replicate: bool,
    /// Know where the data directory is.
    pub may_read_settings: bool,
    /// Put the cluster into backup mode.
    pub may_back_up: bool,
}

const STATE: &str = r"
WITH log AS (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
  ELSE pg_catalog.pg_current_wal_lsn() END AS lsn)
SELECT pg_catalog.json_build_object(
 'system_id', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
 'timeline', (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
 'lsn', (SELECT coalesce(lsn, '0/0')::text FROM log),
 'is_standby', pg_catalog.pg_is_in_recovery(),
 'data_directory', CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE')
    THEN pg_catalog.current_setting('data_directory') END,
 'settings', (SELECT pg_catalog.json_object_agg(name, coalesce(setting, '')) FROM pg_catalog.pg_settings WHERE name IN (
    'archive_mode', 'archive_command', 'archive_library', 'archive_timeout', 'wal_level', 'wal_segment_size',
    'max_slot_wal_keep_size', 'summarize_wal', 'full_page_writes', 'data_checksums')),
 'archiver', (SELECT pg_catalog.json_build_object(
    'last_archived', last_archived_wal,
    'archived_s_ago', floor(extract(epoch FROM pg_catalog.clock_timestamp() - last_archived_time))::bigint,
    'last_failed', last_failed_wal,
    'failed_s_ago', floor(extract(epoch FROM pg_catalog.clock_timestamp() - last_failed_time))::bigint,
    'is_failing', coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false),
    'failures', failed_count) FROM pg_catalog.pg_stat_archiver),
 'idle_slots', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', slot_name,
    'kept', pg_catalog.pg_wal_lsn_diff((SELECT lsn FROM log), restart_lsn)::bigint,
    'is_lost', coalesce(wal_status = 'lost', false)) ORDER BY slot_name), '[]')
    FROM pg_catalog.pg_replication_slots WHERE NOT active AND (restart_lsn IS NOT NULL OR wal_status = 'lost')),
 'marks', (SELECT coalesce(pg_catalog.json_agg(slot_name::text ORDER BY slot_name), '[]')
    FROM pg_catalog.pg_replication_slots
    WHERE slot_type = 'physical' AND NOT active AND pg_catalog.starts_with(slot_name::text, 'mainstay_mark_')),
 'receivers', (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders()),
 'role', pg_catalog.json_build_object(
    'name', current_user,
    'is_superuser', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
    'may_replicate', (SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = current_user),
    'may_read_settings', pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE'),
    'may_back_up', (SELECT coalesce(pg_catalog.bool_and(pg_catalog.has_function_privilege(oid, 'EXECUTE')), false)
       FROM pg_catalog.pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
       AND proname IN ('pg_backup_start', 'pg_backup_stop', 'pg_start_backup', 'pg_stop_backup')
       AND pronargs <> 0)));
";

impl ClusterState {
    /// Ask `server`.
    ///
    /// # Errors
    /// What it says.
    pub fn ask(server: &Server) -> Result<Self, QueryError> {
        server.ask_server("the state of the cluster", STATE, &[])
    }

    /// A setting; empty where this version has none of that name.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// A setting that is a number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name).parse().ok()
    }
}
