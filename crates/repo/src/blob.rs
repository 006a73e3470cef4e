//! A blob: a piece of a file or a tree, stored and sealed, named by the SHA-256 of its plaintext.

use model::digest::Digest;
use sha2::{Digest as _, Sha256};

/// Name of a blob: SHA-256 of its plaintext.
pub type BlobId = Digest;

/// Plaintext bytes of a blob at most: far above any chunk; restic's largest trees fit.
pub const BLOB_LEN_MAX: u32 = 1 << 30;

/// Plaintext bytes that fit in any case: sealed as they are, they are within [`BLOB_LEN_MAX`] too.
pub const PLAIN_LEN_MAX: usize = BLOB_LEN_MAX as usize - crate::crypto::OVERHEAD;

/// What a blob holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

impl BlobKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Data, Self::Tree];

    /// The word in an index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Tree => "tree",
        }
    }
}

/// The name of `plain`.
pub fn id_of(plain: &[u8]) -> BlobId {
    Digest(Sha256::digest(plain).into())
}

/// A blob inside its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBlob {
    /// Its name.
    pub id: BlobId,
    /// What it holds.
    pub kind: BlobKind,
    /// First byte of its envelope in the pack.
    pub offset: u32,
    /// Bytes of its envelope.
    pub length: u32,
    /// Plaintext bytes where it is compressed; `None` where it is stored as it is.
    pub raw_length: Option<u32>,
}

impl PackedBlob {
    /// Bytes of the plaintext.
    pub fn plain_length(&self) -> u32 {
        self.raw_length.unwrap_or(self.length.saturating_sub(crate::crypto::OVERHEAD as u32))
    }
}
