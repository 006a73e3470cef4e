//! A flipped or cut byte in a file of any kind is noticed, named, and costs nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::program::Ran;
use testkit::tree::assert_same_tree;

use crate::{create, fill, id, restore, site, stored};

/// A file that is changed as long as the value lives.
struct Changed {
    path: PathBuf,
    before: Vec<u8>,
}

impl Changed {
    fn new(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let before = fs::read(path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        write(path, &bytes);
        Self { path: path.to_owned(), before }
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        write(&self.path, &self.before);
    }
}

/// Objects are read-only, so they are replaced.
fn write(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[track_caller]
fn assert_damage(ran: &Ran, what: &str) {
    assert_eq!(ran.code, Some(4), "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains("integrity check failed"), "{what}: {}", ran.stderr);
}

#[test]
fn a_flipped_or_cut_byte_in_any_kind_of_file_is_damage_and_named() {
    let (site, data) = site();
    fill(&data, 30, 60_000);
    let id = id(&create(&site, &data, &[]).ok());
    let packs = stored(&site, "data");
    let [trees, blobs] = &packs[..] else { panic!("one pack of trees, one of data: {packs:?}") };
    let one = |part: &str| stored(&site, part).pop().unwrap();
    // Kind, file, and which of `backup list`, `backup restore` and `check` must see the damage.
    let kinds: [(&str, PathBuf, [bool; 3]); 6] = [
        ("config", site.repository().join("config"), [true, true, true]),
        ("key", one("keys"), [true, true, true]),
        ("index", one("index"), [false, true, true]),
        ("snapshot", one("snapshots"), [false, true, true]),
        ("tree", trees.clone(), [false, true, true]),
        ("data", blobs.clone(), [false, true, false]),
    ];
    let to = site.path().join("to");
    for (kind, file, [lists, restores, checks]) in &kinds {
        let length = fs::metadata(file).unwrap().len() as usize;
        let flips = [0, 17, length / 2];
        let cuts = [0, 1, length / 2, length - 1];
        let changes = flips.iter().map(|at| (true, *at)).chain(cuts.iter().map(|at| (false, *at)));
        for (is_flip, at) in changes {
            let what = format!("{kind} {} at {at} of {length}", if is_flip { "flipped" } else { "cut" });
            let changed =
                Changed::new(file, |bytes| if is_flip { bytes[at] ^= 4 } else { bytes.truncate(at) });
            if *lists {
                assert_damage(&site.run(&["backup", "list"]), &format!("list, {what}"));
            }
            // A pack that was cut behind what is needed still gives it.
            if *restores && (is_flip || at < length / 2 + 1) {
                let ran = restore(&site, &id, &["--to", to.to_str().unwrap()]);
                assert_damage(&ran, &format!("restore, {what}"));
                fs::remove_dir_all(&to).ok();
            }
            if *checks && (is_flip || *kind != "tree" || at < length / 2 + 1) {
                assert_damage(&site.run(&["check"]), &format!("check, {what}"));
            }
            assert_damage(&site.run(&["check", "--read-data"]), &format!("check --read-data, {what}"));
            drop(changed);
        }
    }
    // A header at a pack's end is needed by nobody but by who must make the index again: a full check sees it.
    for pack in [trees, blobs] {
        for back in [1, 5, 30] {
            let _changed = Changed::new(pack, |bytes| {
                let at = bytes.len() - back;
                bytes[at] ^= 1;
            });
            assert_damage(&site.run(&["check", "--read-data"]), &format!("header, {back} from the end"));
            restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
            fs::remove_dir_all(&to).unwrap();
        }
    }
    // Nothing was lost by any of the attempts.
    site.assert_sound();
    restore(&site, &id, &["--to", to.to_str().unwrap()]).ok();
    assert_same_tree(&data, &to);
}
