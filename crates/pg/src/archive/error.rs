//! Why bytes are not an archive that mainstay keeps or restores.

/// A fault in an archive in PostgreSQL's custom format, with the place where it was seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The first five bytes are not `PGDMP`.
    #[error("not an archive in custom format: it does not begin with PGDMP")]
    NotAnArchive,
    /// A format that this build has no reading rules for.
    #[error("archive format {major}.{minor} is outside 1.12 to 1.16")]
    UnknownVersion {
        /// Major number.
        major: u8,
        /// Minor number.
        minor: u8,
    },
    /// The stream ended inside something.
    #[error("archive is cut off at byte {offset}, inside {part}")]
    Truncated {
        /// Bytes seen.
        offset: u64,
        /// What was being read.
        part: &'static str,
    },
    /// The bytes contradict the format.
    #[error("archive is malformed near byte {offset}: {what}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A number that no real archive reaches.
    #[error("archive is refused near byte {offset}: {what} is over the limit of {limit}")]
    TooLarge {
        /// Where.
        offset: u64,
        /// What is too large.
        what: &'static str,
        /// The most that is accepted.
        limit: u64,
    },
    /// A data block that belongs to no entry, or to one that already has its block.
    #[error("data block at byte {offset} belongs to no open entry (dump id {dump_id})")]
    StrayBlock {
        /// Where.
        offset: u64,
        /// The id written in the block.
        dump_id: i64,
    },
    /// The stream ended between two blocks, before the last one that the table of contents promises.
    #[error("archive has no data for {count} of its entries, first {first}")]
    MissingData {
        /// Entries without their block.
        count: usize,
        /// Name of the first of them.
        first: String,
    },
    /// An entry was asked for that the table of contents does not have.
    #[error("archive has no entry with dump id {0}")]
    NoSuchEntry(u32),
}
