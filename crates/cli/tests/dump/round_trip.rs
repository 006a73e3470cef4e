//! There and back: what was backed up is listed, verified, exported and restored, and nobody can tell the difference.

use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::postgres::Postgres;
use testkit::program::Program;
use testkit::restic;

use crate::server_failures::programs;
use crate::site;
use testkit::rich;

const ODD: &str = "odd \"name'\nwith \\ everything éé ünïcödé 63 bytes";

#[test]
fn c1_a_rich_database_comes_back_whole() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let before = rich::plain(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    assert_eq!(site.ids(), std::slice::from_ref(&id));
    site.run(&["backup", "verify", &id]).ok();

    // Into new databases, by one loader and by two.
    for (name, jobs) in [("one", "1"), ("two", "2"), (ODD, "2")] {
        let arguments = ["backup", "restore", &id, "--database", name, "--jobs", jobs];
        site.run(&arguments).ok().says("restore ok id=");
        assert_eq!(rich::plain(&server, name), before, "{name} by {jobs}");
    }
    // Into an empty one; then it is not empty any more, and nothing is changed without being told.
    server.psql("CREATE DATABASE three");
    site.run(&["backup", "restore", &id, "--database", "three"]).ok();
    assert_eq!(rich::plain(&server, "three"), before);
    server.psql_in("three", "TRUNCATE tricky; CREATE TABLE theirs (n int)");
    let changed = rich::plain(&server, "three");
    site.run(&["backup", "restore", &id, "--database", "three"]).exits(6).says("not empty");
    site.run(&["backup", "restore", &id, "--database", "three", "--clean"]).exits(6).says("--yes=three");
    let wrong = ["backup", "restore", &id, "--database", "three", "--clean", "--yes=app"];
    site.run(&wrong).exits(6);
    site.run(&["backup", "restore", &id, "--database", "three", "--clean", "--yes=three", "--dry-run"]).ok();
    assert_eq!(rich::plain(&server, "three"), changed);
    site.run(&["backup", "restore", &id, "--database", "three", "--clean", "--yes=three"]).ok();
    server.psql_in("three", "DROP TABLE theirs");
    assert_eq!(rich::plain(&server, "three"), before);
    // The newest of TENANT/SOURCE, over the living database itself.
    server.psql_in("app", "TRUNCATE app.orders");
    site.run(&["backup", "restore", "acme/app", "--clean", "--yes=app"]).ok();
    assert_eq!(rich::plain(&server, "app"), before);
    site.assert_sound();
}

/// A stream has no size or time that could tell whether it changed: rustic took such a one for unchanged and stored
/// nothing of it.
#[test]
fn a_dump_is_never_taken_for_unchanged_because_of_an_earlier_one() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    server.psql_in("app", "CREATE TABLE same_size (word text); INSERT INTO same_size VALUES ('before')");
    let site = site().with_server(&server);
    let first = site.back_up("app");
    server.psql_in("app", "UPDATE same_size SET word = 'behind'");
    let second = site.back_up("app");
    for (id, word, other) in [(&first, "before", "behind"), (&second, "behind", "before")] {
        let dump = site.run(&["backup", "export", id]).ok().stdout;
        let holds = |word: &str| dump.windows(word.len()).any(|window| window == word.as_bytes());
        assert!(holds(&format!("{word}\n")) && !holds(&format!("{other}\n")), "{id}");
        let record: Value =
            serde_json::from_slice(&site.run(&["--json", "backup", "get", id]).ok().stdout).unwrap();
        assert_eq!(record["sizeBytes"], dump.len().to_string());
        assert_eq!(record["sha256"], hex::encode(Sha256::digest(&dump)));
    }
    for restic in restic::installed() {
        let listed = site.restic(&restic, &["snapshots", "--json"]).ok();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert!(listed.as_array().unwrap().iter().all(|snapshot| snapshot["parent"].is_null()), "{listed}");
    }
}

#[test]
fn c5_the_exported_dump_is_what_restic_and_pg_restore_read() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let id = site.back_up("app");
    let record: Value =
        serde_json::from_slice(&site.run(&["--json", "backup", "get", &id]).ok().stdout).unwrap();
    let exported = site.run(&["backup", "export", &id]).ok().stdout;
    assert_eq!(hex::encode(Sha256::digest(&exported)), record["sha256"].as_str().unwrap());
    assert_eq!(exported.len().to_string(), record["sizeBytes"].as_str().unwrap());
    let file = site.path().join("app.dump");
    site.run(&["backup", "export", &id, "-o", file.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read(&file).unwrap(), exported);
    site.run(&["backup", "export", &id, "-o", file.to_str().unwrap()]).exits(6);
    for restic in restic::installed() {
        assert_eq!(site.restic(&restic, &["dump", "latest", "database.dump"]).ok().stdout, exported);
    }
    let mut command = std::process::Command::new(server.client().program("pg_restore"));
    let listed = command.arg("-l").arg(&file).output().unwrap();
    assert!(listed.status.success());
    assert!(String::from_utf8(listed.stdout).unwrap().contains("TABLE DATA app customers"));
}

#[test]
fn n14_an_export_is_byte_for_byte_what_pg_dump_wrote_and_streams_into_another_server() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let written = site.path().join("written");
    let script = format!("\"$REAL\" \"$@\" | tee {}; exit ${{PIPESTATUS[0]}}", written.display());
    let bin_dir = programs(&site, &server, "watched", &script);
    let create = ["backup", "create", "acme", "--database", "app", "--pg-bin-dir", bin_dir.to_str().unwrap()];
    let id = testkit::site::id_of(&site.run(&create).ok());
    let exported = site.run(&["backup", "export", &id]).ok().stdout;
    assert!(exported.starts_with(b"PGDMP") && exported == std::fs::read(&written).unwrap());
    // Straight into the stdin of pg_restore, at a new server.
    let other = Postgres::start();
    other.psql("CREATE DATABASE app; CREATE ROLE rich_owner LOGIN; CREATE ROLE \"odd \"\"role'\"");
    let mut export = site.program().command(&["backup", "export", &id]);
    let mut export = export.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let session = other.session("app");
    let mut restore = session.command(&other.client().program("pg_restore"));
    let restored = restore.arg("--exit-on-error").stdin(export.stdout.take().unwrap()).status().unwrap();
    assert!(restored.success() && export.wait().unwrap().success());
    assert_eq!(rich::plain(&other, "app"), rich::plain(&server, "app"));
}

#[test]
fn c1_the_manifest_counts_every_row() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    site.back_up("app");
    let manifest = manifest_of_the_newest(&site);
    let mut counted = 0;
    for table in manifest["archive"]["entries"].as_array().unwrap_or(&vec![]) {
        let Some(rows) =
            table["rows"].as_str().map(str::to_owned).or(table["rows"].as_u64().map(|n| n.to_string()))
        else {
            continue;
        };
        let (schema, name) = (table["namespace"].as_str().unwrap(), table["tag"].as_str().unwrap());
        let of = format!("{}.{}", rich::quoted(schema), rich::quoted(name));
        assert_eq!(server.psql_in("app", &format!("SELECT count(*) FROM ONLY {of}")), rows, "{of}");
        counted += 1;
    }
    let tables = "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
        WHERE relkind = 'r' AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'";
    assert_eq!(counted.to_string(), server.psql_in("app", tables), "{manifest:#}");
}

#[test]
fn t5_dumps_of_an_unchanged_database_have_one_content_hash() {
    let server = Postgres::start();
    rich::create(&server, "app");
    let site = site().with_server(&server);
    let first = site.back_up("app");
    let hash = manifest_of_the_newest(&site)["archive"]["contentHash"].clone();
    assert!(hash.is_string(), "{hash}");
    let second = site.back_up("app");
    assert_ne!(first, second);
    assert_eq!(manifest_of_the_newest(&site)["archive"]["contentHash"], hash);
    // It stores nearly nothing.
    let record: Value =
        serde_json::from_slice(&site.run(&["--json", "backup", "get", &second]).ok().stdout).unwrap();
    let stored: u64 = record["storedBytes"].as_str().unwrap().parse().unwrap();
    let size: u64 = record["sizeBytes"].as_str().unwrap().parse().unwrap();
    assert!(stored < size / 20, "{stored} of {size}");

    // Another content under the same name is another content: a stream is never taken as unchanged.
    server.psql_in("app", "UPDATE app.customers SET name = name || '!' WHERE id = 500");
    let changed = rich::plain(&server, "app");
    let third = site.back_up("app");
    assert_ne!(manifest_of_the_newest(&site)["archive"]["contentHash"], hash);
    site.run(&["backup", "restore", &third, "--database", "new"]).ok();
    site.run(&["backup", "restore", &first, "--database", "old"]).ok();
    assert_eq!(rich::plain(&server, "new"), changed);
    let count =
        |database: &str| server.psql_in(database, "SELECT count(*) FROM app.customers WHERE name LIKE '%!'");
    assert_eq!((count("new"), count("old")), ("1".into(), "0".into()));
}

#[test]
fn c1_a_backup_under_concurrent_writes_is_of_one_moment() {
    let server = Postgres::start();
    rich::create_small(&server, "bank");
    let site = site().with_server(&server);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let ids: Vec<String> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                server.psql_in("bank", &transfers());
            }
        });
        let ids = (0..3).map(|_| site.back_up("bank")).collect();
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        ids
    });
    for (nth, id) in ids.iter().enumerate() {
        let name = format!("bank{nth}");
        site.run(&["backup", "restore", id, "--database", &name]).ok();
        let sums = "SELECT sum(balance), count(*), (SELECT sum(amount) FROM moved) = \
            (SELECT sum(abs(balance - 1000)) / 2 FROM account WHERE id IN (1, 2)) FROM account";
        assert_eq!(server.psql_in(&name, sums), "200000|200|t");
    }
}

/// Many small transactions that each move one from account 1 to account 2 and say so elsewhere.
fn transfers() -> String {
    let one = "BEGIN; UPDATE account SET balance = balance - 1 WHERE id = 1; INSERT INTO moved VALUES (1);
        UPDATE account SET balance = balance + 1 WHERE id = 2; COMMIT;";
    format!("CREATE TABLE IF NOT EXISTS moved (amount int);\n{}", one.repeat(200))
}

/// `manifest.json` of the newest backup, as restic gives it.
fn manifest_of_the_newest(site: &testkit::site::Site) -> Value {
    let restic = &restic::installed()[0];
    serde_json::from_slice(&site.restic(restic, &["dump", "latest", "manifest.json"]).ok().stdout).unwrap()
}

#[test]
fn t7_in_a_directory_an_export_is_called_by_its_database_and_its_time() {
    let server = Postgres::start();
    for name in ["certctl", "../certctl"] {
        server.psql(&format!("CREATE DATABASE \"{name}\""));
    }
    let site = site().with_server(&server);
    let folder = site.path().join("exports");
    std::fs::create_dir(&folder).unwrap();
    let export = |id: &str| site.run(&["backup", "export", id, "-o", folder.to_str().unwrap()]);
    let id = site.back_up("certctl");
    let time = id.rsplit('-').next().unwrap().to_owned();
    let name = format!("certctl-{time}.dump");
    export(&id).ok().says(&name);
    assert!(time.len() == 16 && time.ends_with('Z') && &time[8..9] == "T", "{time}");
    assert_eq!(std::fs::read(folder.join(&name)).unwrap(), site.run(&["backup", "export", &id]).ok().stdout);
    // A second time it is there already; and no name of a database leads out of the directory.
    export(&id).exits(6).says("exists already");
    export(&site.back_up("../certctl")).ok();
    let create = ["backup", "create", "acme", "--directory", folder.to_str().unwrap()];
    let directory = testkit::site::id_of(&site.run(&create).ok());
    export(&directory).ok().says(".tar");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
}

/// Whatever the umask is, nobody else reads what is kept.
#[test]
fn pitfall_27_every_file_is_its_owners_alone() {
    let server = Postgres::start();
    rich::create_small(&server, "app");
    let bare = testkit::site::Site::bare(env!("CARGO_BIN_EXE_mainstay")).with_server(&server);
    let program = bare.program();
    let open = program.under(&["sh", "-c", "umask 0; exec \"$@\"", "sh"]);
    let exported = bare.path().join("app.dump");
    open.run(&["init", "--no-recovery-key"]).ok();
    open.run(&["key", "add", "--generate-password", bare.path().join("generated").to_str().unwrap()]).ok();
    let create = ["backup", "create", "acme", "--database", "app"];
    let id = testkit::site::id_of(&open.run(&create).ok());
    open.run(&["backup", "export", &id, "-o", exported.to_str().unwrap()]).ok();
    open.run(&["backup", "verify", &id]).ok();
    let listed =
        Program::new("find").run(&[bare.path().to_str().unwrap(), "-printf", "%y %m %p\n"]).ok().text();
    let open_to_others: Vec<_> = listed
        .lines()
        .skip(1)
        .filter(|line| !line.split(' ').nth(1).is_some_and(|mode| mode.ends_with("00")))
        .collect();
    assert!(open_to_others.is_empty() && exported.exists(), "{open_to_others:#?}");
}
