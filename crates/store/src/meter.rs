//! A store that counts: requests by their kind, bytes in both directions, and what that costs at list prices.
//!
//! It belongs below retries, so that every request that a store would bill is counted, also the failed ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive::{Archive, Terms, Warmth};
use crate::key::Key;
use crate::store::{Bytes, Object, Range, Reads, Store, StoreError};

/// Objects in one page of a listing: S3, GCS and Azure bill each page as a request.
pub const PAGE_LEN: u64 = 1000;

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests that write an object.
    pub puts: u64,
    /// Requests that read one.
    pub gets: u64,
    /// Pages of listings.
    pub lists: u64,
    /// Requests that delete one.
    pub deletes: u64,
    /// Bytes of objects sent.
    pub uploaded_bytes: u64,
    /// Bytes of objects fetched.
    pub downloaded_bytes: u64,
}

impl std::ops::Add for Traffic {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            puts: self.puts + other.puts,
            gets: self.gets + other.gets,
            lists: self.lists + other.lists,
            deletes: self.deletes + other.deletes,
            uploaded_bytes: self.uploaded_bytes + other.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes + other.downloaded_bytes,
        }
    }
}

impl Traffic {
    /// All requests.
    pub fn requests(&self) -> u64 {
        self.puts + self.gets + self.lists + self.deletes
    }

    /// What it costs, in millionths of a dollar.
    pub fn cost_micro_usd(&self, prices: &Prices) -> u64 {
        let requests = (self.puts + self.lists) * prices.write_thousand + self.gets * prices.read_thousand;
        let egress = u128::from(self.downloaded_bytes) * u128::from(prices.egress_gb) / 1_000_000_000;
        requests.div_ceil(1000).saturating_add(u64::try_from(egress).unwrap_or(u64::MAX))
    }
}

/// A price list; all in millionths of a dollar. Deleting is free everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// A thousand requests that write or list.
    pub write_thousand: u64,
    /// A thousand requests that read.
    pub read_thousand: u64,
    /// 10⁹ bytes leaving the cloud for the internet.
    pub egress_gb: u64,
    /// 10⁹ bytes kept for a month.
    pub storage_gb_month: u64,
}

impl Prices {
    /// Amazon S3 Standard, us-east-1. The table with its date is in `docs/reference/stores.md`.
    pub const S3: Self =
        Self { write_thousand: 5_000, read_thousand: 400, egress_gb: 90_000, storage_gb_month: 23_000 };
    /// Google Cloud Storage Standard, one region.
    pub const GCS: Self =
        Self { write_thousand: 5_000, read_thousand: 400, egress_gb: 120_000, storage_gb_month: 20_000 };
    /// Azure Blob, hot, locally redundant.
    pub const AZURE: Self =
        Self { write_thousand: 5_500, read_thousand: 440, egress_gb: 87_000, storage_gb_month: 18_400 };

    /// What it costs to keep so many bytes for a month, in millionths of a dollar.
    pub fn month_micro_usd(&self, bytes: u64) -> u64 {
        let cost = u128::from(bytes) * u128::from(self.storage_gb_month) / 1_000_000_000;
        u64::try_from(cost).unwrap_or(u64::MAX)
    }

    /// The prices for an address; none where requests cost nothing, as on a disk or over SFTP.
    pub fn of(location: &str) -> Option<Self> {
        match location.split_once("://")?.0 {
            "s3" => Some(Self::S3),
            "gs" => Some(Self::GCS),
            "az" => Some(Self::AZURE),
            _ => None,
        }
    }
}

/// A count that stores share.
#[derive(Debug, Default)]
pub struct Meter {
    puts: AtomicU64,
    gets: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The count until now.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            puts: read(&self.puts),
            gets: read(&self.gets),
            lists: read(&self.lists),
            deletes: read(&self.deletes),
            uploaded_bytes: read(&self.uploaded_bytes),
            downloaded_bytes: read(&self.downloaded_bytes),
        }
    }
}

/// A store whose use is counted.
pub struct MeterStore<S> {
    inside: S,
    meter: Arc<Meter>,
}

impl<S> MeterStore<S> {
    /// `inside`, counted on `meter`.
    pub fn new(inside: S, meter: Arc<Meter>) -> Self {
        Self { inside, meter }
    }

    fn count_put(&self, content: &[u8]) {
        add(&self.meter.puts, 1);
        // Also where it fails: the bytes were sent, or some of them.
        add(&self.meter.uploaded_bytes, content.len() as u64);
    }
}

fn add(counter: &AtomicU64, number: u64) {
    counter.fetch_add(number, Ordering::Relaxed);
}

impl<S: Store> Store for MeterStore<S> {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.count_put(content);
        self.inside.put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        add(&self.meter.gets, 1);
        self.inside.get(key, range, into)?;
        add(&self.meter.downloaded_bytes, into.len() as u64);
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        let found = self.inside.list(prefix);
        let pages = found.as_ref().map_or(0, |found| found.len() as u64).div_ceil(PAGE_LEN);
        add(&self.meter.lists, pages.max(1));
        found
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        add(&self.meter.deletes, 1);
        self.inside.delete(key)
    }

    fn location(&self) -> String {
        self.inside.location()
    }

    fn lanes(&self) -> usize {
        self.inside.lanes()
    }

    fn put_pack(&self, key: &Key, content: &Bytes, reads: Reads) -> Result<(), StoreError> {
        self.count_put(content);
        self.inside.put_pack(key, content, reads)
    }

    fn has_cold_packs(&self) -> bool {
        self.inside.has_cold_packs()
    }
}

/// Looking is billed as reading, asking as writing.
impl<A: Archive> Archive for MeterStore<A> {
    fn warmth(&self, key: &Key) -> Result<Warmth, StoreError> {
        add(&self.meter.gets, 1);
        self.inside.warmth(key)
    }

    fn warm_up(&self, key: &Key, terms: &Terms) -> Result<(), StoreError> {
        add(&self.meter.puts, 1);
        self.inside.warm_up(key, terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::{Fault, FaultyStore};
    use crate::memory::MemoryStore;
    use crate::store::read;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    #[test]
    fn conforms() {
        crate::conformance::run(&MeterStore::new(MemoryStore::new(), Arc::new(Meter::new())));
        let quiet = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| None));
        crate::conformance::run(&MeterStore::new(quiet, Arc::new(Meter::new())));
    }

    #[test]
    fn every_request_and_byte_is_counted_once() {
        let meter = Arc::new(Meter::new());
        let store = MeterStore::new(MemoryStore::new(), meter.clone());
        store.put_new(&key("a/b"), &[0; 100]).unwrap();
        store.get(&key("a/b"), Range::Bytes { offset: 10, len: 30 }, &mut vec![]).unwrap();
        read(&store, &key("a/b")).unwrap();
        store.list("a").unwrap();
        store.delete(&key("a/b")).unwrap();
        let want =
            Traffic { puts: 1, gets: 2, lists: 1, deletes: 1, uploaded_bytes: 100, downloaded_bytes: 130 };
        assert_eq!((meter.traffic(), want.requests()), (want, 5));
    }

    #[test]
    fn failed_requests_are_billed_too_and_bytes_that_never_came_are_not() {
        let meter = Arc::new(Meter::new());
        let faulty = FaultyStore::new(MemoryStore::new(), Box::new(|_, _, _| Some(Fault::Before)));
        let store = MeterStore::new(faulty, meter.clone());
        store.put_new(&key("a"), &[0; 100]).unwrap_err();
        read(&store, &key("a")).unwrap_err();
        store.list("a").unwrap_err();
        let Traffic { puts, gets, lists, downloaded_bytes, .. } = meter.traffic();
        assert_eq!((puts, gets, lists, downloaded_bytes), (1, 1, 1, 0));
    }

    #[test]
    fn a_listing_counts_by_its_pages() {
        let meter = Arc::new(Meter::new());
        let store = MeterStore::new(MemoryStore::new(), meter.clone());
        for number in 0..=PAGE_LEN {
            store.put_new(&key(&format!("a/{number}")), b"").unwrap();
        }
        store.list("a").unwrap();
        assert_eq!(meter.traffic().lists, 2);
    }

    #[test]
    fn the_cost_is_that_of_the_list() {
        let traffic = Traffic {
            puts: 1000,
            gets: 10_000,
            lists: 1000,
            deletes: 5,
            uploaded_bytes: 1 << 40,
            downloaded_bytes: 2_000_000_000,
        };
        assert_eq!(traffic.cost_micro_usd(&Prices::S3), 2 * 5_000 + 10 * 400 + 2 * 90_000);
        assert_eq!(Traffic { puts: 1, ..Traffic::default() }.cost_micro_usd(&Prices::S3), 5);
        assert_eq!(Prices::of("s3://bucket/p"), Some(Prices::S3));
        assert_eq!((Prices::of("/srv/backups"), Prices::of("sftp://h/p")), (None, None));
    }
}
