//! WAL and base backups of one cluster in repositories in memory, for the tests of copies and of retention.

#![allow(dead_code, reason = "each test file uses a part of it")]

#[path = "../copy_world/mod.rs"]
pub(crate) mod copy_world;

use std::path::PathBuf;
use std::sync::Arc;

use engine::archive_wal::{Archived, LocalWal, archive_content};
use engine::fetch_wal::load_exactly;
use engine::{EngineError, catalog};
use model::backup::{BackupKind, BackupRecord};
use model::lsn::{Lsn, SystemId};
use repo::Repository;
use repo::snapshot_file::SnapshotFile;
use repo::wal_object::WalFile;

use copy_world::world;

pub(crate) const CLUSTER: SystemId = SystemId(7_000_000_000_000_000_001);
pub(crate) const SEGMENT_LEN: u64 = 1 << 20;

/// The name of a segment.
pub(crate) fn name(timeline: u32, number: u64) -> String {
    format!("{timeline:08X}{:08X}{:08X}", number >> 12, number & 0xFFF)
}

/// The bytes of a segment of PostgreSQL 15 of 1 MiB, others for each `seed`.
pub(crate) fn segment(timeline: u32, number: u64, seed: u8) -> Vec<u8> {
    let mut bytes = vec![seed; SEGMENT_LEN as usize];
    let header = [
        &0xD110u16.to_le_bytes()[..],
        &2u16.to_le_bytes(),
        &timeline.to_le_bytes(),
        &(number * SEGMENT_LEN).to_le_bytes(),
        &[0; 8],
        &CLUSTER.0.to_le_bytes(),
        &(SEGMENT_LEN as u32).to_le_bytes(),
        &8192u32.to_le_bytes(),
    ];
    let header = header.concat();
    bytes[..header.len()].copy_from_slice(&header);
    bytes
}

pub(crate) fn file(name: &str) -> WalFile {
    WalFile { system_id: CLUSTER, name: name.parse().unwrap() }
}

/// Archive as `wal push` does.
pub(crate) fn push(repository: &Repository, name: &str, plain: &[u8]) -> Result<Archived, EngineError> {
    let wal = LocalWal { path: PathBuf::from(format!("/nowhere/pg_wal/{name}")), file: file(name) };
    archive_content(repository, &wal, plain, 1)
}

/// Archive segments of timeline 1.
pub(crate) fn push_all(repository: &Repository, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        push(repository, &name(1, number), &segment(1, number, 1)).unwrap();
    }
}

/// What is archived under a name.
pub(crate) fn archived(repository: &Repository, name: &str) -> Option<Vec<u8>> {
    load_exactly(repository, &file(name), 1).unwrap()
}

/// The names of all that is archived, sorted.
pub(crate) fn names(repository: &Repository) -> Vec<String> {
    let mut names: Vec<_> = repository
        .list_wal(CLUSTER, None)
        .unwrap()
        .into_iter()
        .map(|one| one.file.name.to_string())
        .collect();
    names.sort();
    names
}

/// A base backup within one segment of timeline 1, as the engine tags it.
pub(crate) fn base_backup(repository: &Arc<Repository>, segment: u64, hour: i64) -> BackupRecord {
    let index = repository.load_index_for_writing().unwrap();
    let tree = world::save_tree(repository, index, &world::files(&[("manifest", segment)]));
    let id = format!("acme-main-{hour}");
    let (start, stop) = (Lsn(segment * SEGMENT_LEN + 40), Lsn(segment * SEGMENT_LEN + 400));
    let tags = [
        "mainstay".to_owned(),
        format!("id={id}"),
        "tenant=acme".to_owned(),
        "source=main".to_owned(),
        "kind=cluster".to_owned(),
        format!("system={CLUSTER}"),
        "timeline=1".to_owned(),
        format!("start={start}"),
        format!("stop={stop}"),
        format!("segment={SEGMENT_LEN}"),
    ];
    let json = serde_json::json!({
        "time": world::at(hour), "tree": tree, "paths": ["/srv/main"], "hostname": "h", "username": "u", "tags": tags,
    });
    let snapshot: SnapshotFile = serde_json::from_value(json).unwrap();
    repository.commit_snapshot(&snapshot).unwrap();
    let record = catalog::find(repository, &id).unwrap();
    assert_eq!(record.kind, BackupKind::Cluster);
    record
}
