//! Some databases of a cluster alone: which files of it are restored as zeros.
//!
//! The files of the relations of all other databases have their sizes, and nothing in them: holes on the disk. What belongs
//! to no database, the databases that come with a server, and those from which others are made are always whole. As
//! pgBackRest does it (`--db-include`); what recovery says of such pages is passed over (`ignore_invalid_pages`).
//!
//! Invariant: a file is left out only if it belongs to a database that the backup's own catalog names, under another name
//! than was asked for.

use std::collections::BTreeMap;

use files::relative::RelativePath;
use pg::data_directory::relation_file;
use pg::shared_catalog::{FIRST_MADE, NamedRow};

use crate::error::{EngineError, Result};
use crate::near::nearest;

/// Which databases are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    /// Numbers of those that are not, with their names.
    left_out: BTreeMap<u32, String>,
    /// Numbers of those that were asked for.
    pub(super) chosen: Vec<u32>,
}

impl Selection {
    /// Find the `wanted` ones, by what `pg_database` of a server of that major version has.
    pub(super) fn find(rows: &[NamedRow], wanted: &[String], major: u32) -> Result<Self> {
        let newest = || rows.iter().filter(|row| row.is_newest);
        for name in wanted {
            if !rows.iter().any(|row| row.name == *name) {
                let names: Vec<_> = newest().map(|row| row.name.as_str()).collect();
                return Err(EngineError::NoSuch {
                    what: format!("database {name:?} in the backup"),
                    near: nearest(name, &names),
                });
            }
        }
        let is_wanted = |row: &NamedRow| wanted.contains(&row.name);
        let chosen = rows.iter().filter(|row| is_wanted(row)).map(|row| row.oid);
        let chosen: Vec<u32> = chosen.collect();
        let is_whole =
            |row: &&NamedRow| row.oid < FIRST_MADE || row.is_template(major) || chosen.contains(&row.oid);
        let others = rows.iter().filter(|row| !is_whole(row));
        let mut left_out: BTreeMap<u32, String> = others.map(|row| (row.oid, row.name.clone())).collect();
        left_out.extend(newest().filter(|row| !is_whole(row)).map(|row| (row.oid, row.name.clone())));
        // One version of a row may say template, and another one not.
        left_out.retain(|oid, _| !rows.iter().any(|row| row.oid == *oid && is_whole(&row)));
        Ok(Self { left_out, chosen })
    }

    /// The names of those that are left out.
    pub(super) fn names(&self) -> Vec<String> {
        self.left_out.values().cloned().collect()
    }

    /// Their numbers.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.left_out.keys().copied().collect()
    }

    /// Whether a file, by its path in the data directory, comes as zeros.
    pub(super) fn is_zeros(&self, path: &RelativePath) -> bool {
        !self.left_out.is_empty()
            && relation_file(path.as_bytes()).is_some()
            && database_of(path).is_some_and(|database| self.left_out.contains_key(&database))
    }
}

/// The database that a file belongs to.
fn database_of(path: &RelativePath) -> Option<u32> {
    let mut parts = path.parts();
    let number = match parts.next()? {
        b"base" => parts.next()?,
        b"pg_tblspc" => parts.nth(2)?,
        _ => return None,
    };
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The name of a database that the whole selection of a `--table` may leave unsaid: the only one that somebody made.
pub(super) fn only_made(rows: &[NamedRow], major: u32) -> Result<String> {
    let is_one = |row: &&NamedRow| row.is_newest && row.oid >= FIRST_MADE && !row.is_template(major);
    let mut names: Vec<_> = rows.iter().filter(is_one).map(|row| row.name.clone()).collect();
    names.sort();
    names.dedup();
    match names.len() {
        0 => Ok("postgres".to_owned()),
        1 => Ok(names.remove(0)),
        _ => Err(EngineError::Unsuitable(format!(
            "the backup has the databases {}: name the one that the table is in",
            names.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(oid: u32, name: &str, is_template: bool) -> NamedRow {
        NamedRow::made(oid, name, true, &[&[0; 9][..], &[u8::from(is_template)]].concat())
    }

    fn rows() -> Vec<NamedRow> {
        vec![
            row(1, "template1", true),
            row(5, "postgres", false),
            row(16_384, "app", false),
            row(16_390, "shop", false),
            row(16_400, "mould", true),
        ]
    }

    #[test]
    fn files_of_other_databases_alone_are_zeros() {
        let selection = Selection::find(&rows(), &["app".to_owned()], 15).unwrap();
        assert_eq!((selection.names(), &selection.chosen[..]), (vec!["shop".to_owned()], &[16_384][..]));
        for (path, is_zeros) in [
            ("base/16390/16500", true),
            ("base/16390/16500_vm", true),
            ("pg_tblspc/16385/PG_15_202209061/16390/16501.1", true),
            ("base/16390/PG_VERSION", false),
            ("base/16390/pg_filenode.map", false),
            ("base/16384/16500", false),
            ("base/16400/16500", false),
            ("base/5/16390", false),
            ("base/1/1259", false),
            // Made since the catalog was written: its files come with its WAL.
            ("base/17000/17001", false),
            ("global/1262", false),
            ("pg_xact/0000", false),
            ("pg_tblspc/16390/PG_15_202209061/16384/16500", false),
        ] {
            assert_eq!(selection.is_zeros(&RelativePath::parse(path).unwrap()), is_zeros, "{path}");
        }
        assert_eq!(Selection::default().names(), Vec::<String>::new());
    }

    #[test]
    fn a_database_that_is_not_there_is_told_with_those_that_are_like_it() {
        let error = Selection::find(&rows(), &["ap".to_owned()], 15).unwrap_err().to_string();
        assert!(error.contains("\"ap\"") && error.contains("app"), "{error}");
    }

    #[test]
    fn the_only_database_need_not_be_named() {
        assert_eq!(only_made(&rows()[..3], 15).unwrap(), "app");
        assert_eq!(only_made(&rows()[..2], 15).unwrap(), "postgres");
        assert!(only_made(&rows(), 15).unwrap_err().to_string().contains("app, shop"));
    }
}
