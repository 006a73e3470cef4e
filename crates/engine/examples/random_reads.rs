//! How fast a file of a backup is read here and there: `random_reads REPOSITORY ID PATH [SECONDS]`, the password in
//! MAINSTAY_PASSWORD. Reads 8 KiB at random places of the file, by one thread and by one on each core, with a cache of
//! plaintext that holds all of what is read (warm) and with one that holds next to nothing (every read opens a blob), and
//! from the first byte to the last.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "what measures may panic, and says its figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::catalog;
use engine::open_file::open_file;
use files::relative::RelativePath;
use model::secret::Secret;
use repo::Repository;
use repo::plain_cache::PlainCache;
use repo::random::RandomFile;
use repo::threads::cores;

const READ_LEN: usize = 8 << 10;
/// What is read of the file, so that it fits into the cache.
const WARM_LEN: u64 = 256 << 20;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, id, path, more @ ..] = &arguments[..] else {
        panic!("usage: random_reads REPOSITORY ID PATH [SECONDS]")
    };
    let seconds = Duration::from_secs(more.first().map_or(3, |seconds| seconds.parse().unwrap()));
    let password = Secret::new(std::env::var("MAINSTAY_PASSWORD").unwrap());
    let store = Arc::from(store::open::open(url).unwrap());
    let repository = Arc::new(Repository::open(store, &password).unwrap());
    let index = Arc::new(repository.load_index().unwrap());
    let record = catalog::find(&repository, id).unwrap();
    let path = RelativePath::parse(path).unwrap();
    let open =
        |cache: usize| open_file(&repository, &index, &record, &path, &PlainCache::new(cache)).unwrap();

    let file = open(WARM_LEN as usize + (64 << 20));
    let len = file.len().min(WARM_LEN);
    let start = Instant::now();
    let mut buffer = vec![0; 128 << 10];
    for offset in (0..len).step_by(buffer.len()) {
        file.read_at(offset, &mut buffer).unwrap();
    }
    println!("in order, cold: {:.2} GB/s", len as f64 / start.elapsed().as_secs_f64() / 1e9);
    for threads in [1, cores()] {
        println!("warm, {threads} threads: {:.0} reads/s", reads(&file, len, threads, seconds));
    }
    let file = open(4 << 20);
    for threads in [1, cores()] {
        println!("nothing kept, {threads} threads: {:.0} reads/s", reads(&file, len, threads, seconds));
    }
}

/// Reads a second.
fn reads(file: &RandomFile, len: u64, threads: usize, during: Duration) -> f64 {
    let (count, start) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let count = &count;
            scope.spawn(move || {
                let (mut state, mut buffer) = (thread * 2 + 1, vec![0; READ_LEN]);
                while start.elapsed() < during {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let offset = (state >> 16) % (len - READ_LEN as u64);
                    assert_eq!(file.read_at(offset, &mut buffer).unwrap(), READ_LEN);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    count.into_inner() as f64 / start.elapsed().as_secs_f64()
}
