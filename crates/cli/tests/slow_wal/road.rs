//! From one server through the repository into another one.

use std::fs;

use crate::server::Place;

#[test]
fn c21_wal_goes_through_the_repository_and_recovery_reaches_the_last_transaction() {
    let place = Place::new();
    let push = place.archive_command("host-a");
    let archiving = [("archive_mode", "on"), ("archive_command", &*push), ("wal_keep_size", "1GB")];
    let mut primary = place.initdb("a").start(&archiving);
    primary.write(100);
    let mut copy = primary.base_backup("b");
    primary.write(20_000);
    let rows = primary.rows();
    primary.archive_all();
    let failed = primary.psql("SELECT failed_count FROM pg_stat_archiver");
    assert_eq!(failed, "0", "{}", primary.log_text());
    let segments: Vec<_> = primary
        .psql("SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$' ORDER BY name")
        .lines()
        .map(str::to_owned)
        .collect();
    primary.stop("INT");

    // pg_waldump reads what was fetched, and it is what the server wrote.
    let out = place.path().join("export");
    place.mainstay(&["wal", "export", out.to_str().unwrap()]).ok();
    let stored = |name: &String| out.join(name).exists();
    let archived: Vec<_> = segments.iter().filter(|name| stored(name)).collect();
    assert!(archived.len() > 5, "{segments:?}");
    for name in &archived {
        let original = fs::read(primary.directory.join("pg_wal").join(name)).unwrap();
        assert!(fs::read(out.join(name)).unwrap() == original, "{name}");
    }
    let first = out.join(archived[0]).display().to_string();
    let last = out.join(archived[archived.len() - 2]).display().to_string();
    assert!(place.printed("pg_waldump", &["--quiet", &first, &last]).is_empty());
    let notes = fs::read_dir(&out).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(notes.filter(|name| name.ends_with(".backup")).count(), 1, "the note of the base backup");

    // Recovery with prefetching comes to the last transaction, and archives its new timeline as its owner's successor.
    copy.signal_file("recovery.signal");
    let fetch = place.restore_command("host-b", "", "--timeout 20s");
    let push = place.archive_command("host-b");
    let copy = copy_started(&mut copy, &fetch, &push);
    copy.wait_for("SELECT NOT pg_is_in_recovery()");
    assert_eq!(copy.rows(), rows);
    copy.write(10);
    copy.archive_all();
    let status = place.mainstay(&["wal", "status"]).ok().text();
    assert!(status.contains("\n2         "), "{status}");
    let history = place.repository().join("wal");
    assert_eq!(fs::read_dir(history).unwrap().count(), 1, "one cluster");
    place.assert_sound();
}

fn copy_started<'a, 'b>(
    copy: &'b mut crate::server::Server<'a>,
    fetch: &str,
    push: &str,
) -> &'b crate::server::Server<'a> {
    copy.begin(&[("restore_command", fetch), ("archive_mode", "on"), ("archive_command", push)]);
    copy
}
