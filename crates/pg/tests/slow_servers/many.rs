//! A database of very many small tables: what is done per table must be little.

use std::io::Read;
use std::time::Instant;

use model::cancel::CancelToken;
use pg::archive::{Section, Toc, plan_restore};
use pg::dump::DumpOptions;
use pg::restore::{RestoreOptions, restore_file, restore_stream};
use pg::server::Server;
use testkit::postgres::{Postgres, installed};

use crate::rich;

const TABLES: usize = 1000;

#[test]
fn thousands_of_tables_are_restored_by_few_programs() {
    let server = Postgres::start_with_settings(&installed()[0], &[("max_locks_per_transaction", "1024")]);
    server.psql("CREATE DATABASE many");
    let create = |n: usize| {
        format!("CREATE TABLE t{n} (id serial PRIMARY KEY, v text); INSERT INTO t{n} (v) VALUES ('{n}');\n")
    };
    let script: String = (0..TABLES).map(create).collect();
    server.psql_in("many", &format!("BEGIN;\n{script}COMMIT;"));
    let (archive, summary) = rich::dump(&server, "many", &DumpOptions::default());
    server.psql("CREATE DATABASE copy TEMPLATE template0");

    let begin = Instant::now();
    let toc = Toc::parse(&archive[..summary.toc_length as usize]).unwrap();
    let plan = plan_restore(&summary);
    assert_eq!(plan.tables.len(), TABLES);
    let batches = plan.batches(1 << 20);
    assert!(batches.len() <= TABLES / 200 + 1, "{} batches", batches.len());
    let heads: Vec<_> = batches
        .iter()
        .map(|batch| toc.tables_head(&batch.iter().map(|table| table.dump_id).collect::<Vec<_>>()).unwrap())
        .collect();
    println!("{} entries, planned in {:?}", summary.entries.len(), begin.elapsed());

    let (session, cancel) = (server.session("copy"), CancelToken::new());
    let section =
        |section, jobs| RestoreOptions { section: Some(section), jobs, ..RestoreOptions::default() };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toc.without_data()).unwrap();
    restore_file(server.client(), &session, &section(Section::PreData, 0), file.path(), &cancel).unwrap();
    std::thread::scope(|scope| {
        for (batch, head) in batches.iter().zip(&heads) {
            let (archive, session, cancel, server) = (&archive, &session, &cancel, &server);
            scope.spawn(move || {
                let blocks: Vec<u8> = batch
                    .iter()
                    .flat_map(|table| &archive[table.offset as usize..(table.offset + table.length) as usize])
                    .copied()
                    .collect();
                let mut stream = head.chain(blocks.as_slice());
                restore_stream(server.client(), session, &section(Section::Data, 0), &mut stream, cancel)
                    .unwrap();
            });
        }
    });
    let rest = toc.rest_head();
    restore_stream(server.client(), &session, &section(Section::Data, 0), &mut rest.as_slice(), &cancel)
        .unwrap();
    restore_file(server.client(), &session, &section(Section::PostData, 2), file.path(), &cancel).unwrap();
    println!("restored in {:?}", begin.elapsed());
    let facts = Server::open(server.client(), &session).unwrap();
    assert_eq!(facts.table_rows("copy").unwrap(), facts.table_rows("many").unwrap());
    assert_eq!(server.psql_in("copy", "SELECT nextval('t7_id_seq')"), "2");
}
