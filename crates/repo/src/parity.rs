//! Parity over packs: a set of packs with a few shards more, from which as many lost packs can be computed again.
//!
//! Reed-Solomon over GF(2^16) on sealed bytes: who makes or heals needs to open nothing, and parity tells nothing
//! that the packs do not. Every pack counts as if zeros filled it up to the longest of its set. Invariants: what is
//! healed is compared with the pack's name before it is stored; a set is only removed when all its packs that are
//! there stand in others. Memory: [`STRIPE_LEN`] of each pack of a set, and the shards or lost packs being computed.

use store::StoreError;

use crate::error::RepoError;

/// Bytes of each pack that are taken in at once; even, as the code works on pairs of bytes.
const STRIPE_LEN: usize = 1 << 20;
/// Packs of a set at most.
pub const PACKS_MAX: usize = 64;
/// Shards of a set at most: as many lost packs it heals.
pub const SHARDS_MAX: usize = 8;

/// The code refuses numbers that are no set; ours are within its bounds.
fn impossible(error: reed_solomon_simd::Error) -> RepoError {
    RepoError::System(format!("reed-solomon: {error}"))
}

/// Whether somebody else has made the same object already.
fn is_there(outcome: Result<(), StoreError>) -> Result<(), StoreError> {
    match outcome {
        Err(error) if !error.is_already_exists() => Err(error),
        _ => Ok(()),
    }
}

pub mod shard;
pub mod protect;
pub mod heal;
