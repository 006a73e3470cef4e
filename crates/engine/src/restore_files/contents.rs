//! Contents of files: which pieces of what is there differ, and writing pieces where they belong.
//!
//! Zeros are not written where a file is new, so that holes come back, whoever made the backup.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use files::compare::{Comparison, compare};
use files::read::FileReader;
use files::root::Root;
use files::target::Target;
use files::write::{Existing, FileWriter, Space};
use model::entry::Entry;
use repo::BlobKind;
use repo::blob::id_of;
use repo::index::Index;

use super::order::{Counts, Notice, RestoreOrder};
use super::window::{FilePlan, Way};
use crate::error::Result;
use crate::zeros::{write_around_zeros, zero_runs};

/// Decide how `file` comes to be, given what is at its path.
pub(super) fn inspect(
    file: &mut FilePlan,
    found: Option<&Entry>,
    root: &Root,
    index: &Index,
    order: &RestoreOrder<'_>,
    counts: &Counts,
) -> Result<()> {
    let Some(found) = found else { return Ok(()) };
    let comparison = compare(Some(found), &file.entry);
    if comparison != Comparison::OtherKind {
        file.differing = differing(file, found, root, index, order)?;
    }
    let is_same = file.differing.is_empty() && found.metadata.size == file.size;
    file.way = match comparison {
        Comparison::OtherKind | Comparison::Missing => Way::Replace,
        Comparison::Same if is_same => Way::Keep,
        _ if is_same => Way::Touch,
        // Another name of it may lie outside.
        _ if found.metadata.links > 1 => Way::Replace,
        _ => Way::Patch,
    };
    match file.way {
        Way::Keep | Way::Touch => _ = counts.unchanged.fetch_add(1, Ordering::Relaxed),
        _ => {
            counts.overwritten.fetch_add(1, Ordering::Relaxed);
            (order.tell)(&Notice::Overwrites(file.path.clone()));
        }
    }
    Ok(())
}

/// Which pieces are not there. Size and times alone are trusted only where change time and inode are the recorded ones
/// too: a restored file, or one with its time set back, is hashed.
fn differing(
    file: &FilePlan,
    found: &Entry,
    root: &Root,
    index: &Index,
    order: &RestoreOrder<'_>,
) -> Result<Vec<u32>> {
    let (there, want) = (&found.metadata, &file.entry.metadata);
    let is_untouched = (there.size, there.mtime, there.ctime, there.inode, there.device_id)
        == (want.size, want.mtime, want.ctime, want.inode, want.device_id);
    if is_untouched {
        return Ok(vec![]);
    }
    let reader = FileReader::open(root, &file.path, found, &order.owners)?;
    let (mut differing, mut buffer, mut offset) = (vec![], vec![], 0);
    for (position, id) in file.content.iter().enumerate() {
        order.cancel.check()?;
        let len = index.require(BlobKind::Data, id)?.plain_length();
        buffer.resize(len as usize, 0);
        let count = if offset < there.size { reader.read_at(offset, &mut buffer)? } else { 0 };
        if count < buffer.len() || id_of(&buffer) != *id {
            differing.push(position as u32);
        }
        offset += u64::from(len);
    }
    Ok(differing)
}

/// Write one piece of `file`; the last one finishes it.
pub(super) fn write_piece(
    target: &Target,
    file: &FilePlan,
    offset: u64,
    bytes: &[u8],
    is_zero: bool,
) -> Result<()> {
    let is_whole = bytes.len() as u64 == file.size && file.way != Way::Patch;
    if is_whole && zero_runs(0, bytes).next().is_none() {
        return write_whole(target, file, bytes);
    }
    let writer = writer(target, file)?;
    if is_zero {
        write_zeros(&writer, file, offset, bytes.len() as u64)?;
    } else {
        write_around_zeros(&writer, file.way != Way::Patch, offset, bytes)?;
    }
    // Given back before the count goes down: who sees it at zero has the writer alone.
    drop(writer);
    match file.left.fetch_sub(1, Ordering::SeqCst) {
        1 => finish(file),
        _ => Ok(()),
    }
}

/// A file in one call, also an empty one.
pub(super) fn write_whole(target: &Target, file: &FilePlan, bytes: &[u8]) -> Result<()> {
    let Some((parent, name)) = file.path.split() else { return Ok(()) };
    let dir = target.directory(&parent)?;
    Ok(target.write_whole_file(&dir, name, bytes, &file.entry.metadata, existing(file))?)
}

/// A file whose pieces are all there, but whose end or metadata may differ.
pub(super) fn write_rest(target: &Target, file: &FilePlan) -> Result<()> {
    match file.way {
        Way::Keep => Ok(()),
        Way::Touch => Ok(target.set_metadata(&file.path, &file.entry)?),
        Way::Patch => writer(target, file).map(drop).and_then(|()| finish(file)),
        Way::Create | Way::Replace => write_whole(target, file, &[]),
    }
}

fn existing(file: &FilePlan) -> Existing {
    if file.way == Way::Replace { Existing::Replace } else { Existing::Refuse }
}

fn writer(target: &Target, file: &FilePlan) -> Result<Arc<FileWriter>> {
    let mut writer = file.writer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(writer) = &*writer {
        return Ok(Arc::clone(writer));
    }
    let new = match file.way {
        Way::Patch => target.open_file(&file.path, file.size)?,
        _ => target.create_file(&file.path, file.size, Space::Sparse, existing(file))?,
    };
    Ok(Arc::clone(writer.insert(Arc::new(new))))
}

fn finish(file: &FilePlan) -> Result<()> {
    let writer = file.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match writer.and_then(Arc::into_inner) {
        Some(writer) if !file.failed.load(Ordering::SeqCst) => Ok(writer.finish(&file.entry.metadata)?),
        _ => Ok(()),
    }
}

fn write_zeros(writer: &FileWriter, file: &FilePlan, offset: u64, len: u64) -> Result<()> {
    match file.way {
        Way::Patch => Ok(writer.write_hole(offset, len)?),
        _ => Ok(()),
    }
}
