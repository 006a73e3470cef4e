//! Runs that are learned from the backups of a repository: of another machine, or of one whose memory is lost.

use std::collections::BTreeSet;

use model::backup::BackupRecord;
use model::name::BackupId;
use model::set_mark::{SetMark, SetRun, all_runs};
use rusqlite::params;

use crate::history::{History, Outcome, Result, signed, text};

/// Why a run that made a backup has none that can be relied on.
const REFUTED: &str = "the verification of its backup failed";

/// Of the run that made a backup of the source `?2` of `?1` at `?3`, where it is known: of several databases a run has several
/// backups and knows of one. What it made beside that is no run of its own, which would be a good one, and newer, where one
/// of the databases fails every time.
const MADE_IT: &str =
    "tenant = ?1 AND source = ?2 AND backup <> '' AND began <= ?3 AND ended >= ?3 AND began < ended";

impl History {
    /// Backups that are in a repository; each with the source whose run made it. A run that is not known here is remembered, and
    /// of one that is, what verification said of its backup since. How many are new.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn learn<'a>(
        &mut self,
        backups: impl IntoIterator<Item = (&'a str, &'a BackupRecord)>,
    ) -> Result<usize> {
        let insert = format!(
            "INSERT OR IGNORE INTO runs (tenant, source, slot, began, ended, outcome, backup, size, stored, reason)
             SELECT ?1, ?2, ?3, ?3, ?3, ?4, ?5, ?6, ?7, ?8
             WHERE NOT EXISTS (SELECT 1 FROM runs WHERE backup <> ?5 AND {MADE_IT})"
        );
        let confirm = "UPDATE runs SET outcome = CASE reason WHEN ?2 THEN 'ok' ELSE 'partial' END,
            reason = substr(reason, length(?2) + 3)
            WHERE backup = ?1 AND outcome = 'failed' AND (reason = ?2 OR reason LIKE ?2 || '; %')";
        let refute = format!(
            "UPDATE runs SET outcome = 'failed', reason = ?4 || CASE reason WHEN '' THEN '' ELSE '; ' || reason END
             WHERE outcome IN ('ok', 'partial') AND (backup = ?5 OR ({MADE_IT}))"
        );
        let backups: Vec<_> = backups.into_iter().collect();
        let runs = all_runs(backups.iter().map(|(_, record)| *record));
        let halves = halves(&runs);
        let transaction = self.connection.transaction()?;
        let (mut learned, mut refuted) = (0, vec![]);
        for (source, record) in backups {
            let is_half = record.incomplete || halves.contains(&record.id);
            let (outcome, reason) = match () {
                () if is_half => (Outcome::Incomplete, ""),
                () if !record.is_good() => (Outcome::Failed, REFUTED),
                () => (Outcome::Ok, ""),
            };
            let (tenant, made, id) = (record.tenant.as_str(), text(record.created_at), record.id.as_str());
            let sizes = (signed(record.size_bytes), signed(record.stored_bytes));
            let values = params![tenant, source, made, outcome.as_str(), id, sizes.0, sizes.1, reason];
            let is_new = transaction.execute(&insert, values)?;
            learned += is_new;
            match outcome {
                Outcome::Failed => refuted.push([tenant, source, &*made, id].map(str::to_owned)),
                Outcome::Ok => _ = transaction.execute(confirm, params![id, REFUTED])?,
                _ => {}
            }
            if let Some(mark) = SetMark::of(record).filter(|_| is_new > 0) {
                let (run, slot) = (transaction.last_insert_rowid(), text(mark.run));
                transaction.execute("UPDATE runs SET slot = ?2 WHERE id = ?1", params![run, slot])?;
                transaction.execute("INSERT INTO sets VALUES (?1, ?2)", params![run, mark.name.as_str()])?;
            }
        }
        // Last: a run with a backup that cannot be relied on is no good one, whatever its others are.
        for [tenant, source, made, id] in refuted {
            transaction.execute(&refute, params![tenant, source, made, REFUTED, id])?;
        }
        transaction.commit()?;
        Ok(learned)
    }
}

/// Backups of members of sets that lack others: of a server some of whose databases are missing.
fn halves<'a>(runs: &'a [SetRun<'_>]) -> BTreeSet<&'a BackupId> {
    let of_run = |run: &'a SetRun<'_>| {
        let found = run.found();
        run.records.iter().filter(move |record| {
            let part = SetMark::of(record).and_then(|mark| mark.part);
            let member = part.and_then(|part| found.get(&part.member).copied());
            member.is_some_and(|member| !member.is_whole())
        })
    };
    runs.iter().flat_map(of_run).map(|record| &record.id).collect()
}

#[cfg(test)]
mod tests {
    use model::backup::Verification;

    use super::*;
    use crate::history::End;
    use crate::history::tests::{at, record};

    #[test]
    fn it_is_filled_again_from_the_backups_alone() {
        let mut history = History::in_memory().unwrap();
        let records = [record("a-s-1", false), record("a-s-2", true)];
        assert_eq!(history.learn(records.iter().map(|record| ("s", record))).unwrap(), 2);
        assert_eq!(history.learn(records.iter().map(|record| ("s", record))).unwrap(), 0);
        assert_eq!(history.last_slot("a", "s").unwrap(), Some(at("03:00:00")));
        assert_eq!(history.newest("a", "s", &[Outcome::Ok], 1).unwrap()[0].backup, "a-s-1");
    }

    #[test]
    fn a_backup_that_was_learned_while_its_run_was_out_is_that_of_the_run() {
        let mut history = History::in_memory().unwrap();
        let run = history.begin("a", "s", at("02:00:00"), at("02:00:01")).unwrap();
        let record = record("a-s-1", false);
        history.learn([("s", &record)]).unwrap();
        history.end(run, at("03:00:00"), &End::Backup(&record)).unwrap();
        let runs = history.runs(None, None, 10).unwrap();
        assert_eq!((runs.len(), runs[0].id, runs[0].outcome), (1, run, Outcome::Ok));
    }

    #[test]
    fn what_a_run_of_several_databases_made_beside_the_one_it_knows_is_no_run_of_its_own() {
        let mut history = History::in_memory().unwrap();
        let run = history.begin("a", "s", at("02:00:00"), at("02:00:01")).unwrap();
        let first = record("a-x-1", false);
        history.end(run, at("04:00:00"), &End::Incomplete(&first, "b: it is gone")).unwrap();
        let mut second = record("a-y-1", false);
        second.created_at = at("03:30:00");
        assert_eq!(history.learn([("s", &first), ("s", &second)]).unwrap(), 0);
        assert!(history.newest("a", "s", &[Outcome::Ok], 1).unwrap().is_empty());
        // Also where somebody looked while it was still out.
        let run = history.begin("a", "s", at("06:00:00"), at("06:00:01")).unwrap();
        let mut early = record("a-y-9", false);
        early.created_at = at("06:30:00");
        assert_eq!(history.learn([("s", &early)]).unwrap(), 1);
        let mut last = record("a-x-9", false);
        last.created_at = at("06:20:00");
        history.end(run, at("07:00:00"), &End::Partial(&last, "no export")).unwrap();
        assert_eq!(history.runs(None, None, 9).unwrap().len(), 2);
        // One of its backups that is refuted is that of the run, until it is not.
        let mut verified = |result: &str| {
            early.last_verification = Some(Verification { at: at("08:00:00"), result: result.to_owned() });
            history.learn([("s", &early), ("s", &last)]).unwrap();
            let run = history.runs(None, None, 9).unwrap().remove(0);
            (run.outcome, run.reason)
        };
        assert_eq!(verified("failed"), (Outcome::Failed, format!("{REFUTED}; no export")));
        assert_eq!(verified("passed"), (Outcome::Partial, "no export".to_owned()));
        // One that somebody made later is one.
        second.id = record("a-y-2", false).id;
        second.created_at = at("09:00:00");
        assert_eq!(history.learn([("s", &second)]).unwrap(), 1);
    }

    #[test]
    fn a_backup_whose_verification_failed_is_no_good_one_until_one_passes() {
        let mut history = History::in_memory().unwrap();
        let mut learn = |result: Option<&str>| {
            let mut record = record("a-s-1", false);
            record.last_verification =
                result.map(|result| Verification { at: at("04:00:00"), result: result.to_owned() });
            history.learn([("s", &record)]).unwrap();
            let run = history.runs(None, None, 10).unwrap().remove(0);
            (run.outcome, run.reason)
        };
        assert_eq!(learn(None), (Outcome::Ok, String::new()));
        assert_eq!(learn(Some("failed")), (Outcome::Failed, REFUTED.to_owned()));
        assert_eq!(learn(Some("passed")), (Outcome::Ok, String::new()));
        // The same of a run that is not known yet.
        let mut other = record("a-s-2", false);
        other.last_verification = Some(Verification { at: at("04:00:00"), result: "failed".to_owned() });
        history.learn([("s", &other)]).unwrap();
        assert_eq!(history.newest("a", "s", &Outcome::GOOD, 10).unwrap().len(), 1);
    }
}
