//! A database that is loaded under a name of its own, and gets its real name when all of it is there.
//!
//! A restore may be killed at any moment on any host, so nothing that it wrote down tells whether it lives. The
//! server does: a living restore keeps one session in its scratch database, a server drops no database that
//! somebody is connected to, and the session ends with the restore: what is swept (`pending_roles`) had no session, and
//! the server itself was the judge of that.

use std::io::{BufRead, BufReader, PipeWriter, Write};

use model::cancel::CancelToken;

use crate::globals::DatabaseFacts;
use crate::program::Running;
use crate::psql::QueryError;
use crate::quote::{identifier, literal};
use crate::server::Server;

/// Scratch databases are called so, with eight hexadecimal digits behind it.
pub const PREFIX: &str = "mainstay_restore_";

/// Databases that were swept between their making and the session in them, in a row, before we give up.
const TRIES: u32 = 3;

/// A database under a name of its own. Unless it is renamed it should be dropped; one that is not is swept later.
pub struct Scratch {
    server: Server,
    name: String,
    keeper: Keeper,
}

impl Scratch {
    /// Create one like `facts`, if they are given, with a session in it; `number` makes its name.
    ///
    /// # Errors
    /// What the server says.
    pub fn create(
        server: &Server,
        facts: Option<&DatabaseFacts>,
        mut number: u32,
    ) -> Result<Self, QueryError> {
        let last = number.wrapping_add(TRIES - 1);
        loop {
            let name = format!("{PREFIX}{number:08x}");
            server.create_database(&name, facts)?;
            match Keeper::enter(server, &name) {
                Ok(keeper) => return Ok(Self { server: server.clone(), name, keeper }),
                Err(_) if number != last && !server.exists(&name)? => number = number.wrapping_add(1),
                Err(error) => {
                    server.drop_database(&name).ok();
                    return Err(error);
                }
            }
        }
    }

    /// Its present name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Give it its real name, and this comment, and do `also` in the same transaction. A database of that name stays,
    /// and this one with it.
    ///
    /// # Errors
    /// What the server says; the database is then still a scratch one.
    pub fn rename(
        &self,
        target: &str,
        comment: Option<&str>,
        also: Option<String>,
    ) -> Result<(), QueryError> {
        // The comment locks the name until the end of the transaction: a sweeper that comes when our session is
        // gone waits, and then finds no database of that name. Renaming waits for the session to end.
        let name = identifier(&self.name);
        let comment = comment.map_or_else(|| "NULL".to_owned(), literal);
        let mut statements = vec![
            "BEGIN".to_owned(),
            format!("COMMENT ON DATABASE {name} IS {comment}"),
            format!("DO {}", literal(&format!("BEGIN PERFORM {}; END", self.keeper.end_sql()))),
            format!("ALTER DATABASE {name} RENAME TO {}", identifier(target)),
        ];
        statements.extend(also);
        statements.push("COMMIT".to_owned());
        self.server.execute(&statements)
    }

    /// Drop it.
    ///
    /// # Errors
    /// What the server says.
    pub fn drop(self) -> Result<(), QueryError> {
        let Self { server, name, keeper } = self;
        drop(keeper);
        server.drop_database(&name)
    }
}

/// A psql that sits in a database until its stdin ends, which the system sees to when we die.
struct Keeper {
    /// The server's process for it.
    pid: u32,
    _running: Running,
    _stdin: PipeWriter,
}

impl Keeper {
    fn enter(server: &Server, database: &str) -> Result<Self, QueryError> {
        // Where a server ends idle sessions, it shall leave this one alone.
        const HELLO: &[u8] = b"DO $$BEGIN PERFORM pg_catalog.set_config(name, '0', false) \
            FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout'; END$$;\n\
            SELECT pg_catalog.pg_backend_pid();\n";
        let (mut running, mut stdin) = server.psql_in(database)?.start([])?;
        // If psql ended early its own words say why.
        let written = stdin.write_all(HELLO);
        let mut line = String::new();
        if let Some(stdout) = running.take_stdout() {
            BufReader::new(stdout).read_line(&mut line).map_err(|source| running.pipe_error(source))?;
        }
        if let (Ok(()), Ok(pid)) = (written, line.trim().parse()) {
            return Ok(Self { pid, _running: running, _stdin: stdin });
        }
        drop(stdin);
        running.finish(&CancelToken::new())?;
        Err(QueryError::Answer { question: "a session", reason: format!("{line:?} is no process id") })
    }

    /// An expression that ends this session.
    fn end_sql(&self) -> String {
        format!("pg_catalog.pg_terminate_backend({})", self.pid)
    }
}
