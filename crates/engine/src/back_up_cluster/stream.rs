//! The way over the replication protocol: the server reads its files and sends them, with WAL and manifest.
//!
//! Files come in the server's order, so nodes are kept until all are there; their bytes go on at once. The server's own
//! manifest goes into the backup as it is.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use jiff::Timestamp;
use model::entry::EntryKind;
use pg::backup_label::{BACKUP_LABEL, BackupLabel};
use pg::backup_mode::Stopped;
use pg::base_backup::{BaseBackup, Entry, Finished, Kind, Options};
use pg::wire::{Conversation, Purpose};
use repo::node::Node;
use repo::saver::{Content, Hand, Saver};
use repo::{BlobKind, RepoError, tree};

use super::gather::Seen;
use super::read::PIECE_LEN;
use super::{Begun, Saved};
use crate::cluster_manifest::link_name;
use crate::error::Result;
use crate::writing::{Order, plain_directory, plain_node, save_small_file};

/// Bytes of a label at most that is kept to be read.
const LABEL_LEN_MAX: usize = 64 << 10;
/// As PostgreSQL names the owner in its archives.
const OWNER: &str = "postgres";

/// Let the server of `begun` send its files.
pub(super) fn save(begun: &Begun<'_>) -> Result<Saved> {
    let Begun { writing, source, order, .. } = begun;
    let connection = source.session.connection();
    let server = Conversation::open(connection, Purpose::Replication, &source.environment, &order.cancel)?;
    let options = Options {
        label: format!("mainstay {}", order.source),
        is_fast: source.fast,
        rate_kib_max: source.rate_kib_max,
        ..Options::default()
    };
    let mut backup = BaseBackup::start(server, &options)?;
    order.progress.begin("receiving", 0);
    let start = backup.start_lsn();
    let mut receiving = Receiving::begin(&writing.saver, order)?;
    while let Some(entry) = backup.next_entry()? {
        order.cancel.check()?;
        receiving.take(entry)?;
    }
    let (Finished { stop, timeline, manifest }, server) = backup.finish()?;
    server.close();
    let stopped_at = Timestamp::now();
    let label = receiving.label()?;
    receiving.made(pg::backup_manifest::NAME, &manifest)?;
    let (link, seen) = receiving.finish(&link_name(0))?;
    let stopped = Stopped { start, stop, timeline, label, tablespace_map: String::new() };
    Ok(Saved { link, seen, stopped, stopped_at, marker: None, earlier: None })
}

/// A tree in the making: what is in each directory, by its path.
struct Receiving<'a> {
    saver: &'a Saver,
    hand: Hand,
    order: &'a Order,
    directories: BTreeMap<Vec<u8>, (Node, Vec<Node>)>,
    label: Vec<u8>,
    seen: Seen,
}

impl<'a> Receiving<'a> {
    fn begin(saver: &'a Saver, order: &'a Order) -> Result<Self> {
        let root = (plain_directory(".", order), vec![]);
        let directories = BTreeMap::from([(vec![], root)]);
        Ok(Self { saver, hand: saver.hand()?, order, directories, label: vec![], seen: Seen::default() })
    }

    fn take(&mut self, mut entry: Entry<'_>) -> Result<()> {
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
            Kind::File(size) => {
                node.entry.metadata.size = size;
                node.content = self.content(&mut entry, size, path == BACKUP_LABEL.as_bytes())?;
                self.seen.size += size;
                self.seen.counts.new += 1;
            }
        }
        self.directory(parent).1.push(node);
        Ok(())
    }

    /// The pieces of a file. A small one is saved here, so that it is hashed while it is in the cache.
    fn content(
        &mut self,
        entry: &mut Entry<'_>,
        size: u64,
        is_label: bool,
    ) -> Result<Vec<repo::blob::BlobId>> {
        let content = Content::new();
        let mut piece = self.saver.buffer();
        while let Some(bytes) = entry.next_piece()? {
            self.order.progress.advance(bytes.len() as u64);
            if is_label && self.label.len() + bytes.len() <= LABEL_LEN_MAX {
                self.label.extend_from_slice(&bytes);
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                let (now, later) = bytes.split_at(bytes.len().min(PIECE_LEN - piece.len()));
                piece.extend_from_slice(now);
                bytes = later;
                if piece.len() == PIECE_LEN {
                    let full = std::mem::replace(&mut piece, self.saver.buffer());
                    self.saver.submit(full, None, &content)?;
                }
            }
        }
        match piece.is_empty() {
            true => {}
            false if size < PIECE_LEN as u64 => content.push(self.hand.save(BlobKind::Data, &piece)?.id),
            false => self.saver.submit(piece, None, &content)?,
        }
        Ok(content.wait()?)
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
    fn label(&self) -> Result<String> {
        let label = String::from_utf8_lossy(&self.label).into_owned();
        let parsed = BackupLabel::parse(&label);
        parsed.map(|_| label).map_err(|error| RepoError::damaged(BACKUP_LABEL, error).into())
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
    fn finish(mut self, name: &str) -> Result<(Node, Seen)> {
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

/// The directory of a path, and its name in there.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
