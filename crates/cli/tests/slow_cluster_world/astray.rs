//! A way to a server on which what is said in SQL and what replicates come to different ones, as behind a proxy.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;

use testkit::means;
use testkit::postgres::of_major;
use testkit::program::Ran;
use testkit::site::id_of;

use crate::ledger;
use crate::pair::{Archiving, Pages, Pair};
use crate::scenes::come_back;
use crate::server::{Place, Server};

/// What a server's socket is called, in its directory.
const SOCKET: &str = ".s.PGSQL.5432";

/// Make such a way; the directory of its socket. It lasts as long as the test's process.
fn fork(place: &Place, name: &str, statements: &Server<'_>, replication: &Server<'_>) -> String {
    let folder = place.folder(name);
    let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
    for (path, mode) in [(folder.clone(), 0o755), (folder.join(SOCKET), 0o777)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let ends = [statements, replication].map(|server| Path::new(&server.socket_folder()).join(SOCKET));
    thread::spawn(move || {
        // A client that goes away in the middle is its own affair.
        listener.incoming().flatten().for_each(|client| _ = lead(client, &ends));
    });
    folder.display().to_string()
}

/// Lead a client to where its first message says: a length, itself included, then names and values that end with zeros.
fn lead(mut client: UnixStream, [statements, replication]: &[PathBuf; 2]) -> io::Result<()> {
    let mut len = [0; 4];
    client.read_exact(&mut len)?;
    let mut first = vec![0; (u32::from_be_bytes(len) as usize).saturating_sub(len.len())];
    client.read_exact(&mut first)?;
    let replicates = first.windows(13).any(|bytes| bytes == b"\0replication\0");
    let mut server = UnixStream::connect(if replicates { replication } else { statements })?;
    server.write_all(&[&len[..], &first].concat())?;
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            io::copy(&mut from, &mut to).ok();
            to.shutdown(Shutdown::Write).ok();
        });
    }
    Ok(())
}

#[test]
fn a_replication_connection_that_leads_elsewhere_makes_no_mark_and_to_another_cluster_no_backup() {
    let Some(bin_dir) = of_major(17).or_else(|| of_major(18)) else {
        return means::lack("neither PostgreSQL 17 nor 18 can be had here");
    };
    let place = Place::of(bin_dir);
    let pair = Pair::start(&place, Archiving::Push, Pages::Plain);
    ledger::create(pair.primary());
    let stranger = place.initdb_with("c", &[]).start(&[]);
    let back_up = |way: &str| {
        let mut command = place.mainstay_on("host-a");
        command.env("PGHOST", way).env("PGUSER", "postgres");
        command.args(["backup", "create", "acme", "--cluster", "--via", "stream"]);
        Ran::of(&command.output().unwrap())
    };
    let is = |ran: &Ran, what: &str| {
        assert!(ran.stderr.contains(&format!("cluster: {what},")), "{what}: {}", ran.stderr);
    };
    let listed = || place.mainstay(&["backup", "list"]).ok().text();
    let slots = |server: &Server<'_>| {
        server.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'mainstay%'")
    };
    let straight = pair.primary().socket_folder();
    is(&back_up(&straight).ok(), "full");
    is(&back_up(&straight).ok(), "increment 1");

    let before = listed();
    let to_stranger = fork(&place, "to-stranger", pair.primary(), &stranger);
    let refused = back_up(&to_stranger).exits(2);
    let words = format!("for statements to {}", pair.system);
    assert!(refused.stderr.contains(&words), "{}", refused.stderr);
    assert_eq!(listed(), before, "a backup is seen");
    assert_eq!(slots(&stranger), "0");

    // The same cluster, but not the server that bears the mark.
    let point = ledger::book(pair.primary(), 7, None).unwrap();
    pair.settle();
    // Else the segment in which that ends is archived some day, and waited for.
    pair.primary().psql("SELECT pg_switch_wal()");
    let to_standby = fork(&place, "to-standby", pair.primary(), pair.standby());
    let ran = back_up(&to_standby).ok();
    is(&ran, "full");
    for words in [
        "does not bear the mark",
        "the server that sends is another one than the one that answers statements",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {}", ran.stderr);
    }
    assert_eq!(slots(pair.standby()), "0");
    come_back(&place, &id_of(&ran), &point, Pages::Plain);
    // It is a standby's and has no mark, so it is no parent of what the primary sends.
    let ran = back_up(&straight).ok();
    is(&ran, "full");
    assert!(ran.stderr.contains("one is a standby and the other is none"), "{}", ran.stderr);
    is(&back_up(&straight).ok(), "increment 1");
}
