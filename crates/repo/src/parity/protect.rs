//! Bringing the protection up to date: packs that stand in no whole set get one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use reed_solomon_simd::ReedSolomonEncoder;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use store::Range;

use crate::blob::id_of;
use crate::error::{RepoError, Result};
use crate::lease::{Identity, Lease};
use crate::parity::shard::{self, Header, Member, Shard};
use crate::parity::{PACKS_MAX, SHARDS_MAX, STRIPE_LEN, impossible, is_there};
use crate::repository::{FileKind, Repository};

/// How much to protect.
#[derive(Clone, Copy, Debug)]
pub struct ParityOptions {
    /// Packs of a set.
    pub packs: usize,
    /// Shards of a set: as many of its packs may be lost.
    pub shards: usize,
    /// Only say what would be done.
    pub dry_run: bool,
}

impl Default for ParityOptions {
    /// One eighth more bytes, and any two packs of sixteen may be lost.
    fn default() -> Self {
        Self { packs: 16, shards: 2, dry_run: false }
    }
}

/// What was done, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParityReport {
    /// Packs that were protected before, by a set that is whole.
    pub protected_packs: usize,
    /// Packs that are protected now.
    pub added_packs: usize,
    /// New sets.
    pub added_sets: usize,
    /// Bytes of their shards.
    #[serde(with = "model::backup::decimal")]
    pub added_bytes: u64,
    /// Sets that were replaced because packs or shards of theirs are gone.
    pub removed_sets: usize,
}

/// Protect every pack of the repository.
///
/// # Errors
/// [`RepoError::Refused`] for numbers out of bounds; a pack whose bytes do not fit its name (`repair packs` comes
/// first); what the store says.
pub fn protect(
    repository: &Arc<Repository>,
    options: ParityOptions,
    identity: &Identity,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<ParityReport> {
    if !(1..=PACKS_MAX).contains(&options.packs) || !(1..=SHARDS_MAX).contains(&options.shards) {
        let reason = format!("a set has 1 to {PACKS_MAX} packs and 1 to {SHARDS_MAX} shards");
        return Err(RepoError::Refused(reason));
    }
    let lease = match options.dry_run {
        true => None,
        false => Some(Lease::beside(repository, "parity", identity)?),
    };
    let sets = sets(shard::list(repository)?);
    let stored: HashMap<Digest, u64> =
        repository.list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.size)).collect();
    let is_whole = |shards: &[Shard]| {
        let header = &shards[0].header;
        shards.len() == header.shards
            && header.packs.iter().all(|pack| stored.get(&pack.id) == Some(&pack.len))
    };
    let (whole, broken): (Vec<_>, Vec<_>) = sets.into_iter().partition(|(_, shards)| is_whole(shards));
    let protected: HashSet<Digest> =
        whole.iter().flat_map(|(_, shards)| shards[0].header.packs.iter().map(|pack| pack.id)).collect();
    let plan = plan(stored.into_iter().filter(|(id, _)| !protected.contains(id)), options.packs);
    let shard_len = |set: &[Member]| set.iter().map(|pack| pack.len).max().unwrap_or(0).next_multiple_of(2);
    let report = ParityReport {
        protected_packs: protected.len(),
        added_packs: plan.iter().map(Vec::len).sum(),
        added_sets: plan.len(),
        added_bytes: plan.iter().map(|set| shard_len(set) * options.shards as u64).sum(),
        removed_sets: broken.len(),
    };
    let Some(lease) = lease else { return Ok(report) };
    progress.begin("computing parity", plan.iter().flatten().map(|pack| pack.len).sum());
    for set in &plan {
        cancel.check()?;
        save_set(repository, set, options.shards, progress)?;
    }
    lease.check()?;
    for shard in broken.into_iter().flat_map(|(_, shards)| shards) {
        repository.store().delete(&shard.object)?;
    }
    Ok(report)
}

/// Shards put together by their sets.
pub(super) fn sets(shards: Vec<Shard>) -> BTreeMap<(Digest, usize), Vec<Shard>> {
    let mut sets: BTreeMap<_, Vec<Shard>> = BTreeMap::new();
    for shard in shards {
        sets.entry((shard::set_name(&shard.header.packs), shard.header.shards)).or_default().push(shard);
    }
    sets
}

/// Sets of packs that are about as long as each other, so that little is filled up with zeros.
fn plan(packs: impl Iterator<Item = (Digest, u64)>, set_len: usize) -> Vec<Vec<Member>> {
    let mut packs: Vec<_> = packs.map(|(id, len)| Member { id, len }).collect();
    packs.sort_unstable_by_key(|pack| (pack.len, pack.id));
    packs.chunks(set_len).map(<[Member]>::to_vec).collect()
}

fn save_set(repository: &Repository, set: &[Member], count: usize, progress: &Progress) -> Result<()> {
    let shard_len = set.iter().map(|pack| pack.len).max().unwrap_or(0).next_multiple_of(2);
    let mut shards = vec![Vec::with_capacity(shard_len as usize); count];
    let mut hashes = vec![Sha256::new(); set.len()];
    let mut stripe = vec![];
    for offset in (0..shard_len).step_by(STRIPE_LEN) {
        let len = (shard_len - offset).min(STRIPE_LEN as u64);
        let mut encoder = ReedSolomonEncoder::new(set.len(), count, len as usize).map_err(impossible)?;
        for (pack, hash) in set.iter().zip(&mut hashes) {
            read_stripe(repository, pack, offset, len, &mut stripe)?;
            let own = pack.len.saturating_sub(offset).min(len);
            hash.update(&stripe[..own as usize]);
            progress.advance(own);
            encoder.add_original_shard(&stripe).map_err(impossible)?;
        }
        let coded = encoder.encode().map_err(impossible)?;
        for (shard, stripe) in shards.iter_mut().zip(coded.recovery_iter()) {
            shard.extend_from_slice(stripe);
        }
    }
    // Parity of damaged bytes would heal to damaged bytes.
    for (pack, hash) in set.iter().zip(hashes) {
        if Digest(hash.finalize().into()) != pack.id {
            return Err(RepoError::damaged(format!("pack {}", pack.id), "its bytes do not fit its name"));
        }
    }
    let name = shard::set_name(set);
    for (number, shard) in shards.iter().enumerate() {
        let header = Header { packs: set.to_vec(), shards: count, shard_len, sha256: id_of(shard) };
        let object = shard::object(&name, number)?;
        is_there(repository.store().put_new(&object, &shard::encode(&header, shard)))?;
        progress.item();
    }
    Ok(())
}

/// `len` bytes of a pack from `offset`, with zeros behind its end.
pub(super) fn read_stripe(
    repository: &Repository,
    pack: &Member,
    offset: u64,
    len: u64,
    into: &mut Vec<u8>,
) -> Result<()> {
    let own = pack.len.saturating_sub(offset).min(len);
    into.clear();
    if own > 0 {
        repository.read_pack(&FileKind::Pack.object(&pack.id), Range::Bytes { offset, len: own }, into)?;
    }
    into.resize(len as usize, 0);
    Ok(())
}
