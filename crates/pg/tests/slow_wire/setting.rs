//! Servers with a `pg_hba.conf` and a certificate of a test's own, and servers on a directory that came from a backup.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

use model::cancel::CancelToken;
use pg::connection::Connection;
use pg::wire::{Conversation, Purpose, WireError};
use testkit::certificate::Certificates;
use testkit::postgres::Postgres;
use testkit::revived::{Revived, give_to_owner_of};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without an environment.
pub(crate) fn open(connection: &Connection, purpose: Purpose) -> Result<Conversation, WireError> {
    Conversation::open(connection, purpose, &|_| None, &CancelToken::new())
}

/// A superuser's conversation for replication.
pub(crate) fn replication(server: &Postgres) -> Conversation {
    open(&server.connection("postgres"), Purpose::Replication).unwrap()
}

/// Wait until it holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Put lines before what `pg_hba.conf` says.
pub(crate) fn allow(server: &Postgres, lines: &str) {
    let path = server.cluster().data_dir().join("pg_hba.conf");
    let old = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{lines}\n{old}")).unwrap();
    server.psql("SELECT pg_reload_conf()");
    until("the lines are read", || {
        // Lines for TLS are told to be of no use while there is none.
        let count = "SELECT count(*) FROM pg_hba_file_rules WHERE error !~ 'hostssl'";
        assert_eq!(server.psql(count), "0", "{lines}");
        true
    });
}

/// Let the server speak TLS with this certificate.
pub(crate) fn show_certificate(server: &Postgres, certificates: &Certificates) {
    let data = server.cluster().data_dir();
    let owner = fs::metadata(&data).unwrap();
    // One file may hold both.
    for name in ["server.crt", "server.key"] {
        let path = data.join(name);
        fs::write(&path, certificates.server_pem()).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    server.psql("ALTER SYSTEM SET ssl = on");
    server.psql("SELECT pg_reload_conf()");
    let connection = server.connection("postgres").with("sslmode", "require").unwrap();
    until("TLS is spoken", || open(&connection, Purpose::Statements).is_ok());
}

/// Start a server like `like` on `data`; all that lies beside it is given to its user.
pub(crate) fn revive(like: &Postgres, data: &Path, settings: &[(&str, &str)]) -> Revived {
    give_to_owner_of(data.parent().unwrap(), like);
    fs::set_permissions(data, PermissionsExt::from_mode(0o700)).unwrap();
    Revived::start(data, like, settings)
}
