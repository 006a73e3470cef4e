//! Which repository was at a place when it was last opened from this machine: so a wiped bucket is noticed. And by which
//! of its keys: trying another one first costs a derivation.
//!
//! Form: `known/<SHA-256 of the location>` in the cache directory holds `{"location","id","key"}`; the file's own time
//! says when. It is a memory, no proof: without it everything works.

use std::fs;
use std::io;

use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::blob::id_of;
use crate::cache::CacheDir;
use crate::table::scratch::Scratch;

const FOLDER: &str = "known";

#[derive(Serialize, Deserialize)]
struct Form {
    location: String,
    id: Digest,
    key: Option<Digest>,
}

/// A repository that was at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: Digest,
    /// The key file that opened it.
    pub key: Option<Digest>,
    /// When it was last opened, by the clock of this machine's file system.
    pub seen: Timestamp,
}

/// What was at `location`, where that is known.
pub fn recall(cache: &CacheDir, location: &str) -> Option<Known> {
    let path = cache.path().join(FOLDER).join(id_of(location.as_bytes()).to_hex());
    let form: Form = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let seen = Timestamp::try_from(fs::metadata(&path).ok()?.modified().ok()?).ok()?;
    (form.location == location).then_some(Known { id: form.id, key: form.key, seen })
}

/// Remember that the repository `id` is at `location`, and was opened by `key`.
///
/// # Errors
/// What the file system says.
pub fn remember(cache: &CacheDir, location: &str, id: Digest, key: Digest) -> io::Result<()> {
    use std::io::Write;
    let folder = cache.part(FOLDER)?;
    let form = Form { location: location.to_owned(), id, key: Some(key) };
    let (name, mut file) = Scratch::create(&folder)?;
    file.write_all(&serde_json::to_vec(&form)?)?;
    name.keep(&folder.join(id_of(location.as_bytes()).to_hex()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Digest = Digest([9; 32]);

    #[test]
    fn each_place_has_a_memory_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let cache = CacheDir::open(&root.path().join("cache")).unwrap();
        assert_eq!(recall(&cache, "s3://one"), None);
        remember(&cache, "s3://one", Digest([1; 32]), KEY).unwrap();
        remember(&cache, "s3://one", Digest([2; 32]), KEY).unwrap();
        remember(&cache, "s3://two", Digest([3; 32]), KEY).unwrap();
        let known = |place| recall(&cache, place).map(|known| known.id);
        assert_eq!((known("s3://one"), known("s3://two")), (Some(Digest([2; 32])), Some(Digest([3; 32]))));
        assert_eq!(known("s3://three"), None);
        assert_eq!(recall(&cache, "s3://two").unwrap().key, Some(KEY));
    }

    #[test]
    fn nonsense_is_no_memory() {
        let root = tempfile::tempdir().unwrap();
        let cache = CacheDir::open(&root.path().join("cache")).unwrap();
        remember(&cache, "s3://one", Digest([1; 32]), KEY).unwrap();
        let file = fs::read_dir(cache.path().join(FOLDER)).unwrap().next().unwrap().unwrap().path();
        fs::write(file, b"{}").unwrap();
        assert_eq!(recall(&cache, "s3://one"), None);
    }
}
