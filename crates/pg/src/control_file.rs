//! `global/pg_control`: what a cluster knows of itself, and from where it would recover.
//!
//! Form: PostgreSQL's `ControlFileData` (source, `catalog/pg_control.h`) as little-endian machines lay it out, in the first
//! bytes of a file of 8 KiB: version 1300 (PostgreSQL 13 to 16), 1700 (17, where `wal_level` fills a gap that nothing here
//! asks for) or 1800 (18, one more byte in front of the nonce). Invariant: what is read here passed its own CRC-32C, so a
//! torn one is never taken for another one.

use model::lsn::{Lsn, SystemId, Timeline};
use model::wal_name::SegmentSize;

/// Where it is, below the data directory.
pub const CONTROL_FILE: &str = "global/pg_control";

/// Bytes in front of the nonce, in every version that is known.
const FIXED_LEN: usize = 256;
/// Bytes of the nonce.
const NONCE_LEN: usize = 32;
/// A position that can be, and at which no log ever is: those of the first segment are never reached.
const NOWHERE: u64 = 0xDEAD;

/// What the server was doing when it wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// It has never run.
    StartingUp,
    /// Shut down in order.
    ShutDown,
    /// A standby that was shut down in order.
    ShutDownInRecovery,
    /// Going down.
    ShuttingDown,
    /// Replaying what a crash left.
    CrashRecovery,
    /// Replaying an archive, or following a primary.
    ArchiveRecovery,
    /// Open for writing.
    Production,
}

/// The parts of it that backups and restores ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// The cluster, as `initdb` numbered it.
    pub system: SystemId,
    /// Form of this file: 1300, 1700 or 1800.
    pub version: u32,
    /// Form of the catalogs: servers of another one do not start on this cluster.
    pub catalog_version: u32,
    /// State.
    pub state: ClusterState,
    /// The newest checkpoint's record.
    pub checkpoint: Lsn,
    /// Where replay from that checkpoint begins.
    pub redo: Lsn,
    /// Timeline of that checkpoint.
    pub timeline: Timeline,
    /// Up to where replay must go before the cluster is consistent; zero where nothing is asked for.
    pub min_recovery_point: Lsn,
    /// Timeline of that point; zero where nothing is asked for.
    pub min_recovery_timeline: Timeline,
    /// Whether the first change of a page after a checkpoint has the whole page in the log.
    pub full_page_writes: bool,
    /// Prepared transactions that it may have at one time.
    pub prepared_transactions_max: u32,
    /// Locks that each of its transactions may have, on average.
    pub locks_max: u32,
    /// Bytes of a page.
    pub block_size: u32,
    /// Pages of a whole file of a relation.
    pub segment_blocks: u32,
    /// Bytes of a segment of WAL.
    pub wal_segment_size: SegmentSize,
    /// Form of the checksums of pages; zero where there are none.
    pub checksum_version: u32,
}

/// Bytes that are no control file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlFileError {
    /// Too short.
    #[error("pg_control has {0} bytes, which is too few")]
    Short(usize),
    /// Not a version that this build knows.
    #[error("pg_control has version {0}, which is none of PostgreSQL 13 to 18")]
    Version(u32),
    /// The bytes do not fit their sum: damaged, or torn while it was written.
    #[error("pg_control does not fit its CRC: it is damaged, or was read while it was written")]
    Torn,
    /// It fits its sum, and says what cannot be.
    #[error("pg_control says {what} {value}, which cannot be")]
    Impossible {
        /// Of what.
        what: &'static str,
        /// What it says.
        value: u64,
    },
}

impl ControlFile {
    /// Read the bytes of the file.
    ///
    /// # Errors
    /// [`ControlFileError`]; [`ControlFileError::Torn`] where reading it once more may help.
    pub fn parse(bytes: &[u8]) -> Result<Self, ControlFileError> {
        let short = ControlFileError::Short(bytes.len());
        let fixed: &[u8; FIXED_LEN] = bytes.first_chunk().ok_or(short.clone())?;
        let version = u32_at(fixed, 8);
        let sum_at = sum_at(version)?;
        let sum = bytes.get(sum_at..).and_then(|rest| rest.first_chunk()).ok_or(short)?;
        if crc32c::crc32c(&bytes[..sum_at]) != u32::from_le_bytes(*sum) {
            return Err(ControlFileError::Torn);
        }
        let segment_bytes = u64::from(u32_at(fixed, 228));
        let impossible = |what, value| ControlFileError::Impossible { what, value };
        Ok(Self {
            system: SystemId(u64_at(fixed, 0)),
            version,
            catalog_version: u32_at(fixed, 12),
            state: state(u32_at(fixed, 16)).ok_or(impossible("state", u32_at(fixed, 16).into()))?,
            checkpoint: Lsn(u64_at(fixed, 32)),
            redo: Lsn(u64_at(fixed, 40)),
            timeline: Timeline(u32_at(fixed, 48)),
            min_recovery_point: Lsn(u64_at(fixed, 136)),
            min_recovery_timeline: Timeline(u32_at(fixed, 144)),
            full_page_writes: fixed[56] != 0,
            prepared_transactions_max: u32_at(fixed, 192),
            locks_max: u32_at(fixed, 196),
            block_size: u32_at(fixed, 216),
            segment_blocks: u32_at(fixed, 220),
            wal_segment_size: SegmentSize::new(segment_bytes)
                .ok_or(impossible("bytes of a WAL segment", segment_bytes))?,
            checksum_version: u32_at(fixed, 252),
        })
    }

    /// Whether pages have checksums.
    pub fn has_checksums(&self) -> bool {
        self.checksum_version != 0
    }
}

/// Where the sum is.
fn sum_at(version: u32) -> Result<usize, ControlFileError> {
    // The one byte that 18 has in front of the nonce moves it to the next multiple of four.
    match version {
        1300 | 1700 => Ok(FIXED_LEN + NONCE_LEN),
        1800 => Ok(FIXED_LEN + NONCE_LEN + 4),
        _ => Err(ControlFileError::Version(version)),
    }
}

/// The same file with a checkpoint that is nowhere: a server finds its place by `backup_label` alone, and does not start
/// where somebody has removed that. From the checkpoint that was newest when the file was copied, it would recover too little.
///
/// # Errors
/// As [`ControlFile::parse`].
pub fn without_checkpoint(bytes: &[u8]) -> Result<Vec<u8>, ControlFileError> {
    let parsed = ControlFile::parse(bytes)?;
    let sum_at = sum_at(parsed.version)?;
    let mut changed = bytes.to_vec();
    changed[32..40].copy_from_slice(&NOWHERE.to_le_bytes());
    let sum = crc32c::crc32c(&changed[..sum_at]);
    changed[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
    Ok(changed)
}

fn state(number: u32) -> Option<ClusterState> {
    use ClusterState::{
        ArchiveRecovery, CrashRecovery, Production, ShutDown, ShutDownInRecovery, ShuttingDown, StartingUp,
    };
    let all =
        [StartingUp, ShutDown, ShutDownInRecovery, ShuttingDown, CrashRecovery, ArchiveRecovery, Production];
    all.get(number as usize).copied()
}

fn u32_at(bytes: &[u8; FIXED_LEN], at: usize) -> u32 {
    let [a, b, c, d] = [0, 1, 2, 3].map(|step| bytes[at + step]);
    u32::from_le_bytes([a, b, c, d])
}

fn u64_at(bytes: &[u8; FIXED_LEN], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: u32, sum_at: usize) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        bytes[..8].copy_from_slice(&7_300_000_000_000_000_001_u64.to_le_bytes());
        bytes[8..12].copy_from_slice(&version.to_le_bytes());
        bytes[16..20].copy_from_slice(&6_u32.to_le_bytes());
        bytes[228..232].copy_from_slice(&(16_u32 << 20).to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..sum_at]);
        bytes[sum_at..sum_at + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn pitfall_11_without_its_checkpoint_it_is_the_same_otherwise() {
        for (version, sum_at) in [(1300, 288), (1700, 288), (1800, 292)] {
            let whole = written(version, sum_at);
            let changed = without_checkpoint(&whole).unwrap();
            let (before, after) =
                (ControlFile::parse(&whole).unwrap(), ControlFile::parse(&changed).unwrap());
            assert_eq!(after.checkpoint, Lsn(0xDEAD));
            assert_eq!(ControlFile { checkpoint: before.checkpoint, ..after }, before);
            assert_eq!((changed.len(), &changed[..32]), (whole.len(), &whole[..32]));
            assert!(without_checkpoint(&whole[..200]).is_err());
        }
    }

    #[test]
    fn pitfall_11_a_torn_control_file_is_never_read() {
        for (version, sum_at) in [(1300, 288), (1700, 288), (1800, 292)] {
            let whole = written(version, sum_at);
            let read = ControlFile::parse(&whole).unwrap();
            assert_eq!((read.system.0, read.state), (7_300_000_000_000_000_001, ClusterState::Production));
            for at in (0..8).chain(12..sum_at + 4) {
                let mut bent = whole.clone();
                bent[at] ^= 1;
                assert_eq!(ControlFile::parse(&bent), Err(ControlFileError::Torn), "byte {at}");
            }
            assert_eq!(ControlFile::parse(&whole[..sum_at + 3]), Err(ControlFileError::Short(sum_at + 3)));
        }
        assert_eq!(ControlFile::parse(&written(1201, 288)), Err(ControlFileError::Version(1201)));
        assert_eq!(ControlFile::parse(&[]), Err(ControlFileError::Short(0)));
    }
}
