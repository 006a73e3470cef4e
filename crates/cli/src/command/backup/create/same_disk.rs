//! A backup on the disk of the data dies with it (C2).

use std::os::unix::fs::MetadataExt;

use pg::client::Clients;
use pg::connection::Session;
use pg::server::Server;

use crate::arguments::Create;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::place;

/// Refuse the place `local` where it is on the file system of the database's own data, unless that is allowed.
pub(super) fn refuse(
    order: &Create,
    environment: &Environment,
    clients: &Clients,
    session: &Session,
) -> Result<()> {
    let is_local = order.destination.dest.iter().any(|dest| dest == "local");
    if !is_local || order.allow_same_disk {
        return Ok(());
    }
    let server = Server::open(clients.newest().map_err(engine::EngineError::from)?, session)?;
    // Another host's path, or one that we may not see, tells nothing.
    let Ok(directory) = server.data_directory() else { return Ok(()) };
    let device = |path: &str| std::fs::metadata(path).map(|about| about.dev()).ok();
    let place = place::local(environment);
    match (device(&directory), device(&place)) {
        (Some(data), Some(repository)) if data == repository => Err(CliError::new(
            Kind::Refused,
            format!("{place} is on the same file system as the database's own data in {directory}"),
        )
        .hint("name another place, or use --allow-same-disk for development")),
        _ => Ok(()),
    }
}
