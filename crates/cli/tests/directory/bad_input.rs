//! Bad input of every kind, with directories: a clear error, the documented exit code, nothing lost.

use std::fs;

use testkit::program::Program;
use testkit::site::Site;

use crate::{MAINSTAY, create, fill, id, restore, site, stored};

#[test]
fn a_missing_file_of_any_kind_is_said() {
    let (site, data) = site();
    fill(&data, 5, 60_000);
    let id = id(&create(&site, &data, &[]).ok());
    let away = site.path().join("away");
    let one = |part: &str| stored(&site, part).pop().unwrap();
    let kinds = [
        // This machine has seen it, so its absence is an alarm (H10).
        ("config", site.repository().join("config"), 6, "is gone"),
        ("key", one("keys"), 4, "its keys are lost"),
        ("index", one("index"), 4, "integrity check failed"),
        ("snapshot", one("snapshots"), 5, &id),
        ("data", one("data"), 4, "integrity check failed"),
    ];
    for (kind, file, code, words) in kinds {
        fs::rename(&file, &away).unwrap();
        let to = site.path().join(format!("without-{kind}"));
        let ran = restore(&site, &id, &["--to", to.to_str().unwrap()]);
        assert_eq!(ran.code, Some(code), "{kind}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{kind}: {}", ran.stderr);
        fs::rename(&away, &file).unwrap();
    }
    site.assert_sound();
}

#[test]
fn a_repository_of_another_kind_is_no_repository_of_ours() {
    let site = Site::bare(MAINSTAY);
    let data = site.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::create_dir(site.repository()).unwrap();
    // As borg makes one.
    let borg = "[repository]\nversion = 1\nsegments_per_dir = 1000\nid = 00\nkey = aaaa\n";
    fs::write(site.repository().join("config"), borg).unwrap();
    let before = site.files();
    for arguments in
        [&["backup", "list"][..], &["check"], &["stats"], &["prune"], &["forget", "--keep-last", "1"]]
    {
        let ran =
            site.run(arguments).exits(4).says("no repository of the restic format, or its keys are lost");
        assert!(ran.stdout.is_empty() && !ran.stderr.contains("panicked"), "{}", ran.stderr);
    }
    create(&site, &data, &[]).exits(4).says("no repository of the restic format");
    site.run(&["init", "--no-recovery-key"]).exits(6).says("exists already");
    assert!(site.files() == before, "nothing was touched");
    // A directory of other things, and one that is no directory.
    fs::remove_file(site.repository().join("config")).unwrap();
    fs::write(site.repository().join("holiday.jpg"), "x").unwrap();
    site.run(&["backup", "list"]).exits(5).says("no repository");
    let file = site.path().join("file");
    fs::write(&file, "x").unwrap();
    let program = site.program().with("MAINSTAY_REPOSITORY", &file);
    let ran = program.run(&["backup", "list"]);
    ran.exits(1).says("file");
}

#[test]
fn directories_and_paths_that_do_not_suit_are_refused() {
    let (site, data) = site();
    fs::write(data.join("file"), "x").unwrap();
    let id = id(&create(&site, &data, &[]).ok());
    create(&site, &site.path().join("nowhere"), &[]).exits(5).says("nowhere");
    create(&site, &data, &["--exclude", "{a,"]).exits(2).says("{a,");
    create(&site, &data, &["--name", "../x"]).exits(2);
    create(&site, &data, &["--name", ".."]).exits(2);
    create(&site, &data, &["--compression", "99"]).exits(2).says("99");
    create(&site, &data, &["--all-databases"]).exits(2).says("cannot be used");
    std::os::unix::fs::symlink(&data, site.path().join("link")).unwrap();
    create(&site, &site.path().join("link"), &[]).exits(1).says("is a symbolic link to");
    let to = site.path().join("to");
    let to = to.to_str().unwrap();
    for path in ["../file", "a/../../file", "/etc/passwd"] {
        let ran = restore(&site, &id, &["--to", to, "--path", path]);
        assert!([2, 5].contains(&ran.code.unwrap()), "{path}: {:?} {}", ran.code, ran.stderr);
    }
    restore(&site, &id, &["--to", to, "--delete"]).exits(2).says("--delta");
    restore(&site, &id, &["--to", to, "--database", "x"]).exits(2).says("cannot be used");
    for id in ["..", "/etc/passwd", ""] {
        for verb in ["get", "verify", "export", "hold", "unhold", "delete", "undelete"] {
            let ran = site.run(&["backup", verb, id]);
            assert_eq!(ran.code, Some(5), "{verb} {id:?}: {}", ran.stderr);
        }
    }
    for verb in ["verify", "export", "hold", "delete", "get"] {
        site.run(&["backup", verb]).exits(2);
        site.run(&["backup", verb, &id, "--no-such-flag"]).exits(2).says("--no-such-flag");
    }
    for command in ["check", "stats", "forget", "prune", "copy", "init", "demo"] {
        site.run(&[command, "--no-such-flag"]).exits(2).says("--no-such-flag");
    }
    assert_eq!(site.ids(), std::slice::from_ref(&id));
    let place = site.path().join("there");
    fs::write(&place, "mine").unwrap();
    site.run(&["backup", "export", &id, "-o", place.to_str().unwrap()]).exits(6).says("exists already");
    assert_eq!(fs::read(&place).unwrap(), b"mine");
    let nowhere = site.path().join("no/where");
    site.run(&["backup", "export", &id, "-o", nowhere.to_str().unwrap()]).exits(1).says("No such file");
    site.run(&["man", "/proc/nowhere"]).exits(1).says("/proc/nowhere");
}

#[test]
fn a_closed_pipe_ends_an_export_without_a_word_of_panic() {
    let (site, data) = site();
    fill(&data, 20, 500_000);
    let id = id(&create(&site, &data, &[]).ok());
    let shell = Program::new("bash").with("MAINSTAY_PASSWORD", testkit::site::PASSWORD);
    let line = format!(
        "set -o pipefail; {MAINSTAY} -r {} backup export {id} | head -c 1000 | wc -c",
        site.repository().display()
    );
    let ran = shell.run(&["-c", &line]);
    assert_ne!(ran.code, Some(0), "a stream that nobody took is no success");
    assert_eq!(ran.text().trim(), "1000");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_words_that_cannot_are_none() {
    let (site, data) = site();
    std::fs::write(data.join("file"), "x").unwrap();
    let made = ["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    let into = |script: &str, arguments: &[&str]| {
        site.program().under(&["bash", "-o", "pipefail", "-c", script, "bash"]).run(arguments)
    };
    // A full disk under a log: the backup is made all the same.
    into(r#"exec "$@" 2>/dev/full"#, &made).ok();
    assert_eq!(site.ids().len(), 1);
    into(r#"exec "$@" >/dev/full"#, &["backup", "list"]).exits(1).says("writing the result to stdout");
    into(r#"exec "$@" >/dev/full 2>&1"#, &["check"]).exits(1);
    into(r#""$@" | true"#, &["backup", "list"]).ok();
}
