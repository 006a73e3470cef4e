//! `mainstay backup …`: make, list, look at, verify, restore, export and delete backups.

mod show;
mod create;
mod restore;
mod export;
mod manage;

use crate::arguments::{Backup, Global};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

pub(crate) fn run(global: &Global, order: Backup, environment: &Environment, face: &Face) -> Result<()> {
    match order {
        Backup::Create(order) => create::run(global, &order, environment, face),
        Backup::List { tenant } => show::list(global, tenant.as_deref(), environment, face),
        Backup::Get { id } => show::get(global, &id, environment, face),
        Backup::Verify { id } => manage::verify(global, &id, environment, face),
        Backup::Restore(order) => restore::run(global, &order, environment, face),
        Backup::Export { id, output } => export::run(global, &id, output.as_deref(), environment, face),
        Backup::Hold { id } => manage::hold(global, &id, true, environment, face),
        Backup::Unhold { id } => manage::hold(global, &id, false, environment, face),
        Backup::Delete { id, dry_run } => manage::delete(global, &id, dry_run, environment, face),
        Backup::Undelete { id } => manage::undelete(global, id.as_deref(), environment, face),
    }
}
