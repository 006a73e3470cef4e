//! Whether the PostgreSQL server that is named answers, and a pg_dump suits it; and how it is with it as a cluster.

use ::store::open::local_path;
use pg::server::Server;

use super::Finding;
use super::cluster::{Asked, look_at};
use super::repository::Opened;
use crate::arguments::ServerArgs;
use crate::database;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

const AREA: &str = "server";
/// Any of these names a server.
const NAMES: [&str; 4] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"];

pub(super) fn look(
    server: &ServerArgs,
    opened: Option<&Opened>,
    environment: &Environment,
    face: &Face,
) -> Vec<Finding> {
    let is_named = server.db_host.is_some()
        || server.db_port.is_some()
        || NAMES.iter().any(|name| environment.get(name).is_some());
    if !is_named {
        let todo = "name one with --db-host or PGHOST to have it looked at";
        return vec![Finding::unknown(AREA, "no PostgreSQL server was named", todo)];
    }
    match ask(server, environment, face) {
        Ok((words, server)) => {
            let asked = Asked {
                subject: String::new(),
                is_meant: false,
                is_promised: false,
                lag_max: None,
                repository: opened.map(|opened| &opened.repository),
                directory: opened.and_then(|opened| local_path(&opened.url).ok()),
            };
            std::iter::once(Finding::ok(AREA, words)).chain(look_at(&asked, &server)).collect()
        }
        Err(error) => vec![Finding::problem(AREA, error, "its databases cannot be backed up")],
    }
}

fn ask(order: &ServerArgs, environment: &Environment, face: &Face) -> Result<(String, Server)> {
    let clients = database::clients(order.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let session = database::session(None, order, environment, face)?;
    let newest = clients.newest().map_err(engine::EngineError::from)?;
    let server = Server::open(newest, &session)?;
    let dump = clients.for_dump(server.version()).map_err(engine::EngineError::from)?;
    let databases = server.databases()?;
    let (version, ours) = (server.version(), dump.version());
    let words =
        format!("PostgreSQL {version} answers; {} databases; pg_dump {ours} suits it", databases.len());
    Ok((words, server))
}
