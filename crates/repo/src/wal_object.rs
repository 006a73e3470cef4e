//! One file of `pg_wal` as it is stored, beside the packs.
//!
//! Form: the envelope of `MSWAL1\n` ‖ length of the header (u32) ‖ header (JSON) ‖ the file as zstd frames, one behind the
//! other, each of [`PIECE_LEN`] bytes but for the last; under `wal/<system id>/<timeline, 8 hex digits>/<name>`. Frames
//! are what can be made and undone on several cores.
//!
//! Invariant: the envelope does not bind an object to its name, the header does: nothing leaves before name, cluster,
//! length and SHA-256 were found to be those that were asked for.

use std::time::SystemTime;

use model::digest::Digest;
use model::lsn::{SystemId, Timeline};
use model::wal_name::{SegmentSize, WalName};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::Key as ObjectKey;
use zstd::bulk;
use zstd::zstd_safe::{self, CParameter, Strategy};

use crate::crypto::Sealer;
use crate::error::{RepoError, Result};
use crate::repository::Repository;
use crate::threads;

/// Where they lie.
pub const FOLDER: &str = "wal";
const MAGIC: &[u8; 7] = b"MSWAL1\n";
const LENGTH_LEN: usize = 4;
/// Bytes of a header at most: it has six short fields.
const HEADER_LEN_MAX: usize = 4096;
/// Bytes of the file in one frame.
pub const PIECE_LEN: usize = 4 << 20;

/// As fast as zstd's level 1 and, for WAL, as small as its level 3: repeats are short, since records are.
const FOR_WAL: [CParameter; 4] = [
    CParameter::Strategy(Strategy::ZSTD_fast),
    CParameter::WindowLog(21),
    CParameter::HashLog(14),
    CParameter::MinMatch(5),
];

/// What an object says of the file in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WalHeader {
    /// Its name in `pg_wal`.
    pub name: String,
    /// Whose it is.
    pub system_id: SystemId,
    /// Its timeline.
    pub timeline: Timeline,
    /// Bytes of each segment of that cluster; none where the file does not tell.
    pub segment_size: Option<u64>,
    /// Bytes of the file.
    pub size: u64,
    /// Of the file.
    pub sha256: Digest,
}

/// A file of a cluster's `pg_wal`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WalFile {
    /// Whose it is.
    pub system_id: SystemId,
    /// Its name.
    pub name: WalName,
}

/// One that is stored, as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWal {
    /// Which.
    pub file: WalFile,
    /// Bytes of the object.
    pub size: u64,
    /// When it was stored, by the clock of the store.
    pub modified: SystemTime,
}

impl StoredWal {
    /// What an object is by its name, of which nothing else is known; none where it is no file of WAL.
    pub fn at(object: &ObjectKey) -> Option<Self> {
        let modified = SystemTime::UNIX_EPOCH;
        stored(store::Object { key: object.clone(), size: 0, modified })
    }
}

impl WalFile {
    /// Where it lies.
    pub fn object(&self) -> ObjectKey {
        let folder = folder(self.system_id, self.name.timeline());
        format!("{folder}/{}", self.name).parse().expect("digits, dots and slashes are a key")
    }

    /// The object that keeps `plain`, made on `cores` cores.
    ///
    /// # Errors
    /// When the system gives no memory, no thread or no random bytes.
    pub fn seal(
        &self,
        sealer: &Sealer,
        segment_size: Option<SegmentSize>,
        plain: &[u8],
        cores: usize,
    ) -> Result<Vec<u8>> {
        let pieces: Vec<&[u8]> = plain.chunks(PIECE_LEN).collect();
        let (frames, sha256) = beside(cores, || on_cores(cores, &pieces, compress), plain);
        let header = WalHeader {
            name: self.name.to_string(),
            system_id: self.system_id,
            timeline: self.name.timeline(),
            segment_size: segment_size.map(SegmentSize::bytes),
            size: plain.len() as u64,
            sha256,
        };
        let header = serde_json::to_vec(&header).map_err(|error| RepoError::System(error.to_string()))?;
        let mut content = MAGIC.to_vec();
        content.extend_from_slice(&(header.len() as u32).to_le_bytes());
        content.extend_from_slice(&header);
        for frame in frames? {
            content.extend_from_slice(&frame);
        }
        let mut sealed = vec![];
        sealer.seal(&content, &mut sealed)?;
        Ok(sealed)
    }

    /// What the object `sealed` says, with its content in `content`, and where in that its frames begin.
    fn open_header(
        &self,
        sealer: &Sealer,
        sealed: &[u8],
        content: &mut Vec<u8>,
    ) -> Result<(WalHeader, usize)> {
        let what = self.object();
        let damaged = |reason: &str| RepoError::damaged(&what, reason);
        sealer.open(sealed, content, &what)?;
        let rest = content.strip_prefix(MAGIC).ok_or_else(|| damaged("is no WAL object"))?;
        let (len, rest) =
            rest.split_first_chunk::<LENGTH_LEN>().ok_or_else(|| damaged("ends in its header"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let header = rest.get(..len.min(HEADER_LEN_MAX + 1)).filter(|header| header.len() == len);
        let header = header.ok_or_else(|| damaged("ends in its header"))?;
        let found: WalHeader = serde_json::from_slice(header).map_err(|error| damaged(&error.to_string()))?;
        if found.name != self.name.to_string() || found.system_id != self.system_id {
            let reason = format!("is {} of the cluster {} under another name", found.name, found.system_id);
            return Err(damaged(&reason));
        }
        if found.size > SIZE_MAX {
            return Err(damaged("is longer than any WAL file"));
        }
        Ok((found, MAGIC.len() + LENGTH_LEN + len))
    }

    /// The file in the object `sealed`, made on `cores` cores.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] where it is another file, or not as it was.
    pub fn open(&self, sealer: &Sealer, sealed: &[u8], cores: usize) -> Result<(WalHeader, Vec<u8>)> {
        let (mut content, mut plain) = (vec![], vec![]);
        let header = self.open_into(sealer, sealed, cores, (&mut content, &mut plain))?;
        Ok((header, plain))
    }

    /// The same for who opens many: `plain` becomes the file, and `content` is used on the way.
    ///
    /// # Errors
    /// As [`WalFile::open`]; what is in `plain` then is nothing.
    pub fn open_into(
        &self,
        sealer: &Sealer,
        sealed: &[u8],
        cores: usize,
        (content, plain): (&mut Vec<u8>, &mut Vec<u8>),
    ) -> Result<WalHeader> {
        let (header, frames_at) = self.open_header(sealer, sealed, content)?;
        let what = self.object();
        let damaged = |reason: &str| RepoError::damaged(&what, reason);
        plain.resize(header.size as usize, 0);
        let mut parts = vec![];
        let (mut frames, mut room) = (&content[frames_at..], &mut plain[..]);
        while !frames.is_empty() {
            let len = zstd_safe::find_frame_compressed_size(frames).ok().filter(|len| *len <= frames.len());
            let (frame, behind) = frames.split_at(len.ok_or_else(|| damaged("does not decompress"))?);
            let content = zstd_safe::get_frame_content_size(frame).ok().flatten();
            let fits = content.and_then(|len| usize::try_from(len).ok()).filter(|len| *len <= room.len());
            let fits = fits.ok_or_else(|| damaged("has other bytes than its header says"))?;
            let (part, rest) = std::mem::take(&mut room).split_at_mut(fits);
            parts.push(std::sync::Mutex::new((frame, part)));
            (frames, room) = (behind, rest);
        }
        if !room.is_empty() {
            return Err(damaged("ends early"));
        }
        let fill = |part: &std::sync::Mutex<(&[u8], &mut [u8])>| {
            let mut part = part.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (frame, room) = &mut *part;
            let filled = bulk::decompress_to_buffer(frame, room);
            filled.is_ok_and(|len| len == room.len())
        };
        let filled = on_cores(cores, &parts, fill)?;
        drop(parts);
        if filled.contains(&false) {
            return Err(damaged("does not decompress"));
        }
        if sha256(plain) != header.sha256 {
            return Err(damaged("its bytes do not fit its SHA-256"));
        }
        Ok(header)
    }

    /// What the object `sealed` says of its file, of which nothing is decompressed.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] where it is another file.
    pub fn header(&self, sealer: &Sealer, sealed: &[u8]) -> Result<WalHeader> {
        Ok(self.open_header(sealer, sealed, &mut vec![])?.0)
    }
}

/// Bytes of a file at most: the longest segment.
const SIZE_MAX: u64 = 1 << 30;

impl Repository {
    /// What is stored of a cluster, or of one of its timelines, in no order. Names that are none of `pg_wal` are not ours.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn list_wal(&self, system_id: SystemId, timeline: Option<Timeline>) -> Result<Vec<StoredWal>> {
        let folder = match timeline {
            Some(timeline) => folder(system_id, timeline),
            None => format!("{FOLDER}/{system_id}"),
        };
        Ok(self.store().list(&folder)?.into_iter().filter_map(stored).collect())
    }

    /// What is stored of every cluster.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn list_all_wal(&self) -> Result<Vec<StoredWal>> {
        Ok(self.store().list(FOLDER)?.into_iter().filter_map(stored).collect())
    }

    /// The clusters of which WAL is stored.
    ///
    /// # Errors
    /// When the store cannot list.
    pub fn list_wal_clusters(&self) -> Result<Vec<SystemId>> {
        let mut found: Vec<_> =
            self.list_all_wal()?.into_iter().map(|stored| stored.file.system_id).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn folder(system_id: SystemId, timeline: Timeline) -> String {
    format!("{FOLDER}/{system_id}/{:08X}", timeline.0)
}

fn stored(object: store::Object) -> Option<StoredWal> {
    let mut parts = object.key.as_str().split('/').skip(1);
    let file = WalFile { system_id: parts.next()?.parse().ok()?, name: object.key.name().parse().ok()? };
    (file.object() == object.key).then_some(StoredWal { file, size: object.size, modified: object.modified })
}

fn compress(piece: &&[u8]) -> Result<Vec<u8>> {
    let system = |error: std::io::Error| RepoError::System(error.to_string());
    let mut compressor = bulk::Compressor::new(1).map_err(system)?;
    for parameter in FOR_WAL {
        compressor.set_parameter(parameter).map_err(system)?;
    }
    compressor.compress(piece).map_err(system)
}

/// `work` on each, here or on more cores.
fn on_cores<T: Sync, R: Send>(cores: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    if cores > 1 { threads::map(items, work) } else { Ok(items.iter().map(work).collect()) }
}

/// `work` and the hash of `plain`, at one time where there are cores for both.
fn beside(
    cores: usize,
    work: impl FnOnce() -> Result<Vec<Result<Vec<u8>>>>,
    plain: &[u8],
) -> (Result<Vec<Vec<u8>>>, Digest) {
    let (made, digest) = match cores {
        ..=1 => (work(), sha256(plain)),
        _ => threads::both(work, || sha256(plain)),
    };
    (made.and_then(|made| made.into_iter().collect()), digest)
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Key;

    fn file(name: &str) -> WalFile {
        WalFile { system_id: SystemId(7_000_000_000_000_000_001), name: name.parse().unwrap() }
    }

    /// Two pieces and a bit, of which some repeats.
    fn plain() -> Vec<u8> {
        let len = 2 * PIECE_LEN as u64 + 77;
        (0..len).map(|at| (((at * at) >> 11) ^ (at % 97)) as u8).collect()
    }

    #[test]
    fn a_file_comes_back_on_one_core_and_on_several() {
        let sealer = Key::random().unwrap().sealer();
        for (name, plain) in [
            ("000000010000000000000003", plain()),
            ("00000002.history", b"1\t0/3000110\tbecause\n".to_vec()),
            ("000000010000000000000003.partial", vec![]),
        ] {
            for cores in [1, 2] {
                let sealed = file(name).seal(&sealer, Some(SegmentSize::DEFAULT), &plain, cores).unwrap();
                let (header, back) = file(name).open(&sealer, &sealed, 3 - cores).unwrap();
                assert_eq!((back == plain, header.size, &*header.name), (true, plain.len() as u64, name));
                assert_eq!(header.sha256, sha256(&plain));
                assert_eq!(file(name).header(&sealer, &sealed).unwrap(), header);
            }
        }
    }

    #[test]
    fn frames_are_plain_zstd() {
        let sealer = Key::random().unwrap().sealer();
        let one = file("000000010000000000000003");
        let sealed = one.seal(&sealer, None, &plain(), 2).unwrap();
        let mut content = vec![];
        let (_, frames_at) = one.open_header(&sealer, &sealed, &mut content).unwrap();
        assert!(zstd::stream::decode_all(&content[frames_at..]).unwrap() == plain());
    }

    #[test]
    fn pitfall_04_another_name_and_other_bytes_are_damage() {
        let sealer = Key::random().unwrap().sealer();
        let one = file("000000010000000000000003");
        let sealed = one.seal(&sealer, None, &plain(), 1).unwrap();
        let mut other = file("000000010000000000000003");
        other.system_id = SystemId(1);
        for other in [file("000000010000000000000004"), file("000000010000000000000003.partial"), other] {
            let error = other.open(&sealer, &sealed, 1).unwrap_err();
            assert!(error.is_damage() && error.to_string().contains("under another name"), "{error}");
        }
        for at in [0, 20, sealed.len() / 2, sealed.len() - 1] {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(one.open(&sealer, &flipped, 2).unwrap_err().is_damage());
        }
        assert!(one.open(&sealer, &sealed[..sealed.len() - 1], 1).unwrap_err().is_damage());
    }

    #[test]
    fn what_the_header_says_is_compared() {
        let sealer = Key::random().unwrap().sealer();
        let one = file("00000002.history");
        let damage = |change: &dyn Fn(&mut WalHeader), frames: &dyn Fn(Vec<u8>) -> Vec<u8>| {
            let mut header = WalHeader {
                name: "00000002.history".to_owned(),
                system_id: one.system_id,
                timeline: Timeline(2),
                segment_size: None,
                size: 5,
                sha256: sha256(b"12345"),
            };
            change(&mut header);
            let header = serde_json::to_vec(&header).unwrap();
            let mut content = [&MAGIC[..], &(header.len() as u32).to_le_bytes(), &header].concat();
            content.extend(frames(compress(&&b"12345"[..]).unwrap()));
            let mut sealed = vec![];
            sealer.seal(&content, &mut sealed).unwrap();
            one.open(&sealer, &sealed, 1).map(|(_, plain)| plain).map_err(|error| error.to_string())
        };
        assert_eq!(damage(&|_| (), &|frame| frame).unwrap(), b"12345");
        assert!(damage(&|header| header.size = 6, &|frame| frame).unwrap_err().contains("ends early"));
        assert!(damage(&|header| header.size = 4, &|frame| frame).unwrap_err().contains("other bytes"));
        assert!(damage(&|header| header.size = 1 << 40, &|frame| frame).unwrap_err().contains("longer"));
        assert!(
            damage(&|header| header.sha256 = Digest([0; 32]), &|frame| frame).unwrap_err().contains("SHA")
        );
        let cut = |frame: Vec<u8>| frame[..frame.len() - 1].to_vec();
        assert!(damage(&|_| (), &cut).unwrap_err().contains("decompress"));
        let longer = |frame: Vec<u8>| [frame, compress(&&b"6"[..]).unwrap()].concat();
        assert!(damage(&|_| (), &longer).unwrap_err().contains("other bytes"));
    }

    #[test]
    fn where_it_lies_is_what_a_listing_reads() {
        let one = file("0000000A00000001000000FE.partial");
        let key = one.object();
        assert_eq!(key.as_str(), "wal/7000000000000000001/0000000A/0000000A00000001000000FE.partial");
        let object = |key: &str| store::Object {
            key: key.parse().unwrap(),
            size: 1,
            modified: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(stored(object(key.as_str())).unwrap().file, one);
        assert_eq!(stored(object("wal/7/00000001/0000000A.history")), None);
        assert_eq!(stored(object("wal/7/junk")), None);
    }
}
