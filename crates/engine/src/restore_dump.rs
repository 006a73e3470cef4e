//! Restore a dump into a database: decide first (`plan`), show the plan, then do it (`carry_out`).
//!
//! Invariant: never a half state. A database that is there is changed in one transaction, after every byte of the
//! dump was verified. A new one is loaded under another name, each piece compared with its name on its way, and renamed in
//! when all of it is there; on any failure it is dropped, and so are the roles that were made for it. What a killed restore
//! left is swept by the next.

mod plan;
mod streams;
mod load;

use std::sync::Arc;

use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use pg::globals::{DatabaseFacts, Globals};
use pg::pending_roles::{Leftover, PendingRoles, Swept, sweep};
use pg::roles::database_properties_sql;
use pg::scratch::Scratch;
use pg::server::Server;
use repo::index::Index;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::GLOBALS_NAME;
use crate::stored_file::StoredFile;
use crate::verify::{refuse_altered, verify_dump};
use load::Loading;
pub(crate) use plan::format_minor;
pub use plan::{Plan, RestoreOrder, Way, plan};

/// Do what the plan says. Returns what deserves a look: pg_restore's warnings, and what an earlier restore left.
///
/// # Errors
/// Damage to the dump (the database is then untouched), or pg_restore's own words (it is then as before).
pub fn carry_out(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    plan: &Plan,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<Vec<String>> {
    let file = StoredFile::open(repository, index, &plan.root, &plan.file)?;
    let server = Server::open(&plan.client, &plan.session)?;
    let globals = match plan.order.with_roles {
        true => Some(load_globals(repository, index, plan)?),
        false => None,
    };
    match plan.way {
        // Each piece is compared with its name while it is loaded.
        Way::New if !record.incomplete => refuse_altered(&file, record, &plan.manifest)?,
        // What a repair put together is not what was dumped, though each piece of it fits its name.
        _ => {
            verify_dump(repository, index, &plan.root, &plan.file, record, &plan.manifest, progress, cancel)?
        }
    }
    let mut notes = match plan.way == Way::New || globals.is_some() {
        true => clear_up(&server)?,
        false => vec![],
    };
    let roles = match &globals {
        Some(globals) => Some(PendingRoles::make(&server, globals, random_number()?)?),
        None => None,
    };
    progress.begin("restoring", plan.size_bytes);
    let loading = Loading { file: &file, plan, server: &server, progress, cancel };
    let loaded = match plan.way {
        Way::New => load_new(&loading, globals.as_ref(), roles.as_ref()),
        Way::IntoEmpty | Way::OverExisting => loading.in_one_transaction(),
    };
    match loaded {
        Ok(warnings) => {
            notes.extend(warnings);
            if let Some(Err(error)) = roles.map(PendingRoles::keep) {
                let roles = "roles that were made are still noted as those of a restore that goes on";
                notes.push(format!("{roles}, and the next one drops what nobody uses of them: {error}"));
            }
            Ok(notes)
        }
        Err(error) => Err(match roles {
            Some(roles) => take_back(roles, error),
            None => error,
        }),
    }
}

fn random_number() -> Result<u32> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(RepoError::from)?;
    Ok(u32::from_ne_bytes(random))
}

fn load_globals(repository: &Repository, index: &Index, plan: &Plan) -> Result<Globals> {
    let json = catalog::load_small_file(repository, index, &plan.root, GLOBALS_NAME)?;
    Ok(serde_json::from_slice(&json).map_err(|error| RepoError::damaged(GLOBALS_NAME, error))?)
}

/// Load under a name of its own, and rename it in.
fn load_new(
    loading: &Loading<'_>,
    globals: Option<&Globals>,
    roles: Option<&PendingRoles>,
) -> Result<Vec<String>> {
    let Loading { plan, server, .. } = loading;
    let facts = plan.facts();
    let facts = facts.as_ref();
    let scratch = Scratch::create(server, facts, random_number()?)?;
    let loaded = loading.in_pieces(scratch.name()).and_then(|warnings| {
        if let (Some(globals), Some(facts)) = (globals, facts) {
            // Its comment comes with its name: on a scratch database, comments are notes.
            let facts = DatabaseFacts { comment: None, ..facts.clone() };
            server.execute(&database_properties_sql(globals, &facts, scratch.name()))?;
        }
        let comment = globals.and(facts).and_then(|facts| facts.comment.as_deref());
        // Somebody may have made one of that name meanwhile: the server then refuses, and theirs stays.
        scratch.rename(&plan.database, comment, roles.and_then(PendingRoles::keep_sql))?;
        Ok(warnings)
    });
    loaded.map_err(|error| {
        let name = scratch.name().to_owned();
        match scratch.drop() {
            Ok(()) => error,
            Err(_) => error.leaving(format!("database {name:?}, which the next restore removes")),
        }
    })
}

/// What restores left that were killed is removed; what cannot be is named.
fn clear_up(server: &Server) -> Result<Vec<String>> {
    let tell = |Swept { what, obstacle }: Swept| {
        let what = match what {
            Leftover::Database(name) => format!("database {name:?}"),
            Leftover::Role(name) => format!("role {name:?}"),
        };
        match obstacle {
            None => format!("removed {what}, which a restore that was killed had left"),
            Some(why) => format!("{what} was left by a restore that was killed and stays: {why}"),
        }
    };
    Ok(sweep(server)?.into_iter().map(tell).collect())
}

fn take_back(roles: PendingRoles, error: EngineError) -> EngineError {
    let made = roles.made().roles.clone();
    match roles.take_back() {
        Ok(left) if left.is_empty() => error,
        Ok(left) => error.leaving(format!("roles {left:?}, which are in use")),
        Err(_) => error.leaving(format!("roles {made:?}")),
    }
}
