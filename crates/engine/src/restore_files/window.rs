//! A part of a restore that is planned and carried out at once, so that memory does not grow with the backup.
//!
//! Every blob of it is read once, in the order in which it lies, however many files want it; a file is finished when
//! its last piece is written.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use files::relative::RelativePath;
use files::write::FileWriter;
use model::digest::Digest;
use model::entry::Entry;
use repo::index::{IdMap, Index};
use repo::reader::Wanted;
use repo::{BlobKind, RepoError};

/// Files of one window; the next one is collected meanwhile.
const FILES_MAX: usize = 8 << 10;
/// Pieces of files of one window; a single file may have more.
const PIECES_MAX: usize = 64 << 10;
/// Everything else of one window.
const OTHERS_MAX: usize = 16 << 10;

/// How a file comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing is there.
    Create,
    /// Something is there that must not be written into; the new file takes its place.
    Replace,
    /// The file is there, and pieces of it are written.
    Patch,
    /// The contents are there, owner, mode or times are not.
    Touch,
    /// All is there.
    Keep,
}

/// A file to restore.
pub(super) struct FilePlan {
    pub(super) path: RelativePath,
    pub(super) entry: Entry,
    pub(super) content: Vec<Digest>,
    /// Bytes of all pieces.
    pub(super) size: u64,
    pub(super) way: Way,
    /// For [`Way::Patch`]: which pieces differ.
    pub(super) differing: Vec<u32>,
    /// Pieces that are not written yet.
    pub(super) left: AtomicU32,
    pub(super) failed: AtomicBool,
    pub(super) writer: Mutex<Option<Arc<FileWriter>>>,
}

impl FilePlan {
    /// All of it anew, until somebody has looked at what is there. The length of its pieces is asked from the index.
    pub(super) fn new(
        path: RelativePath,
        entry: Entry,
        content: Vec<Digest>,
        index: &Index,
    ) -> Result<Self, RepoError> {
        let mut size = 0;
        for id in &content {
            size += u64::from(index.require(BlobKind::Data, id)?.plain_length());
        }
        if size != entry.metadata.size {
            let reason = format!("its pieces have {size} bytes, {} were recorded", entry.metadata.size);
            return Err(RepoError::damaged(path.to_string(), reason));
        }
        Ok(Self {
            path,
            entry,
            content,
            size,
            way: Way::Create,
            differing: vec![],
            left: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            writer: Mutex::new(None),
        })
    }

    /// Whether no piece of it has to be fetched.
    pub(super) fn needs_nothing(&self) -> bool {
        match self.way {
            Way::Create | Way::Replace => self.content.is_empty(),
            Way::Patch => self.differing.is_empty(),
            Way::Touch | Way::Keep => true,
        }
    }
}

/// Where a blob goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) file: u32,
    blob: u32,
    pub(super) offset: u64,
}

/// What is planned so far.
#[derive(Default)]
pub(super) struct Window {
    pub(super) files: Vec<FilePlan>,
    /// Another name, and the first one.
    pub(super) links: Vec<(RelativePath, RelativePath)>,
    /// Directories in which all is planned, deepest first.
    pub(super) directories: Vec<(RelativePath, Entry)>,
    pieces: usize,
}

impl Window {
    pub(super) fn push(&mut self, file: FilePlan) {
        self.pieces += file.content.len();
        self.files.push(file);
    }

    pub(super) fn is_full(&self) -> bool {
        self.files.len() >= FILES_MAX
            || self.pieces >= PIECES_MAX
            || self.links.len() + self.directories.len() >= OTHERS_MAX
    }
}

/// The blobs of a window, each with all its places.
pub(super) struct Fetch {
    pub(super) wanted: Vec<Wanted>,
    pieces: Vec<Piece>,
    starts: Vec<u32>,
}

impl Fetch {
    /// The pieces that `files` lack. The pieces that a file waits for are counted here.
    pub(super) fn plan(files: &[FilePlan], index: &Index) -> Result<Self, RepoError> {
        let (mut wanted, mut pieces) = (Vec::<Wanted>::new(), vec![]);
        let mut known = IdMap::<u32>::default();
        for (number, file) in files.iter().enumerate() {
            let (mut offset, mut count) = (0, 0);
            for (position, id) in file.content.iter().enumerate() {
                let place = index.require(BlobKind::Data, id)?;
                let is_wanted = match file.way {
                    Way::Create | Way::Replace => true,
                    Way::Patch => file.differing.binary_search(&(position as u32)).is_ok(),
                    Way::Touch | Way::Keep => false,
                };
                if is_wanted {
                    let tag = wanted.len();
                    let blob = *known.entry(*id).or_insert(tag as u32);
                    if blob as usize == tag {
                        wanted.push(Wanted { id: *id, place, tag });
                    }
                    pieces.push(Piece { file: number as u32, blob, offset });
                    count += 1;
                }
                offset += u64::from(place.plain_length());
            }
            file.left.store(count, Ordering::SeqCst);
        }
        pieces.sort_by_key(|piece| piece.blob);
        let starts =
            (0..=wanted.len()).map(|tag| pieces.partition_point(|piece| (piece.blob as usize) < tag) as u32);
        let starts = starts.collect();
        Ok(Self { wanted, pieces, starts })
    }

    /// Where the blob with this tag goes.
    pub(super) fn places(&self, tag: usize) -> &[Piece] {
        &self.pieces[self.starts[tag] as usize..self.starts[tag + 1] as usize]
    }
}
