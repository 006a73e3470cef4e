//! What came of a world; and of one that goes wrong, how it is played again.

use std::time::Instant;

use crate::history::History;
use crate::judge::Verdict;

pub(crate) struct Told {
    pub(crate) seed: u64,
    major: u32,
    pub(crate) rounds: u64,
    pub(crate) begin: Instant,
    right: u64,
    refused: u64,
    /// Those of the table alone, and those from the second repository.
    pub(crate) tables: u64,
    pub(crate) elsewhere: u64,
    pub(crate) copies: u64,
    /// Backups that were disturbed and failed, and that ended well all the same.
    pub(crate) failed: u64,
    pub(crate) survived: u64,
}

impl Told {
    pub(crate) fn begin(seed: u64, major: u32) -> Self {
        let begin = Instant::now();
        let (right, refused, tables, elsewhere, copies, failed, survived) = Default::default();
        let rounds = 1;
        Self { seed, major, rounds, begin, right, refused, tables, elsewhere, copies, failed, survived }
    }

    pub(crate) fn count(&mut self, verdict: Verdict) {
        *(if verdict == Verdict::Right { &mut self.right } else { &mut self.refused }) += 1;
    }

    pub(crate) fn text(&self, history: &History) -> String {
        let Self { right, refused, tables, elsewhere, failed, survived, begin, .. } = self;
        format!(
            "timeline {}, {} points, {} backups, {failed} of {} disturbed ones failed, {right} restores right, {refused} refused, \
             {tables} of the table alone, {elsewhere} from the second repository, {:.0?}",
            history.timeline,
            history.points.len(),
            history.backups.len(),
            failed + survived,
            begin.elapsed()
        )
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, rounds, major, .. } = self;
            eprintln!(
                "MAINSTAY_TEST_SEED={seed} MAINSTAY_TEST_ROUNDS={rounds} MAINSTAY_TEST_MAJOR={major} plays it again"
            );
        }
    }
}
