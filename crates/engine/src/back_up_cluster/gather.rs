//! Files that were read become the tree of a link, and lines of its `backup_manifest`.
//!
//! Directories stay open until all in them is there, because increments have other names than the files that the walk
//! meets in order; only the bytes of their nodes are kept. The root and `global` stay open to the end: what comes last belongs
//! into them.

use model::entry::{Entry, Metadata};
use model::lsn::Lsn;
use pg::backup_manifest::{ManifestFile, ManifestWriter};
use repo::BlobKind;
use repo::chunk::Cutter;
use repo::node::Node;
use repo::saver::{Hand, Saver};
use repo::stream::StreamSaver;
use repo::tree::TreeGatherer;

use super::misfits::Misfit;
use super::read::FileRead;
use crate::error::{EngineError, Result};
use crate::writing::{FileCounts, Order, plain_node};

/// The directory that `pg_control` is in.
const GLOBAL: &[u8] = b"global";

/// Takes what the walk met, in its order.
pub(super) struct Gathering<'a> {
    hand: Hand,
    manifest: ManifestWriter,
    stream: StreamSaver<'a>,
    manifest_len: u64,
    open: Vec<(Entry, TreeGatherer)>,
    global: Option<(Entry, TreeGatherer)>,
    root: Option<(Entry, TreeGatherer)>,
    /// What was met.
    pub(super) seen: Seen,
}

/// What was met.
#[derive(Default)]
pub(super) struct Seen {
    /// Bytes of the files themselves.
    pub(super) size: u64,
    pub(super) counts: FileCounts,
    /// Pages that do not fit their checksums, each with its file: the end of the backup says which of them are damaged.
    misfits: Vec<(String, Misfit)>,
    /// What is wrong, in words.
    pub(super) problems: Vec<String>,
    /// Tablespaces, by the names of their links.
    pub(super) tablespaces: Vec<String>,
}

impl Seen {
    /// The backup went from `start` to `stop`: pages that WAL does not make whole are damaged.
    pub(super) fn judge(&mut self, start: Lsn, stop: Lsn) {
        let misfits = std::mem::take(&mut self.misfits).into_iter();
        let damaged = misfits.filter(|(_, misfit)| !misfit.is_made_whole(start, stop));
        self.problems.extend(damaged.map(|(path, misfit)| misfit.words(&path)));
    }
}

impl<'a> Gathering<'a> {
    pub(super) fn begin(
        saver: &'a Saver,
        cutter: &'a Cutter,
        begun: (ManifestWriter, Vec<u8>),
    ) -> Result<Self> {
        let (manifest, head) = begun;
        let mut gathering = Self {
            hand: saver.hand()?,
            manifest,
            stream: StreamSaver::new(saver, cutter),
            manifest_len: 0,
            open: vec![],
            global: None,
            root: None,
            seen: Seen::default(),
        };
        gathering.write(&head)?;
        Ok(gathering)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.manifest_len += bytes.len() as u64;
        Ok(self.stream.push(bytes)?)
    }

    pub(super) fn enter(&mut self, mut entry: Entry) {
        settle(&mut entry);
        self.open.push((entry, TreeGatherer::default()));
    }

    pub(super) fn leave(&mut self) -> Result<()> {
        match (self.open.pop(), self.open.len()) {
            (Some(root), 0) => self.root = Some(root),
            (Some(global), 1) if global.0.name == GLOBAL => self.global = Some(global),
            (Some((entry, nodes)), _) => {
                let node = save_directory(&mut self.hand, entry, nodes)?;
                self.push(&node);
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// Something that is kept as it is.
    pub(super) fn other(&mut self, mut entry: Entry) {
        settle(&mut entry);
        self.push(&Node { entry, content: vec![], subtree: None });
    }

    /// A file, by its path in the cluster.
    pub(super) fn file(&mut self, path: &[u8], read: FileRead) -> Result<()> {
        let node = self.noted(path, read)?;
        self.push(&node);
        Ok(())
    }

    /// `global/pg_control`, when all else is there.
    pub(super) fn control(&mut self, path: &[u8], read: FileRead) -> Result<()> {
        let node = self.noted(path, read)?;
        self.global.as_mut().ok_or_else(gone)?.1.push(&node);
        Ok(())
    }

    fn noted(&mut self, path: &[u8], read: FileRead) -> Result<Node> {
        let FileRead { mut entry, content, crc, source_size, misfits } = read;
        settle(&mut entry);
        let stands = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => [&path[..=slash], &entry.name[..]].concat(),
            None => entry.name.clone(),
        };
        let file =
            ManifestFile { path: &stands, size: entry.metadata.size, modified: entry.metadata.mtime, crc };
        let line = self.manifest.file(&file);
        self.write(&line)?;
        self.seen.size += source_size;
        let is_incremental = entry.name.starts_with(pg::incremental::PREFIX.as_bytes());
        let counts = &mut self.seen.counts;
        *(if is_incremental { &mut counts.changed } else { &mut counts.new }) += 1;
        let path = String::from_utf8_lossy(path);
        self.seen.misfits.extend(misfits.into_iter().map(|misfit| (path.to_string(), misfit)));
        Ok(Node { entry, content, subtree: None })
    }

    /// A small file that we made, into the root of the link.
    pub(super) fn made(&mut self, name: &str, bytes: &[u8], order: &Order) -> Result<()> {
        let content = vec![self.hand.save(BlobKind::Data, bytes)?.id];
        let Node { mut entry, content, .. } = plain_node(name, bytes.len() as u64, content, order);
        self.own(&mut entry)?;
        let crc = crc32c::crc32c(bytes);
        let read = FileRead { entry, content, crc, source_size: bytes.len() as u64, misfits: vec![] };
        let node = self.noted(name.as_bytes(), read)?;
        self.put_into_root(node)
    }

    /// A directory with these nodes, which are in no manifest.
    pub(super) fn directory(&mut self, name: &str, nodes: Vec<Node>) -> Result<Node> {
        let mut entry = self.root.as_ref().ok_or_else(gone)?.0.clone();
        entry.name = name.as_bytes().to_vec();
        let mut gathered = TreeGatherer::default();
        nodes.into_iter().for_each(|node| gathered.push(&node));
        save_directory(&mut self.hand, entry, gathered)
    }

    /// Into the root of the link.
    pub(super) fn put_into_root(&mut self, node: Node) -> Result<()> {
        self.root.as_mut().ok_or_else(gone)?.1.push(&node);
        Ok(())
    }

    /// Give what we made the owner of the data directory.
    pub(super) fn own(&self, entry: &mut Entry) -> Result<()> {
        let root = &self.root.as_ref().ok_or_else(gone)?.0.metadata;
        let (user, group) = (root.user.clone(), root.group.clone());
        entry.metadata = Metadata { uid: root.uid, gid: root.gid, user, group, ..entry.metadata.clone() };
        Ok(())
    }

    fn push(&mut self, node: &Node) {
        if let Some((_, nodes)) = self.open.last_mut() {
            nodes.push(node);
        }
    }

    /// The tree of the link under `name`, with its manifest, whose last bytes come from `end`.
    pub(super) fn finish(
        mut self,
        name: &str,
        end: impl FnOnce(ManifestWriter) -> Vec<u8>,
        order: &Order,
    ) -> Result<(Node, Seen)> {
        let (entry, nodes) = self.global.take().ok_or_else(gone)?;
        let global = save_directory(&mut self.hand, entry, nodes)?;
        self.put_into_root(global)?;
        let mut noted = plain_node(pg::backup_manifest::NAME, 0, vec![], order);
        self.own(&mut noted.entry)?;
        let Self { mut hand, manifest, mut stream, manifest_len, root, seen, .. } = self;
        let end = end(manifest);
        stream.push(&end)?;
        noted.entry.metadata.size = manifest_len + end.len() as u64;
        noted.content = stream.finish_now()?;
        let (mut entry, mut nodes) = root.ok_or_else(gone)?;
        nodes.push(&noted);
        entry.name = name.as_bytes().to_vec();
        Ok((save_directory(&mut hand, entry, nodes)?, seen))
    }
}

/// Without its root or `global`, it is no data directory any more.
fn gone() -> EngineError {
    EngineError::Gone("the data directory vanished while it was backed up".to_owned())
}

/// Save a directory with all in it.
fn save_directory(hand: &mut Hand, entry: Entry, nodes: TreeGatherer) -> Result<Node> {
    let subtree = hand.save(BlobKind::Tree, &nodes.finish())?.id;
    Ok(Node { entry, content: vec![], subtree: Some(subtree) })
}

/// When something was read last is not kept: it would make a new tree of an old directory.
fn settle(entry: &mut Entry) {
    entry.metadata.atime = entry.metadata.mtime;
}
