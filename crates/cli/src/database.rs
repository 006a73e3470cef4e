//! Which PostgreSQL server is meant, with which programs and as whom.

use std::ffi::OsStr;
use std::path::Path;

use config::configuration::Source;
use engine::EngineError;
use pg::client::Clients;
use pg::connection::{Connection, Session};
use pg::server::Server;

use crate::arguments::ServerArgs;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::password;

/// The client programs on this machine; `path` as in the environment.
pub(crate) fn clients(bin_dir: Option<&Path>, path: Option<&str>) -> Result<Clients> {
    let what = "looking for PostgreSQL's client programs";
    Clients::discover(bin_dir, OsStr::new(path.unwrap_or_default()))
        .map_err(|error| CliError::usage(format!("{what}: {error}")))
}

/// A session with the server of the flags and the environment; `database` is a name or a URI.
pub(crate) fn session(
    database: Option<&str>,
    server: &ServerArgs,
    environment: &Environment,
    face: &Face,
) -> Result<Session> {
    let mut connection = match database {
        Some(text) if text.starts_with("postgresql://") || text.starts_with("postgres://") => {
            Connection::parse(text)?
        }
        Some(name) => Connection::default().with("dbname", name)?,
        None => Connection::default(),
    };
    let port = server.db_port.map(|port| port.to_string());
    let flags = [("host", &server.db_host), ("port", &port), ("user", &server.db_user)];
    for (name, value) in flags {
        if let Some(value) = value {
            connection = connection.with(name, value)?;
        }
    }
    if let Some(file) = &server.db_password_file {
        connection = connection.with_password(Some(password::from_file(file, face)?));
    } else if let Some(secret) = environment.argument_password() {
        face.warn(
            "--db-password can be seen by every user of this machine while the shell starts mainstay; better: \
             --db-password-file, PGPASSFILE or PGPASSWORD",
        );
        connection = connection.with_password(Some(secret));
    }
    let connection = connection.complete(|name| environment.get(name).map(str::to_owned))?;
    Ok(Session::open(connection)?)
}

/// The server at the `address` of a source, with its password.
pub(crate) fn of_source(
    source: &Source,
    address: &str,
    bin_dir: Option<&Path>,
    environment: &Environment,
    face: &Face,
) -> Result<Server> {
    let environment = environment.with(password::of_source(source, environment)?, face, |_| ());
    let order = ServerArgs { pg_bin_dir: bin_dir.map(Path::to_owned), ..ServerArgs::default() };
    of_flags(Some(address), &order, &environment, face)
}

/// The server of the flags and the environment, or the one whose address is `named`.
pub(crate) fn of_flags(
    named: Option<&str>,
    order: &ServerArgs,
    environment: &Environment,
    face: &Face,
) -> Result<Server> {
    let clients = clients(order.pg_bin_dir.as_deref(), environment.get("PATH"))?;
    let session = session(named, order, environment, face)?;
    Ok(Server::open(clients.newest().map_err(EngineError::from)?, &session)?)
}

/// The name of the database that `named` means, and the way to its server. A URI may stand for both.
pub(crate) fn target(
    named: Option<&str>,
    server: &ServerArgs,
    environment: &Environment,
    face: &Face,
) -> Result<(Option<String>, Session)> {
    let is_uri = |text: &&str| text.starts_with("postgresql://") || text.starts_with("postgres://");
    match named.filter(is_uri) {
        Some(uri) => {
            let session = session(Some(uri), server, environment, face)?;
            Ok((session.connection().database().map(str::to_owned), session))
        }
        None => Ok((named.map(str::to_owned), session(None, server, environment, face)?)),
    }
}

/// Whether one of `patterns`, names with `*` and `?`, fits a database.
pub(crate) fn is_left_out(patterns: &[String], database: &str) -> bool {
    patterns.iter().any(|pattern| glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(database)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_left_out_by_their_names() {
        let patterns = ["scratch_*".to_owned(), "tmp?".to_owned(), "[".to_owned()];
        for (name, is) in
            [("scratch_1", true), ("scratch", false), ("tmp1", true), ("tmp", false), ("app", false)]
        {
            assert_eq!(is_left_out(&patterns, name), is, "{name}");
        }
    }
}
