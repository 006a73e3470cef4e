//! A path below a root: plain names joined by `/`, and nothing that could lead out of the root.
//!
//! Invariant: no leading or trailing `/`, no empty part, no `.`, no `..`, no NUL. The empty path is the root itself.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::entry::is_plain_name;

/// A path below a root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(Vec<u8>);

/// Why bytes are not a path below a root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It begins with `/`.
    #[error("path {} is absolute", .0.display())]
    Absolute(PathBuf),
    /// It has a part `..`.
    #[error("path {} leads upward", .0.display())]
    Upward(PathBuf),
    /// It has a byte 0, or a name with `/` inside.
    #[error("path {:?} has a byte that no name can have", .0)]
    Unnameable(PathBuf),
}

impl RelativePath {
    /// The root itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Clean `path`: empty parts and `.` are dropped; what is absolute, leads upward or holds NUL is refused.
    pub fn parse(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let bytes = path.as_ref();
        let refused = || PathBuf::from(OsStr::from_bytes(bytes));
        if bytes.first() == Some(&b'/') {
            return Err(PathError::Absolute(refused()));
        }
        let mut clean = Self(Vec::with_capacity(bytes.len()));
        for part in bytes.split(|&byte| byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(PathError::Upward(refused())),
                _ if part.contains(&0) => return Err(PathError::Unnameable(refused())),
                _ => clean.push(part),
            }
        }
        Ok(clean)
    }

    /// The path of `name` in this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let refused = || PathBuf::from(OsStr::from_bytes(name));
        match name {
            _ if is_plain_name(name) => Ok(self.child(name)),
            b".." => Err(PathError::Upward(refused())),
            _ => Err(PathError::Unnameable(refused())),
        }
    }

    /// The path of a name that is known to be plain.
    pub(crate) fn child(&self, name: &[u8]) -> Self {
        debug_assert!(is_plain_name(name));
        let mut child = Self(Vec::with_capacity(self.0.len() + 1 + name.len()));
        child.0.extend_from_slice(&self.0);
        child.push(name);
        child
    }

    fn push(&mut self, name: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name);
    }

    /// Parent and last name; the root has none.
    pub fn split(&self) -> Option<(RelativePath, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Self(self.0[..slash].to_vec()), &self.0[slash + 1..]),
            None => (Self::root(), &self.0[..]),
        })
    }

    /// Its names, from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|part| !part.is_empty())
    }

    /// Whether it is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it is `ancestor` or lies below it.
    pub fn is_within(&self, ancestor: &RelativePath) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(&ancestor.0[..])
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
    }

    /// As bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the standard library's path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        self.as_path()
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { self.as_path().display().fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leads_out_is_refused_and_the_rest_is_cleaned() {
        for bad in [&b"/"[..], b"/etc", b"..", b"a/..", b"../a", b"a/../../b", b"a\0b"] {
            assert!(RelativePath::parse(bad).is_err(), "{bad:?}");
        }
        for (given, clean) in
            [("", ""), (".", ""), ("./a", "a"), ("a//b/", "a/b"), ("...", "..."), ("a/./b", "a/b")]
        {
            assert_eq!(RelativePath::parse(given).unwrap().as_bytes(), clean.as_bytes());
        }
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert!(RelativePath::root().join(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn within_is_about_whole_names() {
        let path = |text: &str| RelativePath::parse(text).unwrap();
        assert!(path("a/b").is_within(&path("a")));
        assert!(path("a").is_within(&path("a")));
        assert!(path("a").is_within(&path("")));
        assert!(!path("ab").is_within(&path("a")));
        assert_eq!(path("a/b/c").split(), Some((path("a/b"), &b"c"[..])));
        assert_eq!(path("a").split(), Some((path(""), &b"a"[..])));
        assert_eq!(path("").split(), None);
    }

    fn spiteful_path() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            Just(b"..".to_vec()),
            Just(b".".to_vec()),
            Just(b"".to_vec()),
            Just(b"...".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
            Just(b"a".to_vec()),
        ];
        prop::collection::vec(part, 0..6).prop_map(|parts| parts.join(&b'/'))
    }

    proptest! {
        #[test]
        fn a_clean_path_has_plain_names_only_and_stays_itself(bytes in spiteful_path()) {
            if let Ok(path) = RelativePath::parse(&bytes) {
                prop_assert!(path.parts().all(is_plain_name));
                prop_assert_eq!(&RelativePath::parse(path.as_bytes()).unwrap(), &path);
                let rebuilt = path.parts().try_fold(RelativePath::root(), |dir, name| dir.join(name)).unwrap();
                prop_assert_eq!(rebuilt, path);
            } else {
                let upward = bytes.split(|&byte| byte == b'/').any(|part| part == b"..");
                prop_assert!(upward || bytes[0] == b'/' || bytes.contains(&0));
            }
        }
    }
}
