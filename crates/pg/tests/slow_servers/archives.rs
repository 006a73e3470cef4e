//! Archives of real servers: what we read of them, and what pg_restore makes of those that we derive.

use std::io::Read;

use model::cancel::CancelToken;
use pg::archive::{ArchiveReader, ArchiveSummary, DataBlock, Section, Toc, list_of_the_end, plan_restore};
use pg::dump::DumpOptions;
use pg::restore::{RestoreOptions, restore_file, restore_stream};
use pg::server::Server;
use testkit::postgres::{Postgres, installed};

use crate::rich;

#[test]
fn rows_and_entries_are_those_that_the_server_and_pg_restore_count() {
    for bin_dir in installed() {
        let server = Postgres::start_with(&bin_dir);
        rich::create(&server, "rich");
        let (archive, summary) = rich::dump(&server, "rich", &DumpOptions::default());
        assert_eq!(summary.length, archive.len() as u64);
        assert_eq!(summary.database, "rich");

        let facts = Server::open(server.client(), &server.session("rich")).unwrap();
        let mut counted = facts.table_rows("rich").unwrap();
        counted.sort_by(|a, b| (&a.schema, &a.table).cmp(&(&b.schema, &b.table)));
        let mut seen: Vec<_> =
            summary.tables().map(|table| (table.namespace.clone(), table.tag.clone(), table.rows)).collect();
        seen.sort();
        let counted: Vec<_> = counted.into_iter().map(|t| (t.schema, t.table, Some(t.rows))).collect();
        assert_eq!(seen, counted);

        let listed = rich::listed(&server, &archive);
        assert_eq!(listed.len(), summary.entries.iter().filter(|entry| is_listed(&entry.desc)).count());
        for (line, entry) in listed.iter().zip(summary.entries.iter().filter(|entry| is_listed(&entry.desc)))
        {
            assert!(line.starts_with(&format!("{}; ", entry.dump_id)), "{line} is not {entry:?}");
            assert!(line.contains(&format!(" {} ", entry.desc)), "{line} is not {entry:?}");
        }
    }
}

/// pg_restore does not list the entries that set its own state, nor those of the database itself.
fn is_listed(desc: &str) -> bool {
    !["ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES"].contains(&desc)
}

#[test]
fn t5_equal_content_has_an_equal_hash_whenever_it_was_dumped() {
    let server = Postgres::start();
    rich::create(&server, "rich");
    let (first, one) = rich::dump(&server, "rich", &DumpOptions::default());
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (second, other) = rich::dump(&server, "rich", &DumpOptions::default());
    assert_ne!(first, second, "the time of the dump is in it");
    assert_eq!(one, other);
    server.psql_in("rich", "INSERT INTO app.checked VALUES (51)");
    let (_, changed) = rich::dump(&server, "rich", &DumpOptions::default());
    assert_ne!(one.content_hash, changed.content_hash);
}

#[test]
fn a_restore_from_derived_archives_gives_the_same_database() {
    for bin_dir in installed() {
        let server = Postgres::start_with(&bin_dir);
        rich::create(&server, "rich");
        let (archive, summary) = rich::dump(&server, "rich", &DumpOptions::default());
        server.psql("CREATE DATABASE copy TEMPLATE template0");
        restore_in_pieces(&server, &archive, &summary, "copy");
        pretty_assert(&rich::plain(&server, "rich"), &rich::plain(&server, "copy"));
    }
}

#[test]
fn pg_restore_lists_in_derived_archives_what_they_shall_hold() {
    let server = Postgres::start();
    rich::create(&server, "rich");
    let (archive, summary) = rich::dump(&server, "rich", &DumpOptions::default());
    let toc = Toc::parse(&archive[..summary.toc_length as usize]).unwrap();
    assert_eq!(toc.bytes(), &archive[..summary.toc_length as usize]);
    assert_eq!(rich::listed(&server, &toc.without_data()), rich::listed(&server, &archive));

    let table = summary.tables().find(|table| table.tag == "orders").unwrap();
    let head = toc.tables_head(&[table.dump_id]).unwrap();
    assert!(head.len() < 2000, "{} bytes to load one table", head.len());
    let listed = rich::listed(&server, &head);
    assert_eq!(listed.len(), 1);
    assert!(listed[0].contains("TABLE DATA app orders"), "{listed:?}");

    let rest = rich::listed(&server, &toc.rest_head());
    assert!(rest.iter().any(|line| line.contains("SEQUENCE SET app counter")));
    assert!(rest.iter().any(|line| line.contains("BLOBS")));
    assert!(!rest.iter().any(|line| line.contains("TABLE DATA") || line.contains("MATERIALIZED VIEW DATA")));
    let derived: Vec<u8> = [head, block(&archive, table.offset, table.length).to_vec()].concat();
    let mut reader = ArchiveReader::new();
    reader.push(&derived).unwrap();
    assert_eq!(reader.finish().unwrap().tables().next().unwrap().rows, table.rows);
    assert!(toc.tables_head(&[4_000_000]).is_err());
}

#[test]
fn threat_11_what_reaches_out_of_a_database_is_named() {
    let server = Postgres::start();
    rich::create(&server, "rich");
    server.psql_in(
        "rich",
        "CREATE FUNCTION app.evil() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION app.evil();
         CREATE FUNCTION app.compiled(text) RETURNS int LANGUAGE internal AS 'textlen';",
    );
    let (archive, _) = rich::dump(&server, "rich", &DumpOptions::default());
    let names: Vec<_> =
        Toc::parse(&archive).unwrap().hazards().into_iter().map(|hazard| hazard.name).collect();
    assert_eq!(names, ["FUNCTION app.compiled(text)", "EVENT TRIGGER .evil"]);
}

#[test]
fn the_whole_archive_restores_from_a_stream_in_one_transaction() {
    let server = Postgres::start();
    rich::create(&server, "rich");
    let (archive, _) = rich::dump(&server, "rich", &DumpOptions::default());
    server.psql("CREATE DATABASE copy TEMPLATE template0");
    let options = RestoreOptions { single_transaction: true, ..RestoreOptions::default() };
    let (session, cancel) = (server.session("copy"), CancelToken::new());
    restore_stream(server.client(), &session, &options, &mut archive.as_slice(), &cancel).unwrap();
    pretty_assert(&rich::plain(&server, "rich"), &rich::plain(&server, "copy"));
    let again = RestoreOptions { clean: true, ..options };
    restore_stream(server.client(), &session, &again, &mut archive.as_slice(), &cancel).unwrap();
    pretty_assert(&rich::plain(&server, "rich"), &rich::plain(&server, "copy"));
}

#[test]
fn a_cut_archive_is_never_a_success() {
    let server = Postgres::start();
    rich::create(&server, "rich");
    let (archive, summary) = rich::dump(&server, "rich", &DumpOptions::default());
    server.psql("CREATE DATABASE copy TEMPLATE template0");
    let options = RestoreOptions { single_transaction: true, ..RestoreOptions::default() };
    let last_block = summary.entries.iter().map(|entry| entry.offset).max().unwrap();
    for end in [10, summary.toc_length / 2, summary.toc_length, last_block, summary.length - 1] {
        let cut = &archive[..end as usize];
        let mut reader = ArchiveReader::new();
        assert!(reader.push(cut).and_then(|()| reader.finish().map(|_| ())).is_err(), "{end}");
        let session = server.session("copy");
        let restored =
            restore_stream(server.client(), &session, &options, &mut &cut[..], &CancelToken::new());
        assert!(restored.is_err(), "{end}");
        let facts = Server::open(server.client(), &session).unwrap();
        assert!(facts.is_empty("copy").unwrap(), "{end}");
    }
}

/// What the engine will do, here one table after the other.
fn restore_in_pieces(server: &Postgres, archive: &[u8], summary: &ArchiveSummary, name: &str) {
    let (client, session, cancel) = (server.client(), server.session(name), CancelToken::new());
    let toc = Toc::parse(&archive[..summary.toc_length as usize]).unwrap();
    let plan = plan_restore(summary);
    assert!(plan.batches(100_000).len() < plan.tables.len());
    assert!(plan.batches(100_000).len() > 2);
    assert!(plan.tables.is_sorted_by_key(|table| std::cmp::Reverse(table.length)));
    assert!(plan.tables.iter().all(|table| table.rows != Some(0)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toc.without_data()).unwrap();
    let section = |section| RestoreOptions { section: Some(section), ..RestoreOptions::default() };

    let pre_data = RestoreOptions { no_acl: true, ..section(Section::PreData) };
    restore_file(client, &session, &pre_data, file.path(), &cancel).unwrap();
    for batch in plan.batches(100_000) {
        let ids: Vec<_> = batch.iter().map(|table| table.dump_id).collect();
        let head = toc.tables_head(&ids).unwrap();
        let blocks: Vec<u8> =
            batch.iter().flat_map(|b| block(archive, b.offset, b.length)).copied().collect();
        let mut stream = head.chain(blocks.as_slice());
        restore_stream(client, &session, &section(Section::Data), &mut stream, &cancel).unwrap();
    }
    let rest: Vec<u8> = plan
        .rest_blocks
        .iter()
        .flat_map(|DataBlock { offset, length, .. }| block(archive, *offset, *length))
        .copied()
        .collect();
    let head = toc.rest_head();
    assert!(plan.has_rest);
    let mut stream = head.chain(rest.as_slice());
    restore_stream(client, &session, &section(Section::Data), &mut stream, &cancel).unwrap();
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), list_of_the_end(summary)).unwrap();
    let end = RestoreOptions { list: Some(list.path().to_owned()), jobs: 2, ..RestoreOptions::default() };
    restore_file(client, &session, &end, file.path(), &cancel).unwrap();
}

fn block(archive: &[u8], offset: u64, length: u64) -> &[u8] {
    &archive[offset as usize..(offset + length) as usize]
}

/// Two long texts, and of their differences only the first lines.
fn pretty_assert(one: &str, other: &str) {
    if one == other {
        return;
    }
    let differences: Vec<_> = one.lines().zip(other.lines()).filter(|(a, b)| a != b).take(10).collect();
    panic!("{} and {} lines: {differences:#?}", one.lines().count(), other.lines().count());
}
