//! A small repository of this step of the format, with a dump and a directory: written once, read for ever.
//!
//! It was made with the command line (`init`, `backup create --database`, `--directory`, `verify`). Once, before any
//! release, the directory was backed up into it again, because the bounds of chunks had changed: what was cut the old
//! way must be read for ever, what is cut now must stay so. The next step of the format gets one of its own beside it.
//! The password is no secret.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;
use sha2::Digest;
use testkit::program::Program;
use testkit::site::Site;

use crate::MAINSTAY;

const PASSWORD: &str = "golden-password-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM";
const DUMP: &str = "acme-shop-20261121T132412Z";
const TREE: &str = "acme-tree-20261121T132414Z";
const RECUT: &str = "acme-tree-20261121T142121Z";
/// Files of the directory, and of the dump's export.
const DUMP_SHA256: &str = "3fb918484629da7b2065e1a774fe9988817b4a4730d4faef0ea2ed6eb0faba3f";
const FILES: [(&str, &str); 4] = [
    ("rows", "be987eb7d54cc0172ac9efd9faf5ad8b6b3f5d48c7d0d3f3efe213141882110c"),
    ("second-name", "be987eb7d54cc0172ac9efd9faf5ad8b6b3f5d48c7d0d3f3efe213141882110c"),
    ("sparse", "b39781589c4403fb82174c9647a010464cff38bad976547d339899b00053a545"),
    ("deep er/é/file", "a116c9ed46d6207734a43317d30fd88f52ac8634c37d904bbf4e41d865f90475"),
];

/// A copy of it, since who reads leaves a lease for a moment.
fn golden() -> (Site, Program) {
    let site = Site::bare(MAINSTAY);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/mainstay-0.1.0");
    Program::new("cp").run(&[Path::new("-r"), &from, &site.repository()]).ok();
    let program = site.program().with("MAINSTAY_PASSWORD", PASSWORD);
    (site, program)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(sha2::Sha256::digest(bytes))
}

#[test]
fn the_golden_dump_is_listed_verified_and_exported() {
    let (site, program) = golden();
    let listed: Value =
        serde_json::from_slice(&program.run(&["--json", "backup", "list"]).ok().stdout).unwrap();
    let [recut, tree, dump] = &listed["records"].as_array().unwrap()[..] else { panic!("{listed:#}") };
    assert_eq!((tree["id"].as_str(), dump["id"].as_str()), (Some(TREE), Some(DUMP)));
    assert_eq!(recut["id"].as_str(), Some(RECUT));
    assert_eq!((dump["hold"].as_bool(), dump["label"].as_str()), (Some(true), Some("golden")));
    assert_eq!((dump["sizeBytes"].as_str(), dump["sha256"].as_str()), (Some("181094"), Some(DUMP_SHA256)));
    assert_eq!(dump["lastVerification"]["result"], "passed");
    assert_eq!(sha256(&program.run(&["backup", "export", DUMP]).ok().stdout), DUMP_SHA256);
    // The records are copies: without them the same is found in the snapshots.
    fs::remove_dir_all(site.repository().join("x/record")).unwrap();
    for id in [DUMP, TREE, RECUT] {
        program.run(&["backup", "verify", id]).ok();
    }
    program.run(&["check", "--read-data"]).ok();
    for restic in testkit::restic::installed() {
        restic.run(&site.repository(), PASSWORD, &["check", "--read-data"]).ok();
    }
}

#[test]
fn the_golden_directory_is_restored_and_cut_as_it_was() {
    let (site, program) = golden();
    let to = site.path().join("tree");
    program.run(&["backup", "restore", TREE, "--to", to.to_str().unwrap()]).ok();
    for (name, hash) in FILES {
        assert_eq!(sha256(&fs::read(to.join(name)).unwrap()), hash, "{name}");
    }
    let about = |name: &str| fs::symlink_metadata(to.join(name)).unwrap();
    assert_eq!(about("rows").ino(), about("second-name").ino());
    assert_eq!((about("rows").mtime(), about("rows").mtime_nsec()), (981_173_106, 789_012_345));
    assert_eq!((about("empty").mtime(), about("empty").is_dir()), (981_173_106, true));
    assert_eq!(about("deep er/é/file").mode() & 0o7777, 0o4755);
    assert!(about("sparse").blocks() < 100, "holes are holes");
    assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("../outside"));
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&about("fifo").file_type()));
    let odd = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"not\xfftext");
    assert_eq!(fs::read(to.join(odd)).unwrap(), b"x");
    assert!(!to.join("nothing").exists(), "it was left out");
    // Read again, since their times are new, the files are cut into the chunks that are there.
    Program::new("touch").run(&[to.join("rows"), to.join("sparse")]).ok();
    let arguments =
        ["--json", "backup", "create", "acme", "--name", "tree", "--directory", to.to_str().unwrap()];
    let made: Value = serde_json::from_slice(&program.run(&arguments).ok().stdout).unwrap();
    let stored = made["records"][0]["storedBytes"].as_str().unwrap_or_else(|| panic!("{made:#}"));
    assert!(stored.parse::<u64>().unwrap() < 6_000, "{stored} bytes: trees alone are new");
}
