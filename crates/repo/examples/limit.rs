//! What no backup of a file can be faster than on this machine: `limit FILE` reads it, cuts it into chunks, hashes,
//! compresses and seals them on all cores, and keeps nothing. No pack, no index, no store.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what measures may panic, and says its figures")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use repo::chunk::{Cutter, SEED_LEN};
use repo::compression::{Compressor, LEVEL_DEFAULT};
use repo::crypto::Key;
use repo::sha256;
use repo::threads::cores;

/// Bytes that a thread works on at a time.
const SLICE_LEN: u64 = 16 << 20;
/// Mean bytes of a chunk, as backups of directories have them.
const MEAN: usize = 512 << 10;

fn main() {
    let path = std::env::args().nth(1).expect("usage: limit FILE");
    let file = File::open(path).unwrap();
    let len = file.metadata().unwrap().len();
    let (next, stored) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            scope.spawn(|| work(&file, len, &next, &stored));
        }
    });
    let (seconds, stored) = (start.elapsed().as_secs_f64(), stored.into_inner());
    let speed = len as f64 / seconds / 1e9;
    println!("{len} bytes, {stored} sealed, {seconds:.2} s, {speed:.2} GB/s");
}

fn work(file: &File, len: u64, next: &AtomicU64, stored: &AtomicU64) {
    let cutter = Cutter::new(&[7; SEED_LEN], MEAN);
    let mut compressor = Compressor::new(LEVEL_DEFAULT).unwrap();
    let (sealer, mut sealed) = (Key::random().unwrap().sealer(), vec![]);
    let mut slice = vec![0; SLICE_LEN as usize];
    loop {
        let offset = next.fetch_add(SLICE_LEN, Ordering::Relaxed);
        let slice = &mut slice[..len.saturating_sub(offset).min(SLICE_LEN) as usize];
        if slice.is_empty() {
            return;
        }
        file.read_exact_at(slice, offset).unwrap();
        let (mut chunks, mut rest) = (vec![], &*slice);
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(cutter.cut(rest));
            chunks.push(chunk);
            rest = behind;
        }
        let mut names = 0;
        sha256::digests(chunks.iter().copied(), |_, name| names ^= name.0[0]);
        std::hint::black_box(names);
        for chunk in chunks {
            sealed.clear();
            sealer.seal(compressor.shorter(chunk).unwrap_or(chunk), &mut sealed).unwrap();
            stored.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        }
    }
}
