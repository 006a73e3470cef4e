//! What the server sends, as it becomes the tree of a link: files come in the server's order, so nodes are kept until all
//! are there; their bytes go on at once.
//!
//! An incremental file has the form that ours have: its header is a piece of its own, so that equal pages are found again.
//! The mark that a backup from the data directory has left there is no part of the backup: its file comes along empty.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use jiff::Timestamp;
use model::entry::EntryKind;
use pg::backup_label::{BACKUP_LABEL, BackupLabel};
use pg::backup_manifest;
use pg::base_backup::{Entry, Kind};
use pg::data_directory::MARKER;
use pg::incremental::{BadIncremental, HEAD_LEN, IncrementalHeader, PREFIX};
use pg::page::PAGE_LEN;
use repo::blob::BlobId;
use repo::node::Node;
use repo::saver::{Content, Hand, Saver};
use repo::{BlobKind, RepoError, tree};

use super::gather::Seen;
use super::read::PIECE_LEN;
use crate::error::Result;
use crate::writing::{Order, plain_directory, plain_node, save_small_file};

/// Bytes of a small file at most that is kept to be looked at.
const KEPT_LEN_MAX: usize = 64 << 10;
/// As PostgreSQL names the owner in its archives.
const OWNER: &str = "postgres";

/// A tree in the making: what is in each directory, by its path.
pub(super) struct Receiving<'a> {
    saver: &'a Saver,
    hand: Hand,
    order: &'a Order,
    directories: BTreeMap<Vec<u8>, (Node, Vec<Node>)>,
    label: Vec<u8>,
    /// What the file of the mark held.
    marker: Option<Vec<u8>>,
    seen: Seen,
}

impl<'a> Receiving<'a> {
    pub(super) fn begin(saver: &'a Saver, order: &'a Order) -> Result<Self> {
        let root = (plain_directory(".", order), vec![]);
        let directories = BTreeMap::from([(vec![], root)]);
        let (hand, seen) = (saver.hand()?, Seen::default());
        Ok(Self { saver, hand, order, directories, label: vec![], marker: None, seen })
    }

    /// One file, directory or link, with its content.
    pub(super) fn take(&mut self, mut entry: Entry<'_>) -> Result<()> {
        let path = entry.path().as_os_str().as_bytes().to_vec();
        let (parent, name) = split(&path);
        let mut node = plain_node(&String::from_utf8_lossy(name), 0, vec![], self.order);
        node.entry.name = name.to_vec();
        let metadata = &mut node.entry.metadata;
        (metadata.uid, metadata.gid) = entry.owner();
        (metadata.user, metadata.group) = (OWNER.to_owned(), OWNER.to_owned());
        metadata.mode = entry.mode();
        metadata.mtime = Timestamp::from_second(entry.modified_s()).unwrap_or(self.order.now);
        (metadata.atime, metadata.ctime) = (metadata.mtime, metadata.mtime);
        match entry.kind().clone() {
            Kind::Directory => {
                node.entry.kind = EntryKind::Directory;
                self.directory(&path).0.entry = node.entry;
                return Ok(());
            }
            Kind::Link(target) => {
                node.entry.kind = EntryKind::Symlink { target: target.as_os_str().as_bytes().to_vec() };
            }
            Kind::File(_) if path == MARKER.as_bytes() => self.marker = Some(kept(&mut entry)?),
            Kind::File(size) => {
                node.entry.metadata.size = size;
                node.content = self.content(&mut entry, size)?;
                let counts = &mut self.seen.counts;
                let is_incremental = name.starts_with(PREFIX.as_bytes());
                *(if is_incremental { &mut counts.changed } else { &mut counts.new }) += 1;
            }
        }
        self.directory(parent).1.push(node);
        Ok(())
    }

    /// The pieces of a file. A small one is saved here, so that it is hashed while it is in the cache.
    fn content(&mut self, entry: &mut Entry<'_>, size: u64) -> Result<Vec<BlobId>> {
        let content = Content::new();
        let path = entry.path().as_os_str().as_bytes();
        let is_label = path == BACKUP_LABEL.as_bytes();
        let mut is_head = split(path).1.starts_with(PREFIX.as_bytes());
        let mut source_size = size;
        let mut piece = self.saver.buffer();
        let mut piece_len = if is_head { HEAD_LEN } else { PIECE_LEN };
        while let Some(bytes) = entry.next_piece()? {
            self.order.progress.advance(bytes.len() as u64);
            if is_label && self.label.len() + bytes.len() <= KEPT_LEN_MAX {
                self.label.extend_from_slice(&bytes);
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                let (now, later) = bytes.split_at(bytes.len().min(piece_len - piece.len()));
                piece.extend_from_slice(now);
                bytes = later;
                if is_head && piece.len() == HEAD_LEN {
                    (piece_len, source_size) = lengths_told_by(&piece, size).map_err(damaged(entry))?;
                    is_head = false;
                }
                if piece.len() == piece_len {
                    let full = std::mem::replace(&mut piece, self.saver.buffer());
                    self.keep(full, size, &content)?;
                    piece_len = PIECE_LEN;
                }
            }
        }
        if is_head {
            return Err(damaged(entry)(BadIncremental::Short).into());
        }
        if !piece.is_empty() {
            self.keep(piece, size, &content)?;
        }
        self.seen.size += source_size;
        Ok(content.wait()?)
    }

    fn keep(&mut self, piece: Vec<u8>, size: u64, content: &Arc<Content>) -> Result<()> {
        if size < PIECE_LEN as u64 {
            content.push(self.hand.save(BlobKind::Data, &piece)?.id);
            return Ok(());
        }
        Ok(self.saver.submit(piece, None, content)?)
    }

    /// What is in a directory, made with those above it where nothing told of it: the places of tablespaces.
    fn directory(&mut self, path: &[u8]) -> &mut (Node, Vec<Node>) {
        let (parent, name) = split(path);
        if !path.is_empty() && !self.directories.contains_key(parent) {
            self.directory(parent);
        }
        let order = self.order;
        self.directories.entry(path.to_vec()).or_insert_with(|| {
            let mut node = plain_directory("", order);
            node.entry.name = name.to_vec();
            (node.entry.metadata.user, node.entry.metadata.group) = (OWNER.to_owned(), OWNER.to_owned());
            (node, vec![])
        })
    }

    /// The label that came along: without one there is no backup.
    pub(super) fn label(&self) -> Result<(String, BackupLabel)> {
        let label = String::from_utf8_lossy(&self.label).into_owned();
        let parsed = BackupLabel::parse(&label);
        parsed.map(|parsed| (label, parsed)).map_err(|error| RepoError::damaged(BACKUP_LABEL, error).into())
    }

    /// The mark in the data directory, if it came by now.
    pub(super) fn marker(&self) -> Option<&[u8]> {
        self.marker.as_deref().map(<[u8]>::trim_ascii)
    }

    /// The server's manifest goes into the backup as it is, but for the file that is empty there.
    pub(super) fn manifest(&mut self, manifest: Vec<u8>) -> Result<()> {
        let manifest = match self.marker {
            Some(_) => backup_manifest::with_content(&manifest, MARKER, b""),
            None => manifest,
        };
        self.made(backup_manifest::NAME, &manifest)
    }

    fn made(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut node = save_small_file(self.saver, name, bytes, self.order)?;
        let root = &self.directory(b"").0.entry.metadata;
        let (uid, gid, user, group) = (root.uid, root.gid, root.user.clone(), root.group.clone());
        let metadata = &mut node.entry.metadata;
        (metadata.uid, metadata.gid, metadata.user, metadata.group) = (uid, gid, user, group);
        self.directory(b"").1.push(node);
        Ok(())
    }

    /// Save every directory, those below before those above.
    pub(super) fn finish(mut self, name: &str) -> Result<(Node, Seen)> {
        loop {
            let Some((path, (mut node, mut nodes))) = self.directories.pop_last() else {
                return Err(RepoError::System("a tree without a root".to_owned()).into());
            };
            node.subtree = Some(self.hand.save(BlobKind::Tree, &tree::encode(&mut nodes))?.id);
            if path.is_empty() {
                node.entry.name = name.as_bytes().to_vec();
                return Ok((node, self.seen));
            }
            let parent = split(&path).0.to_vec();
            self.directory(&parent).1.push(node);
        }
    }
}

/// Bytes of the whole header of an incremental file of `size` bytes that begins with `head`, and of the file itself.
fn lengths_told_by(head: &[u8], size: u64) -> Result<(usize, u64), BadIncremental> {
    let head = head.first_chunk().ok_or(BadIncremental::Short)?;
    let header = IncrementalHeader::len_told_by(head, size)?;
    let pages = IncrementalHeader::truncation_told_by(head);
    Ok((header, u64::from(pages) * PAGE_LEN as u64))
}

fn damaged(entry: &Entry<'_>) -> impl Fn(BadIncremental) -> RepoError {
    let path = entry.path().display().to_string();
    move |error| RepoError::damaged(&path, error)
}

/// All of a small file; nothing of a large one.
fn kept(entry: &mut Entry<'_>) -> Result<Vec<u8>> {
    let mut kept = vec![];
    while let Some(bytes) = entry.next_piece()? {
        if kept.len() + bytes.len() <= KEPT_LEN_MAX {
            kept.extend_from_slice(&bytes);
        }
    }
    Ok(kept)
}

/// The directory of a path, and its name in there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
