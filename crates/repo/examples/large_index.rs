//! Measures the index of a large repository: real, sealed index files and snapshots, and no packs.
//!
//! `large_index make DIR BLOBS SNAPSHOTS` makes one below DIR; `large_index open DIR` opens it with a cache beside it and
//! says seconds, lookups per second, and memory. Run `open` twice: the first time makes the table.

#![allow(clippy::unwrap_used, reason = "what measures may panic")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use model::digest::Digest;
use model::secret::Secret;
use repo::blob::PackedBlob;
use repo::cache::CacheDir;
use repo::index::{IndexedPack, encode_file};
use repo::repository::FileKind;
use repo::snapshot_file::SnapshotFile;
use repo::{BlobKind, Repository};
use store::local::LocalStore;

const PASSWORD: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";
const FILE_BLOBS: u64 = 50_000;
const PACK_BLOBS: u64 = 62;
const LOOKUPS: u64 = 200_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words[..] {
        ["make", directory, blobs, snapshots] => {
            make(Path::new(directory), blobs.parse().unwrap(), snapshots.parse().unwrap());
        }
        ["open", directory] => open(Path::new(directory)),
        _ => say("usage: large_index make DIR BLOBS SNAPSHOTS | open DIR"),
    }
}

fn say(words: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{words}").unwrap();
}

/// Like a hash: the digits of `n` well mixed.
fn id(n: u64) -> Digest {
    let mut id = [0; 32];
    for (part, bytes) in (0u64..).zip(id.chunks_mut(8)) {
        let mut x = n.wrapping_mul(4).wrapping_add(part).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.copy_from_slice(&(x ^ (x >> 31)).to_be_bytes());
    }
    Digest(id)
}

fn make(directory: &Path, blobs: u64, snapshots: u64) {
    let store = Arc::new(LocalStore::new(directory.join("repository")));
    let repository = Repository::init(store, &Secret::new(PASSWORD), "u", "h").unwrap();
    let blob = |n: u64| PackedBlob {
        id: id(n),
        kind: if n.is_multiple_of(50) { BlobKind::Tree } else { BlobKind::Data },
        offset: (n % PACK_BLOBS * 1_000_000) as u32,
        length: 900_000 + (n % 99_999) as u32,
        raw_length: Some(1_000_000),
    };
    let starts: Vec<u64> = (0..blobs).step_by(FILE_BLOBS as usize).collect();
    repo::threads::map(&starts, |start| {
        let end = (start + FILE_BLOBS).min(blobs);
        let packs = (*start..end).step_by(PACK_BLOBS as usize).map(|first| IndexedPack {
            id: id(u64::MAX / 2 + first),
            blobs: (first..(first + PACK_BLOBS).min(end)).map(blob).collect(),
        });
        let json = encode_file(&packs.collect::<Vec<_>>());
        repository.save_file(FileKind::Index, &json).unwrap();
    })
    .unwrap();
    for n in 0..snapshots {
        let snapshot: SnapshotFile = serde_json::from_value(serde_json::json!({
            "time": Timestamp::UNIX_EPOCH, "tree": id(n * 50), "paths": [format!("/{n}")],
            "hostname": "h", "username": "u", "uid": 0, "gid": 0,
        }))
        .unwrap();
        repository.commit_snapshot(&snapshot).unwrap();
    }
}

fn open(directory: &Path) {
    let store = Arc::new(LocalStore::new(directory.join("repository")));
    let begin = Instant::now();
    let cache = CacheDir::open(&directory.join("cache")).unwrap();
    let repository = Repository::open_with(store, &Secret::new(PASSWORD), Some(cache)).unwrap();
    say(&format!("opened after {:.3} s", begin.elapsed().as_secs_f64()));
    let index = repository.load_index().unwrap();
    let blobs = index.len() as u64;
    say(&format!("index of {blobs} blobs after {:.3} s", begin.elapsed().as_secs_f64()));
    say(&format!("memory {}", memory()));
    let snapshots = repository.load_snapshots().unwrap().len();
    say(&format!("{snapshots} snapshots after {:.3} s", begin.elapsed().as_secs_f64()));
    for (what, first) in [("present", 0), ("absent", 1 << 40)] {
        let begin = Instant::now();
        let found = (0..LOOKUPS)
            .filter(|n| {
                let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % blobs;
                let kind = if n.is_multiple_of(50) { BlobKind::Tree } else { BlobKind::Data };
                index.has(kind, &id(first + n)).unwrap()
            })
            .count();
        let each = begin.elapsed().as_secs_f64() / LOOKUPS as f64;
        say(&format!("{what}: {found} of {LOOKUPS} found, {:.2} µs each", each * 1e6));
    }
    say(&format!("memory {}", memory()));
}

fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
