//! A database with everything that was ever lost in a dump, and a view of databases that pg_dump itself gives.

use crate::postgres::Postgres;

/// Make the database `name`.
pub fn create(server: &Postgres, name: &str) {
    make(server, name, include_str!("../../pg/tests/slow_servers/rich.sql"));
}

/// A small one: two accounts and their sum.
pub fn create_small(server: &Postgres, name: &str) {
    let sql = "CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL);
        INSERT INTO account SELECT n, 1000 FROM generate_series(1, 200) n;
        CREATE TABLE filler (n int, words text);
        INSERT INTO filler SELECT n, md5(n::text) || md5((n + 1)::text) FROM generate_series(1, 4000) n";
    make(server, name, sql);
}

/// Make a database by a script.
pub fn make(server: &Postgres, name: &str, sql: &str) {
    server.psql(&format!("CREATE DATABASE {}", quoted(name)));
    server.psql_in(name, sql);
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Everything in the database as pg_dump tells it in plain text, without its random key.
///
/// # Panics
/// Where pg_dump fails.
pub fn plain(server: &Postgres, name: &str) -> String {
    plain_with(server, name, &[])
}

/// The same with further flags.
///
/// # Panics
/// Where pg_dump fails.
pub fn plain_with(server: &Postgres, name: &str, flags: &[&str]) -> String {
    let large_objects = if server.client().version().major() < 16 { "--blobs" } else { "--large-objects" };
    let session = server.session(name);
    let mut command = session.command(&server.client().program("pg_dump"));
    let output =
        command.args(["--format=plain", large_objects]).args(flags).output().expect("pg_dump starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let is_key = |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.lines().filter(|line| !is_key(line)).collect::<Vec<_>>().join("\n")
}

/// The names of all databases, as SQL would quote them.
pub fn databases(server: &Postgres) -> Vec<String> {
    let names = server.psql("SELECT quote_literal(datname) FROM pg_database ORDER BY datname");
    names.lines().map(str::to_owned).collect()
}
