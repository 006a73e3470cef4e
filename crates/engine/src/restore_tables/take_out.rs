//! The tables out of the recovered cluster: which there are, and their dump.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use pg::archive::{ArchiveReader, ArchiveSummary};
use pg::dump::{self, DumpOptions};
use pg::relations::{Family, Relation, TableName};

use super::order::TablesOrder;
use super::recover::Recovered;
use crate::error::{EngineError, Result};
use crate::near::nearest;

/// Nobody else is there but a prepared transaction that holds a lock, and that waits for ever.
const LOCKED_MAX: Duration = Duration::from_secs(60);
const BUFFER_LEN: usize = 1 << 20;

/// Tables in a file of pg_dump.
pub(super) struct Taken {
    pub(super) family: Family,
    pub(super) summary: ArchiveSummary,
}

/// Dump the tables that were asked for into `file`.
pub(super) fn take_out(recovered: &Recovered<'_>, order: &TablesOrder<'_>, file: &Path) -> Result<Taken> {
    let family = find(recovered, order)?;
    for Relation { name, .. } in family.relations.iter().filter(|relation| relation.is_unlogged) {
        (order.tell)(&format!(
            "{name} is an UNLOGGED table: its rows are in no backup, and it comes back empty"
        ));
    }
    for Relation { name, .. } in family.relations.iter().filter(|relation| relation.is_part_of_other) {
        (order.tell)(&format!("{name} is a part of another table, and comes back as a table of its own"));
    }
    let options = DumpOptions {
        no_owner: order.no_owner_no_acl,
        no_acl: order.no_owner_no_acl,
        lock_wait_timeout: Some(LOCKED_MAX),
        tables: family.relations.iter().map(|relation| relation.name.pattern()).collect(),
        ..DumpOptions::default()
    };
    let session = recovered.session.with_database(&order.database)?;
    order.progress.begin("dumping the tables", 0);
    let mut dump = dump::start(&order.programs, &session, &options, &order.cancel)?;
    let written = match write(&mut dump, file, order) {
        // An end that is none is pg_dump's failure, and its own words are the reason.
        Err(error @ EngineError::Archive(_)) => Err(error),
        written => Ok(written?),
    };
    dump.finish()?.warnings.iter().for_each(|warning| (order.tell)(warning));
    Ok(Taken { family, summary: written? })
}

/// All that were asked for, with all that are parts of them.
fn find(recovered: &Recovered<'_>, order: &TablesOrder<'_>) -> Result<Family> {
    let server = &recovered.server;
    let there = server.relations(&order.database)?;
    if let Some(missing) = order.tables.iter().find(|table| !there.contains(table)) {
        let names: Vec<String> = there.iter().map(TableName::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return Err(EngineError::NoSuch {
            what: format!("table {missing} in database {:?} at that moment", order.database),
            near: nearest(&missing.to_string(), &names),
        });
    }
    Ok(server.family(&order.database, &order.tables)?)
}

fn write(dump: &mut impl Read, file: &Path, order: &TablesOrder<'_>) -> Result<ArchiveSummary> {
    let what = || format!("writing {}", file.display());
    let out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    let mut out = out.map_err(EngineError::io(what()))?;
    let (mut archive, mut buffer) = (ArchiveReader::new(), vec![0; BUFFER_LEN]);
    loop {
        let count = dump.read(&mut buffer).map_err(EngineError::io("reading from pg_dump"))?;
        order.cancel.check()?;
        if count == 0 {
            return Ok(archive.finish()?);
        }
        archive.push(&buffer[..count])?;
        out.write_all(&buffer[..count]).map_err(EngineError::io(what()))?;
        order.progress.advance(count as u64);
    }
}
