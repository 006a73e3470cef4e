//! A repository in which every verb has something to do, set up anew for each try, and the judge of what is left.
//!
//! It has two backups that everybody sees, two deleted ones that can come back, packs that are needed in whole, in
//! part and not at all, a pack twice with the same blobs, and one that no index names.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::program::{Program, Ran};
use testkit::restic;
use testkit::site::{PASSWORD, Site, files_below};

use crate::directory_site::{create, id, site};

/// Bytes of each file of the directory.
const FILE_LEN: usize = 120_000;
/// What a key is rotated to.
pub(crate) const NEW_PASSWORD: &str = "NewRepositoryPassword0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
/// Both steps of prune at once.
pub(crate) const END: [&str; 5] = ["prune", "--cooling-off", "0h", "--max-unused", "0"];

/// A backup, and what it exported before anything happened.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) id: String,
    tar: Vec<u8>,
}

/// The repository, a copy of how it was, and what was acknowledged in it.
pub(crate) struct Scene {
    pub(crate) site: Site,
    data: PathBuf,
    /// The repository as it was.
    pub(crate) aside: PathBuf,
    /// Visible, the newest first.
    pub(crate) live: Vec<Kept>,
    /// Deleted: they come back whole or not at all.
    pub(crate) deleted: Vec<Kept>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let (site, data) = site();
        let back_up = |names: &str| {
            show(&data, names);
            let id = id(&create(&site, &data, &[]).ok());
            let tar = site.run(&["backup", "export", &id]).ok().stdout;
            Kept { id, tar }
        };
        let old = back_up("aabbcc");
        let first = back_up("aacc");
        let unneeded = back_up("qqrr");
        let newest = back_up("aaddee");
        let scene = Self {
            aside: site.path().join("aside"),
            live: vec![newest, first],
            deleted: vec![old, unneeded],
            site,
            data,
        };
        scene.plant_duplicate_and_orphan();
        for kept in &scene.deleted {
            scene.site.run(&["backup", "delete", &kept.id]).ok();
        }
        copy(&scene.site.repository(), &scene.aside);
        scene
    }

    /// The same backup by a writer that knew of nothing, as two that begin at one time make it; and one whose index is
    /// gone.
    fn plant_duplicate_and_orphan(&self) {
        let repository = self.site.repository();
        let other = self.site.path().join("other-writer");
        for (names, keeps_index) in [("ddee", true), ("oo", false)] {
            copy(&repository, &other);
            for folder in ["index", "data", "snapshots", "x/record"] {
                fs::remove_dir_all(other.join(folder)).unwrap();
            }
            show(&self.data, names);
            let there = self.site.program().with("MAINSTAY_REPOSITORY", &other);
            there.run(&["backup", "create", "acme", "--directory", self.data.to_str().unwrap()]).ok();
            let folders: &[&str] = if keeps_index { &["data", "index"] } else { &["data"] };
            for folder in folders {
                Command::new("cp").arg("-a").arg(other.join(folder)).arg(&repository).status().unwrap();
            }
            fs::remove_dir_all(&other).unwrap();
        }
        show(&self.data, "aaddee");
    }

    /// Let [`Scene::reset`] come back to what is now.
    pub(crate) fn keep_as_it_is(&self) {
        fs::remove_dir_all(&self.aside).unwrap();
        copy(&self.site.repository(), &self.aside);
    }

    /// Everything as it was.
    pub(crate) fn reset(&self) {
        fs::remove_dir_all(self.site.repository()).unwrap();
        copy(&self.aside, &self.site.repository());
    }

    pub(crate) fn program(&self) -> Program {
        self.site.program()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.site.run(arguments)
    }

    /// A private file with a password.
    pub(crate) fn password_file(&self, name: &str, password: &str) -> String {
        let file = self.site.path().join(name);
        fs::write(&file, format!("{password}\n")).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// Nothing is wrong with the repository, down to the last byte.
    #[track_caller]
    pub(crate) fn assert_sound(&self, moment: &str) {
        assert_sound(&self.program(), &self.site.repository(), moment);
    }

    /// Every acknowledged backup is there, bit for bit; every deleted one that can come back does so, whole.
    #[track_caller]
    pub(crate) fn assert_kept(&self, moment: &str) {
        let ids: BTreeSet<_> = self.site.ids().into_iter().collect();
        assert_eq!(ids, self.live.iter().map(|kept| kept.id.clone()).collect(), "{moment}");
        self.live.iter().for_each(|kept| assert_exports(&self.program(), kept, moment));
        self.assert_comes_back(&self.deleted, moment);
    }

    /// The number of `backups` that can come back; each of them does, in a copy of the repository.
    #[track_caller]
    pub(crate) fn assert_comes_back(&self, backups: &[Kept], moment: &str) -> usize {
        let listed = self.run(&["backup", "undelete"]).ok().text();
        let there: Vec<_> = backups.iter().filter(|kept| listed.contains(&format!("{} ", kept.id))).collect();
        if !there.is_empty() {
            let beside = self.site.path().join("beside");
            copy(&self.site.repository(), &beside);
            let program = self.program().with("MAINSTAY_REPOSITORY", &beside);
            for kept in &there {
                let ran = program.run(&["backup", "undelete", &kept.id]);
                assert_eq!(ran.code, Some(0), "{moment}: {}", ran.stderr);
                assert_exports(&program, kept, moment);
            }
            fs::remove_dir_all(&beside).unwrap();
        }
        there.len()
    }

    /// Back the unchanged directory up again; the bytes of packs that were sent for it.
    #[track_caller]
    pub(crate) fn sent_by_next_backup(&self) -> u64 {
        let before = stored(&self.site.repository());
        create(&self.site, &self.data, &[]).ok();
        stored(&self.site.repository()) - before
    }
}

/// mainstay and every restic find nothing wrong with `repository`, which is that of `program`, down to the last byte.
#[track_caller]
pub(crate) fn assert_sound(program: &Program, repository: &Path, moment: &str) {
    let checked = program.run(&["check", "--read-data"]);
    assert_eq!(checked.code, Some(0), "{moment}: {}{}", checked.text(), checked.stderr);
    for restic in restic::installed() {
        // restic waits half an hour for the lock of a process that was killed.
        let checked = restic.run(repository, PASSWORD, &["--no-lock", "check", "--read-data"]);
        assert_eq!(checked.code, Some(0), "{moment}: {}{}", checked.text(), checked.stderr);
    }
}

#[track_caller]
pub(crate) fn assert_exports(program: &Program, kept: &Kept, moment: &str) {
    let ran = program.run(&["backup", "export", &kept.id]);
    assert_eq!(ran.code, Some(0), "{moment}: {}", ran.stderr);
    assert!(ran.stdout == kept.tar, "{moment}: {} is another one", kept.id);
}

/// Two of a letter are a file of noise; the directory holds these files and no others. Files that stay stay untouched.
fn show(data: &Path, letters: &str) {
    for (name, _) in files_below(data) {
        if !letters.contains(&name) {
            fs::remove_file(data.join(name)).unwrap();
        }
    }
    for pair in letters.as_bytes().chunks(2) {
        let file = data.join(std::str::from_utf8(pair).unwrap());
        if !file.exists() {
            let mut state = u64::from(pair[0]) << 20 | 1;
            let mut step = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as u8
            };
            fs::write(file, (0..FILE_LEN).map(|_| step()).collect::<Vec<_>>()).unwrap();
        }
    }
}

/// Another repository, which copies go to.
pub(crate) struct Target {
    pub(crate) program: Program,
    pub(crate) path: PathBuf,
    aside: PathBuf,
}

impl Target {
    pub(crate) fn new(scene: &Scene) -> Self {
        let (path, aside) = (scene.site.path().join("target"), scene.site.path().join("target-aside"));
        let program = scene.program().with("MAINSTAY_REPOSITORY", &path);
        program.run(&["init", "--no-recovery-key"]).ok();
        copy(&path, &aside);
        Self { program, path, aside }
    }

    /// Empty again.
    pub(crate) fn reset(&self) {
        fs::remove_dir_all(&self.path).unwrap();
        copy(&self.aside, &self.path);
    }
}

pub(crate) fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Bytes of all packs.
pub(crate) fn stored(repository: &Path) -> u64 {
    let folder = repository.join("data");
    let packs = if folder.exists() { files_below(&folder) } else { vec![] };
    packs.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}
