//! Which pages changed between two positions of the log, as a server of 17 or later knows it from its WAL summaries.
//!
//! Rules as in PostgreSQL's own `basebackup_incremental.c`: what no summary names did not change; from a limit on, nothing
//! of an earlier backup holds any more; a limit of a whole database says that it was copied as files. A gap in the
//! summaries is no knowledge.

use std::collections::{HashMap, HashSet};

use model::lsn::{Lsn, Timeline};
use serde::Deserialize;

use crate::data_directory::{Fork, RelationFile};
use crate::page::SEGMENT_PAGES;
use crate::psql::QueryError;
use crate::server::Server;
use crate::version::Version;

/// The first release that has them.
const VERSION_MIN: Version = Version::new(17, 0);
/// The tablespace that `base/` is.
const DEFAULT_TABLESPACE: u32 = 1663;
/// The tablespace that `global/` is.
const GLOBAL_TABLESPACE: u32 = 1664;

/// A relation, by its place.
type Place = (u32, u32, u32);

/// What changed.
#[derive(Debug, Default)]
pub struct Changes {
    relations: HashMap<Place, Change>,
    /// Databases that were copied as files.
    databases: HashSet<(u32, u32)>,
}

#[derive(Debug, Deserialize)]
struct Change {
    space: u32,
    database: u32,
    relation: u32,
    /// From this page on, nothing earlier holds.
    limit: Option<u32>,
    pages: Vec<u32>,
}

/// What changed of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Everything, or nobody knows what.
    All,
    /// These pages, counted from the beginning of the file; and from this page on nothing earlier holds.
    Pages(Vec<u32>, Option<u32>),
}

/// Where relations were cut off, each of their forks: from that page on nothing earlier holds.
#[derive(Debug, Default)]
pub struct Limits(HashMap<(u32, u32, u32, u32), u32>);

/// Where one of them was.
#[derive(Debug, Deserialize)]
pub struct Limit {
    /// Its tablespace.
    pub space: u32,
    /// Its database.
    pub database: u32,
    /// The number of its files.
    pub relation: u32,
    /// Its fork, by PostgreSQL's number.
    pub fork: u32,
    /// From this page on.
    pub limit: u32,
}

#[derive(Deserialize)]
struct Summary {
    start: Lsn,
    end: Lsn,
}

impl Changes {
    /// What changed on `timeline` between `from` and `to`; nothing where the server does not know.
    ///
    /// # Errors
    /// Of the question; then nobody knows either.
    pub fn ask(server: &Server, timeline: Timeline, from: Lsn, to: Lsn) -> Result<Option<Self>, QueryError> {
        if server.version() < VERSION_MIN || from >= to {
            return Ok(None);
        }
        let summaries = Summaries { server, timeline, from, to };
        let range = summaries.range();
        if !summaries.are_whole()? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT pg_catalog.json_build_object('space', c.reltablespace::bigint, 'database', c.reldatabase::bigint, \
             'relation', c.relfilenode::bigint, 'limit', min(c.relblocknumber) FILTER (WHERE c.is_limit_block), \
             'pages', coalesce(pg_catalog.json_agg(DISTINCT c.relblocknumber) FILTER (WHERE NOT c.is_limit_block), '[]')) \
             FROM (SELECT s.tli, s.start_lsn, s.end_lsn {range}) AS s, \
             LATERAL pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) AS c \
             WHERE c.relforknumber = 0 GROUP BY c.reltablespace, c.reldatabase, c.relfilenode;\n"
        );
        let mut changes = Self::default();
        for change in server.ask_server_each::<Change>("changed pages", &sql)? {
            match change.relation {
                0 => _ = changes.databases.insert((change.space, change.database)),
                _ => {
                    changes.relations.insert((change.space, change.database, change.relation), change);
                }
            }
        }
        // Old summaries are removed at any time, and none comes back: those that are there now were there to be read.
        Ok(summaries.are_whole()?.then_some(changes))
    }

    /// What changed of the file at `path`, relative to the data directory, which is of `relation`.
    pub fn of(&self, path: &[u8], relation: RelationFile) -> FileChange {
        let Some((space, database)) = space_of(path).filter(|_| relation.fork == Fork::Main) else {
            return FileChange::All;
        };
        if self.databases.contains(&(space, database)) {
            return FileChange::All;
        }
        let Some(change) = self.relations.get(&(space, database, relation.number)) else {
            return FileChange::Pages(vec![], None);
        };
        let first = relation.segment * SEGMENT_PAGES;
        match change.limit.map(|limit| limit.checked_sub(first)) {
            // A file that lies behind the limit as a whole.
            Some(None | Some(0)) => FileChange::All,
            limit => {
                let inside = |page: &u32| page.checked_sub(first).filter(|page| *page < SEGMENT_PAGES);
                let mut pages: Vec<u32> = change.pages.iter().filter_map(inside).collect();
                pages.sort_unstable();
                FileChange::Pages(pages, limit.flatten())
            }
        }
    }
}

impl Limits {
    /// Those on `timeline` between `from` and `to`; nothing where the server does not know.
    ///
    /// # Errors
    /// Of the question; then nobody knows either.
    pub fn ask(server: &Server, timeline: Timeline, from: Lsn, to: Lsn) -> Result<Option<Self>, QueryError> {
        if from >= to {
            return Ok(Some(Self::default()));
        }
        let summaries = Summaries { server, timeline, from, to };
        if server.version() < VERSION_MIN || !summaries.are_whole()? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT pg_catalog.json_build_object('space', c.reltablespace::bigint, 'database', c.reldatabase::bigint, \
             'relation', c.relfilenode::bigint, 'fork', c.relforknumber, 'limit', min(c.relblocknumber)) \
             FROM (SELECT s.tli, s.start_lsn, s.end_lsn {}) AS s, \
             LATERAL pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) AS c \
             WHERE c.is_limit_block GROUP BY c.reltablespace, c.reldatabase, c.relfilenode, c.relforknumber;\n",
            summaries.range()
        );
        let limits = server.ask_server_each::<Limit>("where relations were cut off", &sql)?;
        Ok(summaries.are_whole()?.then(|| limits.into_iter().collect()))
    }

    /// From which page on, counted from the beginning of the file at `path`, which is of `relation`, nothing earlier holds.
    pub fn of(&self, path: &[u8], relation: RelationFile) -> Option<u32> {
        let (space, database) = space_of(path)?;
        let fork = match relation.fork {
            Fork::Main => 0,
            Fork::FreeSpace => 1,
            Fork::Visibility => 2,
            Fork::Init => 3,
        };
        let limit = self.0.get(&(space, database, relation.number, fork))?;
        Some(limit.saturating_sub(relation.segment.saturating_mul(SEGMENT_PAGES)))
    }
}

impl FromIterator<Limit> for Limits {
    fn from_iter<I: IntoIterator<Item = Limit>>(limits: I) -> Self {
        let placed =
            limits.into_iter().map(|one| ((one.space, one.database, one.relation, one.fork), one.limit));
        Self(placed.collect())
    }
}

/// The summaries of a stretch of the log.
struct Summaries<'a> {
    server: &'a Server,
    timeline: Timeline,
    from: Lsn,
    to: Lsn,
}

impl Summaries<'_> {
    /// All that touch it, for a query.
    fn range(&self) -> String {
        let Self { timeline, from, to, .. } = self;
        format!(
            "FROM pg_catalog.pg_available_wal_summaries() AS s \
             WHERE s.tli = {timeline} AND s.end_lsn > '{from}' AND s.start_lsn < '{to}'"
        )
    }

    /// Whether they are there without a gap.
    fn are_whole(&self) -> Result<bool, QueryError> {
        let listing = format!(
            "SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('start', s.start_lsn::text, \
             'end', s.end_lsn::text) ORDER BY s.start_lsn), '[]') {};\n",
            self.range()
        );
        let summaries = self.server.ask_server::<Vec<Summary>>("WAL summaries", &listing, &[])?;
        Ok(cover(&summaries, self.from, self.to))
    }
}

/// Whether summaries, by their starts, leave no gap between the two positions.
fn cover(summaries: &[Summary], from: Lsn, to: Lsn) -> bool {
    let mut known = from;
    for summary in summaries {
        if summary.start > known {
            return false;
        }
        known = known.max(summary.end);
    }
    known >= to
}

/// The tablespace and database that a path leads into.
fn space_of(path: &[u8]) -> Option<(u32, u32)> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = path.split('/');
    match parts.next()? {
        "global" => Some((GLOBAL_TABLESPACE, 0)),
        "base" => Some((DEFAULT_TABLESPACE, parts.next()?.parse().ok()?)),
        "pg_tblspc" => {
            let space = parts.next()?.parse().ok()?;
            parts.next()?;
            Some((space, parts.next()?.parse().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Changes {
        let change = |relation, limit, pages: &[u32]| Change {
            space: DEFAULT_TABLESPACE,
            database: 5,
            relation,
            limit,
            pages: pages.to_vec(),
        };
        let all = [
            change(1, None, &[7, 3, SEGMENT_PAGES, SEGMENT_PAGES + 9]),
            change(2, Some(0), &[1]),
            change(3, Some(SEGMENT_PAGES + 4), &[2]),
        ];
        Changes {
            relations: all.into_iter().map(|one| ((one.space, one.database, one.relation), one)).collect(),
            databases: HashSet::from([(DEFAULT_TABLESPACE, 6)]),
        }
    }

    #[test]
    fn pages_are_those_of_the_file() {
        let file = |number, segment| RelationFile { number, fork: Fork::Main, segment };
        let of = |path: &str, file| changes().of(path.as_bytes(), file);
        assert_eq!(of("base/5/1", file(1, 0)), FileChange::Pages(vec![3, 7], None));
        assert_eq!(of("base/5/1.1", file(1, 1)), FileChange::Pages(vec![0, 9], None));
        assert_eq!(of("base/5/1.2", file(1, 2)), FileChange::Pages(vec![], None));
        assert_eq!(of("base/5/2", file(2, 0)), FileChange::All);
        assert_eq!(of("base/5/3", file(3, 0)), FileChange::Pages(vec![2], Some(SEGMENT_PAGES + 4)));
        assert_eq!(of("base/5/3.1", file(3, 1)), FileChange::Pages(vec![], Some(4)));
        assert_eq!(of("base/5/3.2", file(3, 2)), FileChange::All);
        assert_eq!(of("base/5/9", file(9, 0)), FileChange::Pages(vec![], None));
        assert_eq!(of("base/6/9", file(9, 0)), FileChange::All);
        assert_eq!(of("pg_tblspc/77/PG_18_1/5/1", file(1, 0)), FileChange::Pages(vec![], None));
        let map = RelationFile { number: 1, fork: Fork::Visibility, segment: 0 };
        assert_eq!(of("base/5/1_vm", map), FileChange::All);
    }

    #[test]
    fn limits_are_those_of_the_fork_and_of_the_file() {
        let one =
            |relation, fork, limit| Limit { space: DEFAULT_TABLESPACE, database: 5, relation, fork, limit };
        let all = [one(1, 0, 200), one(1, 2, 1), one(2, 0, SEGMENT_PAGES + 4)];
        let limits: Limits = all.into_iter().collect();
        let of = |path: &str, number, fork, segment| {
            limits.of(path.as_bytes(), RelationFile { number, fork, segment })
        };
        assert_eq!(of("base/5/1", 1, Fork::Main, 0), Some(200));
        assert_eq!(of("base/5/1.1", 1, Fork::Main, 1), Some(0));
        assert_eq!(of("base/5/1_vm", 1, Fork::Visibility, 0), Some(1));
        assert_eq!(of("base/5/2", 2, Fork::Main, 0), Some(SEGMENT_PAGES + 4));
        assert_eq!(of("base/5/2.1", 2, Fork::Main, 1), Some(4));
        assert_eq!(of("base/5/2_vm", 2, Fork::Visibility, 0), None);
        assert_eq!(of("base/6/1", 1, Fork::Main, 0), None);
    }

    #[test]
    fn pitfall_15_a_gap_in_the_summaries_is_no_knowledge() {
        let summary = |start, end| Summary { start: Lsn(start), end: Lsn(end) };
        assert!(cover(&[summary(0, 5), summary(5, 9)], Lsn(2), Lsn(9)));
        assert!(!cover(&[summary(0, 5), summary(6, 9)], Lsn(2), Lsn(9)));
        assert!(!cover(&[summary(3, 9)], Lsn(2), Lsn(9)));
        assert!(!cover(&[summary(0, 8)], Lsn(2), Lsn(9)));
        assert!(!cover(&[], Lsn(2), Lsn(9)));
    }
}
