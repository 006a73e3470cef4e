//! Every way to prove who we are, and whom we believe.

use std::os::unix::fs::PermissionsExt;

use model::cancel::CancelToken;
use model::secret::Secret;
use model::wal_name::{SegmentName, SegmentNo};
use pg::base_backup::Options;
use pg::connection::Connection;
use pg::replication::{identify_system, segment_size};
use pg::wire::{Conversation, Purpose, WireError};
use testkit::certificate::Certificates;
use testkit::postgres::{Postgres, of_major};

use crate::backups::take_over;
use crate::setting::{allow, open, show_certificate};
use crate::wal::{read_to, stream};

const USERS: &str = "
SET password_encryption = 'md5';
CREATE ROLE by_md5 LOGIN PASSWORD 'pencil';
SET password_encryption = 'scram-sha-256';
CREATE ROLE by_scram LOGIN REPLICATION PASSWORD 'pencil';
CREATE ROLE by_clear LOGIN PASSWORD 'pencil';
CREATE ROLE by_trust LOGIN;
CREATE ROLE only_tls LOGIN PASSWORD 'pencil';
CREATE ROLE never_tls LOGIN PASSWORD 'pencil';
";

const LINES: &str = "
host    all by_md5    127.0.0.1/32 md5
host    all by_clear  127.0.0.1/32 password
local   all by_clear               password
host    all by_trust  127.0.0.1/32 trust
hostssl all only_tls  127.0.0.1/32 scram-sha-256
hostnossl all never_tls 127.0.0.1/32 scram-sha-256
host    all only_tls,never_tls 127.0.0.1/32 reject
";

fn as_user(server: &Postgres, user: &str, password: Option<&str>, more: &str) -> Connection {
    let text = format!("host=127.0.0.1 port={} dbname=postgres user={user} {more}", server.port());
    Connection::parse(&text).unwrap().with_password(password.map(Secret::new))
}

fn answer(connection: &Connection) -> Result<String, WireError> {
    let mut server = open(connection, Purpose::Statements)?;
    let rows = server
        .query_one("SELECT session_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")?;
    let text = rows.text(0, 0).unwrap().to_owned();
    server.close();
    Ok(text)
}

fn sqlstate(connection: &Connection) -> String {
    answer(connection).unwrap_err().sqlstate().unwrap_or("none").to_owned()
}

#[test]
fn every_way_to_log_in_is_spoken_with_every_server() {
    for bin_dir in (13..=18).filter_map(of_major) {
        let server = Postgres::start_with(&bin_dir);
        server.psql(USERS);
        allow(&server, LINES);
        let said = |user: &str| answer(&as_user(&server, user, Some("pencil"), "")).unwrap();
        assert_eq!(said("by_md5"), "by_md5 false");
        assert_eq!(said("by_scram"), "by_scram false");
        assert_eq!(answer(&as_user(&server, "by_trust", None, "")).unwrap(), "by_trust false");
        // A password in the clear: not over a network, but through a socket of this machine.
        let clear = as_user(&server, "by_clear", Some("pencil"), "");
        assert!(matches!(answer(&clear), Err(WireError::Authentication(_))));
        let local = clear.with("host", server.socket_dir().to_str().unwrap()).unwrap();
        assert_eq!(answer(&local).unwrap(), "by_clear false");
        // What is wrong is told in the server's words.
        for user in ["by_md5", "by_scram", "nobody_here"] {
            assert_eq!(sqlstate(&as_user(&server, user, Some("wrong"), "")), "28P01", "{user}");
        }
        assert!(matches!(answer(&as_user(&server, "by_scram", None, "")), Err(WireError::NoPassword)));
        assert_eq!(sqlstate(&as_user(&server, "only_tls", Some("pencil"), "")), "28000");
        let replication = as_user(&server, "by_scram", Some("pencil"), "");
        assert!(open(&replication, Purpose::Replication).is_ok());
        // Over a connection without TLS nothing can be bound.
        let bound = as_user(&server, "by_scram", Some("pencil"), "channel_binding=require");
        assert!(matches!(answer(&bound), Err(WireError::Scram(_))));
        let tls = as_user(&server, "by_scram", Some("pencil"), "sslmode=require");
        assert!(matches!(answer(&tls), Err(WireError::Tls { .. })));
    }
}

/// Also what is large: a backup, and the log as it is written.
fn files_and_wal_come_over_tls(server: &Postgres, more: &str) {
    let talk = || {
        let talk = open(&as_user(server, "by_scram", Some("pencil"), more), Purpose::Replication).unwrap();
        assert!(talk.is_private());
        talk
    };
    let home = tempfile::tempdir_in(server.socket_dir()).unwrap();
    let data = home.path().join("data");
    let (finished, start) = take_over(talk(), &data, &Options::default());
    assert!(finished.stop > start && data.join("global/pg_control").is_file());
    let mut talk = talk();
    let (size, who) = (segment_size(&mut talk).unwrap(), identify_system(&mut talk).unwrap());
    let begin = size.segment_of(who.flushed);
    server.psql("CREATE TABLE t AS SELECT generate_series(1, 20000) x; SELECT pg_switch_wal()");
    let mut stream = stream(talk, None, who.timeline, size.start_of(begin));
    let found = read_to(&mut stream, size.start_of(SegmentNo(begin.0 + 1)));
    let name = SegmentName::new(who.timeline, begin, size).to_string();
    let file = std::fs::read(server.cluster().data_dir().join("pg_wal").join(name)).unwrap();
    assert!(found.starts_with(&file), "{} bytes came", found.len());
    stream.close();
}

#[test]
fn tls_means_what_libpq_says() {
    let certificates = Certificates::make();
    let stranger = Certificates::make();
    let mut has_spoken = false;
    for bin_dir in (13..=18).filter_map(of_major) {
        let server = Postgres::start_with(&bin_dir);
        if server.psql("SHOW ssl_library").is_empty() {
            continue;
        }
        has_spoken = true;
        server.psql(USERS);
        allow(&server, LINES);
        show_certificate(&server, &certificates);
        let root = format!("sslrootcert={}", certificates.authority().display());
        let said = |user: &str, more: &str| answer(&as_user(&server, user, Some("pencil"), more));
        for more in ["", "sslmode=require", "sslmode=prefer channel_binding=require", "sslmode=allow"] {
            let tls = if more == "sslmode=allow" { "false" } else { "true" };
            assert_eq!(said("by_scram", more).unwrap(), format!("by_scram {tls}"), "{more}");
        }
        assert_eq!(said("by_scram", "sslmode=disable").unwrap(), "by_scram false");
        for mode in ["verify-ca", "verify-full", "require"] {
            let more = format!("sslmode={mode} {root} channel_binding=require");
            assert_eq!(said("by_scram", &more).unwrap(), "by_scram true", "{mode}");
        }
        files_and_wal_come_over_tls(&server, &format!("sslmode=verify-full {root} channel_binding=require"));
        // In TLS a password in the clear is one that nobody on the way reads.
        assert_eq!(said("by_clear", &format!("sslmode=verify-full {root}")).unwrap(), "by_clear true");
        // pg_hba.conf wants the other way.
        assert_eq!(said("only_tls", "sslmode=allow").unwrap(), "only_tls true");
        assert_eq!(said("never_tls", "").unwrap(), "never_tls false");
        // Another authority, and another name.
        let other = format!("sslrootcert={}", stranger.authority().display());
        for mode in ["verify-ca", "verify-full", "require"] {
            let refused = said("by_scram", &format!("sslmode={mode} {other}"));
            assert!(matches!(refused, Err(WireError::Tls { .. })), "{mode}");
        }
        let elsewhere = |mode: &str| {
            let text = format!(
                "host=localhost hostaddr=127.0.0.1 port={} dbname=postgres user=by_scram",
                server.port()
            );
            let connection = Connection::parse(&format!("{text} sslmode={mode} {root}")).unwrap();
            answer(&connection.with_password(Some(Secret::new("pencil"))))
        };
        assert!(matches!(elsewhere("verify-full"), Err(WireError::Tls { .. })));
        assert_eq!(elsewhere("verify-ca").unwrap(), "by_scram true");
    }
    assert!(has_spoken, "no server here has TLS");
}

#[test]
fn a_password_is_found_where_libpq_finds_it() {
    let server = Postgres::start();
    server.psql(USERS);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    std::fs::write(&file, "127.0.0.1:*:app:by_scram:wrong\n127.0.0.1:*:replication:by_scram:pencil\n")
        .unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let environment = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap().to_owned());
    let connection = as_user(&server, "by_scram", None, "");
    let open = |purpose| Conversation::open(&connection, purpose, &environment, &CancelToken::new());
    assert!(open(Purpose::Replication).is_ok());
    assert!(matches!(open(Purpose::Statements), Err(WireError::NoPassword)));
}

#[test]
fn the_next_host_is_tried_and_a_kind_of_server_can_be_asked_for() {
    let server = Postgres::start();
    let both = |more: &str| {
        let text = format!("host=127.0.0.1,127.0.0.1 port=1,{} user=postgres {more}", server.port());
        let connection = Connection::parse(&text).unwrap();
        open(&connection.with_password(Some(Secret::new(server.password()))), Purpose::Replication)
    };
    let mut found = both("target_session_attrs=primary").unwrap();
    assert_eq!(found.show("wal_segment_size").unwrap(), "1MB");
    assert_eq!(found.version().major(), server.client().version().major());
    assert!(matches!(both("target_session_attrs=standby"), Err(WireError::Parameter { .. })));
    let nobody = Connection::parse("host=127.0.0.1 port=1 user=u").unwrap();
    let error = open(&nobody, Purpose::Statements).err().unwrap();
    assert!(matches!(error, WireError::Connect { .. }) && error.is_passing());
}
