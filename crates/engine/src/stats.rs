//! How much there is: what restores would write, what of it is different, and what is stored.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use model::backup::decimal;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::size::ByteSize;
use model::wal_name::WalName;
use repo::index::{IdSet, Index};
use repo::prune::survey::survey;
use repo::repository::FileKind;
use repo::wal_object::StoredWal;
use repo::{BlobKind, Repository, tree};
use serde::Serialize;

use crate::catalog;
use crate::error::Result;

/// Bytes of all packs and of archived WAL, as the store lists them.
///
/// # Errors
/// When it cannot list.
pub fn stored_bytes(repository: &Repository) -> Result<ByteSize> {
    let packs: u64 = repository.list(FileKind::Pack)?.iter().map(|listed| listed.size).sum();
    Ok(ByteSize(packs + repository.list_all_wal()?.iter().map(|stored| stored.size).sum::<u64>()))
}

/// Figures of a repository.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Snapshots that everybody sees.
    #[serde(with = "decimal")]
    pub snapshots: u64,
    /// Bytes that restoring all of them would write.
    #[serde(with = "decimal")]
    pub raw_bytes: u64,
    /// Bytes of different blobs, before compression.
    #[serde(with = "decimal")]
    pub unique_bytes: u64,
    /// Bytes of all packs.
    #[serde(with = "decimal")]
    pub stored_bytes: u64,
    /// Raw bytes for each byte of different blobs.
    pub dedup_ratio: f64,
    /// Bytes of different blobs for each stored byte of theirs.
    pub compression_ratio: f64,
    /// Packs in the store.
    #[serde(with = "decimal")]
    pub packs: u64,
    /// Different blobs in the index.
    #[serde(with = "decimal")]
    pub blobs: u64,
    /// Bytes of archived WAL, which is in no pack.
    #[serde(with = "decimal")]
    pub wal_bytes: u64,
    /// Whole segments among it.
    #[serde(with = "decimal")]
    pub wal_segments: u64,
    /// Bytes of the index files.
    #[serde(with = "decimal")]
    pub index_bytes: u64,
    /// The raw bytes again, by source.
    pub sources: Vec<SourceStats>,
    /// What could go, where it was asked for.
    pub waste: Option<Waste>,
}

/// Figures of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStats {
    /// Owner.
    pub tenant: String,
    /// Its name.
    pub source: String,
    /// Its snapshots.
    #[serde(with = "decimal")]
    pub snapshots: u64,
    /// Bytes that restoring all of them would write.
    #[serde(with = "decimal")]
    pub raw_bytes: u64,
}

/// What no visible snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waste {
    /// Packs that prune has marked.
    #[serde(with = "decimal")]
    pub marked_packs: u64,
    /// Their bytes.
    #[serde(with = "decimal")]
    pub marked_bytes: u64,
    /// Stored bytes of blobs that are not needed, and of packs that no index names.
    #[serde(with = "decimal")]
    pub unused_bytes: u64,
}

/// Count. Waste is found by reading every directory, so only where it is asked for.
///
/// # Errors
/// Damage to an index, a snapshot, or a directory that must be read.
pub fn stats(repository: &Repository, with_waste: bool, cancel: &CancelToken) -> Result<Stats> {
    let mut index = Index::default();
    let (mut seen, mut unique, mut unique_stored) = (<[IdSet; 2]>::default(), 0, 0);
    for (_, packs) in repository.load_index_files()? {
        for blob in packs.iter().flat_map(|pack| &pack.blobs) {
            if seen[usize::from(blob.kind == BlobKind::Tree)].insert(blob.id) {
                unique += u64::from(blob.plain_length());
                unique_stored += u64::from(blob.length);
            }
        }
        index.add(&packs, |_| false);
    }
    drop(seen);
    let sources = source_stats(repository, &index, cancel)?;
    let packs = repository.list(FileKind::Pack)?;
    let wal = repository.list_all_wal()?;
    let is_segment = |stored: &&StoredWal| matches!(stored.file.name, WalName::Segment(_));
    let raw_bytes = sources.iter().map(|source| source.raw_bytes).sum();
    Ok(Stats {
        snapshots: sources.iter().map(|source| source.snapshots).sum(),
        raw_bytes,
        unique_bytes: unique,
        stored_bytes: packs.iter().map(|pack| pack.size).sum(),
        dedup_ratio: ratio(raw_bytes, unique),
        compression_ratio: ratio(unique, unique_stored),
        packs: packs.len() as u64,
        blobs: index.len() as u64,
        wal_bytes: wal.iter().map(|stored| stored.size).sum(),
        wal_segments: wal.iter().filter(is_segment).count() as u64,
        index_bytes: repository.list(FileKind::Index)?.iter().map(|file| file.size).sum(),
        sources,
        waste: if with_waste { Some(waste(repository, cancel)?) } else { None },
    })
}

/// One where there is nothing to compare.
fn ratio(whole: u64, part: u64) -> f64 {
    if part == 0 { 1.0 } else { whole as f64 / part as f64 }
}

fn source_stats(repository: &Repository, index: &Index, cancel: &CancelToken) -> Result<Vec<SourceStats>> {
    let mut sizes = HashMap::new();
    let mut sources: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for record in catalog::list(repository)? {
        cancel.check()?;
        let bytes = match (record.size_bytes, record.snapshot) {
            // Older restics leave no figures in their snapshots.
            (0, Some(id)) => {
                let root = repository.load_snapshot(&id)?.tree;
                tree_size(repository, index, &root, &mut sizes, cancel)?
            }
            (bytes, _) => bytes,
        };
        let found = sources.entry((record.tenant.to_string(), record.source.to_string())).or_default();
        *found = (found.0 + 1, found.1 + bytes);
    }
    let stats =
        |((tenant, source), (snapshots, raw_bytes))| SourceStats { tenant, source, snapshots, raw_bytes };
    Ok(sources.into_iter().map(stats).collect())
}

/// Bytes of all files below `root`; `sizes` remembers trees that were seen.
fn tree_size(
    repository: &Repository,
    index: &Index,
    root: &Digest,
    sizes: &mut HashMap<Digest, u64>,
    cancel: &CancelToken,
) -> Result<u64> {
    if let Some(size) = sizes.get(root) {
        return Ok(*size);
    }
    cancel.check()?;
    let json = repository.read_blob(index, BlobKind::Tree, root)?;
    let mut size = 0u64;
    for node in tree::decode(&json, &format_args!("tree {root}"))? {
        size = size.saturating_add(match node.subtree {
            Some(tree) => tree_size(repository, index, &tree, sizes, cancel)?,
            None => node.entry.metadata.size,
        });
    }
    sizes.insert(*root, size);
    Ok(size)
}

fn waste(repository: &Repository, cancel: &CancelToken) -> Result<Waste> {
    // Nothing cools for ever: what deleted snapshots need does not count as needed.
    let found = survey(repository, Timestamp::MAX, SignedDuration::ZERO, cancel)?;
    let marked = || found.uses.iter().filter(|pack| found.marks.contains_key(&pack.id));
    let unused = found.uses.iter().map(|pack| match pack.kind {
        Some(_) => pack.unused_by_live(),
        None => pack.size,
    });
    Ok(Waste {
        marked_packs: marked().count() as u64,
        marked_bytes: marked().map(|pack| pack.size).sum(),
        unused_bytes: unused.sum(),
    })
}
