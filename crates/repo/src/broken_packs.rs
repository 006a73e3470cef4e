//! Packs that turned out to be broken, and in which way.

use std::collections::BTreeMap;

use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::RepoError;

/// Why a pack is not relied on; the stronger one comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It is not there.
    Missing,
    /// What was read of it is not what was stored.
    Damaged,
}

impl Why {
    /// What `error`, which is damage, says of the pack that gave it.
    pub fn of(error: &RepoError) -> Self {
        match error {
            RepoError::PackGone { .. } => Self::Missing,
            _ => Self::Damaged,
        }
    }

    /// As it stands in a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
        }
    }
}

/// Broken packs, each with the worst that was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokenPacks(BTreeMap<Digest, Why>);

impl BrokenPacks {
    /// Take in one more, or that it is worse than it was thought.
    pub fn add(&mut self, pack: Digest, why: Why) {
        let known = self.0.entry(pack).or_insert(why);
        *known = why.max(*known);
    }

    /// It turned out to be whole.
    pub fn remove(&mut self, pack: &Digest) {
        self.0.remove(pack);
    }

    /// Whether `pack` is one of them.
    pub fn has(&self, pack: &Digest) -> bool {
        self.0.contains_key(pack)
    }

    /// Each with its reason, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (Digest, Why)> {
        self.0.iter().map(|(pack, why)| (*pack, *why))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Extend<(Digest, Why)> for BrokenPacks {
    fn extend<T: IntoIterator<Item = (Digest, Why)>>(&mut self, packs: T) {
        packs.into_iter().for_each(|(pack, why)| self.add(pack, why));
    }
}
