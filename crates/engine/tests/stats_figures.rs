//! Figures of a repository whose contents are known to the byte.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod wal_world;

use engine::stats::{Waste, stats, stored_bytes};
use model::cancel::CancelToken;
use wal_world::copy_world::world::{at, back_up as back_up_plain, files, options, run};
use wal_world::copy_world::{back_up, repository};
use wal_world::{push, push_all};

#[test]
fn an_empty_repository_has_figures_too() {
    let (_, repository) = repository();
    let found = stats(&repository, true, &CancelToken::new()).unwrap();
    assert_eq!((found.snapshots, found.raw_bytes, found.packs), (0, 0, 0));
    assert!((found.dedup_ratio - 1.0).abs() < 1e-9 && (found.compression_ratio - 1.0).abs() < 1e-9);
    assert_eq!(found.waste, Some(Waste { marked_packs: 0, marked_bytes: 0, unused_bytes: 0 }));
}

#[test]
fn equal_bytes_count_once_and_every_restore_in_full() {
    let (_, repository) = repository();
    back_up(&repository, "web", &files(&[("a", 1), ("b", 2)]), 1);
    back_up(&repository, "web", &files(&[("a", 1), ("b", 2)]), 2);
    back_up(&repository, "db", &files(&[("a", 1)]), 3);
    let found = stats(&repository, false, &CancelToken::new()).unwrap();
    assert_eq!((found.snapshots, found.raw_bytes), (3, 150_000));
    // Six data blobs of noise, and two different trees.
    assert_eq!(found.blobs, 8);
    assert!((60_000..64_000).contains(&found.unique_bytes), "{found:?}");
    assert!((2.3..2.5).contains(&found.dedup_ratio), "{found:?}");
    assert!((1.0..1.1).contains(&found.compression_ratio), "{found:?}");
    let sources: Vec<_> = found.sources.iter().map(|one| (one.source.as_str(), one.raw_bytes)).collect();
    assert_eq!(sources, [("db", 30_000), ("web", 120_000)]);
    assert_eq!(found.waste, None);
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!((&json["rawBytes"], &json["sources"][0]["snapshots"]), (&"150000".into(), &"1".into()));
}

#[test]
fn wal_is_told_apart_and_counts_as_stored() {
    let (_, repository) = repository();
    back_up(&repository, "web", &files(&[("a", 1)]), 1);
    let before = stats(&repository, false, &CancelToken::new()).unwrap();
    assert_eq!((before.wal_bytes, before.wal_segments), (0, 0));
    assert_eq!(stored_bytes(&repository).unwrap().0, before.stored_bytes);
    push_all(&repository, 1..4);
    push(&repository, "00000002.history", b"1\t0/300000\tbecause\n").unwrap();
    let found = stats(&repository, false, &CancelToken::new()).unwrap();
    assert_eq!((found.stored_bytes, found.wal_segments), (before.stored_bytes, 3));
    let listed: u64 = repository.list_all_wal().unwrap().iter().map(|stored| stored.size).sum();
    assert!(listed > 0 && found.wal_bytes == listed, "{found:?}");
    assert_eq!(stored_bytes(&repository).unwrap().0, before.stored_bytes + listed);
}

#[test]
fn waste_is_what_no_visible_snapshot_needs() {
    let (_, repository) = repository();
    back_up(&repository, "web", &files(&[("a", 1)]), 1);
    // One without figures, as older restics write them.
    let plain = back_up_plain(&repository, &files(&[("x", 7), ("y", 8)]), 2);
    assert_eq!(stats(&repository, false, &CancelToken::new()).unwrap().raw_bytes, 90_000);
    repository.delete_snapshot(&plain, at(3), &repo::packer::Guard::default()).unwrap();
    let found = stats(&repository, true, &CancelToken::new()).unwrap().waste.unwrap();
    assert_eq!(found.marked_packs, 0);
    assert!((60_000..62_000).contains(&found.unused_bytes), "{found:?}");
    run(&repository, &options(), 4);
    let found = stats(&repository, true, &CancelToken::new()).unwrap().waste.unwrap();
    assert_eq!(found.marked_packs, 2);
    assert!(found.marked_bytes > found.unused_bytes, "packs have headers: {found:?}");
}
