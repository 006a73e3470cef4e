//! Databases of any name.

use serde_json::Value;
use testkit::postgres::Postgres;
use testkit::rich;

use crate::site;

#[test]
fn databases_of_any_name_are_backed_up_and_restored() {
    let server = Postgres::start();
    let site = site().with_server(&server);
    let names = [
        "with space",
        "quote\"d",
        "it's",
        "new\nline",
        "-dash",
        "per%cent",
        "a=b",
        "back\\slash",
        "UPPER",
        "é-ü",
        // 63 bytes, the longest.
        "nééééééééééééééééééééééééééééééé",
    ];
    for name in names {
        rich::make(&server, name, &format!("CREATE TABLE t AS SELECT {}::text AS name", literal(name)));
    }
    site.run(&["backup", "create", "acme", "--all-databases"]).ok();
    let listed = site.run(&["backup", "list"]).ok().text();
    assert!(
        listed.lines().all(|line| line.split_whitespace().count() == 9),
        "columns hold no spaces:\n{listed}"
    );
    let listed: Value = serde_json::from_slice(&site.run(&["--json", "backup", "list"]).ok().stdout).unwrap();
    let records = listed["records"].as_array().unwrap();
    assert_eq!(records.len(), names.len() + 1, "postgres is one of them");
    for name in names {
        server.psql(&format!("DROP DATABASE {}", rich::quoted(name)));
        let record = records.iter().find(|record| record["database"] == name).unwrap();
        site.run(&["backup", "restore", record["id"].as_str().unwrap()]).ok();
        assert_eq!(server.psql_in(name, "SELECT to_json(name) FROM t"), serde_json::to_string(name).unwrap());
    }
}

fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n"))
}
