//! `backup_manifest`: what `pg_verifybackup` judges a base backup by, and what `pg_combinebackup` reads.
//!
//! Form (PostgreSQL manual, chapter 77): JSON with one file a line, the ranges of WAL, and at the end the SHA-256 of all
//! bytes before its own line. Version 2, of 17 and later, has the system identifier. Written as the files pass, never
//! held whole.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::lsn::{Lsn, SystemId, Timeline};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::version::Version;

/// The name of the file.
pub const NAME: &str = "backup_manifest";

/// What stands before the checksum of all before it.
const CHECKSUM_MARK: &[u8] = b"\"Manifest-Checksum\": \"";

/// The first release that reads and writes version 2.
const VERSION_2: Version = Version::new(17, 0);

/// One file, as it is in the backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile<'a> {
    /// Path below the data directory.
    pub path: &'a [u8],
    /// Bytes.
    pub size: u64,
    /// Last changed.
    pub modified: Timestamp,
    /// CRC-32C of the content.
    pub crc: u32,
}

/// Writes a manifest piece by piece: each call returns the bytes that come next.
pub struct ManifestWriter {
    hash: Sha256,
    is_empty: bool,
}

impl ManifestWriter {
    /// The beginning, for a server of that version.
    pub fn begin(version: Version, system_id: SystemId) -> (Self, Vec<u8>) {
        let mut head = match version >= VERSION_2 {
            true => format!(
                "{{ \"PostgreSQL-Backup-Manifest-Version\": 2,\n\"System-Identifier\": {system_id},\n"
            ),
            false => "{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n".to_owned(),
        };
        head.push_str("\"Files\": [");
        let mut writer = Self { hash: Sha256::new(), is_empty: true };
        let bytes = writer.hashed(head.into_bytes());
        (writer, bytes)
    }

    /// One more file.
    pub fn file(&mut self, file: &ManifestFile<'_>) -> Vec<u8> {
        let mut line = if self.is_empty { b"\n".to_vec() } else { b",\n".to_vec() };
        self.is_empty = false;
        match std::str::from_utf8(file.path) {
            Ok(path) => {
                line.extend_from_slice(b"{ \"Path\": ");
                serde_json::to_writer(&mut line, path).expect("a text is JSON");
            }
            Err(_) => line.extend(format!("{{ \"Encoded-Path\": \"{}\"", hex(file.path)).into_bytes()),
        }
        // As strftime's "%Y-%m-%d %H:%M:%S %Z" in GMT.
        let modified = file.modified.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S GMT").to_string();
        let crc = hex(&file.crc.to_le_bytes());
        line.extend(
            format!(
                ", \"Size\": {}, \"Last-Modified\": \"{modified}\", \"Checksum-Algorithm\": \"CRC32C\", \
                 \"Checksum\": \"{crc}\" }}",
                file.size
            )
            .into_bytes(),
        );
        self.hashed(line)
    }

    /// The end: which WAL makes the backup consistent.
    pub fn finish(mut self, timeline: Timeline, start: Lsn, stop: Lsn) -> Vec<u8> {
        let tail = format!(
            "\n],\n\"WAL-Ranges\": [\n{{ \"Timeline\": {timeline}, \"Start-LSN\": \"{start}\", \"End-LSN\": \"{stop}\" }}\n],\n"
        );
        let mut bytes = self.hashed(tail.into_bytes());
        let checksum = hex(&self.hash.finalize());
        bytes.extend(format!("\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes());
        bytes
    }

    fn hashed(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.hash.update(&bytes);
        bytes
    }
}

/// A manifest that was read, as far as a restore needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Its files.
    #[serde(rename = "Files")]
    pub files: Vec<ReadFile>,
}

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ReadFile {
    /// Path below the data directory, where it is a text.
    #[serde(rename = "Path", default)]
    pub path: String,
    /// The same in hexadecimal digits, where it is none.
    #[serde(rename = "Encoded-Path", default)]
    pub encoded_path: String,
    /// Bytes.
    #[serde(rename = "Size")]
    pub size: u64,
    /// The kind of the sum.
    #[serde(rename = "Checksum-Algorithm", default)]
    pub algorithm: String,
    /// The sum, in hexadecimal digits.
    #[serde(rename = "Checksum", default)]
    pub checksum: String,
}

impl ReadFile {
    /// The path as bytes.
    pub fn path_bytes(&self) -> Vec<u8> {
        match unhex(&self.encoded_path) {
            Some(bytes) if !bytes.is_empty() => bytes,
            _ => self.path.clone().into_bytes(),
        }
    }

    /// The sum, where it is a CRC-32C.
    pub fn crc(&self) -> Option<u32> {
        let bytes = unhex(&self.checksum).filter(|_| self.algorithm == "CRC32C")?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    }
}

/// A manifest that is none, or is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backup_manifest {0}")]
pub struct BadManifest(String);

/// Read a manifest and compare its own checksum.
///
/// # Errors
/// [`BadManifest`].
pub fn read(bytes: &[u8]) -> Result<Manifest, BadManifest> {
    let mark = CHECKSUM_MARK;
    let at = memchr::memmem::rfind(bytes, mark).ok_or_else(|| BadManifest("has no checksum".to_owned()))?;
    let stated = bytes.get(at + mark.len()..at + mark.len() + 64).unwrap_or_default();
    if stated != hex(&Sha256::digest(&bytes[..at])).as_bytes() {
        return Err(BadManifest("does not fit its checksum".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| BadManifest(format!("is not understood: {error}")))
}

/// The manifest `bytes` once more, with other content of the file `path`; as it was where it has no such file.
pub fn with_content(bytes: &[u8], path: &str, content: &[u8]) -> Vec<u8> {
    let mut start = 0;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        start += line.len();
        (start - line.len(), line.trim_ascii_end())
    });
    let is_of_file = |(_, line): &(usize, &[u8])| entry(line).is_some_and(|entry| entry["Path"] == path);
    let Some((start, line)) = { lines }.find(is_of_file) else { return bytes.to_vec() };
    let Some(mut entry) = entry(line) else { return bytes.to_vec() };
    entry["Size"] = content.len().into();
    entry["Checksum-Algorithm"] = "CRC32C".into();
    entry["Checksum"] = hex(&crc32c::crc32c(content).to_le_bytes()).into();
    let comma = if line.ends_with(b",") { "," } else { "" };
    let mut changed = bytes[..start].to_vec();
    changed.extend(format!("{entry}{comma}").into_bytes());
    changed.extend_from_slice(&bytes[start + line.len()..]);
    let Some(at) = memchr::memmem::rfind(&changed, CHECKSUM_MARK) else { return changed };
    changed.truncate(at);
    let checksum = hex(&Sha256::digest(&changed));
    changed.extend(format!("\"Manifest-Checksum\": \"{checksum}\"}}\n").into_bytes());
    changed
}

/// A line that tells of a file.
fn entry(line: &[u8]) -> Option<serde_json::Value> {
    let line = line.strip_suffix(b",").unwrap_or(line);
    line.starts_with(b"{ \"Path\"").then(|| serde_json::from_slice(line).ok()).flatten()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok()
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes all");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(version: Version) -> Vec<u8> {
        let (mut writer, mut bytes) = ManifestWriter::begin(version, SystemId(7));
        let modified = Timestamp::UNIX_EPOCH;
        for (path, size) in [(&b"PG_VERSION"[..], 3), (b"odd \"name\"", 0), (b"\xff", 1)] {
            bytes.extend(writer.file(&ManifestFile { path, size, modified, crc: 0x0102_03ff }));
        }
        bytes.extend(writer.finish(Timeline(2), Lsn(0x200_0028), Lsn(0x200_0100)));
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        for version in [Version::new(15, 3), Version::new(18, 0)] {
            let bytes = manifest(version);
            let files = read(&bytes).unwrap().files;
            assert_eq!((files[1].path.as_str(), files[1].size), ("odd \"name\"", 0));
            assert_eq!(files[1].crc(), Some(0x0102_03ff));
            assert_eq!([&files[1], &files[2]].map(ReadFile::path_bytes), [&b"odd \"name\""[..], b"\xff"]);
            assert_eq!(files.len(), 3);
            let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(json["Files"][0]["Checksum"], "ff030201");
            assert_eq!(json["Files"][0]["Last-Modified"], "1970-01-01 00:00:00 GMT");
            assert_eq!(json["Files"][2]["Encoded-Path"], "ff");
            assert_eq!(json["WAL-Ranges"][0]["End-LSN"], "0/2000100");
            assert_eq!(json["System-Identifier"].is_null(), version < VERSION_2);
        }
    }

    #[test]
    fn a_file_that_was_changed_gets_its_new_sum() {
        let before = manifest(Version::new(15, 3));
        let after = with_content(&before, "odd \"name\"", b"123456789");
        assert_eq!(read(&after).unwrap().files[1].size, 9);
        let json: serde_json::Value = serde_json::from_slice(&after).unwrap();
        // The check value of CRC-32C, in the order of its bytes.
        assert_eq!(json["Files"][1]["Checksum"], "839206e3");
        assert_eq!(json["Files"][0]["Checksum"], "ff030201");
        assert_eq!(with_content(&before, "no such", b""), before);
    }

    #[test]
    fn a_changed_manifest_is_refused() {
        let sound = manifest(Version::new(15, 3));
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            // Only the very end says nothing: the bracket behind the checksum.
            assert!(read(&bytes).is_err() || at >= sound.len() - 3, "byte {at}");
        }
        assert!(read(b"").is_err());
    }
}
