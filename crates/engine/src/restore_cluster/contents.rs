//! Bytes of a cluster onto the disk: which parts of what is there differ, and writing parts where they belong.
//!
//! A new file is left with holes where it is zeros. What is there already is believed only where its bytes have the hash
//! that the backup names: sizes and times say nothing after a failover or under a clock that is wrong (pitfall 15).

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use files::read::FileReader;
use files::root::Root;
use files::target::Target;
use files::write::{Existing, FileWriter, Space};
use model::entry::Entry;
use repo::BlobKind;
use repo::index::Index;
use repo::sha256;

use super::order::ClusterOrder;
use super::window::{FileTask, Part, Use, Way};
use crate::error::Result;
use crate::zeros::{write_around_zeros, zero_runs};

/// Parts that are hashed together, which takes less time than one after the other: twice the messages of [`sha256`].
const TOGETHER: usize = 6;

/// Decide how `file` comes to be, given what is at its path, and leave those of its parts that have to be written.
pub(super) fn inspect(
    file: &mut FileTask,
    found: &Entry,
    root: &Root,
    index: &Index,
    order: &ClusterOrder<'_>,
) -> Result<()> {
    if !found.is_file() || found.metadata.links > 1 {
        file.way = Way::Replace;
        return Ok(());
    }
    file.way = Way::Patch;
    let reader = FileReader::open(root, &file.path, found, &order.owners)?;
    let (mut differing, mut buffer, mut covered) = (vec![], vec![], 0);
    let mut hashing = Hashing::new(&reader, found.metadata.size, index);
    for parts in std::mem::take(&mut file.parts).chunks(TOGETHER) {
        order.cancel.check()?;
        for (part, is_there) in parts.iter().zip(hashing.are_there(parts)?) {
            // Zeros of the backup between two parts: what is there now must go, so the file is made anew.
            if part.to > covered && !is_zero_there(&reader, covered, part.to, &mut buffer)? {
                file.way = Way::Replace;
            }
            covered = part.to + u64::from(part.len);
            if is_there { &mut file.kept } else { &mut differing }.push(*part);
        }
    }
    if file.size > covered
        && !is_zero_there(&reader, covered, file.size.min(found.metadata.size), &mut buffer)?
    {
        file.way = Way::Replace;
    }
    file.parts = differing;
    if file.way == Way::Replace {
        file.parts.append(&mut file.kept);
    }
    Ok(())
}

/// Compares stretches of a file with the hashes that the backup has of them.
struct Hashing<'a> {
    reader: &'a FileReader,
    /// Of the file that is there.
    len: u64,
    index: &'a Index,
    buffers: [Vec<u8>; TOGETHER],
}

impl<'a> Hashing<'a> {
    fn new(reader: &'a FileReader, len: u64, index: &'a Index) -> Self {
        Self { reader, len, index, buffers: Default::default() }
    }

    /// Whether the bytes of each of `parts` are there: only for whole blobs is their hash known.
    fn are_there(&mut self, parts: &[Part]) -> Result<[bool; TOGETHER]> {
        let (mut read, mut are_there) = (vec![], [false; TOGETHER]);
        for ((number, part), buffer) in parts.iter().enumerate().zip(&mut self.buffers) {
            let is_whole =
                part.from == 0 && self.index.require(BlobKind::Data, &part.blob)?.plain_length() == part.len;
            if is_whole && part.to + u64::from(part.len) <= self.len {
                buffer.resize(part.len as usize, 0);
                if self.reader.read_at(part.to, buffer)? == buffer.len() {
                    read.push((number, &part.blob, &buffer[..]));
                }
            }
        }
        sha256::digests(read.iter().map(|(_, _, bytes)| *bytes), |at, digest| {
            let (number, blob, _) = &read[at];
            are_there[*number] = digest == **blob;
        });
        Ok(are_there)
    }
}

fn is_zero_there(reader: &FileReader, from: u64, to: u64, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut at = from;
    while at < to {
        buffer.resize((to - at).min(1 << 20) as usize, 0);
        let count = reader.read_at(at, buffer)?;
        if count == 0 {
            return Ok(true);
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

/// Write one use of a blob; the last one of a file finishes it.
pub(super) fn write_use(target: &Target, file: &FileTask, place: &Use, blob: &[u8]) -> Result<()> {
    let bytes = &blob[place.from as usize..][..place.len as usize];
    if file.is_one_blob(bytes) && zero_runs(0, bytes).next().is_none() {
        return write_whole(target, file, bytes);
    }
    let writer = writer(target, file)?;
    write_around_zeros(&writer, file.way != Way::Patch, place.to, bytes)?;
    // Given back before the count goes down: who sees it at zero has the writer alone.
    drop(writer);
    match file.left.fetch_sub(1, Ordering::SeqCst) {
        1 => finish(file),
        _ => Ok(()),
    }
}

/// A file of which nothing had to be fetched.
pub(super) fn write_rest(target: &Target, file: &FileTask) -> Result<()> {
    match file.way {
        Way::Create | Way::Replace if file.size == 0 => write_whole(target, file, &[]),
        _ => writer(target, file).map(drop).and_then(|()| finish(file)),
    }
}

fn write_whole(target: &Target, file: &FileTask, bytes: &[u8]) -> Result<()> {
    let Some((parent, name)) = file.path.split() else { return Ok(()) };
    let dir = target.directory(&parent)?;
    Ok(target.write_whole_file(&dir, name, bytes, &file.entry.metadata, existing(file))?)
}

fn existing(file: &FileTask) -> Existing {
    if file.way == Way::Replace { Existing::Replace } else { Existing::Refuse }
}

fn writer(target: &Target, file: &FileTask) -> Result<Arc<FileWriter>> {
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

fn finish(file: &FileTask) -> Result<()> {
    match file.take_writer().and_then(Arc::into_inner) {
        Some(writer) => Ok(writer.finish(&file.entry.metadata)?),
        None => Ok(()),
    }
}
