//! Zeros in what is to be written: where they are long enough, a file is better left with a hole.

use std::collections::HashMap;

use files::error::Error;
use files::write::FileWriter;
use model::digest::Digest;
use repo::blob::id_of;
use repo::index::Place;

/// Zeros are looked for in steps of a page.
const PAGE: usize = 4 << 10;
/// A stretch of zeros that is worth a hole.
const HOLE_MIN: usize = 16 << 10;
/// Stored bytes of a blob of zeros, where it is compressed: far fewer.
const ZEROS_STORED_MAX: u32 = 1 << 10;

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    // Compared with itself, one byte on: as fast as memory.
    bytes.first().is_none_or(|first| *first == 0 && bytes[1..] == bytes[..bytes.len() - 1])
}

/// Blobs that become holes, known by their names: those of zeros, by their lengths.
#[derive(Default)]
pub(crate) struct ZeroBlobs(HashMap<u32, Digest>);

impl ZeroBlobs {
    /// Whether the blob `id`, which is at `place`, is whole pages of zeros, and enough of them for a hole.
    pub(crate) fn has(&mut self, id: &Digest, place: &Place) -> bool {
        let len = place.plain_length();
        let is_too_long = place.compressed_from().is_some() && place.length > ZEROS_STORED_MAX;
        if is_too_long || (len as usize) < HOLE_MIN || !(len as usize).is_multiple_of(PAGE) {
            return false;
        }
        self.0.entry(len).or_insert_with(|| id_of(&vec![0; len as usize])) == id
    }
}

/// Stretches of whole pages of zeros that are worth a hole; `offset` is where `bytes` lie in their file.
pub(crate) fn zero_runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let first_page = (offset.next_multiple_of(PAGE as u64) - offset) as usize;
    let mut at = first_page;
    std::iter::from_fn(move || {
        while at + PAGE <= bytes.len() {
            let start = at;
            while at + PAGE <= bytes.len() && is_zero(&bytes[at..at + PAGE]) {
                at += PAGE;
            }
            if at - start >= HOLE_MIN {
                return Some((start, at));
            }
            at = at.max(start + PAGE);
        }
        None
    })
}

/// Write `bytes` at `offset`, but for long stretches of zeros: where something was before they become holes, and a new file
/// has holes there already.
pub(crate) fn write_around_zeros(
    writer: &FileWriter,
    is_new: bool,
    offset: u64,
    bytes: &[u8],
) -> Result<(), Error> {
    let mut done = 0;
    for (start, end) in zero_runs(offset, bytes) {
        if start > done {
            writer.write_at(offset + done as u64, &bytes[done..start])?;
        }
        if !is_new {
            writer.write_hole(offset + start as u64, (end - start) as u64)?;
        }
        done = end;
    }
    if done < bytes.len() {
        writer.write_at(offset + done as u64, &bytes[done..])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_zero_runs() {
        let mut bytes = vec![1; 20 * PAGE];
        bytes[2 * PAGE..8 * PAGE].fill(0);
        bytes[10 * PAGE..12 * PAGE].fill(0);
        bytes[15 * PAGE + 1..].fill(0);
        let runs = |offset, bytes| zero_runs(offset, bytes).collect::<Vec<_>>();
        assert_eq!(runs(0, &bytes), [(2 * PAGE, 8 * PAGE), (16 * PAGE, 20 * PAGE)]);
        let shifted = [(2 * PAGE + PAGE - 100, 8 * PAGE - 100), (15 * PAGE + PAGE - 100, 20 * PAGE - 100)];
        assert_eq!(runs(100, &bytes), shifted, "pages are those of the file");
        assert_eq!(runs(0, &[0; 100]), []);
        assert_eq!(runs(0, &[]), []);
        assert!(is_zero(&[0; 1000]) && is_zero(&[]) && !is_zero(&[0, 0, 1]) && !is_zero(&[1]));
    }
}
