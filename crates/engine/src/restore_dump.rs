//! Restore a dump into a database: decide first (`plan`), show the plan, then do it (`carry_out`).
//!
//! Invariant: never a half state. A database that is there is changed in one transaction, after every byte of the
//! dump was verified. A new one is loaded under another name, each byte verified on its way, and renamed in when
//! all of it is there; on any failure it is dropped, and so are the roles that were made for it.

mod plan;
mod streams;
mod load;

use std::sync::Arc;

use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use pg::globals::Globals;
use pg::roles::{MadeRoles, database_properties_sql};
use pg::scratch::{Scratch, sweep};
use pg::server::Server;
use repo::index::Index;
use repo::{RepoError, Repository};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::manifest::GLOBALS_NAME;
use crate::stored_file::StoredFile;
use crate::verify::verify_dump;
use load::Loading;
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
    if plan.way != Way::New {
        verify_dump(repository, index, &plan.root, &plan.file, record, &plan.manifest, progress, cancel)?;
    }
    let made = globals.as_ref().map(|globals| server.make_roles(globals)).transpose()?;
    progress.begin("restoring", plan.size_bytes);
    let loading = Loading { file: &file, plan, server: &server, progress, cancel };
    let loaded = match plan.way {
        Way::New => load_new(&loading, globals.as_ref()),
        Way::IntoEmpty | Way::OverExisting => loading.in_one_transaction(),
    };
    loaded.map_err(|error| match made {
        Some(made) => take_back(&server, &made, error),
        None => error,
    })
}

fn load_globals(repository: &Repository, index: &Index, plan: &Plan) -> Result<Globals> {
    let json = catalog::load_small_file(repository, index, &plan.root, GLOBALS_NAME)?;
    Ok(serde_json::from_slice(&json).map_err(|error| RepoError::damaged(GLOBALS_NAME, error))?)
}

/// Load under a name of its own, and rename it in.
fn load_new(loading: &Loading<'_>, globals: Option<&Globals>) -> Result<Vec<String>> {
    let Loading { plan, server, .. } = loading;
    let mut notes = clear_up(server)?;
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(RepoError::from)?;
    let facts = plan.manifest.database.as_ref();
    let scratch = Scratch::create(server, facts, u32::from_ne_bytes(random))?;
    let loaded = loading.in_pieces(scratch.name()).and_then(|warnings| {
        if let (Some(globals), Some(facts)) = (globals, facts) {
            server.execute(&database_properties_sql(globals, facts, scratch.name()))?;
        }
        let comment = globals.and(facts).and_then(|facts| facts.comment.as_deref());
        // Somebody may have made one of that name meanwhile: the server then refuses, and theirs stays.
        scratch.rename(&plan.database, comment)?;
        Ok(warnings)
    });
    match loaded {
        Ok(warnings) => {
            notes.extend(warnings);
            Ok(notes)
        }
        Err(error) => {
            let name = scratch.name().to_owned();
            Err(match scratch.drop() {
                Ok(()) => error,
                Err(_) => error.leaving(format!("database {name:?}, which the next restore removes")),
            })
        }
    }
}

/// What restores left that were killed is removed; what cannot be is named.
fn clear_up(server: &Server) -> Result<Vec<String>> {
    let tell = |swept: pg::scratch::Swept| match swept.obstacle {
        None => format!("removed database {:?}, which a restore that was killed had left", swept.name),
        Some(why) => {
            format!("database {:?} was left by a restore that was killed and stays: {why}", swept.name)
        }
    };
    Ok(sweep(server)?.into_iter().map(tell).collect())
}

fn take_back(server: &Server, made: &MadeRoles, error: EngineError) -> EngineError {
    match server.unmake_roles(made) {
        Ok(left) if left.is_empty() => error,
        Ok(left) => error.leaving(format!("roles {left:?}, which are in use")),
        Err(_) => error.leaving(format!("roles {:?}", made.roles)),
    }
}
