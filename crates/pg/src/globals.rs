//! What belongs to a whole server and is in no dump of a database: roles, memberships, settings, the properties of
//! databases, tablespaces (pitfall 27).
//!
//! Form: JSON, read from the server by one query and kept beside the dump. Fields that a server version does not
//! know are absent. Password verifiers are there only if the server let us read them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::psql::{Psql, QueryError};
use crate::version::Version;

/// Everything global.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Globals {
    /// Version of the server.
    pub server_version: Version,
    /// Roles, without the built-in `pg_…` ones.
    pub roles: Vec<Role>,
    /// Who is a member of what.
    pub memberships: Vec<Membership>,
    /// `ALTER ROLE … SET` and `ALTER DATABASE … SET`.
    pub settings: Vec<Setting>,
    /// Databases that can be connected to.
    pub databases: Vec<DatabaseFacts>,
    /// Tablespaces, without the built-in two.
    pub tablespaces: Vec<Tablespace>,
}

/// A user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Name.
    pub name: String,
    /// May do everything.
    pub superuser: bool,
    /// Has the rights of the roles it is a member of.
    pub inherit: bool,
    /// May create roles.
    pub create_role: bool,
    /// May create databases.
    pub create_database: bool,
    /// May log in.
    pub login: bool,
    /// May replicate.
    pub replication: bool,
    /// Row security does not bind it.
    pub bypass_rls: bool,
    /// Connections at once, -1 for any number.
    pub connection_limit: i32,
    /// What the server compares passwords with, if we were allowed to read it.
    pub verifier: Option<Verifier>,
    /// When the password ends.
    pub valid_until: Option<String>,
    /// Comment.
    pub comment: Option<String>,
}

/// A SCRAM or MD5 password verifier; `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Verifier(pub String);

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Verifier(…)")
    }
}

/// One role in another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The group.
    pub role: String,
    /// Who is in it.
    pub member: String,
    /// May add others.
    pub admin: bool,
    /// Has its rights without asking; since 16.
    pub inherit: Option<bool>,
    /// May become it; since 16.
    pub set: Option<bool>,
}

/// One setting of a role, a database, or a role in a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Only in this database.
    pub database: Option<String>,
    /// Only for this role.
    pub role: Option<String>,
    /// Name of the parameter.
    pub name: String,
    /// Value, as the catalog has it.
    pub value: String,
}

/// The properties of one database, as far as `CREATE DATABASE` and `ALTER DATABASE` can set them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseFacts {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: String,
    /// Encoding, such as `UTF8`.
    pub encoding: String,
    /// `LC_COLLATE`; absent from 17 on where the provider has its own locale.
    pub collate: Option<String>,
    /// `LC_CTYPE`.
    pub ctype: Option<String>,
    /// `c` libc, `i` ICU, `b` built in; since 15.
    pub locale_provider: Option<String>,
    /// Locale of the provider, if it is not libc.
    pub locale: Option<String>,
    /// Extra ICU rules; since 16.
    pub icu_rules: Option<String>,
    /// Connections at once, -1 for any number.
    pub connection_limit: i32,
    /// Default tablespace.
    pub tablespace: String,
    /// Whether it is a template.
    pub is_template: bool,
    /// Comment.
    pub comment: Option<String>,
    /// Rights on it; absent if they are the default ones.
    pub grants: Option<Vec<Grant>>,
}

/// One right on a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Who has it; absent for PUBLIC.
    pub grantee: Option<String>,
    /// `CONNECT`, `CREATE` or `TEMPORARY`.
    pub privilege: String,
    /// May pass it on.
    pub grantable: bool,
}

/// A directory for data outside the cluster's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Name.
    pub name: String,
    /// Owner.
    pub owner: String,
    /// Directory on the server.
    pub location: String,
    /// Options such as `random_page_cost=1.1`.
    pub options: Vec<String>,
}

/// Columns that only some versions have are read through the row's JSON. `ROLES` is pg_authid or pg_roles.
const GLOBALS: &str = r"
SELECT pg_catalog.json_build_object(
 'server_version', pg_catalog.current_setting('server_version_num')::int,
 'roles', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', rolname, 'superuser', rolsuper, 'inherit', rolinherit, 'create_role', rolcreaterole,
    'create_database', rolcreatedb, 'login', rolcanlogin, 'replication', rolreplication,
    'bypass_rls', coalesce((pg_catalog.row_to_json(r)->>'rolbypassrls')::bool, false),
    'connection_limit', rolconnlimit, 'verifier', VERIFIER, 'valid_until', rolvaliduntil::text,
    'comment', pg_catalog.shobj_description(r.oid, 'pg_authid')) ORDER BY rolname), '[]')
   FROM pg_catalog.ROLES r WHERE rolname !~ '^pg_'),
 'memberships', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'role', g.rolname, 'member', u.rolname, 'admin', m.admin_option,
    'inherit', (pg_catalog.row_to_json(m)->>'inherit_option')::bool,
    'set', (pg_catalog.row_to_json(m)->>'set_option')::bool) ORDER BY g.rolname, u.rolname), '[]')
   FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid
   JOIN pg_catalog.pg_roles u ON u.oid = m.member WHERE u.rolname !~ '^pg_'),
 'settings', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'database', d.datname, 'role', r.rolname, 'name', pg_catalog.split_part(c.setting, '=', 1),
    'value', pg_catalog.substr(c.setting, pg_catalog.strpos(c.setting, '=') + 1))
    ORDER BY d.datname, r.rolname, c.at), '[]')
   FROM pg_catalog.pg_db_role_setting s
   CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) WITH ORDINALITY c(setting, at)
   LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
   LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
   WHERE (s.setdatabase = 0 OR d.oid IS NOT NULL) AND (s.setrole = 0 OR r.oid IS NOT NULL)),
 'databases', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', d.datname, 'owner', pg_catalog.pg_get_userbyid(d.datdba),
    'encoding', pg_catalog.pg_encoding_to_char(d.encoding), 'collate', d.datcollate, 'ctype', d.datctype,
    'locale_provider', pg_catalog.row_to_json(d)->>'datlocprovider',
    'locale', coalesce(pg_catalog.row_to_json(d)->>'datlocale', pg_catalog.row_to_json(d)->>'daticulocale'),
    'icu_rules', pg_catalog.row_to_json(d)->>'daticurules', 'connection_limit', d.datconnlimit,
    'tablespace', t.spcname, 'is_template', d.datistemplate,
    'comment', pg_catalog.shobj_description(d.oid, 'pg_database'),
    'grants', (SELECT pg_catalog.json_agg(pg_catalog.json_build_object('grantee', r.rolname,
        'privilege', a.privilege_type, 'grantable', a.is_grantable) ORDER BY r.rolname, a.privilege_type)
      FROM pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
      WHERE a.grantee = 0 OR r.oid IS NOT NULL)) ORDER BY d.datname), '[]')
   FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
   WHERE d.datallowconn AND d.datconnlimit <> -2),
 'tablespaces', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object(
    'name', spcname, 'owner', pg_catalog.pg_get_userbyid(spcowner),
    'location', pg_catalog.pg_tablespace_location(oid),
    'options', coalesce(pg_catalog.array_to_json(spcoptions), '[]')) ORDER BY spcname), '[]')
   FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_'));
";

/// Read the globals, with password verifiers if this user may see them.
pub(crate) fn read_globals(psql: &Psql) -> Result<Globals, QueryError> {
    let may_read =
        "SELECT pg_catalog.to_json(pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT'));\n";
    let (roles, verifier) = match psql.ask("rights on pg_authid", may_read, &[])? {
        true => ("pg_authid", "rolpassword"),
        false => ("pg_roles", "NULL"),
    };
    psql.ask("globals", &GLOBALS.replace("ROLES", roles).replace("VERIFIER", verifier), &[])
}
