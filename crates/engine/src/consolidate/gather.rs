//! Files that were put together become the tree of one link, and lines of its `backup_manifest`.
//!
//! What lies in `pg_wal`, and the manifest itself, is in no manifest: as PostgreSQL has it.

use std::collections::HashMap;

use model::digest::Digest;
use model::entry::Entry;
use model::progress::Progress;
use pg::backup_label::BACKUP_LABEL;
use pg::backup_manifest::{self, ManifestFile, ManifestWriter};
use repo::chunk::Cutter;
use repo::node::Node;
use repo::saver::{Content, Hand, Saver};
use repo::stream::StreamSaver;
use repo::{BlobKind, RepoError, tree};

use super::full_label;
use crate::error::Result;
use crate::restore_cluster::{WholeFile, WholeWalk};
use crate::writing::{Order, plain_node};

/// Bytes of a piece: as in the full backups of clusters, so that equal pieces are found again.
pub(super) const PIECE_LEN: usize = 512 << 10;
/// Bytes that are put together at once: blobs lie in all links, and are read on all cores.
const BATCH_LEN: usize = 32 * PIECE_LEN;

/// CRC-32C of whole files, by their paths.
pub(super) type Sums = HashMap<Vec<u8>, (u64, u32)>;

/// What the manifest of the newest link says of the files that it has whole.
pub(super) fn sums(manifest: Option<&[u8]>) -> Result<Sums> {
    let Some(bytes) = manifest else { return Ok(Sums::new()) };
    let read =
        backup_manifest::read(bytes).map_err(|error| RepoError::damaged(backup_manifest::NAME, error))?;
    let sums = read.files.iter().filter_map(|file| Some((file.path_bytes(), (file.size, file.crc()?))));
    Ok(sums.collect())
}

/// Takes what the walk met, in its order.
pub(super) struct Gathering<'a> {
    saver: &'a Saver,
    hand: Hand,
    manifest: ManifestWriter,
    stream: StreamSaver<'a>,
    manifest_len: u64,
    open: Vec<(Entry, Vec<Node>)>,
    root: Option<(Entry, Vec<Node>)>,
    sums: Sums,
    batch: Vec<u8>,
}

impl<'a> Gathering<'a> {
    pub(super) fn begin(
        saver: &'a Saver,
        cutter: &'a Cutter,
        (manifest, head): (ManifestWriter, Vec<u8>),
        sums: Sums,
    ) -> Result<Self> {
        let mut gathering = Self {
            saver,
            hand: saver.hand()?,
            manifest,
            stream: StreamSaver::new(saver, cutter),
            manifest_len: 0,
            open: vec![],
            root: None,
            sums,
            batch: vec![],
        };
        gathering.write(&head)?;
        Ok(gathering)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.manifest_len += bytes.len() as u64;
        Ok(self.stream.push(bytes)?)
    }

    pub(super) fn enter(&mut self, entry: Entry) {
        self.open.push((entry, vec![]));
    }

    pub(super) fn leave(&mut self) -> Result<()> {
        match (self.open.pop(), self.open.last_mut()) {
            (Some((entry, mut nodes)), Some((_, above))) => {
                let subtree = Some(self.hand.save(BlobKind::Tree, &tree::encode(&mut nodes))?.id);
                above.push(Node { entry, content: vec![], subtree });
            }
            (root, _) => self.root = root,
        }
        Ok(())
    }

    pub(super) fn special(&mut self, entry: Entry) {
        self.push(Node { entry, content: vec![], subtree: None });
    }

    fn push(&mut self, node: Node) {
        if let Some((_, nodes)) = self.open.last_mut() {
            nodes.push(node);
        }
    }

    /// A file; what several links make is read, and stored as one.
    pub(super) fn file(&mut self, walk: &WholeWalk<'_>, file: &WholeFile, progress: &Progress) -> Result<()> {
        let path = file.path.as_bytes();
        if path == backup_manifest::NAME.as_bytes() {
            return Ok(());
        }
        let mut entry = file.entry.clone();
        let is_noted = !path.starts_with(b"pg_wal/");
        let (content, crc) = if path == BACKUP_LABEL.as_bytes() {
            let label = full_label(&self.small(walk, file)?)?;
            entry.metadata.size = label.len() as u64;
            (vec![self.hand.save(BlobKind::Data, &label)?.id], crc32c::crc32c(&label))
        } else {
            self.content(walk, file, is_noted, progress)?
        };
        if is_noted {
            let (size, modified) = (entry.metadata.size, entry.metadata.mtime);
            let line = self.manifest.file(&ManifestFile { path, size, modified, crc });
            self.write(&line)?;
        }
        self.push(Node { entry, content, subtree: None });
        Ok(())
    }

    /// The pieces of a file, and its sum where that is wanted.
    fn content(
        &mut self,
        walk: &WholeWalk<'_>,
        file: &WholeFile,
        wants_sum: bool,
        progress: &Progress,
    ) -> Result<(Vec<Digest>, u32)> {
        let size = file.entry.metadata.size;
        let Some(kept) = &file.content else { return self.put_together(walk, file, progress) };
        if !wants_sum {
            return Ok((kept.clone(), 0));
        }
        let known = self.sums.get(file.path.as_bytes()).filter(|(len, _)| *len == size);
        let crc = match known {
            Some((_, crc)) => *crc,
            // Nobody has it: of another kind of sum, or of a link without a manifest.
            None => self.summed(walk, file)?,
        };
        Ok((kept.clone(), crc))
    }

    fn put_together(
        &mut self,
        walk: &WholeWalk<'_>,
        file: &WholeFile,
        progress: &Progress,
    ) -> Result<(Vec<Digest>, u32)> {
        let (size, content, mut crc) = (file.entry.metadata.size, Content::new(), 0);
        let mut batch = std::mem::take(&mut self.batch);
        let mut at = 0;
        while at < size {
            batch.resize((size - at).min(BATCH_LEN as u64) as usize, 0);
            walk.fill(file, at, &mut batch)?;
            crc = crc32c::crc32c_append(crc, &batch);
            for piece in batch.chunks(PIECE_LEN) {
                let mut buffer = self.saver.buffer();
                buffer.clear();
                buffer.extend_from_slice(piece);
                self.saver.submit(buffer, None, &content)?;
            }
            at += batch.len() as u64;
            progress.advance(batch.len() as u64);
        }
        self.batch = batch;
        Ok((content.wait()?, crc))
    }

    fn summed(&mut self, walk: &WholeWalk<'_>, file: &WholeFile) -> Result<u32> {
        let (size, mut crc, mut at) = (file.entry.metadata.size, 0, 0);
        while at < size {
            self.batch.resize((size - at).min(BATCH_LEN as u64) as usize, 0);
            walk.fill(file, at, &mut self.batch)?;
            crc = crc32c::crc32c_append(crc, &self.batch);
            at += self.batch.len() as u64;
        }
        Ok(crc)
    }

    fn small(&self, walk: &WholeWalk<'_>, file: &WholeFile) -> Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(file.entry.metadata.size).unwrap_or(usize::MAX)];
        walk.fill(file, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// The tree of the link under `name`, with its manifest, whose last bytes come from `end`.
    pub(super) fn finish(
        self,
        name: &str,
        end: impl FnOnce(ManifestWriter) -> Vec<u8>,
        order: &Order,
    ) -> Result<Node> {
        let Self { mut hand, manifest, mut stream, manifest_len, root, .. } = self;
        let missing = || RepoError::damaged("the chain", "has no data directory");
        let (mut entry, mut nodes) = root.ok_or_else(missing)?;
        let end = end(manifest);
        stream.push(&end)?;
        let mut noted = plain_node(backup_manifest::NAME, manifest_len + end.len() as u64, vec![], order);
        let owner = &entry.metadata;
        (noted.entry.metadata.uid, noted.entry.metadata.gid) = (owner.uid, owner.gid);
        (noted.entry.metadata.user, noted.entry.metadata.group) = (owner.user.clone(), owner.group.clone());
        noted.content = stream.finish_now()?;
        nodes.push(noted);
        entry.name = name.as_bytes().to_vec();
        let subtree = Some(hand.save(BlobKind::Tree, &tree::encode(&mut nodes))?.id);
        Ok(Node { entry, content: vec![], subtree })
    }
}
