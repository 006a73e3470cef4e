//! Whether the PostgreSQL server that is named answers, and a pg_dump suits it.

use pg::server::Server;

use super::Finding;
use crate::arguments::ServerArgs;
use crate::database;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

const AREA: &str = "server";
/// Any of these names a server.
const NAMES: [&str; 4] = ["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"];

pub(super) fn look(server: &ServerArgs, environment: &Environment, face: &Face) -> Vec<Finding> {
    let is_named = server.db_host.is_some()
        || server.db_port.is_some()
        || NAMES.iter().any(|name| environment.get(name).is_some());
    if !is_named {
        let todo = "name one with --db-host or PGHOST to have it looked at";
        return vec![Finding::unknown(AREA, "no PostgreSQL server was named", todo)];
    }
    let looked = ask(server, environment, face);
    vec![match looked {
        Ok(words) => Finding::ok(AREA, words),
        Err(error) => Finding::problem(AREA, error, "its databases cannot be backed up"),
    }]
}

fn ask(order: &ServerArgs, environment: &Environment, face: &Face) -> Result<String> {
    let clients = database::clients(order.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let session = database::session(None, order, environment, face)?;
    let newest = clients.newest().map_err(engine::EngineError::from)?;
    let server = Server::open(newest, &session)?;
    let dump = clients.for_dump(server.version()).map_err(engine::EngineError::from)?;
    let databases = server.databases()?;
    let (version, ours) = (server.version(), dump.version());
    Ok(format!("PostgreSQL {version} answers; {} databases; pg_dump {ours} suits it", databases.len()))
}
