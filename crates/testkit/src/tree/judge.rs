//! Whether two directories are the same.
//!
//! It looks with its own eyes (`std` and `rustix`), never through the code under test. What it compares: names, kinds,
//! bytes, modes, owners, modification times to the nanosecond, extended attributes, link targets, groups of hard links,
//! devices, and roughly where files have holes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Holes smaller than this may be filled by a restore without anybody minding.
const HOLE_SLACK_BYTES: u64 = 64 * 1024;
/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 20;

/// Panics with a readable list of what differs.
///
/// # Panics
/// If anything differs, or cannot be read.
#[track_caller]
pub fn assert_same_tree(expected: &Path, actual: &Path) {
    let differences = differences(expected, actual);
    if differences.is_empty() {
        return;
    }
    let mut message = format!("{} and {} differ:\n", expected.display(), actual.display());
    for line in differences.iter().take(SHOWN_MAX) {
        writeln!(message, "  {line}").ok();
    }
    if differences.len() > SHOWN_MAX {
        writeln!(message, "  and {} more", differences.len() - SHOWN_MAX).ok();
    }
    panic!("{message}");
}

/// What differs between two trees, one line each; empty if nothing does.
pub fn differences(expected: &Path, actual: &Path) -> Vec<String> {
    let (wanted, found) = match (survey(expected), survey(actual)) {
        (Ok(wanted), Ok(found)) => (wanted, found),
        (Err(error), _) | (_, Err(error)) => return vec![format!("cannot be read: {error}")],
    };
    let mut lines = Vec::new();
    for (path, looks) in &wanted {
        match found.get(path) {
            None => lines.push(format!("{path:?}: missing")),
            Some(other) => looks.differences(other, path, &mut lines),
        }
    }
    lines.extend(
        found.keys().filter(|path| !wanted.contains_key(*path)).map(|path| format!("{path:?}: extra")),
    );
    lines
}

/// Everything about one path that is compared.
struct Looks {
    facts: Vec<(&'static str, String)>,
    /// Where the contents are, and how many of their bytes are not allocated.
    contents: Option<(PathBuf, u64)>,
}

impl Looks {
    fn differences(&self, other: &Looks, path: &Path, lines: &mut Vec<String>) {
        for ((what, wanted), (_, found)) in self.facts.iter().zip(&other.facts) {
            if wanted != found {
                lines.push(format!("{path:?}: {what} should be {wanted}, is {found}"));
            }
        }
        let (Some((wanted, wanted_hole)), Some((found, found_hole))) = (&self.contents, &other.contents)
        else {
            return;
        };
        if wanted_hole.abs_diff(*found_hole) > HOLE_SLACK_BYTES {
            lines.push(format!("{path:?}: holes should be {wanted_hole} bytes, are {found_hole}"));
        }
        match (fs::read(wanted), fs::read(found)) {
            (Ok(wanted), Ok(found)) => {
                if let Some(at) = wanted.iter().zip(&found).position(|(a, b)| a != b) {
                    lines.push(format!("{path:?}: contents differ from byte {at} on"));
                }
            }
            (Err(error), _) | (_, Err(error)) => lines.push(format!("{path:?}: cannot be read: {error}")),
        }
    }
}

fn survey(root: &Path) -> io::Result<BTreeMap<PathBuf, Looks>> {
    let mut survey = BTreeMap::new();
    let mut first_names = BTreeMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        let full = if path.as_os_str().is_empty() { root.to_path_buf() } else { root.join(&path) };
        if fs::symlink_metadata(&full)?.is_dir() {
            let mut children = Vec::new();
            for entry in fs::read_dir(&full)? {
                children.push(path.join(entry?.file_name()));
            }
            children.sort_by(|a, b| b.cmp(a));
            left.extend(children);
        }
        let looks = look(&full, &path, &mut first_names)?;
        survey.insert(path, looks);
    }
    Ok(survey)
}

/// `first_names` knows under which path each inode with several names was met first.
fn look(full: &Path, path: &Path, first_names: &mut BTreeMap<(u64, u64), PathBuf>) -> io::Result<Looks> {
    let stat = fs::symlink_metadata(full)?;
    let kind = stat.file_type();
    let mut facts = vec![
        ("kind", format!("{kind:?}")),
        ("mode", format!("{:o}", stat.mode() & 0o7777)),
        ("owner", format!("{}:{}", stat.uid(), stat.gid())),
        ("mtime", format!("{}.{:09}", stat.mtime(), stat.mtime_nsec())),
        ("attributes", attributes_of(full)?),
    ];
    if kind.is_symlink() {
        facts.push(("target", format!("{:?}", fs::read_link(full)?)));
    }
    if kind.is_char_device() || kind.is_block_device() {
        facts.push(("device", format!("{:#x}", stat.rdev())));
    }
    if !kind.is_dir() && stat.nlink() > 1 {
        let first = first_names.entry((stat.dev(), stat.ino())).or_insert_with(|| path.to_path_buf());
        facts.push(("first name", format!("{first:?} of {}", stat.nlink())));
    } else {
        facts.push(("first name", "itself".to_owned()));
    }
    if !kind.is_file() {
        return Ok(Looks { facts, contents: None });
    }
    facts.push(("size", stat.len().to_string()));
    let holes = stat.len().saturating_sub(stat.blocks() * 512);
    Ok(Looks { facts, contents: Some((full.to_path_buf(), holes)) })
}

fn attributes_of(full: &Path) -> io::Result<String> {
    let mut names = vec![0; 65_536];
    let len = match rustix::fs::llistxattr(full, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        outcome => outcome?,
    };
    let mut all = BTreeMap::new();
    for name in names[..len].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::lgetxattr(full, name, &mut value[..])?;
        all.insert(String::from_utf8_lossy(name).into_owned(), value[..len].escape_ascii().to_string());
    }
    Ok(format!("{all:?}"))
}
