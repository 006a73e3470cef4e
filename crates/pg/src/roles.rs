//! Statements that bring back what is global, made of quoted names only.
//!
//! Invariant: a role with its settings, and a membership, are made only where they are missing: a restore never
//! changes the password or the rights of a role that is already there. What was made is told exactly, all of it or
//! nothing, so that a restore that fails later takes back its own and nothing else.

use serde::Deserialize;

use crate::globals::{DatabaseFacts, Globals, Membership, Role, Setting};
use crate::quote::{identifier, literal};
use crate::version::Version;

/// Membership has its own inherit and set options from here on.
const MEMBERSHIP_OPTIONS: Version = Version::new(16, 0);

/// `CREATE DATABASE` knows locale providers from here on.
const LOCALE_PROVIDERS: Version = Version::new(15, 0);

/// Parameters whose value is a list of quoted names (`GUC_LIST_QUOTE`): each name is a literal of its own.
const NAME_LISTS: [&str; 7] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
    "restrict_nonsystem_relation_kind",
];

/// Roles and memberships that were not there before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct MadeRoles {
    /// Roles, in the order in which they were made.
    pub roles: Vec<String>,
    /// Memberships: the group, and who is in it now.
    pub memberships: Vec<(String, String)>,
}

/// A script that makes the missing roles with their settings and the missing memberships in one transaction, for a
/// server of version `target`, and answers with [`MadeRoles`]; the same becomes the comment of database `note`. It
/// keeps count in two parameters of its session, because a temporary table needs a right that not everybody has.
pub(crate) fn make_roles_sql(globals: &Globals, target: Version, note: Option<&str>) -> String {
    let mut script = "BEGIN;\n".to_owned();
    let forget = |kept: &str| format!("PERFORM pg_catalog.set_config('mainstay.{kept}', '[]', false); ");
    script += &do_sql(&[forget("roles"), forget("memberships")].concat());
    script.extend(globals.roles.iter().map(|role| do_sql(&make_role(role, globals))));
    script.extend(merged(&globals.memberships).iter().map(|one| do_sql(&grant_membership(one, target))));
    const MADE: &str = "pg_catalog.json_build_object('roles', pg_catalog.current_setting('mainstay.roles')::json, \
                        'memberships', pg_catalog.current_setting('mainstay.memberships')::json)";
    if let Some(note) = note {
        script += &do_sql(&format!(
            "EXECUTE pg_catalog.format('COMMENT ON DATABASE %I IS %L', {}, {MADE}); ",
            literal(note)
        ));
    }
    script += &format!("SELECT {MADE};\nCOMMIT;\n");
    script
}

/// A script that does `first` and takes back what was made, each part as far as it can be, in one transaction, and
/// answers with the roles that are still there.
pub(crate) fn unmake_roles_sql(made: &MadeRoles, first: &[String]) -> String {
    let is_made = |name: &String| made.roles.contains(name);
    let ignored = |sql: String| do_sql(&format!("{sql}; EXCEPTION WHEN OTHERS THEN NULL; "));
    let between_others = made.memberships.iter().filter(|(role, member)| !is_made(role) && !is_made(member));
    let mut script = "BEGIN;\n".to_owned();
    script.extend(first.iter().flat_map(|sql| [sql.as_str(), ";\n"]));
    script.extend(
        between_others.map(|(role, member)| {
            ignored(format!("REVOKE {} FROM {}", identifier(role), identifier(member)))
        }),
    );
    script.extend(made.roles.iter().map(|role| ignored(format!("DROP ROLE IF EXISTS {}", identifier(role)))));
    let names: Vec<_> = made.roles.iter().map(|role| literal(role)).collect();
    script += &format!(
        "SELECT coalesce(pg_catalog.json_agg(rolname ORDER BY rolname), '[]') FROM pg_catalog.pg_roles \
         WHERE rolname = ANY (ARRAY[{}]::text[]);\nCOMMIT;\n",
        names.join(", ")
    );
    script
}

fn do_sql(body: &str) -> String {
    format!("DO {};\n", literal(&format!("BEGIN {body}END")))
}

/// Add `json` to the array that is kept in the session.
fn remember_sql(kept: &str, json: &str) -> String {
    format!(
        "PERFORM pg_catalog.set_config('mainstay.{kept}', (pg_catalog.current_setting('mainstay.{kept}')::jsonb || \
         {json})::text, false); "
    )
}

/// One row for each pair: since 16 a member may have been let in by several others, each with other options.
fn merged(memberships: &[Membership]) -> Vec<Membership> {
    let mut merged: Vec<Membership> = vec![];
    for one in memberships {
        match merged.iter_mut().find(|known| known.role == one.role && known.member == one.member) {
            Some(known) => {
                known.admin |= one.admin;
                known.inherit = known.inherit.max(one.inherit);
                known.set = known.set.max(one.set);
            }
            None => merged.push(one.clone()),
        }
    }
    merged
}

fn grant_membership(membership: &Membership, target: Version) -> String {
    let mut options = Vec::new();
    if membership.admin {
        options.push("ADMIN OPTION".to_owned());
    }
    if target >= MEMBERSHIP_OPTIONS {
        let flags = [("INHERIT", membership.inherit), ("SET", membership.set)];
        options.extend(flags.iter().filter_map(|(name, flag)| Some(format!("{name} {}", flag.as_ref()?))));
    }
    let options = if options.is_empty() { String::new() } else { format!(" WITH {}", options.join(", ")) };
    let (role, member) = (&membership.role, &membership.member);
    format!(
        "IF NOT EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles g ON g.oid = m.roleid \
         JOIN pg_catalog.pg_roles u ON u.oid = m.member WHERE g.rolname = {} AND u.rolname = {}) THEN \
         GRANT {} TO {}{options}; {}END IF; ",
        literal(role),
        literal(member),
        identifier(role),
        identifier(member),
        remember_sql(
            "memberships",
            &format!(
                "pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_array({}::text, {}::text))",
                literal(role),
                literal(member)
            )
        )
    )
}

/// Statements that give database `name` the settings, rights and comment of `facts`; its roles must be there.
pub fn database_properties_sql(globals: &Globals, facts: &DatabaseFacts, name: &str) -> Vec<String> {
    let database = identifier(name);
    let mut statements = Vec::new();
    if facts.connection_limit >= 0 {
        statements.push(format!("ALTER DATABASE {database} CONNECTION LIMIT {}", facts.connection_limit));
    }
    if let Some(comment) = &facts.comment {
        statements.push(format!("COMMENT ON DATABASE {database} IS {}", literal(comment)));
    }
    if let Some(grants) = &facts.grants {
        statements.push(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"));
        for grant in grants {
            // The three words that databases know; anything else did not come from a server.
            if ["CONNECT", "CREATE", "TEMPORARY"].contains(&grant.privilege.as_str()) {
                let grantee = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), identifier);
                let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
                statements
                    .push(format!("GRANT {} ON DATABASE {database} TO {grantee}{option}", grant.privilege));
            }
        }
    }
    for setting in globals.settings.iter().filter(|setting| setting.database.as_ref() == Some(&facts.name)) {
        let whom = match &setting.role {
            Some(role) => format!("ROLE {} IN DATABASE {database}", identifier(role)),
            None => format!("DATABASE {database}"),
        };
        statements.push(set_sql(&whom, setting));
    }
    statements
}

/// `CREATE DATABASE name` with encoding and locale of `facts`, for a server of version `target`; this owner and this
/// tablespace must be there.
pub(crate) fn create_database_sql(
    name: &str,
    facts: Option<&DatabaseFacts>,
    owner: Option<&str>,
    tablespace: Option<&str>,
    target: Version,
) -> String {
    let mut sql = format!("CREATE DATABASE {}", identifier(name));
    let names = [("OWNER", owner), ("TABLESPACE", tablespace)];
    sql.extend(names.iter().filter_map(|(word, name)| Some(format!(" {word} {}", identifier((*name)?)))));
    let Some(facts) = facts else { return sql };
    sql += &format!(" TEMPLATE template0 ENCODING {}", literal(&facts.encoding));
    let mut option = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            sql += &format!(" {word} {}", literal(value));
        }
    };
    option("LC_COLLATE", &facts.collate);
    option("LC_CTYPE", &facts.ctype);
    match facts.locale_provider.as_deref() {
        Some("i") if target >= LOCALE_PROVIDERS => {
            option("ICU_LOCALE", &facts.locale);
            option("ICU_RULES", &facts.icu_rules);
            sql += " LOCALE_PROVIDER icu";
        }
        Some("b") if target >= Version::new(17, 0) => {
            option("BUILTIN_LOCALE", &facts.locale);
            sql += " LOCALE_PROVIDER builtin";
        }
        Some("c") if target >= LOCALE_PROVIDERS => sql += " LOCALE_PROVIDER libc",
        _ => {}
    }
    sql
}

fn make_role(role: &Role, globals: &Globals) -> String {
    let name = identifier(&role.name);
    let mut steps = vec![create_sql(role)];
    if let Some(comment) = &role.comment {
        steps.push(format!("COMMENT ON ROLE {name} IS {}", literal(comment)));
    }
    let own = |setting: &&Setting| setting.database.is_none() && setting.role.as_ref() == Some(&role.name);
    steps
        .extend(globals.settings.iter().filter(own).map(|setting| set_sql(&format!("ROLE {name}"), setting)));
    format!(
        "IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {0}) THEN {1}; {2}END IF; ",
        literal(&role.name),
        steps.join("; "),
        remember_sql("roles", &format!("pg_catalog.to_jsonb({}::text)", literal(&role.name)))
    )
}

/// Only what differs from the defaults is said, so that it works without being superuser where it can.
fn create_sql(role: &Role) -> String {
    let mut sql = format!("CREATE ROLE {}", identifier(&role.name));
    let flags = [
        (role.superuser, " SUPERUSER"),
        (!role.inherit, " NOINHERIT"),
        (role.create_role, " CREATEROLE"),
        (role.create_database, " CREATEDB"),
        (role.login, " LOGIN"),
        (role.replication, " REPLICATION"),
        (role.bypass_rls, " BYPASSRLS"),
    ];
    sql.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word));
    if role.connection_limit >= 0 {
        sql += &format!(" CONNECTION LIMIT {}", role.connection_limit);
    }
    if let Some(verifier) = &role.verifier {
        sql += &format!(" PASSWORD {}", literal(&verifier.0));
    }
    if let Some(end) = &role.valid_until {
        sql += &format!(" VALID UNTIL {}", literal(end));
    }
    sql
}

fn set_sql(whom: &str, setting: &Setting) -> String {
    let value = match NAME_LISTS.contains(&setting.name.to_lowercase().as_str()) {
        true => split_names(&setting.value).iter().map(|name| literal(name)).collect::<Vec<_>>().join(", "),
        false => literal(&setting.value),
    };
    let value = if value.is_empty() { "''".to_owned() } else { value };
    // A custom parameter's name has dots between its parts, each an identifier.
    let name = setting.name.split('.').map(identifier).collect::<Vec<_>>().join(".");
    format!("ALTER {whom} SET {name} TO {value}")
}

/// The names in a list such as `"$user", public`.
fn split_names(list: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = list.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => name.extend(characters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            character if !quoted && character.is_whitespace() => {}
            character => name.push(character),
        }
    }
    if !name.is_empty() || !names.is_empty() {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_are_split_at_commas_outside_quotes() {
        assert_eq!(split_names("\"$user\", public"), ["$user", "public"]);
        assert_eq!(split_names("\"a,b\",\"c\"\"d\""), ["a,b", "c\"d"]);
        assert_eq!(split_names(""), Vec::<String>::new());
    }
}
