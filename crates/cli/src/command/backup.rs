//! `mainstay backup …`: make, list, look at, verify, restore, export and delete backups.

mod show;
pub(crate) mod create;
mod restore;
mod export;
mod import;
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
        Backup::Verify { id, warm_up } => manage::verify(global, &id, &warm_up, environment, face),
        Backup::Restore(order) => restore::run(global, &order, environment, face),
        Backup::Export { id, output, warm_up } => {
            export::run(global, &id, output.as_deref(), &warm_up, environment, face)
        }
        Backup::Import(order) => import::run(global, &order, environment, face),
        Backup::Hold { id } => manage::hold(global, &id, true, environment, face),
        Backup::Unhold { id } => manage::hold(global, &id, false, environment, face),
        Backup::Delete { id, dry_run } => manage::delete(global, &id, dry_run, environment, face),
        Backup::Undelete { id } => manage::undelete(global, id.as_deref(), environment, face),
    }
}
