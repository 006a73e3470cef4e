//! The dumped tables into the database, in one transaction: all of it or nothing.
//!
//! What would lean on something that is not there is left out, and told: foreign keys to tables that neither come with them
//! nor are there, the place in a partitioned table that does not come, tablespaces. Invariant: nothing that is there is
//! dropped unless told.

use std::collections::BTreeSet;
use std::path::Path;

use pg::archive::{ArchiveEntry, list_of};
use pg::relations::{Family, ForeignKey, TableName};
use pg::restore::{RestoreOptions, restore_file};
use pg::server::Server;
use tempfile::NamedTempFile;

use super::order::{TablesOrder, TablesReport};
use super::take_out::Taken;
use crate::error::{EngineError, Result};
use crate::near::nearest;
use crate::restore_dump::format_minor;

/// Entries of an archive that make something with a name of its own.
const MAKE: [&str; 6] = ["TABLE", "SEQUENCE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "INDEX"];

/// That the database is there.
pub(super) fn verify_database(server: &Server, name: &str) -> Result<()> {
    if server.exists(name)? {
        return Ok(());
    }
    let databases = server.databases()?;
    let names: Vec<_> = databases.iter().map(String::as_str).collect();
    Err(EngineError::NoSuch {
        what: format!("database {name:?} to restore into"),
        near: nearest(name, &names),
    })
}

/// Restore what was taken from `file` into the database of `order`.
pub(super) fn put_in(taken: &Taken, order: &TablesOrder<'_>, file: &Path) -> Result<TablesReport> {
    let summary = &taken.summary;
    let target = Server::open(order.clients.newest()?, &order.session)?;
    let client = order.clients.for_restore(format_minor(&summary.archive_version), target.version())?;
    let there: BTreeSet<TableName> = target.taken_names(&order.into)?.into_iter().collect();
    let may_go = may_go(&target, order)?;
    refuse_existing(taken, &there, &may_go, order)?;
    let lacking = lacking(taken, &there);
    for key in &lacking {
        let ForeignKey { table, name, to } = key;
        (order.tell)(&format!("foreign key {name} of {table} is left out: there is no {to}"));
    }
    let list = list_of(summary, |entry| is_wanted(entry, taken, &lacking));
    let list = temporary(list.as_bytes())?;
    let spaces = target.tablespaces()?;
    let lacks_one = !taken.family.tablespaces.iter().all(|space| spaces.contains(space));
    if lacks_one && !order.no_tablespaces {
        (order.tell)("the server lacks a tablespace of theirs: they go into the database's own");
    }
    let options = RestoreOptions {
        // Where none of the tables is there, nothing that is there is one of theirs.
        clean: !may_go.is_empty(),
        single_transaction: true,
        no_owner: order.no_owner_no_acl,
        no_acl: order.no_owner_no_acl,
        no_tablespaces: lacks_one || order.no_tablespaces,
        list: Some(list.path().to_owned()),
        ..RestoreOptions::default()
    };
    let made = make_schemas(&target, taken, order)?;
    order.progress.begin("restoring the tables", 0);
    let session = order.session.with_database(&order.into)?;
    let restored = restore_file(client, &session, &options, file, &order.cancel);
    if restored.is_err() {
        // Empty again, as before; one that is not was filled by somebody else meanwhile.
        target.drop_schemas(&order.into, &made).ok();
    }
    let warnings = restored?;
    warnings.iter().for_each(|warning| (order.tell)(warning));
    let tables = taken.family.relations.iter().map(|relation| relation.name.clone()).collect();
    Ok(TablesReport { tables, bytes: summary.length })
}

fn name_of(entry: &ArchiveEntry) -> TableName {
    TableName { schema: entry.namespace.clone(), name: entry.tag.clone() }
}

/// What may be dropped: the tables that were asked for, as they are in the database now, with their parts and belongings.
fn may_go(target: &Server, order: &TablesOrder<'_>) -> Result<BTreeSet<TableName>> {
    if !order.clean {
        return Ok(BTreeSet::new());
    }
    let Family { relations, belongings, .. } = target.family(&order.into, &order.tables)?;
    Ok(relations.into_iter().map(|relation| relation.name).chain(belongings).collect())
}

/// Sequences, indexes and parts come with tables that were asked for, and their names may be those of something else by now:
/// a part that was detached since and lives on, say.
fn refuse_existing(
    taken: &Taken,
    there: &BTreeSet<TableName>,
    may_go: &BTreeSet<TableName>,
    order: &TablesOrder<'_>,
) -> Result<()> {
    let makes = taken.summary.entries.iter().filter(|entry| MAKE.contains(&entry.desc.as_str()));
    match makes.map(name_of).find(|name| there.contains(name) && !may_go.contains(name)) {
        Some(name) if order.clean => Err(EngineError::Refused(format!(
            "{name} is in database {:?}, and is no part of what was named there: drop or rename it, or name another database",
            order.into
        ))),
        Some(name) => Err(EngineError::Refused(format!("{name} is in database {:?} already", order.into))),
        None => Ok(()),
    }
}

/// Foreign keys to what neither comes with the tables nor is there.
fn lacking(taken: &Taken, there: &BTreeSet<TableName>) -> Vec<ForeignKey> {
    let comes = |table: &TableName| taken.family.relations.iter().any(|relation| relation.name == *table);
    let is_lacking = |key: &&ForeignKey| !comes(&key.to) && !there.contains(&key.to);
    taken.family.foreign_keys.iter().filter(is_lacking).cloned().collect()
}

fn is_wanted(entry: &ArchiveEntry, taken: &Taken, lacking: &[ForeignKey]) -> bool {
    let parts = || taken.family.relations.iter().filter(|relation| relation.is_part_of_other);
    match entry.desc.as_str() {
        "FK CONSTRAINT" => !lacking.iter().any(|key| {
            key.table.schema == entry.namespace && format!("{} {}", key.table.name, key.name) == entry.tag
        }),
        "TABLE ATTACH" => !parts().any(|part| part.name == name_of(entry)),
        "INDEX ATTACH" => {
            !parts().any(|part| part.name.schema == entry.namespace && part.indexes.contains(&entry.tag))
        }
        _ => true,
    }
}

/// Schemas that are not there are made, and named.
fn make_schemas(target: &Server, taken: &Taken, order: &TablesOrder<'_>) -> Result<Vec<String>> {
    let there = target.schemas(&order.into)?;
    let wanted: BTreeSet<&String> =
        taken.family.relations.iter().map(|relation| &relation.name.schema).collect();
    let missing: Vec<String> = wanted.into_iter().filter(|name| !there.contains(name)).cloned().collect();
    target.make_schemas(&order.into, &missing)?;
    Ok(missing)
}

fn temporary(bytes: &[u8]) -> Result<NamedTempFile> {
    let file = NamedTempFile::new().map_err(EngineError::io("making a temporary file"))?;
    std::fs::write(file.path(), bytes).map_err(EngineError::io("writing a temporary file"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use pg::archive::{ArchiveSummary, Compression, Section};
    use pg::relations::Relation;

    use super::*;

    fn table(name: &str) -> TableName {
        TableName { schema: "public".to_owned(), name: name.to_owned() }
    }

    fn entry(desc: &str, tag: &str) -> ArchiveEntry {
        ArchiveEntry {
            dump_id: 1,
            desc: desc.to_owned(),
            namespace: "public".to_owned(),
            tag: tag.to_owned(),
            owner: String::new(),
            section: Section::PostData,
            has_data: false,
            rows: None,
            offset: 0,
            length: 0,
        }
    }

    fn taken() -> Taken {
        let relation = |name: &str, is_part_of_other| Relation {
            name: table(name),
            is_unlogged: false,
            is_part_of_other,
            indexes: if is_part_of_other { vec!["part_pkey".to_owned()] } else { vec![] },
        };
        let key = |name: &str, to: &str| ForeignKey {
            table: table("orders"),
            name: name.to_owned(),
            to: table(to),
        };
        Taken {
            family: Family {
                relations: vec![relation("orders", false), relation("part", true)],
                foreign_keys: vec![key("of_customer", "customers"), key("of_itself", "orders")],
                tablespaces: vec![],
                belongings: vec![],
            },
            summary: ArchiveSummary {
                archive_version: "1.14".to_owned(),
                server_version: String::new(),
                dump_version: String::new(),
                database: String::new(),
                compression: Compression::None,
                toc_length: 0,
                length: 0,
                content_hash: String::new(),
                entries: vec![],
            },
        }
    }

    #[test]
    fn what_leans_on_something_that_is_not_there_is_left_out() {
        let taken = taken();
        let without = lacking(&taken, &BTreeSet::new());
        assert_eq!(without.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["of_customer"]);
        for (desc, tag, is) in [
            ("FK CONSTRAINT", "orders of_customer", false),
            ("FK CONSTRAINT", "orders of_itself", true),
            ("TABLE ATTACH", "part", false),
            ("TABLE ATTACH", "orders", true),
            ("INDEX ATTACH", "part_pkey", false),
            ("INDEX ATTACH", "orders_pkey", true),
            ("TABLE DATA", "part", true),
            ("CONSTRAINT", "orders of_customer", true),
        ] {
            assert_eq!(is_wanted(&entry(desc, tag), &taken, &without), is, "{desc} {tag}");
        }
        assert_eq!(lacking(&taken, &BTreeSet::from([table("customers")])), []);
    }
}
