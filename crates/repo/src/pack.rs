//! A pack: one object of many blobs, with a header at its end that lists them.
//!
//! Form: `envelope(blob) … envelope(blob) ‖ envelope(header) ‖ u32le length of the header's envelope`. A header
//! entry is `00` (data) or `01` (tree), u32le length, id; or `02`/`03` for compressed ones, u32le length,
//! u32le raw length, id. Lengths are of envelopes; offsets follow from their sum. Source: restic's design
//! document, "Pack Format".

use model::digest::Digest;

use crate::blob::{BLOB_LEN_MAX, BlobKind, PackedBlob};
use crate::crypto::{OVERHEAD, Sealer};
use crate::error::{RepoError, Result};

const ENTRY_LEN_COMPRESSED: usize = 1 + 4 + 4 + 32;
/// restic refuses longer headers.
pub const HEADER_LEN_MAX: usize = 16 << 20;
/// Blobs of one pack at most, so that the header stays within its bound.
pub const BLOBS_MAX: usize = 50_000;
const _: () = assert!(BLOBS_MAX * ENTRY_LEN_COMPRESSED + OVERHEAD < HEADER_LEN_MAX);
/// The number at the very end.
pub const TRAILER_LEN: usize = 4;

/// The plain header that lists `blobs`, in the order in which they stand in the pack.
pub fn encode_header(blobs: &[PackedBlob]) -> Vec<u8> {
    let mut header = Vec::with_capacity(blobs.len() * ENTRY_LEN_COMPRESSED);
    for blob in blobs {
        let code = u8::from(blob.kind == BlobKind::Tree) + if blob.raw_length.is_some() { 2 } else { 0 };
        header.push(code);
        header.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(raw_length) = blob.raw_length {
            header.extend_from_slice(&raw_length.to_le_bytes());
        }
        header.extend_from_slice(&blob.id.0);
    }
    header
}

/// Bytes of a pack that holds `blobs`, its header included.
pub fn len_of(blobs: &[PackedBlob]) -> u64 {
    let entry_len = |blob: &PackedBlob| match blob.raw_length {
        Some(_) => ENTRY_LEN_COMPRESSED,
        None => ENTRY_LEN_COMPRESSED - size_of::<u32>(),
    };
    let with_entry = |blob: &PackedBlob| u64::from(blob.length) + entry_len(blob) as u64;
    blobs.iter().map(with_entry).sum::<u64>() + (OVERHEAD + TRAILER_LEN) as u64
}

/// Read a plain header; `None` where it is none, or its blobs do not fit in `blobs_len` bytes exactly.
pub fn decode_header(mut header: &[u8], blobs_len: u64) -> Option<Vec<PackedBlob>> {
    let mut blobs = Vec::with_capacity(header.len() / ENTRY_LEN_COMPRESSED);
    let mut offset = 0u64;
    while let Some((code, rest)) = header.split_first() {
        let (length, rest) = split_u32(rest)?;
        let (raw_length, rest) = match code {
            0 | 1 => (None, rest),
            2 | 3 => split_u32(rest).map(|(raw, rest)| (Some(raw), rest))?,
            _ => return None,
        };
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let kind = if code & 1 == 1 { BlobKind::Tree } else { BlobKind::Data };
        if (length as usize) < OVERHEAD || raw_length.is_some_and(|raw| raw > BLOB_LEN_MAX) {
            return None;
        }
        blobs.push(PackedBlob {
            id: Digest(*id),
            kind,
            offset: u32::try_from(offset).ok()?,
            length,
            raw_length,
        });
        offset += u64::from(length);
        header = rest;
    }
    (offset == blobs_len).then_some(blobs)
}

fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

/// Put the sealed header and its length behind the blobs of `pack`.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn finish(pack: &mut Vec<u8>, blobs: &[PackedBlob], sealer: &Sealer) -> Result<()> {
    let start = pack.len();
    sealer.seal(&encode_header(blobs), pack)?;
    let len = (pack.len() - start) as u32;
    pack.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

/// List the blobs of a whole pack.
///
/// # Errors
/// [`RepoError::Damaged`] naming `what`.
pub fn blobs_of(pack: &[u8], sealer: &Sealer, what: &str) -> Result<Vec<PackedBlob>> {
    let damaged = |reason: &str| RepoError::damaged(what, reason);
    let (rest, trailer) = pack.split_last_chunk::<TRAILER_LEN>().ok_or_else(|| damaged("too short"))?;
    let len = u32::from_le_bytes(*trailer) as usize;
    if len > HEADER_LEN_MAX || len > rest.len() {
        return Err(damaged("its header length is out of bounds"));
    }
    let (blobs, sealed) = rest.split_at(rest.len() - len);
    let mut header = vec![];
    sealer.open(sealed, &mut header, &format!("header of {what}"))?;
    decode_header(&header, blobs.len() as u64)
        .ok_or_else(|| damaged("its header lists other blobs than it has"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key;

    fn sample() -> Vec<PackedBlob> {
        let blob = |n: u8, kind, offset, length, raw_length| PackedBlob {
            id: Digest([n; 32]),
            kind,
            offset,
            length,
            raw_length,
        };
        vec![blob(1, BlobKind::Data, 0, 40, None), blob(2, BlobKind::Data, 40, 50, Some(1000))]
    }

    #[test]
    fn a_pack_lists_what_was_put_into_it() {
        let sealer = Key::random().unwrap().sealer();
        let mut pack = vec![0; 90];
        finish(&mut pack, &sample(), &sealer).unwrap();
        assert_eq!(blobs_of(&pack, &sealer, "pack").unwrap(), sample());
        assert_eq!(len_of(&sample()), pack.len() as u64);
        for len in 0..pack.len() {
            assert!(blobs_of(&pack[..len], &sealer, "pack").is_err(), "{len}");
        }
        for at in 90..pack.len() {
            pack[at] ^= 1;
            assert!(blobs_of(&pack, &sealer, "pack").is_err(), "{at}");
            pack[at] ^= 1;
        }
    }

    #[test]
    fn headers_are_checked_against_the_pack() {
        let header = encode_header(&sample());
        assert_eq!(header.len(), 37 + ENTRY_LEN_COMPRESSED);
        assert_eq!(decode_header(&header, 90), Some(sample()));
        assert_eq!(decode_header(&header, 91), None);
        assert_eq!(decode_header(&header[..header.len() - 1], 90), None);
        assert_eq!(decode_header(&[9; 37], 90), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(bytes: Vec<u8>, len: u64) {
            if let Some(blobs) = decode_header(&bytes, len) {
                proptest::prop_assert_eq!(encode_header(&blobs), bytes);
            }
        }
    }
}
