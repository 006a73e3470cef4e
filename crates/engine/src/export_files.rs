//! A backed-up directory as a tar stream, for machines that have no mainstay.
//!
//! Form: GNU tar with pax records for what its header cannot say: times to the nanosecond, extended attributes; files
//! with long holes as [`sparse`] says. Names are those below the backed-up directory. Sockets are left out. A damaged
//! file ends the stream: half a file in an archive looks whole.

mod sparse;

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use files::relative::RelativePath;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::entry::{Entry, EntryKind};
use model::progress::Progress;
use repo::Repository;
use repo::index::Index;
use repo::node::Node;
use tar::{Builder, EntryType, Header};

use crate::catalog;
use crate::error::{EngineError, Result};
use crate::stored_file::StoredFile;
use crate::stored_tree::{Stored, StoredWalk, TreeSource, locate};
use sparse::Zeros;

/// Write the directory of `record` to `out` as a tar stream; returns the bytes of its files.
///
/// # Errors
/// Damage, or what `out` says; then the stream has no end mark.
pub fn export_files(
    repository: &Arc<Repository>,
    index: &Arc<Index>,
    record: &BackupRecord,
    out: &mut dyn Write,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result<u64> {
    progress.begin("exporting", record.size_bytes);
    let snapshot = catalog::load_snapshot(repository, record)?;
    let mut trees = TreeSource::new(repository, index)?;
    let mut walk = StoredWalk::new(locate(&mut trees, &snapshot)?, vec![]);
    let out = std::io::BufWriter::with_capacity(1 << 20, out);
    let mut archive = Archive {
        repository,
        index,
        tar: Builder::new(out),
        zeros: Zeros::default(),
        first_names: HashMap::new(),
        bytes: 0,
    };
    while let Some(stored) = walk.next(&mut trees) {
        cancel.check()?;
        match stored {
            Stored::Enter { path, entry: Some(entry), .. } => archive.plain(&path, &entry)?,
            Stored::Entry { path, node } => {
                progress.item();
                archive.entry(&path, *node, progress)?;
            }
            Stored::Broken { error, .. } => return Err(error),
            Stored::Enter { entry: None, .. } | Stored::Leave { .. } => {}
        }
    }
    let bytes = archive.bytes;
    archive.tar.into_inner().and_then(|mut out| out.flush()).map_err(writing())?;
    Ok(bytes)
}

struct Archive<'a, W: Write> {
    repository: &'a Arc<Repository>,
    index: &'a Arc<Index>,
    tar: Builder<W>,
    zeros: Zeros,
    /// Files with several names, by device and inode.
    first_names: HashMap<(u64, u64), RelativePath>,
    bytes: u64,
}

impl<W: Write> Archive<'_, W> {
    fn entry(&mut self, path: &RelativePath, node: Node, progress: &Progress) -> Result<()> {
        if !node.entry.is_file() {
            return self.plain(path, &node.entry);
        }
        let metadata = &node.entry.metadata;
        if metadata.links > 1 {
            let first =
                self.first_names.entry((metadata.device_id, metadata.inode)).or_insert_with(|| path.clone());
            if first != path {
                let (mut header, first) =
                    (header(Header::new_gnu(), &node.entry, EntryType::Link), first.clone());
                return self.tar.append_link(&mut header, path, &first).map_err(writing());
            }
        }
        let entry = node.entry.clone();
        let file = StoredFile::of(self.repository, self.index, node)?;
        match self.zeros.member(&file) {
            Some(member) => {
                self.records(&entry, member.records(path.as_bytes()))?;
                // GNU tar looks for these records only before a header of this form.
                let mut header = header(Header::new_ustar(), &entry, EntryType::Regular);
                header.set_size(member.len());
                self.tar.append_data(&mut header, path, member.read(&file)).map_err(writing())?;
            }
            None => {
                self.records(&entry, vec![])?;
                let mut header = header(Header::new_gnu(), &entry, EntryType::Regular);
                header.set_size(file.len());
                self.tar.append_data(&mut header, path, file.range(0, file.len())?).map_err(writing())?;
            }
        }
        progress.advance(file.len());
        self.bytes += file.len();
        Ok(())
    }

    /// Anything without contents.
    fn plain(&mut self, path: &RelativePath, entry: &Entry) -> Result<()> {
        let (kind, device) = match &entry.kind {
            EntryKind::Directory => (EntryType::Directory, 0),
            EntryKind::Symlink { .. } => (EntryType::Symlink, 0),
            EntryKind::BlockDevice { device } => (EntryType::Block, *device),
            EntryKind::CharDevice { device } => (EntryType::Char, *device),
            EntryKind::Fifo => (EntryType::Fifo, 0),
            EntryKind::Socket | EntryKind::File => return Ok(()),
        };
        self.records(entry, vec![])?;
        let mut header = header(Header::new_gnu(), entry, kind);
        if device > 0 {
            // As `makedev` of Linux lays them out.
            let major = (device >> 8 & 0xfff) | (device >> 32 & !0xfff);
            let minor = (device & 0xff) | (device >> 12 & !0xff);
            let set =
                header.set_device_major(major as u32).and_then(|()| header.set_device_minor(minor as u32));
            set.map_err(writing())?;
        }
        let path = if path.is_root() { Path::new("./") } else { path.as_path() };
        let appended = match &entry.kind {
            EntryKind::Symlink { target } => {
                let target = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(target);
                self.tar.append_link(&mut header, path, target)
            }
            _ => self.tar.append_data(&mut header, path, std::io::empty()),
        };
        appended.map_err(writing())
    }

    /// What a header cannot say, before it; `records` are some already.
    fn records(&mut self, entry: &Entry, mut records: Vec<(String, Vec<u8>)>) -> Result<()> {
        let mtime = entry.metadata.mtime;
        let (seconds, nanoseconds) = (mtime.as_second(), mtime.subsec_nanosecond());
        if seconds >= 0 && nanoseconds > 0 {
            records.push(("mtime".to_owned(), format!("{seconds}.{nanoseconds:09}").into_bytes()));
        }
        for xattr in &entry.metadata.xattrs {
            records.push((format!("SCHILY.xattr.{}", xattr.name), xattr.value.clone()));
        }
        if records.is_empty() {
            return Ok(());
        }
        let records = records.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records).map_err(writing())
    }
}

fn header(mut header: Header, entry: &Entry, kind: EntryType) -> Header {
    let metadata = &entry.metadata;
    header.set_entry_type(kind);
    header.set_mode(metadata.mode);
    header.set_uid(metadata.uid.into());
    header.set_gid(metadata.gid.into());
    header.set_mtime(metadata.mtime.as_second().max(0) as u64);
    header.set_size(0);
    // A name that does not fit is left out; the number counts.
    header.set_username(&metadata.user).ok();
    header.set_groupname(&metadata.group).ok();
    header
}

fn writing() -> impl FnOnce(std::io::Error) -> EngineError {
    EngineError::io("writing the archive")
}
