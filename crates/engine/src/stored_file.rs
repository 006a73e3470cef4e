//! A file inside a snapshot, readable at any offset.

use std::io::{self, Read};
use std::sync::Arc;

use model::digest::Digest;
use repo::index::Index;
use repo::node::Node;
use repo::opener::BlobOpener;
use repo::{BlobKind, RepoError, Repository, tree};

use crate::error::{EngineError, Result};

/// The pieces of a file and where each begins.
#[derive(Clone)]
pub struct StoredFile {
    repository: Arc<Repository>,
    index: Arc<Index>,
    ids: Arc<[Digest]>,
    /// First byte of each piece, and the end of the last.
    starts: Arc<[u64]>,
}

/// A piece of a stored file.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Its name.
    pub id: Digest,
    /// Bytes of the file.
    pub plain: u32,
    /// Bytes in the repository.
    pub stored: u32,
}

impl StoredFile {
    /// The file `name` in the root of a tree.
    ///
    /// # Errors
    /// Damage, or a missing file or piece.
    pub fn open(repository: &Arc<Repository>, index: &Arc<Index>, root: &Digest, name: &str) -> Result<Self> {
        let json = repository.read_blob(index, BlobKind::Tree, root)?;
        let nodes = tree::decode(&json, &format_args!("tree {root}"))?;
        let node = nodes.into_iter().find(|node| node.entry.name == name.as_bytes());
        let node =
            node.ok_or_else(|| RepoError::damaged(format!("tree {root}"), format!("has no {name}")))?;
        Self::of(repository, index, node)
    }

    /// The contents of `node`.
    ///
    /// # Errors
    /// [`RepoError::MissingBlob`], or a length that is not the recorded one.
    pub fn of(repository: &Arc<Repository>, index: &Arc<Index>, node: Node) -> Result<Self> {
        let starts = starts_of(&node, index)?;
        Ok(Self {
            repository: Arc::clone(repository),
            index: Arc::clone(index),
            ids: node.content.into(),
            starts: starts.into(),
        })
    }

    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its pieces, in order.
    pub fn ids(&self) -> &[Digest] {
        &self.ids
    }

    /// The same with their lengths.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let places =
            self.ids.iter().filter_map(|id| Some((*id, self.index.require(BlobKind::Data, id).ok()?)));
        places.map(|(id, place)| Piece { id, plain: place.plain_length(), stored: place.length })
    }

    /// `len` bytes from `offset`, as a stream; each piece is compared with its name before a byte of it is given.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn range(&self, offset: u64, len: u64) -> Result<RangeReader> {
        let piece = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        Ok(RangeReader {
            file: self.clone(),
            opener: BlobOpener::new(self.repository.sealer())?,
            stored: vec![],
            plain: vec![],
            used: 0,
            piece,
            skip: offset - self.starts[piece.min(self.ids.len())],
            left: len.min(self.len().saturating_sub(offset)),
        })
    }
}

/// A part of a stored file, as a stream.
pub struct RangeReader {
    file: StoredFile,
    opener: BlobOpener,
    stored: Vec<u8>,
    plain: Vec<u8>,
    used: usize,
    piece: usize,
    skip: u64,
    left: u64,
}

impl RangeReader {
    fn next_piece(&mut self) -> repo::error::Result<()> {
        let StoredFile { repository, index, ids, .. } = &self.file;
        let id = ids[self.piece];
        let (opener, stored) = (&mut self.opener, &mut self.stored);
        let plain = repository.open_blob(index, BlobKind::Data, &id, opener, stored)?;
        self.plain.clear();
        self.plain.extend_from_slice(plain);
        self.used =
            usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX).min(self.plain.len());
        self.piece += 1;
        Ok(())
    }
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if self.used == self.plain.len() {
            self.next_piece().map_err(io::Error::other)?;
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let rest = &self.plain[self.used..];
        let count = rest.len().min(buffer.len()).min(left);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.used += count;
        self.left -= count as u64;
        Ok(count)
    }
}

/// An error of a stored stream is damage, in the repository's words.
pub(crate) fn damage(error: std::io::Error) -> EngineError {
    match error.downcast::<RepoError>() {
        Ok(error) => error.into(),
        Err(cause) => EngineError::Io { what: "reading the dump".to_owned(), cause },
    }
}

/// Where each blob of a stored file begins in it, and the end of the last.
///
/// # Errors
/// [`RepoError::MissingBlob`], or a length that is not the recorded one.
pub(crate) fn starts_of(node: &Node, index: &Index) -> Result<Vec<u64>> {
    let (mut starts, mut end) = (Vec::with_capacity(node.content.len() + 1), 0);
    for id in &node.content {
        starts.push(end);
        end += u64::from(index.require(BlobKind::Data, id)?.plain_length());
    }
    starts.push(end);
    if end != node.entry.metadata.size {
        let name = String::from_utf8_lossy(&node.entry.name).into_owned();
        let reason = format!("its pieces have {end} bytes, {} were recorded", node.entry.metadata.size);
        return Err(RepoError::damaged(name, reason).into());
    }
    Ok(starts)
}
