//! Where a timeline came from: the content of a `.history` file.
//!
//! Form: a line for each earlier timeline, oldest first: number, the position where the next one left it, and words that
//! nobody needs, with white space between; `#` begins a comment (PostgreSQL source, `access/transam/timeline.c`).

use model::lsn::{Lsn, Timeline};

/// An earlier timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its number.
    pub timeline: Timeline,
    /// Where the next one began: WAL of this one counts up to here.
    pub end: Lsn,
}

/// The timelines before one, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineHistory {
    /// Oldest first; their numbers rise.
    pub ancestors: Vec<Ancestor>,
}

/// A text that is no history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the timeline history makes no sense: {text:?}")]
pub struct BadHistory {
    line: usize,
    text: String,
}

impl TimelineHistory {
    /// Read the history of `timeline`.
    ///
    /// # Errors
    /// For a line that makes no sense, or names a timeline that cannot come before.
    pub fn parse(timeline: Timeline, bytes: &[u8]) -> Result<Self, BadHistory> {
        let text = String::from_utf8_lossy(bytes);
        let mut ancestors: Vec<Ancestor> = vec![];
        for (number, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default();
            let mut words = content.split_whitespace();
            let Some(first) = words.next() else { continue };
            let bad = || BadHistory { line: number + 1, text: line.chars().take(100).collect() };
            let end = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
            let ancestor = Ancestor { timeline: Timeline(first.parse().map_err(|_| bad())?), end };
            let is_next = ancestors.last().is_none_or(|last| last.timeline < ancestor.timeline);
            if !is_next || ancestor.timeline >= timeline || ancestor.timeline.0 == 0 {
                return Err(bad());
            }
            ancestors.push(ancestor);
        }
        Ok(Self { ancestors })
    }

    /// The timeline that this one left, and where.
    pub fn parent(&self) -> Option<Ancestor> {
        self.ancestors.last().copied()
    }

    /// Where the WAL of an earlier timeline ends for this one.
    pub fn end_of(&self, timeline: Timeline) -> Option<Lsn> {
        self.ancestors.iter().find(|ancestor| ancestor.timeline == timeline).map(|ancestor| ancestor.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_as_postgresql_writes_it_is_read() {
        let text =
            b"1\t0/3000110\tno recovery target specified\n\n2\t0/5000000\tat restore point \"a b\"\n# said\n";
        let history = TimelineHistory::parse(Timeline(3), text).unwrap();
        let parent = Ancestor { timeline: Timeline(2), end: Lsn(0x500_0000) };
        assert_eq!((history.ancestors.len(), history.parent()), (2, Some(parent)));
        assert_eq!(history.end_of(Timeline(1)), Some(Lsn(0x300_0110)));
        assert_eq!(history.end_of(Timeline(3)), None);
        assert_eq!(TimelineHistory::parse(Timeline(2), b"").unwrap().parent(), None);
    }

    #[test]
    fn what_cannot_be_a_history_is_refused() {
        for text in
            ["1\n", "x\t0/1\n", "1\tzero\n", "3\t0/1\n", "2\t0/1\n1\t0/2\n", "0\t0/1\n", "1\t0/1\n1\t0/2\n"]
        {
            assert!(TimelineHistory::parse(Timeline(3), text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
