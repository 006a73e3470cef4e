//! Who needs which pack: for every blob that somebody needs one pack is its keeper, and other copies count as waste.
//!
//! Invariants: only a pack that is stored whole is a keeper; a pack that is marked is one only where no other has
//! the blob. So the choice is the same in both steps of prune, and never falls on what is about to go.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use model::digest::Digest;

use crate::blob::{BlobId, BlobKind, PackedBlob};
use crate::index::{IdMap, IdSet, IndexedPack};
use crate::reachable::Reachable;

/// A pack as the store and the index have it.
#[derive(Clone, Debug)]
pub struct Pack {
    /// Its name.
    pub id: Digest,
    /// Stored bytes; 0 where it is indexed but gone.
    pub size: u64,
    /// Whether all that the index names can be inside.
    pub is_whole: bool,
    /// What the index names; empty where no index does.
    pub blobs: Vec<PackedBlob>,
}

/// What somebody needs.
#[derive(Debug, Default)]
pub struct Needed {
    /// By snapshots that everybody sees.
    pub live: Reachable,
    /// By deleted snapshots that can still come back.
    pub cooling: Reachable,
}

impl Needed {
    /// Whether live or cooling snapshots need a blob.
    pub fn has(&self, kind: BlobKind, id: &BlobId) -> bool {
        self.live.has(kind, id) || self.cooling.has(kind, id)
    }
}

/// How much of one pack is needed, in bytes of its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackUse {
    /// Its name.
    pub id: Digest,
    /// Stored bytes.
    pub size: u64,
    /// What it holds, trees where that is both; `None` for a pack that no index names.
    pub kind: Option<BlobKind>,
    /// All its blobs.
    pub len: u64,
    /// Those that live snapshots need from here.
    pub used_by_live: u64,
    /// Those that live or cooling snapshots need from here.
    pub used_by_roots: u64,
    /// Whether it is known to be damaged.
    pub is_broken: bool,
}

impl PackUse {
    /// What no live snapshot needs.
    pub fn unused_by_live(&self) -> u64 {
        self.len - self.used_by_live
    }

    /// What no snapshot needs, not even one that may come back.
    pub fn unused_by_roots(&self) -> u64 {
        self.len - self.used_by_roots
    }
}

/// For each needed blob, the pack and offset of the copy that counts.
#[derive(Default)]
pub struct Keepers {
    data: IdMap<(u32, u32)>,
    trees: IdMap<(u32, u32)>,
}

impl Keepers {
    /// Choose among `packs`: by their `rank`, and among equals those with the largest needed share first.
    pub fn choose<R: Ord>(packs: &[Pack], needed: &Needed, rank: impl Fn(&Digest) -> R) -> Self {
        let place = |pack: &Pack| {
            let wanted = pack.blobs.iter().filter(|blob| needed.has(blob.kind, &blob.id));
            let wanted: u64 = wanted.map(|blob| u64::from(blob.length)).sum();
            let len: u64 = pack.blobs.iter().map(|blob| u64::from(blob.length)).sum();
            (rank(&pack.id), Reverse(wanted * 1000 / len.max(1)), Reverse(pack.size), pack.id)
        };
        let whole = packs.iter().enumerate().filter(|(_, pack)| pack.is_whole);
        let mut order: Vec<_> = whole.map(|(number, pack)| (place(pack), number)).collect();
        order.sort_unstable();
        let mut keepers = Self::default();
        for (_, number) in order {
            for blob in packs[number].blobs.iter().filter(|blob| needed.has(blob.kind, &blob.id)) {
                keepers.of(blob.kind).entry(blob.id).or_insert((number as u32, blob.offset));
            }
        }
        keepers
    }

    fn of(&mut self, kind: BlobKind) -> &mut IdMap<(u32, u32)> {
        match kind {
            BlobKind::Data => &mut self.data,
            BlobKind::Tree => &mut self.trees,
        }
    }

    /// Whether any copy of `blob` counts: somebody needs it.
    pub fn has(&self, blob: &PackedBlob) -> bool {
        self.place(blob).is_some()
    }

    /// Whether the copy of `blob` in pack `number` is the one that counts.
    pub fn is_kept(&self, number: usize, blob: &PackedBlob) -> bool {
        self.place(blob) == Some(&(number as u32, blob.offset))
    }

    fn place(&self, blob: &PackedBlob) -> Option<&(u32, u32)> {
        match blob.kind {
            BlobKind::Data => self.data.get(&blob.id),
            BlobKind::Tree => self.trees.get(&blob.id),
        }
    }

    /// How much of each pack is needed, in the order of `packs`. Where packs of data are cold, every copy of a needed blob
    /// in them is: none is given up, since the one that stays could not be read before.
    pub fn measure(&self, packs: &[Pack], live: &Reachable, cold_packs: bool) -> Vec<PackUse> {
        let measure = |(number, pack): (usize, &Pack)| {
            let kind = kind_of(pack);
            let all_copies = cold_packs && kind == Some(BlobKind::Data);
            let mut found = PackUse {
                id: pack.id,
                size: pack.size,
                kind,
                len: 0,
                used_by_live: 0,
                used_by_roots: 0,
                is_broken: false,
            };
            for blob in &pack.blobs {
                let length = u64::from(blob.length);
                found.len += length;
                if self.is_kept(number, blob) || (all_copies && self.has(blob)) {
                    found.used_by_roots += length;
                    found.used_by_live += if live.has(blob.kind, &blob.id) { length } else { 0 };
                }
            }
            found
        };
        packs.iter().enumerate().map(measure).collect()
    }
}

/// Trees where there are any: such a pack is at hand also where those of data are not.
fn kind_of(pack: &Pack) -> Option<BlobKind> {
    let has_trees = pack.blobs.iter().any(|blob| blob.kind == BlobKind::Tree);
    pack.blobs.first().map(|_| if has_trees { BlobKind::Tree } else { BlobKind::Data })
}

/// An index file, without its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Its name.
    pub id: Digest,
    /// The packs that it names.
    pub packs: Vec<Digest>,
    /// How many blobs of theirs.
    pub blobs: usize,
}

/// Index files put together: each pack has all blobs that any of them names, which stand in memory once.
pub fn join_files(
    files: Vec<(Digest, Vec<IndexedPack>)>,
) -> (Vec<IndexFile>, BTreeMap<Digest, Vec<PackedBlob>>) {
    let mut joined: BTreeMap<Digest, Vec<PackedBlob>> = BTreeMap::new();
    let mut bare = Vec::with_capacity(files.len());
    for (id, packs) in files {
        let blobs = packs.iter().map(|pack| pack.blobs.len()).sum();
        bare.push(IndexFile { id, packs: packs.iter().map(|pack| pack.id).collect(), blobs });
        for pack in packs {
            join_blobs(joined.entry(pack.id).or_default(), pack.blobs);
        }
    }
    (bare, joined)
}

/// Put what several index files say of a pack together: a list of all blobs that any of them names.
fn join_blobs(into: &mut Vec<PackedBlob>, more: Vec<PackedBlob>) {
    if into.is_empty() || *into == more {
        *into = more;
        return;
    }
    let known: IdSet = into.iter().map(|blob| blob.id).collect();
    let same = |blob: &PackedBlob| known.contains(&blob.id) && into.iter().any(|other| other == blob);
    let new: Vec<_> = more.into_iter().filter(|blob| !same(blob)).collect();
    into.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8, offset: u32) -> PackedBlob {
        PackedBlob { id: Digest([n; 32]), kind: BlobKind::Data, offset, length: 100, raw_length: None }
    }

    fn pack(n: u8, blobs: &[u8]) -> Pack {
        let blobs: Vec<_> = blobs.iter().zip(0u32..).map(|(n, at)| blob(*n, at * 100)).collect();
        Pack { id: Digest([n; 32]), size: blobs.len() as u64 * 100 + 50, is_whole: true, blobs }
    }

    fn needed(live: &[u8], cooling: &[u8]) -> Needed {
        let set = |ids: &[u8]| Reachable {
            data: ids.iter().map(|n| Digest([*n; 32])).collect(),
            ..Reachable::default()
        };
        Needed { live: set(live), cooling: set(cooling) }
    }

    fn used(packs: &[Pack], needed: &Needed, marked: &[u8]) -> Vec<(u64, u64)> {
        let keepers = Keepers::choose(packs, needed, |id| marked.contains(&id.0[0]));
        let used = keepers.measure(packs, &needed.live, false);
        used.iter().map(|pack| (pack.used_by_live, pack.used_by_roots)).collect()
    }

    #[test]
    fn live_and_cooling_needs_are_told_apart() {
        let packs = [pack(201, &[1, 2, 3]), pack(202, &[4])];
        assert_eq!(used(&packs, &needed(&[1], &[1, 2]), &[]), [(100, 200), (0, 0)]);
    }

    #[test]
    fn one_copy_counts_and_never_the_marked_or_the_broken_one() {
        let mut packs = [pack(201, &[1, 2]), pack(202, &[1])];
        assert_eq!(used(&packs, &needed(&[1], &[]), &[]), [(0, 0), (100, 100)], "the fuller one");
        assert_eq!(used(&packs, &needed(&[1], &[]), &[202]), [(100, 100), (0, 0)]);
        assert_eq!(used(&packs, &needed(&[1], &[]), &[201, 202]), [(0, 0), (100, 100)]);
        packs[1].is_whole = false;
        assert_eq!(used(&packs, &needed(&[1], &[]), &[]), [(100, 100), (0, 0)]);
    }

    #[test]
    fn every_copy_counts_where_packs_of_data_are_cold() {
        let (packs, needed) = ([pack(201, &[1, 2]), pack(202, &[1]), pack(203, &[4])], needed(&[1], &[]));
        let keepers = Keepers::choose(&packs, &needed, |_| false);
        let used = keepers.measure(&packs, &needed.live, true);
        assert_eq!(used.iter().map(|pack| pack.used_by_live).collect::<Vec<_>>(), [100, 100, 0]);
    }

    #[test]
    fn a_blob_twice_in_one_pack_counts_once() {
        assert_eq!(used(&[pack(201, &[1, 1])], &needed(&[1], &[]), &[]), [(100, 100)]);
    }

    #[test]
    fn lists_of_one_pack_are_joined() {
        let mut blobs = pack(201, &[1, 2]).blobs;
        join_blobs(&mut blobs, vec![blob(2, 100), blob(3, 200)]);
        assert_eq!(blobs, pack(201, &[1, 2, 3]).blobs);
    }
}
