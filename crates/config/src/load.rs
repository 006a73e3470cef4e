//! Reading a configuration and what it includes.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Result};
use crate::file::File;
use crate::written::Written;

/// Where a configuration is looked for, when none is named.
pub const USUAL_PLACES: [&str; 2] = ["mainstay.toml", "/etc/mainstay/mainstay.toml"];
/// Files that include others, one inside the other, at most: more are a circle.
const DEPTH_MAX: usize = 8;

/// Files that were looked at, as they were just before: what whoever wants to know of a change has to look at again, and
/// nothing of it need be read for that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    /// By the file that includes and its pattern: what was found.
    included: BTreeMap<(PathBuf, String), Vec<PathBuf>>,
}

/// What is another one when a file is written, replaced, or gets another mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    mode: u32,
    len: u64,
    /// Seconds and nanoseconds of its last change.
    changed: (i64, i64),
}

impl Stamp {
    /// None where there is no such file, or nobody can look.
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        let changed = (about.ctime(), about.ctime_nsec());
        Some(Self { inode: about.ino(), mode: about.mode(), len: about.len(), changed })
    }
}

impl Seen {
    /// The file `path` is going to be looked at; it need not be there.
    pub fn add(&mut self, path: &Path) {
        self.files.insert(path.to_owned(), Stamp::of(path));
    }

    /// Whether one of them is not as it was, or a pattern finds others.
    pub fn has_changed(&self) -> bool {
        let is_other = |((file, pattern), found): (&(PathBuf, String), &Vec<PathBuf>)| {
            matching(file, pattern).unwrap_or_default() != *found
        };
        self.files.iter().any(|(path, stamp)| Stamp::of(path) != *stamp) || self.included.iter().any(is_other)
    }
}

/// The file `path`, and behind it those that it includes, in the order of their names.
///
/// # Errors
/// The first mistake in one of them; files that cannot be read.
pub fn load(path: &Path) -> Result<Vec<File>> {
    load_seen(path, &mut Seen::default())
}

/// The same; `seen` gets what was looked at, also where there is a mistake.
///
/// # Errors
/// As [`load`].
pub fn load_seen(path: &Path, seen: &mut Seen) -> Result<Vec<File>> {
    let mut files = vec![];
    read(path, 0, &mut files, seen)?;
    Ok(files)
}

fn read(path: &Path, depth: usize, files: &mut Vec<File>, seen: &mut Seen) -> Result<()> {
    seen.add(path);
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::of_file(path, error.to_string()))?;
    let file = File::parse(path, text)?;
    let mut find = |pattern: &Written<String>| {
        let found = matching(path, &pattern.value);
        seen.included.insert((path.to_owned(), pattern.value.clone()), found.clone().unwrap_or_default());
        found.map_err(|words| file.mistake(pattern, words))
    };
    let included: Vec<_> = file.tables.include.iter().map(&mut find).collect::<Result<_>>()?;
    if depth >= DEPTH_MAX && !included.is_empty() {
        return Err(ConfigError::of_file(path, "files include each other in a circle"));
    }
    files.push(file);
    included.iter().flatten().try_for_each(|path| read(path, depth + 1, files, seen))
}

/// Files that a pattern names, in the order of their names. A name without `*` must be there.
fn matching(file: &Path, pattern: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let found =
        glob::glob(&whole.to_string_lossy()).map_err(|error| format!("include {pattern:?}: {error}"))?;
    let mut paths = found.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    paths.sort();
    if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(format!("included file {pattern} does not exist"));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Without reading one of them: files that are written, replaced, get another mode, come and go.
    #[test]
    fn a_change_of_any_file_and_a_file_that_joins_or_goes_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        fs::create_dir(path("conf.d")).unwrap();
        let root = "include = [\"conf.d/*.toml\"]\n[repository]\nurl = \"/r\"\n";
        write("root.toml", root);
        write("conf.d/a.toml", "[tenants.a]\n");
        let look = || {
            let mut seen = Seen::default();
            let loaded = load_seen(&path("root.toml"), &mut seen);
            seen.add(&path(".env"));
            assert!(!seen.has_changed());
            (loaded.is_ok(), seen)
        };
        type Step<'a> = (&'a str, bool, &'a dyn Fn());
        let steps: [Step<'_>; 8] = [
            ("written", true, &|| write("conf.d/a.toml", "[tenants.other]\n")),
            ("joins", true, &|| write("conf.d/b.toml", "[tenants.c]\n")),
            ("goes", true, &|| fs::remove_file(path("conf.d/b.toml")).unwrap()),
            ("variables", true, &|| write(".env", "A=1\n")),
            ("mode", true, &|| fs::set_permissions(path(".env"), PermissionsExt::from_mode(0o600)).unwrap()),
            // A mistake hides none of the others.
            ("mistake", false, &|| write("conf.d/a.toml", "nonsense")),
            ("joins beside it", false, &|| write("conf.d/b.toml", "[tenants.c]\n")),
            ("replaced", true, &|| {
                write("new", "[tenants.a]\n");
                fs::rename(path("new"), path("conf.d/a.toml")).unwrap();
            }),
        ];
        assert!(look().0);
        for (name, is_good, step) in steps {
            let (_, seen) = look();
            step();
            assert!(seen.has_changed(), "{name}");
            assert_eq!(look().0, is_good, "{name}");
        }
        // A file that is named and missing joins later.
        write("root.toml", "include = [\"later.toml\"]\n");
        let (is_good, seen) = look();
        write("later.toml", "");
        assert!(!is_good && seen.has_changed() && look().0);
    }
}
