//! A part of a restore that is planned and carried out at once, so that memory does not grow with the cluster.
//!
//! The heads of its increments are read first, and say which pages come from where; then every blob is read once, in the
//! order in which it lies, and written wherever it belongs; a file is finished when its last part is written.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use files::relative::RelativePath;
use files::write::FileWriter;
use model::digest::Digest;
use model::entry::Entry;
use pg::incremental::{HEAD_LEN, IncrementalHeader, header_len};
use pg::page::PAGE_LEN;
use repo::index::{IdMap, Index};
use repo::node::Node;
use repo::reader::Wanted;
use repo::{BlobKind, RepoError};

use super::links::Draft;
use super::page_map::{Version, merge};
use crate::error::Result;
use crate::stored_file::starts_of;

/// Files of one window.
const FILES_MAX: usize = 16 << 10;
/// Pieces of files of one window; a single file may have more.
const PIECES_MAX: usize = 128 << 10;

/// Files that are restored together.
#[derive(Default)]
pub(super) struct Window {
    pub(super) drafts: Vec<Located>,
    pieces: usize,
}

/// A file, and where it goes.
pub(super) struct Located {
    /// Which destination.
    pub(super) site: usize,
    /// Below that.
    pub(super) path: RelativePath,
    pub(super) draft: Draft,
    /// Whether it is as long as it was, and nothing is in it.
    pub(super) is_zeros: bool,
}

impl Window {
    pub(super) fn push(&mut self, file: Located) {
        self.pieces += file.draft.versions.iter().map(|version| version.content.len()).sum::<usize>();
        // Every changed page may be a part of its own, with another one behind it.
        let changed: u64 = increments(&file.draft).iter().map(|node| node.entry.metadata.size).sum();
        self.pieces += 2 * (changed / PAGE_LEN as u64) as usize;
        self.drafts.push(file);
    }

    pub(super) fn is_full(&self) -> bool {
        self.drafts.len() >= FILES_MAX || self.pieces >= PIECES_MAX
    }
}

/// How a file comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing is there.
    Create,
    /// Something is there that must not be written into.
    Replace,
    /// The file is there, and parts of it are written.
    Patch,
}

/// A file to write.
pub(super) struct FileTask {
    pub(super) site: usize,
    pub(super) path: RelativePath,
    pub(super) entry: Entry,
    pub(super) size: u64,
    pub(super) parts: Vec<Part>,
    /// With `delta`: parts that are there already.
    pub(super) kept: Vec<Part>,
    pub(super) way: Way,
    /// Parts that are not written yet.
    pub(super) left: AtomicU32,
    pub(super) writer: Mutex<Option<Arc<FileWriter>>>,
}

/// A stretch of a blob that goes to a place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) blob: Digest,
    /// First byte in the blob.
    pub(super) from: u32,
    pub(super) len: u32,
    /// Where it goes.
    pub(super) to: u64,
}

/// The blobs with which the increments of a window begin, each with the place for what it says.
pub(super) struct Heads {
    pub(super) wanted: Vec<Wanted>,
    numbers: IdMap<u32>,
    read: Vec<OnceLock<Vec<u8>>>,
}

impl Heads {
    /// Of the files of `window` that are put together from several links.
    pub(super) fn plan(window: &Window, index: &Index) -> Result<Self> {
        let mut heads = Self { wanted: vec![], numbers: IdMap::default(), read: vec![] };
        for node in window.drafts.iter().flat_map(|file| increments(&file.draft)) {
            for id in first_blobs(node, index)? {
                if let std::collections::hash_map::Entry::Vacant(new) = heads.numbers.entry(id) {
                    let tag = heads.wanted.len();
                    new.insert(tag as u32);
                    heads.wanted.push(Wanted { id, place: index.require(BlobKind::Data, &id)?, tag });
                    heads.read.push(OnceLock::new());
                }
            }
        }
        Ok(heads)
    }

    /// A head was read.
    pub(super) fn put(&self, tag: usize, bytes: &[u8]) {
        // Every tag is wanted once.
        drop(self.read[tag].set(bytes.to_vec()));
    }

    /// The head of one increment.
    fn header(&self, node: &Node, index: &Index) -> Result<IncrementalHeader> {
        let damaged = |error: &dyn std::fmt::Display| {
            RepoError::damaged(String::from_utf8_lossy(&node.entry.name).into_owned(), error)
        };
        let mut bytes = vec![];
        for id in first_blobs(node, index)? {
            let read = self.numbers.get(&id).and_then(|tag| self.read[*tag as usize].get());
            bytes.extend_from_slice(read.ok_or(RepoError::MissingBlob { id })?);
        }
        let head: &[u8; HEAD_LEN] = bytes.first_chunk().ok_or_else(|| damaged(&"is too short"))?;
        let len = IncrementalHeader::len_told_by(head, node.entry.metadata.size);
        let len = len.map_err(|error| damaged(&error))?;
        let header = bytes.get(..len).ok_or_else(|| damaged(&"is shorter than its header says"))?;
        Ok(IncrementalHeader::parse(header).map_err(|error| damaged(&error))?)
    }
}

/// All versions of a draft but the whole one at its end.
fn increments(draft: &Draft) -> &[Node] {
    draft.versions.split_last().map_or(&[], |(_, increments)| increments)
}

/// The blobs in which the header of an increment can be: as many as the longest one needs, of a file of this length.
fn first_blobs(node: &Node, index: &Index) -> Result<Vec<Digest>> {
    // Each page of the file has its number in the header, beside itself.
    let pages = node.entry.metadata.size / PAGE_LEN as u64;
    let longest = header_len(u32::try_from(pages).unwrap_or(u32::MAX)) as u64;
    let (mut ids, mut len) = (vec![], 0);
    for id in &node.content {
        if len >= longest.max(HEAD_LEN as u64) {
            break;
        }
        len += u64::from(index.require(BlobKind::Data, id)?.plain_length());
        ids.push(*id);
    }
    Ok(ids)
}

impl FileTask {
    /// Where every byte of a file comes from.
    pub(super) fn new(file: Located, heads: &Heads, index: &Index) -> Result<Self> {
        let Located { site, path, draft, is_zeros } = file;
        let headers = increments(&draft).iter().map(|node| heads.header(node, index));
        let headers = headers.collect::<Result<Vec<_>>>()?;
        let mut versions: Vec<_> = headers.iter().map(Version::Pages).collect();
        let whole = draft.versions.last().map_or(0, |node| node.entry.metadata.size);
        versions.push(Version::Whole(whole));
        let missing = || RepoError::damaged(draft.path.to_string(), "has no whole version");
        let map = merge(&versions).ok_or_else(missing)?;
        let mut cutters =
            draft.versions.iter().map(|node| Cutter::new(node, index)).collect::<Result<Vec<_>>>()?;
        let mut parts = vec![];
        for stretch in map.stretches.iter().filter(|_| !is_zeros) {
            cutters[stretch.version].cut(stretch.from, stretch.to, stretch.len, &mut parts);
        }
        let mut entry = draft
            .versions
            .into_iter()
            .next()
            .ok_or_else(|| RepoError::damaged(path.to_string(), "is in no link"))?
            .entry;
        entry.metadata.size = map.len;
        // Nothing in a data directory has two names.
        entry.metadata.links = 1;
        Ok(Self {
            site,
            path,
            entry,
            size: map.len,
            parts,
            kept: vec![],
            way: Way::Create,
            left: AtomicU32::new(0),
            writer: Mutex::new(None),
        })
    }

    /// The part that is the whole file, where one is.
    pub(super) fn is_one_blob(&self, bytes: &[u8]) -> bool {
        self.way != Way::Patch && self.parts.len() == 1 && bytes.len() as u64 == self.size
    }

    pub(super) fn take_writer(&self) -> Option<Arc<FileWriter>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A stored file, cut at the bounds of its blobs.
struct Cutter<'a> {
    ids: &'a [Digest],
    /// Where each blob begins, and the end of the last.
    starts: Vec<u64>,
}

impl<'a> Cutter<'a> {
    fn new(node: &'a Node, index: &Index) -> Result<Self> {
        Ok(Self { ids: &node.content, starts: starts_of(node, index)? })
    }

    /// The parts of `len` bytes from `from` on, which go to `to`. Bounded by the file: headers were compared with its length.
    fn cut(&mut self, from: u64, to: u64, len: u64, parts: &mut Vec<Part>) {
        let (mut at, end) = (from, from + len);
        let mut piece = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        while at < end && piece < self.ids.len() {
            let (start, stop) = (self.starts[piece], self.starts[piece + 1].min(end));
            if stop > at {
                let part = Part {
                    blob: self.ids[piece],
                    from: (at - start) as u32,
                    len: (stop - at) as u32,
                    to: to + (at - from),
                };
                parts.push(part);
                at = stop;
            }
            piece += 1;
        }
    }
}

/// Where a blob, or a stretch of it, goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    pub(super) file: u32,
    blob: u32,
    pub(super) from: u32,
    pub(super) len: u32,
    pub(super) to: u64,
}

/// The blobs of a window, each with all its places.
pub(super) struct Fetch {
    pub(super) wanted: Vec<Wanted>,
    uses: Vec<Use>,
    starts: Vec<u32>,
}

impl Fetch {
    /// All parts of `files`. The parts that a file waits for are counted here.
    pub(super) fn plan(files: &[FileTask], index: &Index) -> Result<Self> {
        let (mut wanted, mut uses) = (Vec::<Wanted>::new(), vec![]);
        let mut known = IdMap::<u32>::default();
        for (number, file) in files.iter().enumerate() {
            for Part { blob: id, from, len, to } in &file.parts {
                let tag = wanted.len();
                let blob = *known.entry(*id).or_insert(tag as u32);
                if blob as usize == tag {
                    wanted.push(Wanted { id: *id, place: index.require(BlobKind::Data, id)?, tag });
                }
                uses.push(Use { file: number as u32, blob, from: *from, len: *len, to: *to });
            }
            file.left.store(file.parts.len() as u32, Ordering::SeqCst);
        }
        uses.sort_by_key(|place| place.blob);
        let starts =
            (0..=wanted.len()).map(|tag| uses.partition_point(|place| (place.blob as usize) < tag) as u32);
        let starts = starts.collect();
        Ok(Self { wanted, uses, starts })
    }

    /// Where the blob with this tag goes.
    pub(super) fn uses(&self, tag: usize) -> &[Use] {
        &self.uses[self.starts[tag] as usize..self.starts[tag + 1] as usize]
    }
}
