//! Repositories in memory, for the tests of this crate.

use std::sync::Arc;

use model::secret::Secret;
use store::memory::MemoryStore;

use crate::blob::{BlobId, BlobKind};
use crate::repository::Repository;
use crate::saver::{SaveOptions, Saver};

/// As weak as it is public; strong in length, so that key derivation stays cheap.
pub(crate) fn password() -> Secret {
    Secret::new("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01")
}

pub(crate) fn repository() -> Arc<Repository> {
    repository_in(Arc::new(MemoryStore::new()))
}

pub(crate) fn repository_in(store: Arc<dyn store::Store>) -> Arc<Repository> {
    Arc::new(Repository::init(store, &password(), "u", "h").unwrap())
}

/// One whose time a test turns.
pub(crate) fn repository_at(clock: &crate::clock::Clock) -> Arc<Repository> {
    let repository = Repository::init(Arc::new(MemoryStore::new()), &password(), "u", "h").unwrap();
    Arc::new(repository.with_clock(clock.clone()))
}

/// Save blobs through the real pipeline.
pub(crate) fn save(repository: &Arc<Repository>, blobs: &[(BlobKind, &[u8])]) -> Vec<BlobId> {
    let index = Arc::new(repository.load_index().unwrap());
    let saver = Saver::start(repository, &index, SaveOptions::default()).unwrap();
    let mut hand = saver.hand().unwrap();
    let ids = blobs.iter().map(|(kind, bytes)| hand.save(*kind, bytes).unwrap().id).collect();
    drop(hand);
    saver.finish().unwrap();
    ids
}
