//! Lost packs computed again from the others of their set.

use std::collections::HashSet;

use model::digest::Digest;
use model::progress::Progress;
use reed_solomon_simd::ReedSolomonDecoder;
use store::Range;

use crate::blob::id_of;
use crate::broken;
use crate::error::{RepoError, Result};
use crate::parity::protect::{read_stripe, sets};
use crate::parity::shard::{self, Member, Shard};
use crate::parity::{STRIPE_LEN, impossible, is_there};
use crate::repository::{FileKind, Repository};

/// Which of the packs `bad` (damaged, or gone) can be computed again, as far as is known before trying.
///
/// # Errors
/// When the store cannot list or read.
pub fn healable(repository: &Repository, bad: &HashSet<Digest>) -> Result<Vec<Digest>> {
    let hopeful = hopeful_sets(repository, bad)?;
    let packs = hopeful.iter().flat_map(|shards| shards[0].header.packs.iter().map(|pack| pack.id));
    let mut packs: Vec<_> = packs.filter(|id| bad.contains(id)).collect();
    packs.sort_unstable();
    packs.dedup();
    Ok(packs)
}

/// Compute the packs `bad` again, as far as their sets allow, and store them in their place. Returns those that are
/// whole now.
///
/// # Errors
/// What the store says. A set that turns out to be damaged itself only heals nothing.
pub fn heal(repository: &Repository, bad: &HashSet<Digest>, progress: &Progress) -> Result<Vec<Digest>> {
    let mut healed: Vec<Digest> = vec![];
    for shards in hopeful_sets(repository, bad)? {
        let packs = &shards[0].header.packs;
        if packs.iter().all(|pack| !bad.contains(&pack.id) || healed.contains(&pack.id)) {
            continue;
        }
        // A pack that is damaged without anybody knowing would spoil all others.
        let is_lost = |pack: &Member| Ok(!healed.contains(&pack.id) && !is_whole(repository, pack)?);
        let lost = packs.iter().map(is_lost).collect::<Result<Vec<_>>>()?;
        match compute(repository, &shards, &lost, progress) {
            Ok(packs) => {
                for (id, bytes) in packs {
                    replace(repository, &id, &bytes)?;
                    healed.push(id);
                }
            }
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    healed.sort_unstable();
    healed.dedup();
    broken::forget(repository, &healed)?;
    Ok(healed)
}

/// Whether a pack's bytes are what its name says.
fn is_whole(repository: &Repository, pack: &Member) -> Result<bool> {
    let mut bytes = vec![];
    match repository.read_pack(&FileKind::Pack.object(&pack.id), Range::All, &mut bytes) {
        Ok(()) => Ok(id_of(&bytes) == pack.id),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Sets with a bad pack, and with a shard for each of them.
fn hopeful_sets(repository: &Repository, bad: &HashSet<Digest>) -> Result<Vec<Vec<Shard>>> {
    if bad.is_empty() {
        return Ok(vec![]);
    }
    let sets = sets(shard::list(repository)?).into_values();
    let is_hopeful = |shards: &Vec<Shard>| {
        let lost = shards[0].header.packs.iter().filter(|pack| bad.contains(&pack.id)).count();
        lost > 0 && lost <= shards.len()
    };
    Ok(sets.filter(is_hopeful).collect())
}

/// The lost packs of one set whose bytes fit their names.
fn compute(
    repository: &Repository,
    shards: &[Shard],
    lost: &[bool],
    progress: &Progress,
) -> Result<Vec<(Digest, Vec<u8>)>> {
    let header = &shards[0].header;
    let wanted = lost.iter().filter(|is_lost| **is_lost).count();
    if wanted == 0 {
        return Ok(vec![]);
    }
    let shards = sound_shards(repository, shards, wanted)?;
    let mut found: Vec<_> = lost.iter().map(|is_lost| is_lost.then(Vec::new)).collect();
    let mut stripe = vec![];
    progress.begin("computing lost packs", header.packs.iter().map(|pack| pack.len).sum());
    for offset in (0..header.shard_len).step_by(STRIPE_LEN) {
        let len = (header.shard_len - offset).min(STRIPE_LEN as u64);
        let mut decoder =
            ReedSolomonDecoder::new(header.packs.len(), header.shards, len as usize).map_err(impossible)?;
        for (number, pack) in header.packs.iter().enumerate().filter(|(number, _)| !lost[*number]) {
            read_stripe(repository, pack, offset, len, &mut stripe)?;
            progress.advance(pack.len.saturating_sub(offset).min(len));
            decoder.add_original_shard(number, &stripe).map_err(impossible)?;
        }
        for shard in &shards {
            let range = Range::Bytes { offset: shard.offset + offset, len };
            repository.read_pack(&shard.object, range, &mut stripe)?;
            decoder.add_recovery_shard(shard.number, &stripe).map_err(impossible)?;
        }
        let decoded = decoder.decode().map_err(impossible)?;
        for (number, stripe) in decoded.restored_original_iter() {
            found[number].get_or_insert_default().extend_from_slice(stripe);
        }
    }
    let mut packs = vec![];
    for (pack, bytes) in header.packs.iter().zip(found) {
        let Some(mut bytes) = bytes else { continue };
        bytes.truncate(pack.len as usize);
        if id_of(&bytes) == pack.id {
            packs.push((pack.id, bytes));
        }
    }
    Ok(packs)
}

/// As many shards as are wanted, each compared with its hash.
fn sound_shards<'a>(repository: &Repository, shards: &'a [Shard], wanted: usize) -> Result<Vec<&'a Shard>> {
    let (mut sound, mut bytes) = (vec![], vec![]);
    for shard in shards {
        if sound.len() == wanted {
            break;
        }
        let range = Range::Bytes { offset: shard.offset, len: shard.header.shard_len };
        match repository.read_pack(&shard.object, range, &mut bytes) {
            Ok(()) if id_of(&bytes) == shard.header.sha256 => sound.push(shard),
            Err(error) if !error.is_damage() => return Err(error),
            _ => {}
        }
    }
    match sound.len() == wanted {
        true => Ok(sound),
        false => Err(RepoError::damaged("parity", "too few of its shards are sound")),
    }
}

/// Put a pack where it belongs; what lies there under its name is damaged.
fn replace(repository: &Repository, id: &Digest, bytes: &[u8]) -> Result<()> {
    let object = FileKind::Pack.object(id);
    repository.store().delete(&object)?;
    Ok(is_there(repository.store().put_new(&object, bytes))?)
}
