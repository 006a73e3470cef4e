//! T12: what one version dumped, every later version restores.

use std::path::PathBuf;

use model::cancel::CancelToken;
use pg::client::Clients;
use pg::dump::DumpOptions;
use pg::restore::{RestoreOptions, restore_stream};
use pg::server::Server;
use testkit::postgres::{Postgres, installed};

use crate::rich;

#[test]
fn t12_a_dump_is_restored_by_its_own_and_every_later_version() {
    let directories: Vec<PathBuf> = installed();
    let clients = Clients::in_directories(directories.clone());
    let servers: Vec<_> = directories.iter().map(|directory| Postgres::start_with(directory)).collect();
    for source in &servers {
        rich::create(source, "rich");
        // It may not be installed beside a newer server.
        source.psql_in("rich", "DROP EXTENSION IF EXISTS pg_trgm CASCADE");
    }
    for source in &servers {
        let facts = Server::open(source.client(), &source.session("rich")).unwrap();
        let dumper = clients.for_dump(facts.version()).unwrap();
        assert_eq!(dumper.version(), source.client().version());
        let (archive, summary) = rich::dump(source, "rich", &DumpOptions::default());
        let format: u8 = summary.archive_version.trim_start_matches("1.").parse().unwrap();
        let (rows, globals) = (facts.table_rows("rich").unwrap(), facts.globals().unwrap());
        for target in servers.iter().filter(|target| target.client().version() >= source.client().version()) {
            let facts = Server::open(target.client(), &target.session("postgres")).unwrap();
            facts.make_roles(&globals, None).unwrap();
            facts.create_database("copy", globals.databases.iter().find(|d| d.name == "rich")).unwrap();
            let restorer = clients.for_restore(format, facts.version()).unwrap();
            let session = target.session("copy");
            let (options, cancel) = (RestoreOptions::default(), CancelToken::new());
            restore_stream(restorer, &session, &options, &mut archive.as_slice(), &cancel).unwrap();
            assert_eq!(facts.table_rows("copy").unwrap(), rows);
            facts.drop_database("copy").unwrap();
        }
    }
}
