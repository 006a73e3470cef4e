//! C13: passwords are in no command line, no environment and no message of any child.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use model::cancel::CancelToken;
use model::secret::Secret;
use pg::connection::{Connection, Session};
use pg::dump::{self, DumpOptions};
use pg::restore::{RestoreOptions, restore_stream};
use pg::server::Server;
use testkit::postgres::Postgres;

const CANARY: &str = r"canary:pa\ss'w%rd";

#[test]
fn c13_no_child_shows_the_password() {
    let server = Postgres::start();
    server.psql(&format!("ALTER ROLE postgres PASSWORD '{}'", CANARY.replace('\'', "''")));
    let uri = format!("postgresql://postgres:canary%3Apa%5Css'w%25rd@127.0.0.1:{}/postgres", server.port());
    let session = Session::open(Connection::parse(&uri).unwrap()).unwrap();
    let watcher = Watcher::start();
    let facts = Server::open(server.client(), &session).unwrap();
    assert_eq!(facts.databases().unwrap(), ["postgres"]);
    let cancel = CancelToken::new();
    for _ in 0..3 {
        let mut dump = dump::start(server.client(), &session, &DumpOptions::default(), &cancel).unwrap();
        let mut archive = Vec::new();
        dump.read_to_end(&mut archive).unwrap();
        dump.finish().unwrap();
        let options = RestoreOptions::default();
        restore_stream(server.client(), &session, &options, &mut archive.as_slice(), &cancel).unwrap();
    }
    assert!(watcher.stop() > 0, "children were seen");

    let wrong = session.connection().clone().with_password(Some(Secret::new("canary")));
    let error = Server::open(server.client(), &Session::open(wrong).unwrap()).err().unwrap().to_string();
    assert!(error.contains("password authentication failed") && !error.contains("canary"), "{error}");
}

/// Reads `/proc` of all our children as often as it can.
struct Watcher {
    stop: Arc<AtomicBool>,
    seen: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Watcher {
    fn start() -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (asked, count) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while !asked.load(Ordering::SeqCst) {
                count.fetch_add(look_at_children(), Ordering::SeqCst);
            }
        });
        Self { stop, seen, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.seen.load(Ordering::SeqCst)
    }
}

fn look_at_children() -> usize {
    let us = std::process::id().to_string();
    let mut seen = 0;
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        if parent != Some(&us) {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(process.path().join(file)).unwrap_or_default();
            assert!(
                memchr::memmem::find(&bytes, b"canary").is_none(),
                "{file} of a child shows the password"
            );
            seen += usize::from(!bytes.is_empty());
        }
    }
    seen
}
