//! Exit codes and words for everything that is not there, not allowed or not spelled right.

use testkit::postgres::Postgres;

use crate::{bare, site};
use testkit::rich;

#[test]
fn what_is_missing_or_misspelled_has_its_exit_code() {
    let site = site();
    let cases: [(&[&str], i32, &str); 13] = [
        (&["backup", "get", "nothing"], 5, "nothing"),
        (&["backup", "verify", "nothing"], 5, "nothing"),
        (&["backup", "restore", "nothing"], 5, "nothing"),
        (&["backup", "restore", "acme/app"], 5, "acme/app"),
        (&["backup", "export", "nothing"], 5, "nothing"),
        (&["backup", "delete", "nothing"], 5, "nothing"),
        (&["backup", "get", ""], 5, ""),
        (&["init"], 6, "exists already"),
        (&["backup", "lst"], 2, "lst"),
        (&["backup", "list", "--no-such-flag"], 2, "--no-such-flag"),
        (&["backup", "create", "acme"], 2, "--database"),
        (&["backup", "create", "acme", "--database", "a", "--all-databases"], 2, "cannot be used"),
        (&["check", "--read-data=0%"], 2, "0%"),
    ];
    for (arguments, code, words) in cases {
        let ran = site.run(arguments);
        assert_eq!(ran.code, Some(code), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
    }
    site.program()
        .with("MAINSTAY_PASSWORD", "wrong")
        .run(&["backup", "list"])
        .exits(2)
        .says("wrong password");
    site.program().without("MAINSTAY_PASSWORD").run(&["backup", "list"]).exits(2).says("needs a password");
    site.program()
        .without("MAINSTAY_REPOSITORY")
        .run(&["backup", "create", "a", "--database", "b"])
        .exits(2)
        .says("--dest");
    let file = site.path().join("empty");
    std::fs::write(&file, "").unwrap();
    site.run(&["--password-file", file.to_str().unwrap(), "backup", "list"]).exits(2).says("empty");
    site.run(&["--password-file", "/no/such/file", "backup", "list"]).exits(2).says("/no/such/file");
    assert_eq!(site.ids(), Vec::<String>::new());
}

#[test]
fn no_repository_is_said_and_none_is_made() {
    let site = bare();
    for arguments in [&["backup", "list"][..], &["check"], &["backup", "create", "a", "--database", "b"]] {
        site.run(arguments).exits(5).says("no repository");
    }
    assert!(!site.repository().exists());
    site.program().with("MAINSTAY_REPOSITORY", "ftp://x/y").run(&["backup", "list"]).exits(2).says("ftp");
}

#[test]
fn h10_a_wiped_place_is_noticed_and_begun_anew_only_when_told() {
    let site = site();
    site.run(&["backup", "list"]).ok();
    std::fs::remove_dir_all(site.repository()).unwrap();
    for arguments in [&["backup", "list"][..], &["check"], &["backup", "create", "a", "--database", "b"]] {
        site.run(arguments).exits(6).says("is gone").says("--again");
    }
    site.run(&["init", "--no-recovery-key"]).exits(6).says("is gone").says("--again");
    assert!(!site.repository().exists(), "refusing leaves nothing behind");
    // A machine that never saw it knows of no loss.
    let elsewhere = site.program().with("XDG_CACHE_HOME", site.path().join("elsewhere"));
    elsewhere.run(&["backup", "list"]).exits(5).says("no repository");

    site.run(&["init", "--no-recovery-key", "--again"]).ok();
    let listed = site.run(&["backup", "list"]).ok();
    assert!(!listed.stderr.contains("warning"), "{}", listed.stderr);
    std::fs::remove_dir_all(site.repository()).unwrap();
    elsewhere.run(&["init", "--no-recovery-key"]).ok();
    site.run(&["backup", "list"]).ok().says("another one than");
    let listed = site.run(&["backup", "list"]).ok();
    assert!(!listed.stderr.contains("warning"), "said once: {}", listed.stderr);
}

#[test]
fn c8_names_that_escape_are_refused_before_anything_is_asked() {
    let site = site();
    for name in ["..", "a/b", "a\\b", "../x", "", "a\nb", ".", "a b"] {
        let ran = site.run(&["backup", "create", name, "--database", "app"]);
        assert_eq!(ran.code, Some(2), "tenant {name:?}: {}", ran.stderr);
        let named = ["backup", "create", "acme", "--database", "app", "--name", name];
        let ran = site.program().with("PGPORT", "1").with("PGHOST", "127.0.0.1").run(&named);
        assert_eq!(ran.code, Some(2), "source {name:?}: {}", ran.stderr);
    }
}

#[test]
fn c8_ids_are_unique_and_their_prefixes_are_enough() {
    let server = Postgres::start();
    for name in ["c", "b-c", "app"] {
        rich::create_small(&server, name);
    }
    let site = site().with_server(&server);
    // Two at the same moment both survive, with different ids.
    let both = [0, 1].map(|_| site.program().start(&["backup", "create", "acme", "--database", "app"]));
    let ids = both.map(|child| testkit::site::id_of(&testkit::program::Ran::wait(child).ok()));
    assert_ne!(ids[0], ids[1]);
    assert_eq!(site.ids().len(), 2);
    // Tenant a-b with database c is not tenant a with database b-c.
    for (tenant, database) in [("a-b", "c"), ("a", "b-c")] {
        site.run(&["backup", "create", tenant, "--database", database]).ok();
    }
    let all = site.ids();
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{all:?}");
    let only_a = site.run(&["backup", "list", "a"]).ok().text();
    assert_eq!(only_a.lines().count(), 2, "{only_a}");
    assert!(only_a.contains(" b-c ") && !only_a.contains(" a-b "), "{only_a}");
    let newest =
        site.run(&["--json", "backup", "restore", "a/b-c", "--database", "x", "--dry-run"]).ok().text();
    assert!(newest.contains("\"rows\": \"4200\""), "{newest}");
    site.run(&["backup", "get", &ids[0]]).ok();
    site.run(&["backup", "get", "acme-"]).exits(2).says("not unique");
    let whole = all.iter().find(|id| id.starts_with("a-b-")).unwrap();
    assert_eq!(site.run(&["backup", "get", "zzz"]).code, Some(5));
    site.run(&["backup", "get", &whole[..whole.len() - 1]]).says("");
    site.assert_sound();
}
