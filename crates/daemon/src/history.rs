//! What ran, when, why it was skipped or failed, and what came of it.
//!
//! Form: one SQLite file (mode 0600), a table `runs`; times are RFC 3339 in UTC, so that they sort as text. Invariant: it
//! is a memory of this machine and nothing rests on it: without it, what is due is read from the repositories, and
//! [`History::learn`] fills it again from the backups that they hold. Runs and restores that are older than [`KEPT`] are dropped.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

/// How long a run or a restore is remembered.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How long another process may keep the file for itself.
const PATIENCE: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS runs (
        id      INTEGER PRIMARY KEY,
        tenant  TEXT NOT NULL,
        source  TEXT NOT NULL,
        slot    TEXT NOT NULL,
        began   TEXT NOT NULL,
        ended   TEXT,
        outcome TEXT NOT NULL,
        reason  TEXT NOT NULL DEFAULT '',
        backup  TEXT NOT NULL DEFAULT '',
        size    INTEGER NOT NULL DEFAULT 0,
        stored  INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX IF NOT EXISTS runs_of_source ON runs (tenant, source, began);
    CREATE UNIQUE INDEX IF NOT EXISTS runs_by_backup ON runs (backup) WHERE backup <> '';
    CREATE TABLE IF NOT EXISTS sets (
        run  INTEGER PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
        name TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS hooks (
        run     INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
        stage   TEXT NOT NULL,
        command TEXT NOT NULL,
        outcome TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        output  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS hooks_of_run ON hooks (run);
    CREATE TABLE IF NOT EXISTS restores (
        id      INTEGER PRIMARY KEY,
        tenant  TEXT NOT NULL,
        name    TEXT NOT NULL,
        backup  TEXT NOT NULL,
        began   TEXT NOT NULL,
        ended   TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason  TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS restore_hooks (
        restore INTEGER NOT NULL REFERENCES restores (id) ON DELETE CASCADE,
        stage   TEXT NOT NULL,
        command TEXT NOT NULL,
        outcome TEXT NOT NULL,
        seconds INTEGER NOT NULL,
        output  TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS hooks_of_restore ON restore_hooks (restore);
";
const COLUMNS: &str = "id, tenant, source, slot, began, ended, outcome, reason, backup, size, stored";

/// Why the history cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// SQLite's words.
    #[error("history of runs: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be made.
    #[error("history of runs: {0}")]
    Io(#[from] std::io::Error),
}

/// Results of this room.
pub type Result<T> = std::result::Result<T, HistoryError>;

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is under way, or its process was killed.
    Running,
    /// A good backup.
    Ok,
    /// A good backup; something that comes behind it failed, such as its export.
    Partial,
    /// A backup that lacks something.
    Incomplete,
    /// No backup.
    Failed,
    /// It did not begin.
    Skipped,
}

impl Outcome {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Running, Self::Ok, Self::Partial, Self::Incomplete, Self::Failed, Self::Skipped];
    /// Those that leave a good backup.
    pub const GOOD: [Self; 2] = [Self::Ok, Self::Partial];

    /// The one that stands in the file as `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// As it stands in the file and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number, from 1.
    pub id: i64,
    /// Whose.
    pub tenant: String,
    /// Of what.
    pub source: String,
    /// The time for which it ran.
    pub slot: Timestamp,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it failed or was skipped.
    pub reason: String,
    /// The backup that it made, or nothing.
    pub backup: String,
    /// Bytes of the backup.
    pub size: u64,
    /// Bytes that were stored for it.
    pub stored: u64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum End<'a> {
    /// With a backup, complete or not.
    Backup(&'a BackupRecord),
    /// With a good backup, and with words about what failed behind it.
    Partial(&'a BackupRecord, &'a str),
    /// With a backup, and with words about what is missing beside it.
    Incomplete(&'a BackupRecord, &'a str),
    /// With words.
    Failed(&'a str),
    /// It turned out that it need not or must not run.
    Skipped(&'a str),
}

/// The memory of runs.
pub struct History {
    pub(crate) connection: Connection,
}

impl History {
    /// The one in the file `path`, made where there is none.
    ///
    /// # Errors
    /// A file that is none of ours, or cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        // SQLite gives its other files the mode of this one.
        std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        Self::of(connection)
    }

    /// One that ends with the process, where no file can be had.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn in_memory() -> Result<Self> {
        Self::of(Connection::open_in_memory()?)
    }

    fn of(connection: Connection) -> Result<Self> {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        Ok(Self { connection })
    }

    /// A run begins. One of the same source that never ended was killed, and is said to have failed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn begin(&self, tenant: &str, source: &str, slot: Timestamp, now: Timestamp) -> Result<i64> {
        let killed = "UPDATE runs SET outcome = 'failed', reason = 'its process ended before it did'
            WHERE tenant = ?1 AND source = ?2 AND outcome = 'running'";
        self.connection.execute(killed, params![tenant, source])?;
        self.connection.execute("DELETE FROM runs WHERE began < ?1", [text(now - KEPT)])?;
        self.forget_restores(now)?;
        let begun =
            "INSERT INTO runs (tenant, source, slot, began, outcome) VALUES (?1, ?2, ?3, ?4, 'running')";
        self.connection.execute(begun, params![tenant, source, text(slot), text(now)])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The run `id` is over.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn end(&self, id: i64, now: Timestamp, end: &End<'_>) -> Result<()> {
        let sql = "UPDATE runs SET ended = ?2, outcome = ?3, reason = ?4, backup = ?5, size = ?6, stored = ?7 WHERE id = ?1";
        let (outcome, reason, record) = match end {
            End::Failed(reason) => (Outcome::Failed, *reason, None),
            End::Skipped(reason) => (Outcome::Skipped, *reason, None),
            End::Partial(record, reason) if !record.incomplete => (Outcome::Partial, *reason, Some(record)),
            End::Partial(record, reason) | End::Incomplete(record, reason) => {
                (Outcome::Incomplete, *reason, Some(record))
            }
            End::Backup(record) if record.incomplete => (Outcome::Incomplete, "", Some(record)),
            End::Backup(record) => (Outcome::Ok, "", Some(record)),
        };
        let (backup, size, stored) = record
            .map(|record| (record.id.as_str(), record.size_bytes, record.stored_bytes))
            .unwrap_or_default();
        // Whoever looked into the repository meanwhile may have learned of what the run has made, as of runs of its own.
        let learned = "DELETE FROM runs WHERE ?2 <> '' AND id <> ?1 AND (backup = ?2
            OR (backup <> '' AND began = ended AND EXISTS (SELECT 1 FROM runs AS run WHERE run.id = ?1
                AND run.tenant = runs.tenant AND run.source = runs.source
                AND run.began <= runs.began AND runs.began <= ?3)))";
        // At once, or it is learned again in between.
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute(learned, params![id, backup, text(now)])?;
        let values = params![id, text(now), outcome.as_str(), reason, backup, signed(size), signed(stored)];
        transaction.execute(sql, values)?;
        transaction.commit()?;
        Ok(())
    }

    /// A run did not begin.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn skipped(
        &self,
        tenant: &str,
        source: &str,
        slot: Timestamp,
        now: Timestamp,
        reason: &str,
    ) -> Result<()> {
        let sql = "INSERT INTO runs (tenant, source, slot, began, ended, outcome, reason)
            VALUES (?1, ?2, ?3, ?4, ?4, 'skipped', ?5)";
        self.connection.execute(sql, params![tenant, source, text(slot), text(now), reason])?;
        Ok(())
    }

    /// The last time for which a source ran or was skipped.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_slot(&self, tenant: &str, source: &str) -> Result<Option<Timestamp>> {
        let sql = "SELECT max(slot) FROM runs WHERE tenant = ?1 AND source = ?2";
        let found: Option<String> = self.connection.query_row(sql, [tenant, source], |row| row.get(0))?;
        Ok(found.and_then(|text| text.parse().ok()))
    }

    /// The newest runs of a source with one of these outcomes, the newest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn newest(
        &self,
        tenant: &str,
        source: &str,
        outcomes: &[Outcome],
        count_max: usize,
    ) -> Result<Vec<Run>> {
        let names: Vec<_> = outcomes.iter().map(|outcome| format!("'{}'", outcome.as_str())).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE tenant = ?1 AND source = ?2 AND outcome IN ({})
            ORDER BY began DESC, id DESC LIMIT ?3",
            names.join(", ")
        );
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(params![tenant, source, signed(count_max as u64)], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The newest runs, the newest first; of one tenant or source where they are named.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn runs(&self, tenant: Option<&str>, source: Option<&str>, count_max: usize) -> Result<Vec<Run>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE tenant = ifnull(?1, tenant) AND source = ifnull(?2, source)
            ORDER BY began DESC, id DESC LIMIT ?3"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(params![tenant, source, signed(count_max as u64)], read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Whole seconds, so that every time is equally long and they sort as text.
pub(crate) fn text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// SQLite's integers are signed.
pub(crate) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let time = |column: usize, text: String| {
        let wrong = |error: jiff::Error| {
            rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
        };
        text.parse::<Timestamp>().map_err(wrong)
    };
    let outcome: String = row.get(6)?;
    let known = Outcome::named(&outcome);
    let ended: Option<String> = row.get(5)?;
    Ok(Run {
        id: row.get(0)?,
        tenant: row.get(1)?,
        source: row.get(2)?,
        slot: time(3, row.get(3)?)?,
        began: time(4, row.get(4)?)?,
        ended: ended.map(|ended| time(5, ended)).transpose()?,
        outcome: known.ok_or_else(|| rusqlite::Error::InvalidColumnName(outcome))?,
        reason: row.get(7)?,
        backup: row.get(8)?,
        size: u64::try_from(row.get::<_, i64>(9)?).unwrap_or_default(),
        stored: u64::try_from(row.get::<_, i64>(10)?).unwrap_or_default(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use model::backup::{BackupKind, Engine};

    use super::*;

    pub(crate) fn at(text: &str) -> Timestamp {
        format!("2026-11-21T{text}Z").parse().unwrap()
    }

    pub(crate) fn record(id: &str, incomplete: bool) -> BackupRecord {
        BackupRecord {
            id: id.parse().unwrap(),
            tenant: "a".parse().unwrap(),
            source: "s".parse().unwrap(),
            kind: BackupKind::Dump,
            database: "s".to_owned(),
            created_at: at("03:00:00"),
            size_bytes: 1000,
            stored_bytes: 100,
            sha256: None,
            destination: String::new(),
            location: String::new(),
            engine: Engine(Engine::POSTGRES.to_owned()),
            snapshot: None,
            last_verification: None,
            relation_count: 0,
            start_lsn: String::new(),
            stop_lsn: String::new(),
            timeline: String::new(),
            label: String::new(),
            hold: false,
            incomplete,
        }
    }

    #[test]
    fn runs_are_remembered_with_what_became_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.sqlite");
        let history = History::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(history.last_slot("a", "s").unwrap(), None);
        let good = history.begin("a", "s", at("01:00:00"), at("01:00:02")).unwrap();
        history.end(good, at("01:05:00"), &End::Backup(&record("a-s-1", false))).unwrap();
        let bad = history.begin("a", "s", at("02:00:00"), at("02:00:02")).unwrap();
        history.end(bad, at("02:05:00"), &End::Failed("no route to host")).unwrap();
        history.skipped("a", "s", at("03:00:00"), at("03:00:00"), "the run of 02:00 is not over").unwrap();
        history.begin("b", "s", at("03:00:00"), at("03:00:00")).unwrap();
        drop(history);
        // Another process sees the same.
        let history = History::open(&path).unwrap();
        assert_eq!(history.last_slot("a", "s").unwrap(), Some(at("03:00:00")));
        let outcomes: Vec<_> =
            history.runs(Some("a"), None, 10).unwrap().iter().map(|run| run.outcome).collect();
        assert_eq!(outcomes, [Outcome::Skipped, Outcome::Failed, Outcome::Ok]);
        let good = history.newest("a", "s", &[Outcome::Ok], 1).unwrap().remove(0);
        assert_eq!((good.backup.as_str(), good.ended), ("a-s-1", Some(at("01:05:00"))));
        assert_eq!(history.runs(None, None, 2).unwrap().len(), 2);
    }

    #[test]
    fn a_run_that_was_killed_is_said_to_have_failed() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("runs.sqlite")).unwrap();
        history.begin("a", "s", at("01:00:00"), at("01:00:00")).unwrap();
        history.begin("a", "s", at("02:00:00"), at("02:00:00")).unwrap();
        let runs = history.runs(None, None, 10).unwrap();
        assert_eq!((runs[0].outcome, runs[1].outcome), (Outcome::Running, Outcome::Failed));
        assert!(runs[1].reason.contains("process ended"));
    }

    #[test]
    fn a_file_that_is_none_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.sqlite");
        std::fs::write(
            &path,
            "not a database, but somebody's notes that are long enough to be read as a header",
        )
        .unwrap();
        assert!(History::open(&path).is_err());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
    }
}
