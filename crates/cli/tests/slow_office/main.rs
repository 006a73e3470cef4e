//! What comes around runs: plain dumps beside the repository, commands, sets of sources, and changes that are seen.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod change;
mod export;
mod hooks;
mod sets;

#[path = "../office/mod.rs"]
mod office;

use pg::throwaway::SUPERUSER;
use testkit::postgres::Postgres;

use office::Office;

/// An office whose tenant acme has a database `app` as a source, with `more` in its table.
fn with_database(server: &Postgres, more: &str) -> Office {
    server.psql_in("postgres", "CREATE DATABASE app");
    server.psql_in("app", "CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 1000) n");
    let office = Office::new(&source(server, more));
    office.secret("password", &"Canary-of-a-repository-".repeat(4));
    office.secret("server", server.password());
    office.run(&["init", "--no-recovery-key"]).ok();
    office
}

/// The configuration of such an office.
fn source(server: &Postgres, more: &str) -> String {
    format!(
        "[tenants.acme]\nrepository = {{ url = \"ROOT/repository\", password = \"file:ROOT/password\" }}\n\
         [tenants.acme.sources.app]\ndatabase = \"postgresql://{SUPERUSER}@127.0.0.1:{}/app\"\n\
         password = \"file:ROOT/server\"\n{more}\n",
        server.port()
    )
}

/// Names tell seconds: wait for the next one.
fn next_second() {
    let now = jiff::Timestamp::now().as_second();
    while jiff::Timestamp::now().as_second() == now {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
