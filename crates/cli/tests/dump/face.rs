//! What scripts rely on: columns, JSON, the one success line, quietness, labels, holds, defaults.

use std::io::{Read, Write};
use std::net::TcpListener;

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::site::Site;

use crate::site;
use testkit::rich;

fn json(site: &Site, arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend(arguments);
    serde_json::from_slice(&site.run(&all).ok().stdout).unwrap()
}

#[test]
fn c9_the_lines_of_awk_work() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let ids = [site.back_up("app"), site.back_up("app")];
    let listed = site.run(&["backup", "list"]).ok().text();
    assert!(listed.starts_with("ID "), "{listed}");
    let header: Vec<_> = listed.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        header,
        ["ID", "TENANT", "SOURCE", "CREATED", "SIZE", "STORED", "KIND", "VERIFIED", "LOCATION"]
    );
    let awk = |program: &str| {
        let file = site.path().join("listed");
        std::fs::write(&file, &listed).unwrap();
        let output = std::process::Command::new("awk").arg(program).arg(&file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
    assert_eq!(awk("NR==2{print $1}").trim(), newest_first[0]);
    for (line, id) in awk("NR>1{print $1, $4}").lines().zip(&newest_first) {
        let (first, created) = line.split_once(' ').unwrap();
        assert_eq!(first, id);
        assert!(created.len() == 20 && created.contains('T') && created.ends_with('Z'), "{created}");
    }
    // An empty cell would move the columns behind it.
    assert!(listed.lines().all(|line| line.split_whitespace().count() == 9), "{listed}");
}

#[test]
fn c15_records_have_every_field_and_numbers_as_strings() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    let made =
        json(&site, &["backup", "create", "acme", "--database", "app", "--label", "a label", "--hold"]);
    let id = made["record"]["id"].as_str().unwrap().to_owned();
    let got = json(&site, &["backup", "get", &id]);
    let listed = json(&site, &["backup", "list"]);
    assert_eq!(made["records"][0], made["record"]);
    assert_eq!(listed["records"][0], got);
    assert_eq!(made["record"], got);
    let fields = "id tenant source kind database createdAt sizeBytes storedBytes sha256 destination location engine \
        snapshot lastVerification relationCount startLsn stopLsn timeline";
    for field in fields.split_whitespace() {
        assert!(got.as_object().unwrap().contains_key(field), "{field} in {got:#}");
    }
    assert!(got.as_object().unwrap().keys().all(|key| !key.contains('_')));
    assert!(got.as_object().unwrap().values().all(|value| !value.is_number()), "{got:#}");
    assert_eq!(
        (&got["kind"], &got["tenant"], &got["engine"]),
        (&"dump".into(), &"acme".into(), &"postgres".into())
    );
    assert_eq!((&got["label"], &got["hold"]), (&"a label".into(), &true.into()));
    json(&site, &["backup", "unhold", &id]);
    assert_eq!(json(&site, &["backup", "get", &id])["hold"], false);
    json(&site, &["backup", "hold", &id]);
    assert_eq!(json(&site, &["backup", "get", &id])["hold"], true);
    assert!(got["lastVerification"].is_null() || got["lastVerification"]["result"] == "");
    let verified = json(&site, &["backup", "verify", &id]);
    assert_eq!(verified["lastVerification"]["result"], "passed");
    let table = site.run(&["backup", "list"]).ok().text();
    assert!(table.contains(" passed "), "{table}");
}

#[test]
fn c6_success_is_one_line_also_when_quiet() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let site = site().with_server(&server);
    for flags in [&[][..], &["--quiet"], &["--no-progress"], &["--json"]] {
        let mut arguments = flags.to_vec();
        arguments.extend(["backup", "create", "acme", "--database", "app"]);
        let ran = site.run(&arguments).ok();
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}", ran.stderr);
        let words: Vec<_> = lines[0].split(' ').collect();
        assert_eq!(words[..2], ["backup", "ok"]);
        assert!(words[2].starts_with("id=acme-app-") && words[3].starts_with("bytes="), "{words:?}");
        assert!(words[4].trim_start_matches("seconds=").parse::<f64>().is_ok(), "{words:?}");
        assert_eq!(ran.stdout.is_empty(), !flags.contains(&"--json"));
    }
    let id = &site.ids()[0];
    site.run(&["--quiet", "backup", "restore", id, "--database", "quiet"]).ok();
    site.run(&["backup", "delete", id]).ok();
    assert_eq!(site.ids().len(), 3);
}

#[test]
fn c7_unset_flags_mean_postgres_at_127_0_0_1_5432() {
    let site = site();
    // Nobody listens there in a test; what is asked for is in libpq's words. A server that does listen asks for more.
    let ran = site.run(&["backup", "create", "acme", "--database", "app"]);
    if ran.stderr.contains("refused") {
        ran.exits(1).says("127.0.0.1").says("5432");
    } else {
        ran.says("postgres");
    }
}

/// What a client of libpq's asks for at `listener`, which has no encryption: names and values with NULs between them.
fn startup(listener: &TcpListener) -> Vec<u8> {
    let (mut client, _) = listener.accept().unwrap();
    loop {
        let (mut length, mut code) = ([0; 4], [0; 4]);
        client.read_exact(&mut length).unwrap();
        client.read_exact(&mut code).unwrap();
        match u32::from_be_bytes(code) {
            // Requests for TLS and for GSSAPI.
            80_877_103 | 80_877_104 => client.write_all(b"N").unwrap(),
            _ => {
                let mut packet = vec![0; u32::from_be_bytes(length) as usize - 8];
                client.read_exact(&mut packet).unwrap();
                return packet;
            }
        }
    }
}

#[test]
fn c7_unset_flags_mean_the_user_postgres() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || send.send(startup(&listener)).unwrap());
    let site = site();
    let program = site.program().with("PGPORT", port.to_string()).with("USER", "somebody");
    let ran = program.run(&["backup", "create", "acme", "--database", "app"]).exits(1);
    let asked = receive.recv_timeout(std::time::Duration::from_secs(60)).unwrap();
    let asked = String::from_utf8_lossy(&asked);
    assert!(asked.contains("user\0postgres\0"), "{asked:?}: {}", ran.stderr);
}
