//! Runs of sets, as this machine remembers them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::params;

use crate::history::{History, Outcome, Result};

/// Runs of members that are looked at, the newest.
const LOOKED_AT: i64 = 2000;

/// One run of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetRun {
    /// The time for which it ran.
    pub slot: Timestamp,
    /// What became of each member that began.
    pub members: BTreeMap<String, Outcome>,
}

impl SetRun {
    /// Which of `members` have no good backup in it.
    pub fn missing<'a>(&self, members: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let is_good =
            |name: &str| self.members.get(name).is_some_and(|outcome| Outcome::GOOD.contains(outcome));
        members.into_iter().filter(|name| !is_good(name)).collect()
    }

    /// Whether a member of it is under way.
    pub fn is_running(&self) -> bool {
        self.members.values().any(|outcome| *outcome == Outcome::Running)
    }
}

impl History {
    /// The run `id` is one of a member of the set `name`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn belongs_to_set(&self, id: i64, name: &str) -> Result<()> {
        self.connection.execute("INSERT OR REPLACE INTO sets VALUES (?1, ?2)", params![id, name])?;
        Ok(())
    }

    /// The runs of a set, the newest first; one that was skipped as a whole is none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_runs(&self, tenant: &str, name: &str) -> Result<Vec<SetRun>> {
        let sql =
            "SELECT slot, source, outcome FROM runs JOIN sets ON run = id WHERE tenant = ?1 AND name = ?2
            ORDER BY slot DESC, id ASC LIMIT ?3";
        let mut statement = self.connection.prepare(sql)?;
        let row = |row: &rusqlite::Row<'_>| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        };
        let mut runs: Vec<SetRun> = vec![];
        for found in statement.query_map(params![tenant, name, LOOKED_AT], row)? {
            let (slot, source, outcome) = found?;
            let (Ok(slot), Some(outcome)) = (slot.parse(), Outcome::named(&outcome)) else { continue };
            match runs.last_mut().filter(|run| run.slot == slot) {
                Some(run) => _ = run.members.insert(source, outcome),
                None => runs.push(SetRun { slot, members: [(source, outcome)].into() }),
            }
        }
        runs.retain(|run| run.members.values().any(|outcome| *outcome != Outcome::Skipped));
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::End;

    #[test]
    fn a_run_of_a_set_is_put_together_again_from_those_of_its_members() {
        let history = History::in_memory().unwrap();
        let at = |text: &str| format!("2026-11-21T{text}Z").parse::<Timestamp>().unwrap();
        for (slot, failing) in [("01:00:00", None), ("02:00:00", Some("etc"))] {
            for source in ["app", "etc"] {
                let id = history.begin("a", source, at(slot), at(slot)).unwrap();
                history.belongs_to_set(id, "portal").unwrap();
                if failing == Some(source) {
                    history.end(id, at(slot), &End::Failed("gone")).unwrap();
                }
            }
        }
        // Skipped as a whole.
        for source in ["app", "etc"] {
            let id = history.begin("a", source, at("04:00:00"), at("04:00:00")).unwrap();
            history.belongs_to_set(id, "portal").unwrap();
            history.end(id, at("04:00:00"), &End::Skipped("another is at it")).unwrap();
        }
        // By hand, and no run of the set.
        history.begin("a", "app", at("03:00:00"), at("03:00:00")).unwrap();
        let runs = history.set_runs("a", "portal").unwrap();
        assert_eq!(runs.iter().map(|run| run.slot).collect::<Vec<_>>(), [at("02:00:00"), at("01:00:00")]);
        assert_eq!(runs[0].missing(["app", "etc"]).len(), 2);
        assert!(history.set_runs("b", "portal").unwrap().is_empty());
    }
}
