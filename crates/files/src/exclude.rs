//! What a walk leaves out: patterns as in `.gitignore`, caches, other file systems.
//!
//! Patterns are relative to the walked root: `/a` is `a` in the root, `a` is any `a`, `a/` directories only, `!a` takes
//! back. What lies in an excluded directory is never looked at, so it cannot be taken back.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::relative::RelativePath;

/// First bytes of a file `CACHEDIR.TAG`, see <https://bford.info/cachedir/>.
pub const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// Name of the file that marks a cache.
pub const CACHE_TAG: &[u8] = b"CACHEDIR.TAG";

/// What a walk leaves out.
#[derive(Clone, Debug)]
pub struct Excludes {
    patterns: Gitignore,
    pub(crate) exclude_caches: bool,
    pub(crate) one_file_system: bool,
}

/// A pattern that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("exclude pattern {pattern:?}")]
pub struct PatternError {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub source: ignore::Error,
}

impl Default for Excludes {
    fn default() -> Self {
        Self { patterns: Gitignore::empty(), exclude_caches: false, one_file_system: false }
    }
}

impl Excludes {
    /// Leave nothing out.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Leave out what the patterns say; later ones win over earlier ones.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let named = |source| PatternError { pattern: pattern.to_owned(), source };
            builder.add_line(None, pattern).map_err(named)?;
        }
        let patterns = builder.build().map_err(|source| PatternError { pattern: String::new(), source })?;
        Ok(Self { patterns, ..Self::default() })
    }

    /// Keep of a directory marked by `CACHEDIR.TAG` only itself and the tag.
    pub fn without_caches(self) -> Self {
        Self { exclude_caches: true, ..self }
    }

    /// Keep of a directory on another device than the root only itself.
    pub fn on_one_file_system(self) -> Self {
        Self { one_file_system: true, ..self }
    }

    /// Whether of caches only the tag is kept.
    pub fn leaves_caches_out(&self) -> bool {
        self.exclude_caches
    }

    /// The pattern that means the directory `path` and nothing else; `None` for a name that no pattern can say.
    pub fn pattern_for(path: &RelativePath) -> Option<String> {
        let text = std::str::from_utf8(path.as_bytes()).ok().filter(|text| !text.contains(['\n', '\r']))?;
        let mut pattern = String::from("/");
        for letter in text.chars() {
            let is_special = "\\*?[]{}!# ".contains(letter);
            pattern.extend(is_special.then_some('\\'));
            pattern.push(letter);
        }
        pattern.push('/');
        Some(pattern)
    }

    /// Whether a pattern leaves `path` out, given that the directories above it are not.
    pub fn is_excluded(&self, path: &RelativePath, is_dir: bool) -> bool {
        !self.patterns.is_empty()
            && !path.is_root()
            && self.patterns.matched(path.as_path(), is_dir).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_patterns() {
        let table: &[(&[&str], &str, bool, bool)] = &[
            (&[], "a", false, false),
            (&["*.tmp"], "a.tmp", false, true),
            (&["*.tmp"], "deep/er/a.tmp", false, true),
            (&["*.tmp"], "a.tmp.txt", false, false),
            (&["/a"], "a", false, true),
            (&["/a"], "b/a", false, false),
            (&["cache/"], "x/cache", true, true),
            (&["cache/"], "x/cache", false, false),
            (&["a/b"], "a/b", false, true),
            (&["a/b"], "x/a/b", false, false),
            (&["**/a/b"], "x/a/b", false, true),
            (&["a/**/z"], "a/b/c/z", false, true),
            (&["*.log", "!keep.log"], "x/keep.log", false, false),
            (&["*.log", "!keep.log"], "x/other.log", false, true),
            (&["!keep.log", "*.log"], "keep.log", false, true),
            (&["[ab].c"], "a.c", false, true),
            (&["[ab].c"], "c.c", false, false),
            (&["# a comment"], "# a comment", false, false),
            (&["\\#real"], "#real", false, true),
            (&["with space"], "with space", false, true),
            (&["*"], "anything", true, true),
        ];
        for (patterns, path, is_dir, excluded) in table {
            let excludes = Excludes::new(*patterns).unwrap();
            let path = RelativePath::parse(path).unwrap();
            assert_eq!(excludes.is_excluded(&path, *is_dir), *excluded, "{patterns:?} on {path}");
        }
        assert!(Excludes::new(["*"]).unwrap().is_excluded(&RelativePath::parse(b"\xff\xfe").unwrap(), false));
        assert!(!Excludes::new(["*"]).unwrap().is_excluded(&RelativePath::root(), true));
    }

    #[test]
    fn a_pattern_for_a_path_means_that_directory_alone() {
        for name in ["plain", "a/b", "with space ", " #!", "!not", "*?[a-z]{b,c}", "back\\slash", "é"] {
            let path = RelativePath::parse(name).unwrap();
            let pattern = Excludes::pattern_for(&path).unwrap();
            let excludes = Excludes::new([pattern.as_str()]).unwrap();
            assert!(excludes.is_excluded(&path, true), "{pattern}");
            assert!(!excludes.is_excluded(&path, false), "{pattern}");
            for other in ["plainer", "x/plain", "b", "*", "az", "a/bc", "zz"] {
                let other = RelativePath::parse(other).unwrap();
                assert!(!excludes.is_excluded(&other, true), "{pattern} on {other}");
            }
        }
        assert_eq!(Excludes::pattern_for(&RelativePath::parse(b"\xff").unwrap()), None);
        assert_eq!(Excludes::pattern_for(&RelativePath::parse("a\nb").unwrap()), None);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Excludes::new(["fine", "{a,"]).unwrap_err();
        assert_eq!(error.to_string(), "exclude pattern \"{a,\"");
    }
}
