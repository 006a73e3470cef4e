//! Small repositories, each written once by the program that names it, read for ever.
//!
//! All hold the same four files and open with the same password, which is no secret. They are never written again:
//! one for each new release is added beside them (`restic backup .` in a directory with those files).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::EntryKind;
use model::progress::Progress;
use model::secret::Secret;
use repo::check::{CheckOptions, check};
use repo::index::Index;
use repo::{BlobKind, Repository, tree};
use sha2::Digest as _;

const PASSWORD: &str = "golden-password-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM";

/// Names and SHA-256 of the files.
const FILES: [(&str, &str); 4] = [
    ("again", "1b29b94883f29dc05a756a98271e7ed79cb52f607847c0fa35609e267397ee8c"),
    ("empty", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("noise", "1b29b94883f29dc05a756a98271e7ed79cb52f607847c0fa35609e267397ee8c"),
    ("words", "4500c546819168f5ae924e746fa860a1e988ab9fcbbca65b71f836caa1b76f61"),
];

/// Repositories that must be there: none may be lost on the way.
const REPOSITORIES_MIN: usize = 7;

fn repositories() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut all: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn golden_repositories_of_every_version_are_read() {
    let all = repositories();
    assert!(all.len() >= REPOSITORIES_MIN, "{all:?}");
    for place in all {
        let store: Arc<dyn store::Store> = Arc::from(store::open::open(place.to_str().unwrap()).unwrap());
        let repository = Arc::new(Repository::open(store, &Secret::new(PASSWORD)).unwrap());
        let options = CheckOptions { read_percent: 100 };
        let report = check(&repository, options, &Progress::new(), &CancelToken::new()).unwrap();
        assert!(report.problems.is_empty(), "{}: {:?}", place.display(), report.problems);
        let index = repository.load_index().unwrap();
        let snapshots = repository.load_snapshots().unwrap();
        assert_eq!(snapshots.len(), 1, "{}", place.display());
        let mut files = BTreeMap::new();
        collect(&repository, &index, &snapshots[0].1.tree, &mut files);
        let expected = FILES.map(|(name, hash)| (name.to_owned(), hash.to_owned()));
        assert_eq!(files, BTreeMap::from(expected), "{}", place.display());
    }
}

fn collect(repository: &Repository, index: &Index, id: &Digest, files: &mut BTreeMap<String, String>) {
    let json = repository.read_blob(index, BlobKind::Tree, id).unwrap();
    for node in tree::decode(&json, &"tree").unwrap() {
        match (node.entry.kind, node.subtree) {
            (_, Some(subtree)) => collect(repository, index, &subtree, files),
            (EntryKind::File, _) => {
                let mut hash = sha2::Sha256::new();
                for id in &node.content {
                    hash.update(repository.read_blob(index, BlobKind::Data, id).unwrap());
                }
                let name = String::from_utf8(node.entry.name).unwrap();
                files.insert(name, Digest(hash.finalize().into()).to_hex());
            }
            _ => {}
        }
    }
}
