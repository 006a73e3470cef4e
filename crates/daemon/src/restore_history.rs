//! Restores around which commands ran, with what these said.

use jiff::Timestamp;
use rusqlite::params;

use crate::history::{History, KEPT, Result};
use crate::hook::HookRun;

/// A restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whose.
    pub tenant: String,
    /// Of which source or set.
    pub name: String,
    /// The id of the backup, or the run of the set.
    pub backup: String,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// `ok`, `incomplete`, `failed`, or `partial` where what comes behind it failed.
    pub outcome: String,
    /// Why it is not ok.
    pub reason: String,
    /// The commands, in their order.
    pub hooks: Vec<HookRun>,
}

impl History {
    /// A restore is over.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn remember_restore(&self, restored: &Restored) -> Result<()> {
        self.forget_restores(restored.ended)?;
        let Restored { tenant, name, backup, began, ended, outcome, reason, hooks } = restored;
        let sql = "INSERT INTO restores (tenant, name, backup, began, ended, outcome, reason)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (began, ended) = (began.to_string(), ended.to_string());
        self.connection.execute(sql, params![tenant, name, backup, began, ended, outcome, reason])?;
        let id = self.connection.last_insert_rowid();
        for HookRun { stage, command, outcome, seconds, output } in hooks {
            let seconds = i64::try_from(*seconds).unwrap_or(i64::MAX);
            let values = params![id, stage, command, outcome, seconds, output];
            self.connection.execute("INSERT INTO restore_hooks VALUES (?1, ?2, ?3, ?4, ?5, ?6)", values)?;
        }
        Ok(())
    }

    /// Drop those that are older than [`KEPT`], with what was said around them.
    pub(crate) fn forget_restores(&self, now: Timestamp) -> Result<()> {
        self.connection.execute("DELETE FROM restores WHERE began < ?1", [(now - KEPT).to_string()])?;
        Ok(())
    }

    /// The newest restores, the newest first; of one tenant, or of one of its sources or sets, where they are named.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn restores(
        &self,
        tenant: Option<&str>,
        name: Option<&str>,
        count_max: usize,
    ) -> Result<Vec<Restored>> {
        let sql = "SELECT id, tenant, name, backup, began, ended, outcome, reason FROM restores
            WHERE tenant = ifnull(?1, tenant) AND name = ifnull(?2, name) ORDER BY id DESC LIMIT ?3";
        let mut statement = self.connection.prepare(sql)?;
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![tenant, name, count_max])?;
        let mut found = vec![];
        while let Some(row) = rows.next()? {
            let (began, ended): (String, String) = (row.get(4)?, row.get(5)?);
            let (Ok(began), Ok(ended)) = (began.parse(), ended.parse()) else { continue };
            found.push(Restored {
                tenant: row.get(1)?,
                name: row.get(2)?,
                backup: row.get(3)?,
                began,
                ended,
                outcome: row.get(6)?,
                reason: row.get(7)?,
                hooks: self.hooks_of_restore(row.get(0)?)?,
            });
        }
        Ok(found)
    }

    fn hooks_of_restore(&self, id: i64) -> Result<Vec<HookRun>> {
        let sql = "SELECT stage, command, outcome, seconds, output FROM restore_hooks WHERE restore = ?1 ORDER BY rowid";
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([id], HookRun::read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restores_are_remembered_with_what_was_said_around_them() {
        let history = History::in_memory().unwrap();
        let hook = HookRun {
            stage: "before".to_owned(),
            command: "systemctl stop acme".to_owned(),
            outcome: "ok".to_owned(),
            seconds: 2,
            output: "stopped".to_owned(),
        };
        let one = |name: &str| Restored {
            tenant: "acme".to_owned(),
            name: name.to_owned(),
            backup: "acme-app-20261130T020000Z".to_owned(),
            began: "2026-11-30T03:00:00Z".parse().unwrap(),
            ended: "2026-11-30T03:10:00Z".parse().unwrap(),
            outcome: "ok".to_owned(),
            reason: String::new(),
            hooks: vec![hook.clone()],
        };
        history.remember_restore(&one("app")).unwrap();
        history.remember_restore(&one("portal")).unwrap();
        assert_eq!(history.restores(None, None, 9).unwrap(), [one("portal"), one("app")]);
        assert_eq!(history.restores(Some("acme"), Some("app"), 9).unwrap(), [one("app")]);
        assert!(history.restores(Some("beta"), None, 9).unwrap().is_empty());
        // The two are more than 400 days old when the next one ends, or the next run begins.
        let later = |day: &str| day.parse::<Timestamp>().unwrap();
        let (began, ended) = (later("2028-01-05T03:00:00Z"), later("2028-01-05T03:10:00Z"));
        let newer = Restored { began, ended, ..one("web") };
        history.remember_restore(&newer).unwrap();
        assert_eq!(history.restores(None, None, 9).unwrap(), [newer]);
        let left = "SELECT count(*) FROM restore_hooks";
        assert_eq!(history.connection.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 1);
        let slot = later("2030-01-05T03:00:00Z");
        history.begin("acme", "app", slot, slot).unwrap();
        assert!(history.restores(None, None, 9).unwrap().is_empty());
    }
}
