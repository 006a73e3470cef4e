//! Tables out of the backup of a whole cluster, as they were at some moment, into a database that somebody uses.
//!
//! What of the cluster is needed is restored into a private place → a server for a moment recovers it there, and is given
//! its WAL by us → pg_dump takes the tables out of it → server and files go → pg_restore puts the tables into the database,
//! in one transaction. Invariants: nothing outside the private place is written but that database, and that is changed as a
//! whole or not at all; nothing that is there is replaced unless told; of the private place nothing is left, and what a
//! killed run left is removed by the next.

mod order;
mod workplace;
mod feed;
mod recover;
mod take_out;
mod put_in;

use std::sync::Arc;

use files::space::room;
use model::backup::BackupRecord;
use pg::server::Server;
use repo::Repository;
use repo::index::Index;

use crate::error::{EngineError, Result};
use crate::restore_cluster;
pub use order::{TablesOrder, TablesPlan, TablesReport};
use recover::Recovering;
use take_out::Taken;
use workplace::Workplace;

/// A server that recovers keeps about so much WAL at most, whatever is replayed.
const WAL_KEPT_MAX: u64 = 2 << 30;

/// Look at the backup, at the private place, and at the database. Nothing is changed.
///
/// # Errors
/// [`EngineError::NoSuch`] for a database that is not there; [`EngineError::Refused`] for tables that are in it already
/// without `clean`, and for too little room; damage.
pub fn prepare(
    repository: &Repository,
    index: &Index,
    record: &BackupRecord,
    order: &TablesOrder<'_>,
) -> Result<TablesPlan> {
    let target = Server::open(order.clients.newest()?, &order.session)?;
    put_in::verify_database(&target, &order.into)?;
    // With their parts: those go with them.
    let existing = target.family(&order.into, &order.tables)?.relations;
    let existing = existing.into_iter().map(|relation| relation.name).collect();
    let place = order.work_dir.join("mainstay-tables");
    let look = |is_partial| {
        let order = order.cluster(&place, is_partial);
        restore_cluster::prepare(repository, index, record, &order).map(|prepared| prepared.plan)
    };
    let cluster = match look(true) {
        // A part of it would not recover.
        Err(EngineError::Refused(_)) => look(false)?,
        cluster => cluster?,
    };
    let wal_bytes = (order.wal_segments * cluster.segment_size.bytes()).min(WAL_KEPT_MAX);
    let room = room(&order.work_dir)?;
    Ok(TablesPlan { cluster, wal_bytes, room, server: target.version(), existing })
}

impl TablesPlan {
    /// Refuse what would replace something that was not asked for, or would not fit.
    ///
    /// # Errors
    /// [`EngineError::Refused`].
    pub fn verify(&self, order: &TablesOrder<'_>) -> Result<()> {
        if let Some(table) = self.existing.first().filter(|_| !order.clean) {
            let into = &order.into;
            return Err(EngineError::Refused(format!("table {table} is in database {into:?} already")));
        }
        let (place, free, needed) = (order.work_dir.display(), self.room.free, self.needed());
        if needed > free {
            return Err(EngineError::Refused(format!(
                "{place} has room for {free} bytes, and the throw-away server needs {needed} there"
            )));
        }
        Ok(())
    }
}

/// Do it.
///
/// # Errors
/// As [`prepare`]; [`EngineError::NoSuch`] for a table that was not there at that moment; what PostgreSQL's programs say. The
/// database is then as it was.
pub fn carry_out(
    repository: &Arc<Repository>,
    index: &Index,
    record: &BackupRecord,
    plan: &TablesPlan,
    order: &TablesOrder<'_>,
) -> Result<TablesReport> {
    plan.verify(order)?;
    let workplace = Workplace::make(&order.work_dir, order.tell)?;
    let recovering = Recovering { repository, index, record, order, workplace: &workplace };
    let done = take_and_put(&recovering, !plan.cluster.left_out.is_empty());
    let left = workplace.path().display().to_string();
    match (done, workplace.remove()) {
        (Ok(report), Ok(())) => Ok(report),
        (Ok(report), Err(error)) => {
            (order.tell)(&format!("{left} is left, and can be removed: {error}"));
            Ok(report)
        }
        (Err(error), Ok(())) => Err(error),
        (Err(error), Err(_)) => Err(error.leaving(format!("{left}, which the next run removes"))),
    }
}

fn take_and_put(recovering: &Recovering<'_>, is_partial: bool) -> Result<TablesReport> {
    let Recovering { order, workplace, .. } = recovering;
    let taken = match take(recovering, is_partial)? {
        Some(taken) => taken,
        None => {
            (order.tell)("other databases are needed too: all of the cluster is restored for a moment");
            workplace.clear()?;
            let nothing =
                || EngineError::Unsuitable("the cluster does not recover to that moment".to_owned());
            take(recovering, false)?.ok_or_else(nothing)?
        }
    };
    workplace.clear()?;
    put_in::put_in(&taken, order, &workplace.dump())
}

/// Recover, and take the tables out; with only their database, which may not do: then there is nothing.
fn take(recovering: &Recovering<'_>, is_partial: bool) -> Result<Option<Taken>> {
    let recovered = recovering.recover(is_partial)?;
    if !recovered.is_sound()? {
        return Ok(None);
    }
    take_out::take_out(&recovered, recovering.order, &recovering.workplace.dump()).map(Some)
}
