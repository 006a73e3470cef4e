//! A directory and a repository beside each other, and the program between them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};

use testkit::program::Ran;
use testkit::site::Site;

pub(crate) const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// A repository, and an empty directory to back up.
pub(crate) fn site() -> (Site, PathBuf) {
    let site = Site::new(MAINSTAY);
    let data = site.path().join("data");
    fs::create_dir(&data).unwrap();
    (site, data)
}

/// Back the directory up.
pub(crate) fn create(site: &Site, data: &Path, more: &[&str]) -> Ran {
    let mut arguments = vec!["backup", "create", "acme", "--directory", data.to_str().unwrap()];
    arguments.extend(more);
    site.run(&arguments)
}

/// The id that a backup told.
pub(crate) fn id(ran: &Ran) -> String {
    let line = ran.stderr.lines().find(|line| line.starts_with("backup ok ")).unwrap();
    line.split_whitespace().find_map(|word| word.strip_prefix("id=")).unwrap().to_owned()
}

/// Restore a directory.
pub(crate) fn restore(site: &Site, id: &str, more: &[&str]) -> Ran {
    let mut arguments = vec!["backup", "restore", id];
    arguments.extend(more);
    site.run(&arguments)
}

/// Files of noise, all different.
pub(crate) fn fill(data: &Path, files: u32, len: usize) {
    for number in 0..files {
        let dir = data.join(format!("d{}", number % 50));
        fs::create_dir_all(&dir).unwrap();
        let mut bytes = vec![0; len];
        let mut state = u64::from(number) << 20 | 1;
        for chunk in bytes.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&(state >> 7).to_le_bytes()[..chunk.len()]);
        }
        fs::write(dir.join(format!("f{number}")), bytes).unwrap();
    }
}

/// The files below a part of the repository, the largest last.
pub(crate) fn stored(site: &Site, part: &str) -> Vec<PathBuf> {
    let folder = site.repository().join(part);
    let files = if folder.exists() { testkit::site::files_below(&folder) } else { vec![] };
    let mut files: Vec<_> = files.into_iter().map(|(name, bytes)| (bytes.len(), name)).collect();
    files.sort();
    files.into_iter().map(|(_, name)| site.repository().join(part).join(name)).collect()
}
