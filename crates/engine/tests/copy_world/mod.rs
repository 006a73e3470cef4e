//! Backups with tags in repositories in memory, for the tests of copy, forget, delete and stats.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../../../repo/tests/prune_world/mod.rs"]
pub(crate) mod world;

use std::sync::Arc;

use engine::catalog;
use model::backup::BackupRecord;
use repo::Repository;
use repo::snapshot_file::SnapshotFile;
use store::memory::MemoryStore;

pub(crate) fn repository() -> (Arc<MemoryStore>, Arc<Repository>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), world::init(store))
}

/// A backup of `source`, as the engine makes it: tags, snapshot, record.
pub(crate) fn back_up(
    repository: &Arc<Repository>,
    source: &str,
    files: &world::Files,
    hour: i64,
) -> BackupRecord {
    let index = repository.load_index_for_writing().unwrap();
    let tree = world::save_tree(repository, index, files);
    let id = format!("acme-{source}-{hour}");
    let json = format!(
        r#"{{"time":"{}","tree":"{tree}","paths":["/srv/{source}"],"hostname":"h","username":"u",
            "tags":["mainstay","id={id}","tenant=acme","source={source}","kind=directory"]}}"#,
        world::at(hour)
    );
    let snapshot: SnapshotFile = serde_json::from_str(&json).unwrap();
    repository.commit_snapshot(&snapshot).unwrap();
    let mut record = catalog::find(repository, &id).unwrap();
    record.size_bytes = files.values().map(|bytes| bytes.len() as u64).sum();
    repository.put_note(&format!("record/{}", record.snapshot.unwrap()), &record).unwrap();
    record
}
