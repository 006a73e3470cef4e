//! What a server tells about itself and its databases, and the few changes a restore makes besides pg_restore.
//!
//! Questions about the whole server go to the database `postgres`; where that is closed to us, to the session's own.

use model::size::ByteSize;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::connection::Session;
use crate::globals::{DatabaseFacts, Globals, read_globals};
use crate::program::ProgramError;
use crate::psql::{Psql, QueryError};
use crate::quote::{identifier, literal};
use crate::roles::{MadeRoles, create_database_sql, make_roles_sql, unmake_roles_sql};
use crate::version::Version;

/// Where a database lies unless somebody says otherwise.
pub const DEFAULT_TABLESPACE: &str = "pg_default";

/// An extension that a database has, with the version it is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
}

/// What one table holds: equal contents are equal values, in whatever order the rows lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContents {
    /// Schema and name, quoted.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Sum of the hashes of all rows.
    pub digest: String,
}

/// The exact number of rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Rows.
    pub rows: u64,
}

/// A server, seen through psql.
#[derive(Clone)]
pub struct Server {
    psql: Psql,
    version: Version,
}

/// Objects that somebody made: oids below 16384 come with the server.
const IS_EMPTY: &str = r"
SELECT pg_catalog.to_json(NOT EXISTS (
  SELECT FROM pg_catalog.pg_class WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_type WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname <> 'public' AND nspname !~ '^pg_'
  UNION ALL SELECT FROM pg_catalog.pg_extension WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_event_trigger WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_foreign_data_wrapper WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_operator WHERE oid >= 16384
  UNION ALL SELECT FROM pg_catalog.pg_largeobject_metadata));
";

/// Tables of people, each counted by a statement that the server writes and psql sends back, all in one snapshot.
const TABLE_ROWS: &str = r"
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SELECT pg_catalog.format('SELECT pg_catalog.json_build_object(''schema'', %L::text, ''table'', %L::text, ''rows'',
   pg_catalog.count(*)) FROM ONLY %I.%I', n.nspname, c.relname, n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.oid >= 16384
ORDER BY n.nspname, c.relname \gexec
";

/// Names of the tables of people, quoted.
const TABLE_NAMES: &str = r"
SELECT coalesce(pg_catalog.json_agg(pg_catalog.format('%I.%I', n.nspname, c.relname) ORDER BY n.nspname, c.relname), '[]')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND c.oid >= 16384;
";

/// Tables of people with a CHECK or a default, of their own or of a domain's, that calls a function or operator of
/// people: what it reads is known to nobody.
const JUDGED_TABLES: &str = r"
WITH RECURSIVE judging AS (
  SELECT classid, objid FROM pg_catalog.pg_depend
  WHERE refclassid IN ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass) AND refobjid >= 16384),
judged AS (
  SELECT contypid AS type FROM pg_catalog.pg_constraint WHERE contypid <> 0
    AND ('pg_catalog.pg_constraint'::regclass::oid, oid) IN (SELECT classid, objid FROM judging)
  UNION
  SELECT t.oid FROM judged JOIN pg_catalog.pg_type t ON t.typbasetype = judged.type OR t.typelem = judged.type
    OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.atttypid = judged.type)),
tables AS (
  SELECT conrelid AS oid FROM pg_catalog.pg_constraint WHERE contype = 'c'
    AND ('pg_catalog.pg_constraint'::regclass::oid, oid) IN (SELECT classid, objid FROM judging)
  UNION SELECT adrelid FROM pg_catalog.pg_attrdef
    WHERE ('pg_catalog.pg_attrdef'::regclass::oid, oid) IN (SELECT classid, objid FROM judging)
  UNION SELECT a.attrelid FROM pg_catalog.pg_attribute a JOIN judged ON a.atttypid = judged.type)
SELECT coalesce(pg_catalog.json_agg(n.nspname || '.' || c.relname), '[]')
FROM tables JOIN pg_catalog.pg_class c ON c.oid = tables.oid AND c.relkind = 'r'
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace;
";

impl Server {
    /// Ask the server for its version; everything else needs it.
    pub fn open(client: &Client, session: &Session) -> Result<Self, QueryError> {
        let mut server = Self { psql: Psql::new(client, session), version: Version(0) };
        let sql = "SELECT pg_catalog.current_setting('server_version_num');\n";
        server.version = server.ask_server("server version", sql, &[])?;
        Ok(server)
    }

    /// Version of the server.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names of the databases that are no templates and can be connected to (C10).
    pub fn databases(&self) -> Result<Vec<String>, QueryError> {
        let sql = "SELECT coalesce(pg_catalog.json_agg(datname ORDER BY datname), '[]') FROM pg_catalog.pg_database \
                   WHERE NOT datistemplate AND datallowconn AND datconnlimit <> -2;\n";
        self.ask_server("databases", sql, &[])
    }

    /// Where the server keeps its data; only some roles may know.
    pub fn data_directory(&self) -> Result<String, QueryError> {
        let sql = "SELECT pg_catalog.to_json(pg_catalog.current_setting('data_directory'));\n";
        self.ask_server("data directory", sql, &[])
    }

    /// Roles, settings, properties of databases, tablespaces.
    pub fn globals(&self) -> Result<Globals, QueryError> {
        self.on_server(read_globals)
    }

    /// Whether a database of this name is there.
    pub fn exists(&self, database: &str) -> Result<bool, QueryError> {
        let sql =
            "SELECT pg_catalog.to_json(count(*) > 0) FROM pg_catalog.pg_database WHERE datname = :'name';\n";
        self.ask_server("existence of a database", sql, &[("name", database)])
    }

    /// Bytes of this database on the server's disk.
    pub fn size(&self, database: &str) -> Result<ByteSize, QueryError> {
        let sql = "SELECT coalesce(pg_catalog.json_agg(pg_catalog.pg_database_size(oid)), '[]') \
                   FROM pg_catalog.pg_database WHERE datname = :'name';\n";
        let sizes: Vec<u64> = self.ask_server("size of a database", sql, &[("name", database)])?;
        let size = sizes.first().ok_or_else(|| QueryError::NoSuchDatabase(database.to_owned()))?;
        Ok(ByteSize(*size))
    }

    /// Whether nothing that somebody made is in this database.
    pub fn is_empty(&self, database: &str) -> Result<bool, QueryError> {
        self.psql.with_database(database)?.ask("emptiness of a database", IS_EMPTY, &[])
    }

    /// Names of the schemas of this database.
    pub fn schemas(&self, database: &str) -> Result<Vec<String>, QueryError> {
        let sql = "SELECT pg_catalog.json_agg(nspname ORDER BY nspname) FROM pg_catalog.pg_namespace;\n";
        self.psql.with_database(database)?.ask("schemas", sql, &[])
    }

    /// Tables, as `schema.name`, whose rows are judged by functions of people when they are loaded.
    pub fn judged_tables(&self, database: &str) -> Result<Vec<String>, QueryError> {
        self.psql.with_database(database)?.ask("tables with constraints", JUDGED_TABLES, &[])
    }

    /// Extensions of this database.
    pub fn extensions(&self, database: &str) -> Result<Vec<Extension>, QueryError> {
        let sql = "SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('name', extname, \
                   'version', extversion) ORDER BY extname), '[]') FROM pg_catalog.pg_extension;\n";
        self.psql.with_database(database)?.ask("extensions", sql, &[])
    }

    /// The rows of every table, counted one by one: a full read of the database, meant for drills.
    pub fn table_rows(&self, database: &str) -> Result<Vec<TableRows>, QueryError> {
        self.psql.with_database(database)?.ask_each("rows of tables", TABLE_ROWS)
    }

    /// Rows of every table with a digest of their text: a full read of the database, meant for comparing two.
    pub fn table_contents(&self, database: &str) -> Result<Vec<TableContents>, QueryError> {
        let psql = self.psql.with_database(database)?;
        let tables: Vec<String> = psql.ask("tables", TABLE_NAMES, &[])?;
        let count = |table: &String| {
            format!(
                "SELECT pg_catalog.json_build_object('table', {1}, 'rows', count(*), 'digest', \
                 coalesce(sum(pg_catalog.hashtextextended(t::text, 0)), 0)::text) FROM ONLY {0} t;\n",
                table,
                literal(table)
            )
        };
        let sql: String = tables.iter().map(count).collect();
        psql.ask_each("contents of tables", &sql)
    }

    /// The statement that calls a function of `extension` without arguments, in whatever schema it is; `None` where the
    /// extension has no such function.
    pub fn call_in_extension(
        &self,
        database: &str,
        extension: &str,
        function: &str,
    ) -> Result<Option<String>, QueryError> {
        let sql = "SELECT coalesce((SELECT pg_catalog.to_json(pg_catalog.format('SELECT %I.%I()', n.nspname, p.proname)) \
                   FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend d ON d.deptype = 'e' AND d.refobjid = e.oid \
                   AND d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.classid = 'pg_catalog.pg_proc'::regclass \
                   JOIN pg_catalog.pg_proc p ON p.oid = d.objid AND p.pronargs = 0 \
                   JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
                   WHERE e.extname = :'extension' AND p.proname = :'function' LIMIT 1), 'null');\n";
        let parameters = [("extension", extension), ("function", function)];
        self.psql_in(database)?.ask("a function of an extension", sql, &parameters)
    }

    /// Run statements of the caller's own in `database`, one after the other. Stops at the first error.
    pub fn execute_in(&self, database: &str, statements: &[&str]) -> Result<(), QueryError> {
        let script: String = statements.iter().flat_map(|sql| [*sql, ";\n"]).collect();
        self.psql.with_database(database)?.run(&script, &[]).map(|_| ())
    }

    /// Make the roles and memberships that are missing here, all of them or, after an error, none, and write them down
    /// as the comment of database `note`.
    pub fn make_roles(&self, globals: &Globals, note: Option<&str>) -> Result<MadeRoles, QueryError> {
        self.ask_server("roles that were made", &make_roles_sql(globals, self.version, note), &[])
    }

    /// Do `first`, and if that goes well take back what [`Server::make_roles`] made; the roles that somebody uses
    /// already are left, and named.
    pub fn unmake_roles(&self, made: &MadeRoles, first: &[String]) -> Result<Vec<String>, QueryError> {
        self.ask_server("roles that are left", &unmake_roles_sql(made, first), &[])
    }

    /// Create a database: like `facts` if they are given, owned as they say if that role is there, in their tablespace if
    /// it is there and we may.
    pub fn create_database(&self, name: &str, facts: Option<&DatabaseFacts>) -> Result<(), QueryError> {
        let owner = match facts {
            Some(facts) if self.has_role(&facts.owner)? => Some(facts.owner.as_str()),
            _ => None,
        };
        let tablespace =
            facts.map(|facts| facts.tablespace.as_str()).filter(|name| *name != DEFAULT_TABLESPACE);
        let tablespace = match tablespace {
            Some(name) if self.tablespaces()?.iter().any(|there| there == name) => Some(name),
            _ => None,
        };
        self.execute(&[create_database_sql(name, facts, owner, tablespace, self.version)])
    }

    /// Drop a database, if it is there. Connections to it make this an error.
    pub fn drop_database(&self, name: &str) -> Result<(), QueryError> {
        self.execute(&[format!("DROP DATABASE IF EXISTS {}", identifier(name))])
    }

    /// Give a database another name.
    pub fn rename_database(&self, name: &str, new: &str) -> Result<(), QueryError> {
        self.execute(&[format!("ALTER DATABASE {} RENAME TO {}", identifier(name), identifier(new))])
    }

    /// Run statements that this crate made, one after the other, each in its own transaction. Stops at the first
    /// error.
    pub fn execute(&self, statements: &[String]) -> Result<(), QueryError> {
        let script: String = statements.iter().flat_map(|sql| [sql.as_str(), ";\n"]).collect();
        self.on_server(|psql| psql.run(&script, &[]).map(|_| ()))
    }

    /// psql in another database of this server.
    pub(crate) fn psql_in(&self, database: &str) -> Result<Psql, QueryError> {
        Ok(self.psql.with_database(database)?)
    }

    /// psql in the session's own database, else in the one that every server has.
    pub(crate) fn psql_anywhere(&self) -> Result<Psql, QueryError> {
        match self.psql.database() {
            Some(_) => Ok(self.psql.clone()),
            None => self.psql_in("postgres"),
        }
    }

    fn has_role(&self, name: &str) -> Result<bool, QueryError> {
        let sql =
            "SELECT pg_catalog.to_json(count(*) > 0) FROM pg_catalog.pg_roles WHERE rolname = :'name';\n";
        self.ask_server("existence of a role", sql, &[("name", name)])
    }

    pub(crate) fn ask_server<T: serde::de::DeserializeOwned>(
        &self,
        question: &'static str,
        sql: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, QueryError> {
        self.on_server(|psql| psql.ask(question, sql, parameters))
    }

    pub(crate) fn ask_server_each<T: serde::de::DeserializeOwned>(
        &self,
        question: &'static str,
        sql: &str,
    ) -> Result<Vec<T>, QueryError> {
        self.on_server(|psql| psql.ask_each(question, sql))
    }

    fn on_server<T>(&self, question: impl Fn(&Psql) -> Result<T, QueryError>) -> Result<T, QueryError> {
        match question(&self.psql.with_database("postgres")?) {
            Err(error) if is_closed(&error) => match self.psql.database() {
                Some(_) => question(&self.psql),
                None => question(&self.psql.with_database("template1")?),
            },
            answer => answer,
        }
    }
}

/// Whether the database `postgres` is what stood in the way.
fn is_closed(error: &QueryError) -> bool {
    let QueryError::Program(ProgramError::Ended { words, .. }) = error else { return false };
    words.starts_with("psql: error:")
        && [
            "database \"postgres\" does not exist",
            "permission denied for database \"postgres\"",
            "pg_hba.conf",
        ]
        .iter()
        .any(|reason| words.contains(reason))
}
