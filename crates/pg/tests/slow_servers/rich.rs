//! The rich database, dumped, and the judges' view of it.

use std::io::Read;

use model::cancel::CancelToken;
use pg::archive::{ArchiveReader, ArchiveSummary};
use pg::dump::{self, DumpOptions};
use testkit::postgres::Postgres;

/// A database of every kind of thing, called `name`.
pub(crate) fn create(server: &Postgres, name: &str) {
    server.psql(&format!("CREATE DATABASE \"{name}\""));
    server.psql_in(name, include_str!("rich.sql"));
}

/// The database's archive and what was seen of it as it passed.
pub(crate) fn dump(server: &Postgres, name: &str, options: &DumpOptions) -> (Vec<u8>, ArchiveSummary) {
    let mut dump = dump::start(server.client(), &server.session(name), options, &CancelToken::new()).unwrap();
    let (mut archive, mut reader) = (Vec::new(), ArchiveReader::new());
    let mut buffer = vec![0; 100_003];
    loop {
        let count = dump.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        reader.push(&buffer[..count]).unwrap();
        archive.extend_from_slice(&buffer[..count]);
    }
    let report = dump.finish().unwrap();
    assert_eq!(report.length, archive.len() as u64);
    (archive, reader.finish().unwrap())
}

/// Everything in the database as plain text, for comparison: pg_dump's own words, without its random key.
pub(crate) fn plain(server: &Postgres, name: &str) -> String {
    // Before 16 the option was called --blobs.
    let large_objects = if server.client().version().major() < 16 { "--blobs" } else { "--large-objects" };
    let session = server.session(name);
    let mut command = session.command(&server.client().program("pg_dump"));
    let output = command.args(["--format=plain", large_objects]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let restrict = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(restrict).collect::<Vec<_>>().join("\n")
}

/// What `pg_restore -l` says of an archive: its entries, one per line.
pub(crate) fn listed(server: &Postgres, archive: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), archive).unwrap();
    let output = std::process::Command::new(server.client().program("pg_restore"))
        .arg("-l")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter(|line| !line.starts_with(';')).map(str::to_owned).collect()
}
