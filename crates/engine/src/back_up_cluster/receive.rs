//! What the server sends, as it becomes the tree of a link: files come in the server's order, so nodes are kept until all
//! are there; their bytes go on at once.
//!
//! An incremental file has the form that ours have: its header is a piece of its own, so that equal pages are found again.
//! It is a server's word, and judged here: one that makes no sense, or that would bring back pages which were cut off, is a
//! doubt, and what was received until then is of no use.
//! The mark that a backup from the data directory has left there is no part of the backup: its file comes along empty.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use jiff::Timestamp;
use model::entry::EntryKind;
use pg::backup_label::{BACKUP_LABEL, BackupLabel, LabelError};
use pg::backup_manifest;
use pg::base_backup::{Entry, Kind};
use pg::data_directory::{MARKER, relation_file};
use pg::incremental::{BadIncremental, HEAD_LEN, IncrementalHeader, PREFIX};
use pg::page::PAGE_LEN;
use pg::wal_summary::Limits;
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
    limits: &'a Limits,
    directories: BTreeMap<Vec<u8>, (Node, Vec<Node>)>,
    label: Vec<u8>,
    /// What makes it useless.
    doubt: Option<String>,
    /// What the file of the mark held.
    marker: Option<Vec<u8>>,
    seen: Seen,
}

impl<'a> Receiving<'a> {
    /// `limits` are those since the backup that it is an increment of.
    pub(super) fn begin(saver: &'a Saver, order: &'a Order, limits: &'a Limits) -> Result<Self> {
        let root = (plain_directory(".", order), vec![]);
        let directories = BTreeMap::from([(vec![], root)]);
        let (hand, seen) = (saver.hand()?, Seen::default());
        Ok(Self { saver, hand, order, limits, directories, label: vec![], doubt: None, marker: None, seen })
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
        let path = entry.path().as_os_str().as_bytes().to_vec();
        let is_label = path == BACKUP_LABEL.as_bytes();
        let mut head = split(&path).1.starts_with(PREFIX.as_bytes()).then_some(Head::Short);
        let mut source_size = size;
        let mut piece = self.saver.buffer();
        let mut piece_len = if head.is_some() { HEAD_LEN } else { PIECE_LEN };
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
                if head == Some(Head::Short) && piece.len() == HEAD_LEN {
                    match lengths_told_by(&piece, size) {
                        Ok(lengths) => (piece_len, source_size) = lengths,
                        Err(error) => return Ok(self.doubts(&path, &error.to_string())),
                    }
                    head = Some(Head::Whole);
                }
                if piece.len() == piece_len {
                    if head.take().is_some()
                        && let Err(why) = judge(&path, &piece, self.limits)
                    {
                        return Ok(self.doubts(&path, &why));
                    }
                    let full = std::mem::replace(&mut piece, self.saver.buffer());
                    self.keep(full, size, &content)?;
                    piece_len = PIECE_LEN;
                }
            }
        }
        if head.is_some() {
            return Ok(self.doubts(&path, &BadIncremental::Short.to_string()));
        }
        if !piece.is_empty() {
            self.keep(piece, size, &content)?;
        }
        self.seen.size += source_size;
        Ok(content.wait()?)
    }

    /// A file whose pieces are not worth keeping any more.
    fn doubts(&mut self, path: &[u8], why: &str) -> Vec<BlobId> {
        let words = format!("the server's {}: {why}", String::from_utf8_lossy(path));
        self.doubt.get_or_insert(words);
        vec![]
    }

    /// What makes all of it useless.
    pub(super) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
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
    pub(super) fn label(&self) -> Result<(String, BackupLabel), LabelError> {
        let label = String::from_utf8_lossy(&self.label).into_owned();
        BackupLabel::parse(&label).map(|parsed| (label, parsed))
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

/// Which part of the header of an incremental file is awaited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Head {
    /// The bytes that say how long it is.
    Short,
    /// The rest of it.
    Whole,
}

/// What speaks against the incremental file at `path`, whose whole header is `header`.
fn judge(path: &[u8], header: &[u8], limits: &Limits) -> Result<(), String> {
    let header = IncrementalHeader::parse(header).map_err(|error| error.to_string())?;
    let (folder, name) = split(path);
    let own = name.strip_prefix(PREFIX.as_bytes()).unwrap_or(name);
    let own = [folder, b"/", own].concat();
    let limit = relation_file(&own).and_then(|relation| limits.of(&own, relation));
    match limit.and_then(|limit| header.brings_back(limit)) {
        Some(page) => Err(format!(
            "it was cut off and has grown since, and what page {page} is now is in no summary, so that rows which were \
             deleted could come back"
        )),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use pg::wal_summary::Limit;

    use super::*;

    #[test]
    fn what_a_server_says_of_changed_pages_is_judged() {
        let limit = |relation, fork, limit| Limit { space: 1663, database: 5, relation, fork, limit };
        let limits: Limits = [limit(70, 0, 200), limit(70, 2, 1)].into_iter().collect();
        let header =
            |pages: &[u32], truncation| IncrementalHeader { pages: pages.to_vec(), truncation }.to_bytes();
        let judged = |path: &str, header: &[u8]| judge(path.as_bytes(), header, &limits);
        let cut_and_grown = header(&[3, 200, 202], 203);
        let words = judged("base/5/INCREMENTAL.70", &cut_and_grown).unwrap_err();
        assert!(words.contains("page 201 "), "{words}");
        assert!(judged("base/5/INCREMENTAL.70_vm", &header(&[0], 2)).is_err());
        // All that was added is named; or another one is cut off; or nothing grew.
        assert_eq!(judged("base/5/INCREMENTAL.70", &header(&[3, 200, 201, 202], 203)), Ok(()));
        assert_eq!(judged("base/5/INCREMENTAL.71", &cut_and_grown), Ok(()));
        assert_eq!(judged("base/5/INCREMENTAL.70", &header(&[], 200)), Ok(()));
        assert!(judged("base/5/INCREMENTAL.70", &cut_and_grown[..13]).is_err());
    }

    #[test]
    fn a_truncation_that_no_file_can_have_is_no_length() {
        // As servers of 17 and 18 said it at first, of a relation of several files that was cut off.
        let head = IncrementalHeader { pages: vec![], truncation: 131_073 }.to_bytes();
        assert_eq!(lengths_told_by(&head, 12), Err(BadIncremental::TooMany));
    }
}
