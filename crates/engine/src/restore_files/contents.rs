//! Contents of files: writing pieces where they belong.
//!
//! Zeros are not written where a file is new, so that holes come back, whoever made the backup.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use files::target::Target;
use files::write::{Existing, FileWriter, Space};

use super::window::{FilePlan, Way};
use crate::error::Result;
use crate::zeros::{write_around_zeros, zero_runs};

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
