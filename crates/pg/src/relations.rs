//! Tables of a database by their names, and what goes with them: the parts of partitioned ones, and what refers to others.

use serde::{Deserialize, Serialize};

use crate::psql::QueryError;
use crate::quote::identifier;
use crate::server::Server;

/// The name of a table, in its schema.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Name, without its schema.
    pub name: String,
}

/// A table, or what has rows or a name like one: a view, a sequence, a foreign table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relation {
    /// Its name.
    #[serde(flatten)]
    pub name: TableName,
    /// Whether its rows do not outlive a crash, and so are in no backup.
    pub is_unlogged: bool,
    /// Whether it is a part of a table that was not asked for.
    pub is_part_of_other: bool,
    /// Its indexes, where it is such a part.
    pub indexes: Vec<String>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ForeignKey {
    /// The table that has it.
    pub table: TableName,
    /// Its name.
    pub name: String,
    /// The table that it refers to.
    pub to: TableName,
}

/// Tables, and what must be known to restore them elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Family {
    /// Those that were asked for, and all below them.
    pub relations: Vec<Relation>,
    /// Their foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Tablespaces that they and their indexes are in.
    pub tablespaces: Vec<String>,
    /// Their indexes, and the sequences that go with them.
    pub belongings: Vec<TableName>,
}

/// A database of a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Numbered {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: String,
}

/// Kinds of `pg_class` that could be meant by a table's name, and with those that have a name beside them.
const TABLES: &str = "rpvmSf";
const ALL_NAMES: &str = "rpvmSfiI";

const RELATIONS: &str = r"
SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', n.nspname, 'name', c.relname)
  ORDER BY n.nspname, c.relname), '[]')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE pg_catalog.strpos(:'kinds', c.relkind::text) > 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';
";

/// `:'tables'` is JSON, a list of schemas and names.
const FAMILY: &str = r"
WITH RECURSIVE asked AS (
  SELECT c.oid FROM pg_catalog.json_to_recordset(:'tables'::pg_catalog.json) AS a(schema text, name text)
  JOIN pg_catalog.pg_namespace n ON n.nspname = a.schema
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = a.name),
chosen AS (
  SELECT oid FROM asked UNION SELECT i.inhrelid FROM chosen JOIN pg_catalog.pg_inherits i ON i.inhparent = chosen.oid),
named AS (
  SELECT c.oid, c.relname, n.nspname, c.relpersistence, c.reltablespace, c.relispartition AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_inherits i JOIN chosen p ON p.oid = i.inhparent WHERE i.inhrelid = c.oid) AS is_alone
  FROM chosen JOIN pg_catalog.pg_class c USING (oid) JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace)
SELECT pg_catalog.json_build_object(
'relations', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', nspname, 'name', relname,
    'isUnlogged', relpersistence = 'u', 'isPartOfOther', is_alone,
    'indexes', (SELECT coalesce(pg_catalog.json_agg(x.relname), '[]') FROM pg_catalog.pg_index i
      JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = named.oid AND is_alone))
    ORDER BY nspname, relname), '[]') FROM named),
'foreignKeys', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'table', pg_catalog.json_build_object('schema', named.nspname, 'name', named.relname), 'name', k.conname,
    'to', pg_catalog.json_build_object('schema', tn.nspname, 'name', t.relname))), '[]')
  FROM named JOIN pg_catalog.pg_constraint k ON k.conrelid = named.oid AND k.contype = 'f'
  JOIN pg_catalog.pg_class t ON t.oid = k.confrelid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace),
'tablespaces', (SELECT coalesce(pg_catalog.json_agg(DISTINCT s.spcname), '[]') FROM pg_catalog.pg_tablespace s
  WHERE s.oid IN (SELECT reltablespace FROM named UNION SELECT x.reltablespace FROM named
    JOIN pg_catalog.pg_index i ON i.indrelid = named.oid JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid)),
'belongings', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('schema', bn.nspname, 'name', b.relname)), '[]')
  FROM pg_catalog.pg_class b JOIN pg_catalog.pg_namespace bn ON bn.oid = b.relnamespace WHERE b.oid IN (
    SELECT i.indexrelid FROM named JOIN pg_catalog.pg_index i ON i.indrelid = named.oid
    UNION SELECT d.objid FROM named JOIN pg_catalog.pg_depend d ON d.refobjid = named.oid
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.classid = d.refclassid AND d.deptype IN ('a', 'i')
      AND b.relkind = 'S')));
";

impl Server {
    /// The names of everything in a database that could be meant by a table's name.
    pub fn relations(&self, database: &str) -> Result<Vec<TableName>, QueryError> {
        self.psql_in(database)?.ask("tables", RELATIONS, &[("kinds", TABLES)])
    }

    /// The names that a new table or index cannot have.
    pub fn taken_names(&self, database: &str) -> Result<Vec<TableName>, QueryError> {
        self.psql_in(database)?.ask("names", RELATIONS, &[("kinds", ALL_NAMES)])
    }

    /// These tables with all that are parts of them or inherit from them. Names that are not there are left out.
    pub fn family(&self, database: &str, tables: &[TableName]) -> Result<Family, QueryError> {
        const QUESTION: &str = "tables and their parts";
        let tables = serde_json::to_string(tables)
            .map_err(|error| QueryError::Answer { question: QUESTION, reason: error.to_string() })?;
        self.psql_in(database)?.ask(QUESTION, FAMILY, &[("tables", &tables)])
    }

    /// All databases, also those that nobody may connect to.
    pub fn numbered_databases(&self) -> Result<Vec<Numbered>, QueryError> {
        let sql = "SELECT pg_catalog.json_agg(pg_catalog.json_build_object('oid', oid::int8, 'name', datname) ORDER BY datname) \
                   FROM pg_catalog.pg_database;\n";
        self.ask_server("databases", sql, &[])
    }

    /// Make schemas, all or none.
    pub fn make_schemas(&self, database: &str, names: &[String]) -> Result<(), QueryError> {
        self.on_schemas(database, "CREATE SCHEMA", names)
    }

    /// Drop schemas in which nothing is, all or none.
    pub fn drop_schemas(&self, database: &str, names: &[String]) -> Result<(), QueryError> {
        self.on_schemas(database, "DROP SCHEMA", names)
    }

    fn on_schemas(&self, database: &str, verb: &str, names: &[String]) -> Result<(), QueryError> {
        let statements: String = names.iter().map(|name| format!("{verb} {};\n", identifier(name))).collect();
        self.psql_in(database)?.run(&format!("BEGIN;\n{statements}COMMIT;\n"), &[]).map(drop)
    }

    /// The names of the tablespaces that are ours to use; that which needs no word may be missing.
    pub fn tablespaces(&self) -> Result<Vec<String>, QueryError> {
        let sql = "SELECT coalesce(pg_catalog.json_agg(spcname), '[]') FROM pg_catalog.pg_tablespace \
                   WHERE pg_catalog.has_tablespace_privilege(oid, 'CREATE');\n";
        self.ask_server("tablespaces", sql, &[])
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}", self.schema, self.name)
    }
}

impl TableName {
    /// The pattern of pg_dump that means this table alone.
    pub fn pattern(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.name))
    }
}
