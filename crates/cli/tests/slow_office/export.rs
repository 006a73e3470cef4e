//! Plain dumps beside the repository; pg_restore of the server's own kind is the judge.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::azurite::{ACCOUNT_KEY, Azurite};
use testkit::gcs::{Gcs, TOKEN};
use testkit::postgres::Postgres;
use testkit::program::Program;
use testkit::s3::{S3, with_credentials};
use testkit::site::files_below;
use testkit::sshd::Sshd;
use testkit::strace::{self, Fault};

use crate::office::Office;
use crate::{next_second, source, with_database};

fn names(root: &Path) -> Vec<String> {
    files_below(root).into_iter().map(|(name, _)| name).collect()
}

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

/// What pg_restore says of a dump.
fn assert_is_dump(server: &Postgres, dump: &Path) {
    let judge = Program::new(server.client().program("pg_restore"));
    let listed = judge.run(&["--list", dump.to_str().unwrap()]).ok().text();
    assert!(listed.contains("TABLE DATA public t"), "{listed}");
}

/// The hashes of all backups that the repository knows.
fn recorded(office: &Office) -> BTreeSet<String> {
    let listed = office.json(&["backup", "list"]);
    let records = listed["records"].as_array().unwrap();
    records.iter().map(|one| one["sha256"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn n3_c4_a_plain_dump_follows_each_good_backup_and_goes_by_tiers_of_its_own() {
    let server = Postgres::start();
    let office = with_database(
        &server,
        "export = { to = \"ROOT/out\", name = \"{database}/{database}-{date}-{clock}.dump\", sidecar = true,\n\
         retention = { keep_last = 2 } }",
    );
    let out = office.path().join("out");
    office.file("out/app/app-20200101-000000.dump", "an old one");
    office.file("out/app/before-the-migration.dump", "by hand");
    office.file("out/app/shop-20200101-000000.dump", "another's");
    for _ in 0..3 {
        next_second();
        office.run(&["run"]).ok().says("export ok id=acme-app-");
    }
    let found = names(&out);
    let dumps: Vec<_> =
        found.iter().filter(|name| name.starts_with("app/app-") && name.ends_with(".dump")).collect();
    assert_eq!((dumps.len(), found.len()), (2, 6), "{found:?}");
    assert!(!found.contains(&"app/app-20200101-000000.dump".to_owned()), "{found:?}");
    for name in &dumps {
        // app-YYYYMMDD-HHMMSS.dump
        assert_eq!(name.len(), "app/app-20261120-144005.dump".len(), "{name}");
        let dump = out.join(name);
        assert_is_dump(&server, &dump);
        let sidecar = out.join(name.replace(".dump", ".meta.json"));
        let told: Value = serde_json::from_slice(&fs::read(&sidecar).unwrap()).unwrap();
        let keys: Vec<_> = told.as_object().unwrap().keys().map(String::as_str).collect();
        let c4 = [
            "created_at",
            "database",
            "destination",
            "engine",
            "id",
            "location",
            "relation_count",
            "sha256",
            "size_bytes",
            "username",
        ];
        assert_eq!(keys, c4);
        assert_eq!(told["sha256"], sha256(&dump));
        assert_eq!(told["size_bytes"], fs::metadata(&dump).unwrap().len());
        assert_eq!((told["username"].as_str(), told["relation_count"].as_u64()), (Some("acme"), Some(1)));
        assert_eq!((told["location"].as_str(), told["destination"].as_str()), (dump.to_str(), Some("local")));
        for private in [&dump, &sidecar] {
            assert_eq!(fs::metadata(private).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
    // The repository keeps what it keeps: nobody told it to forget.
    assert_eq!(office.json(&["backup", "list"])["records"].as_array().unwrap().len(), 3);
    let judge = Program::new(server.client().program("pg_restore"));
    server.psql_in("postgres", "CREATE DATABASE back");
    let into = server.connection_uri().rsplit_once('/').map(|(start, _)| format!("{start}/back")).unwrap();
    judge
        .with("PGPASSWORD", server.password())
        .run(&["-d", &into, out.join(dumps[0]).to_str().unwrap()])
        .ok();
    assert_eq!(server.psql_in("back", "SELECT count(*) FROM t").trim(), "1000");
}

/// The backup is good all the same, and whoever asks hears of it.
#[test]
fn t6_an_export_that_fails_is_seen_and_costs_no_backup() {
    let server = Postgres::start();
    let export = |to: &str| format!("max_age = \"1h\"\nexport = {{ to = \"{to}\", name = \"{{id}}.dump\" }}");
    let office = with_database(&server, &export("ROOT/file/below"));
    office.file("file", "no directory");
    office
        .run(&["run"])
        .exits(3)
        .says("backup ok id=acme-app-")
        .says("run partial source=acme/app: export to");
    let runs = office.json(&["runs"]);
    assert_eq!(runs["runs"][0]["outcome"], "partial", "{runs}");
    assert!(runs["runs"][0]["reason"].as_str().unwrap().contains("file/below"), "{runs}");
    // Not late, though something is wrong.
    let status = office.json(&["status"]);
    let app = &status["sources"][0];
    assert_eq!(
        (app["state"].as_str(), app["lastGoodId"] == runs["runs"][0]["backup"]),
        (Some("partial"), true),
        "{status}"
    );
    // What pg_restore cannot read gets no name.
    office.configure(&source(&server, &export("ROOT/out")));
    for name in ["pg_dump", "psql", "pg_dumpall"] {
        let real = server.client().program(name);
        fs::create_dir_all(office.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(real, office.path().join("bin").join(name)).unwrap();
    }
    let real = server.client().program("pg_restore");
    let refusing = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exec {} --version;; esac\necho 'pg_restore: error: no' >&2; exit 1\n",
        real.display()
    );
    office.file("bin/pg_restore", &refusing);
    fs::set_permissions(office.path().join("bin/pg_restore"), PermissionsExt::from_mode(0o755)).unwrap();
    let suspicious = office.program.clone().with("MAINSTAY_PG_BIN_DIR", office.path().join("bin"));
    suspicious.run(&["run"]).exits(3).says("pg_restore: error: no");
    assert!(names(&office.path().join("out")).is_empty());
    office.run(&["run"]).ok();
    assert_eq!(names(&office.path().join("out")).len(), 1, "a new place begins with the newest one");
    // What was missed after that comes later.
    for _ in 0..2 {
        next_second();
        suspicious.run(&["run"]).exits(3);
    }
    assert_eq!(names(&office.path().join("out")).len(), 1);
    next_second();
    office.run(&["run"]).ok();
    assert_eq!(names(&office.path().join("out")).len(), 3, "the newest one of those that were missed");
}

#[test]
fn t8_a_run_killed_at_any_call_leaves_no_partial_dump() {
    if !strace::is_permitted() {
        return;
    }
    let server = Postgres::start();
    let office = with_database(
        &server,
        "export = { to = \"ROOT/out\", name = \"{source}/{id}.dump\", sidecar = true }",
    );
    let folder = office.path().join("out/app");
    next_second();
    office.run(&["run"]).ok();
    // Whether a process was killed, and whether it was ours: where no path is named, it may be a program of the server's.
    let kill_somebody = |fault: Fault| {
        let faulted = fault.run(&office.program, &["run"]);
        let known = recorded(&office);
        for name in names(&folder) {
            let path = folder.join(&name);
            match name.ends_with(".dump") {
                true => assert!(known.contains(&sha256(&path)), "{fault:?}: {name} is of no backup"),
                false => drop(serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap()),
            }
        }
        (faulted.happened, faulted.ran)
    };
    let kill = |fault: Fault| {
        let (_, ran) = kill_somebody(fault);
        assert!(matches!(ran.code, None | Some(0)), "{}", ran.stderr);
        ran.code.is_none()
    };
    // The nameless file is opened, the folder made durable behind each of two names; and whatever gets a name at all.
    let mut met = 0;
    for (calls, nth) in [("open", 1), ("openat", 1), ("openat", 2), ("fsync", 1), ("fsync", 2)] {
        met += usize::from(kill(Fault::kill(calls).nth(nth).at(&folder)));
    }
    assert!(met >= 4, "{met} kills were met");
    // In the middle of what is written, and of what is renamed and taken away.
    let mut somebody = 0;
    let places = [("write", [3, 16]), ("renameat2,rename", [1, 2]), ("unlink,unlinkat", [1, 2])];
    for (calls, nth) in places.into_iter().flat_map(|(calls, all)| all.map(|nth| (calls, nth))) {
        let (happened, ran) = kill_somebody(Fault::kill(calls).nth(nth));
        assert_eq!(happened, ran.code != Some(0), "{calls} {nth}: {}", ran.stderr);
        somebody += usize::from(happened);
    }
    assert!(somebody >= 3, "{somebody} kills were met");
    let before = names(&folder).len();
    // Each of these leaves a dump that the next run brings, too.
    for nth in 1..16 {
        if !kill(Fault::kill("linkat").nth(nth)) {
            break;
        }
    }
    assert!(names(&folder).len() > before);
}

/// One request for a small dump, parts for a large one; a rule of the bucket and ours do not both delete.
#[test]
fn c3_t7_t17_dumps_in_a_bucket_are_whole_and_one_of_two_takes_them_away() {
    let (s3, server) = (S3::moto(), Postgres::start());
    s3.make_bucket("acme");
    let export = |retention: &str| {
        format!(
            "export = {{ to = \"{}\", name = \"certctl-{{database}}-{{time}}.dump\", sidecar = true{retention} }}",
            s3.url("acme", "pg/dumps")
        )
    };
    let mut office = with_database(&server, &export(", retention = { keep_last = 1 }"));
    office.program = with_credentials(office.program.clone());
    let listed = || {
        let listed = s3.ask("GET", "acme?list-type=2&prefix=pg/dumps/", &[], "");
        let between = |tag: &str| -> Vec<String> {
            listed
                .split(&format!("<{tag}>"))
                .skip(1)
                .map(|rest| rest.split('<').next().unwrap().to_owned())
                .collect()
        };
        between("Key").into_iter().zip(between("Size")).collect::<Vec<_>>()
    };
    next_second();
    office.run(&["run"]).ok().says("export ok");
    make_noise(&server);
    next_second();
    // Killed while parts are under way: nobody sees anything of it.
    let seen = listed();
    let mut killed = office.program.command(&["run"]).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !s3.ask("GET", "acme?uploads", &[], "").contains("<UploadId>") {
        assert!(Instant::now() < deadline, "no parts are sent");
        assert!(killed.try_wait().unwrap().is_none(), "it was over before");
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(listed(), seen);
    next_second();
    // The dump that was missed comes first, and goes by the policy at once.
    let ran = office.run(&["run"]).ok().says("2 older dumps deleted");
    assert_eq!(ran.stderr.matches("export ok").count(), 2, "{}", ran.stderr);
    let found = listed();
    assert_eq!(found.len(), 2, "{found:?}");
    let (key, size) = found.iter().find(|(name, _)| name.ends_with(".dump")).unwrap();
    assert!(size.parse::<u64>().unwrap() > 16 << 20 && key.starts_with("pg/dumps/certctl-app-"), "{found:?}");
    let told: Value = serde_json::from_str(&s3.ask(
        "GET",
        &format!("acme/{}", key.replace(".dump", ".meta.json")),
        &[],
        "",
    ))
    .unwrap();
    assert_eq!((told["destination"].as_str(), told["size_bytes"].to_string()), (Some("s3"), size.clone()));
    assert_eq!(told["location"], format!("s3://acme/{key}"));
    let fetched = office.path().join("fetched.dump");
    fetch(&s3, key, &fetched);
    assert!(recorded(&office).contains(&sha256(&fetched)));
    assert_is_dump(&server, &fetched);
    // The bucket has a rule: ours deletes nothing, and says so.
    let rule = "<LifecycleConfiguration><Rule><ID>x</ID><Filter><Prefix>pg/</Prefix></Filter><Status>Enabled</Status>\
                <Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>";
    s3.ask("PUT", "acme?lifecycle", &[], rule);
    next_second();
    office.run(&["run"]).exits(3).says("rules of the bucket delete dumps here too");
    assert_eq!(listed().len(), 4);
    office.configure(&source(&server, &export(", retention = \"lifecycle\"")));
    next_second();
    office.run(&["run"]).ok();
    assert_eq!(listed().len(), 6);
    s3.ask("DELETE", "acme?lifecycle", &[], "");
    next_second();
    office.run(&["run"]).ok().says("no rule of the bucket deletes anything here");
}

/// More than a part, and none of it compressible.
fn make_noise(server: &Postgres) {
    let noise = "CREATE TABLE noise AS SELECT decode(string_agg(md5(random()::text), ''), 'hex') FROM generate_series(1, 650) a, \
                 generate_series(1, 1000) b GROUP BY b";
    server.psql_in("app", noise);
}

/// The other two kinds of object storage: in one request, and in parts.
#[test]
fn c3_dumps_go_to_gcs_and_azure_under_their_ids() {
    let (gcs, azurite, server) = (Gcs::start(), Azurite::start(), Postgres::start());
    azurite.make_container("acme");
    let export = |to: &str| format!("export = {{ to = \"{to}\", name = \"{{id}}.dump\", sidecar = true }}");
    let variables = [
        ("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.to_owned()),
    ];
    let mut office = with_database(&server, &export(&gcs.url("pg")));
    for (name, value) in &variables {
        office.program = office.program.clone().with(name, value);
    }
    let settings = remote::Settings::new(variables.map(|(name, value)| (name.to_owned(), value)));
    let fetch = |url: &str, id: &str| {
        let store = remote::open(url, &settings).unwrap();
        let dump = office.path().join("fetched.dump");
        fs::write(&dump, store::store::read(&*store, &format!("{id}.dump").parse().unwrap()).unwrap())
            .unwrap();
        store::store::read(&*store, &format!("{id}.meta.json").parse().unwrap()).unwrap();
        assert!(recorded(&office).contains(&sha256(&dump)));
        assert_is_dump(&server, &dump);
        fs::metadata(&dump).unwrap().len()
    };
    let run = || office.json(&["run"])["runs"][0]["records"][0]["id"].as_str().unwrap().to_owned();
    let id = run();
    assert_eq!(gcs.names(), [format!("pg/{id}.dump"), format!("pg/{id}.meta.json")]);
    fetch(&gcs.url("pg"), &id);
    make_noise(&server);
    let url = azurite.url("acme", "pg");
    office.configure(&source(&server, &export(&url)));
    next_second();
    let id = run();
    assert!(fetch(&url, &id) > 16 << 20);
}

/// A server with SSH: what is there is whole, whatever breaks on the way, and goes by the policy.
#[test]
fn n3_dumps_go_to_a_server_with_ssh_and_none_of_them_is_ever_half() {
    let (mut ssh, server) = (Sshd::start(), Postgres::start());
    let far = tempfile::tempdir().unwrap();
    let export = format!(
        "export = {{ to = \"{}/{{tenant}}\", name = \"{{database}}-{{date}}-{{clock}}.dump\", sidecar = true,\n\
         retention = {{ keep_last = 2 }} }}",
        ssh.address(far.path())
    );
    let mut office = with_database(&server, &export);
    for (name, value) in ssh.variables() {
        office.program = office.program.clone().with(&name, value);
    }
    let there = far.path().join("acme");
    let shown = || names(&there).into_iter().filter(|name| !name.starts_with(".tmp/")).collect::<Vec<_>>();
    let unnamed = || fs::read_dir(there.join(".tmp")).into_iter().flatten().flatten().collect::<Vec<_>>();
    fs::create_dir_all(&there).unwrap();
    fs::write(there.join("by-hand.dump"), "somebody's").unwrap();
    for _ in 0..3 {
        next_second();
        office.run(&["run"]).ok().says("export ok id=acme-app-");
    }
    assert_eq!(shown().len(), 5, "two dumps, what is told of each, and what is another's: {:?}", shown());
    assert!(unnamed().is_empty());
    for name in shown().iter().filter(|name| name.starts_with("app-") && name.ends_with(".dump")) {
        let dump = there.join(name);
        assert!(recorded(&office).contains(&sha256(&dump)));
        assert_is_dump(&server, &dump);
        let sidecar = fs::read(there.join(name.replace(".dump", ".meta.json"))).unwrap();
        let told: Value = serde_json::from_slice(&sidecar).unwrap();
        let address = format!("{}/acme/{name}", ssh.address(far.path()));
        assert_eq!(
            (told["destination"].as_str(), told["location"].as_str()),
            (Some("sftp"), Some(&*address))
        );
        assert_eq!(fs::metadata(&dump).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Killed while a large one is under way.
    make_noise(&server);
    let before = shown();
    let slow = ["run", "--limit-upload", "8M"];
    next_second();
    let mut killed = office.program.start(&slow);
    wait_for_pieces(&there.join(".tmp"), &[]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(shown(), before, "nobody sees what is not whole");
    let left: Vec<_> = unnamed().iter().map(fs::DirEntry::path).collect();
    // The connections break in the middle: they are made again, and the dump is whole. The one that was missed comes, too.
    next_second();
    let broken = office.program.start(&slow);
    wait_for_pieces(&there.join(".tmp"), &left);
    ssh.cut_connections();
    let ran = testkit::program::Ran::wait(broken).ok().says("older dumps deleted");
    assert_eq!(ran.stderr.matches("export ok").count(), 2, "{}", ran.stderr);
    assert_eq!((shown().len(), unnamed().len()), (5, left.len()), "{:?}", shown());
    let known = recorded(&office);
    let dumps: Vec<_> =
        shown().into_iter().filter(|name| name.starts_with("app-") && name.ends_with(".dump")).collect();
    assert!(dumps.iter().all(|name| known.contains(&sha256(&there.join(name)))), "{dumps:?}");
    // A server that is away costs the export alone.
    ssh.kill();
    next_second();
    office.run(&["run", "--retry-for", "0"]).exits(3).says("run partial source=acme/app: export to sftp://");
}

/// Wait until a file that is none of `left` has a first part.
fn wait_for_pieces(folder: &Path, left: &[std::path::PathBuf]) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut found = fs::read_dir(folder).into_iter().flatten().flatten();
        if found.any(|entry| {
            !left.contains(&entry.path()) && entry.metadata().is_ok_and(|about| about.len() > 1 << 20)
        }) {
            return;
        }
        assert!(Instant::now() < deadline, "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The object itself, by a signed request.
fn fetch(s3: &S3, key: &str, to: &Path) {
    let ran = s3.answer("GET", &format!("acme/{key}"), &[], "").ok();
    fs::write(to, &ran.stdout).unwrap();
}
