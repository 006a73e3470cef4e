//! zstd around blobs and files, with contexts that are made once and reused.

use zstd::bulk;
use zstd::zstd_safe::CParameter;

use crate::error::{RepoError, Result};

/// What we compress with unless told otherwise; chosen by measurement, see `docs/benchmarks.md`.
pub const LEVEL_DEFAULT: i32 = 3;

/// How the default level is bettered for chunks, of which zstd's own table thinks as of small files that should be done
/// soon. On dumps: 0.6 % fewer bytes for a seventh more time, where the next level takes half as long again.
const FOR_CHUNKS: [CParameter; 3] =
    [CParameter::HashLog(17), CParameter::ChainLog(17), CParameter::MinMatch(4)];

/// A compressor and its output.
pub struct Compressor {
    context: bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Compressor {
    /// A compressor of the given zstd level.
    ///
    /// # Errors
    /// [`RepoError::System`] when zstd gets no memory.
    pub fn new(level: i32) -> Result<Self> {
        let mut context = bulk::Compressor::new(level).map_err(system)?;
        if level == LEVEL_DEFAULT {
            for parameter in FOR_CHUNKS {
                context.set_parameter(parameter).map_err(system)?;
            }
        }
        Ok(Self { context, out: vec![] })
    }

    /// The compressed form where it is shorter than `plain` itself.
    pub fn shorter(&mut self, plain: &[u8]) -> Option<&[u8]> {
        if plain.len() < 32 {
            return None;
        }
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        let len = self.context.compress_to_buffer(plain, &mut self.out).ok()?;
        (len < plain.len()).then_some(&self.out[..])
    }
}

/// A decompressor.
pub struct Decompressor {
    context: bulk::Decompressor<'static>,
}

impl Decompressor {
    /// A decompressor.
    ///
    /// # Errors
    /// [`RepoError::System`] when zstd gets no memory.
    pub fn new() -> Result<Self> {
        Ok(Self { context: bulk::Decompressor::new().map_err(system)? })
    }

    /// Fill `out` with the plaintext, which must be exactly as long.
    ///
    /// # Errors
    /// [`RepoError::Damaged`] naming `what`; `out` then holds anything.
    pub fn exactly(&mut self, compressed: &[u8], out: &mut [u8], what: &dyn ToString) -> Result<()> {
        let written = self
            .context
            .decompress_to_buffer(compressed, out)
            .map_err(|error| RepoError::damaged(what.to_string(), format!("does not decompress: {error}")))?;
        if written == out.len() {
            return Ok(());
        }
        Err(RepoError::damaged(what.to_string(), format!("has {written} bytes instead of {}", out.len())))
    }
}

/// Decompress a whole frame of unknown length, of `len_max` bytes at most.
///
/// # Errors
/// [`RepoError::Damaged`] naming `what`.
pub fn decompress_file(compressed: &[u8], len_max: u64, what: &str) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut plain = vec![];
    let read = zstd::stream::read::Decoder::new(compressed)
        .and_then(|decoder| decoder.take(len_max + 1).read_to_end(&mut plain));
    match read {
        Ok(_) if plain.len() as u64 <= len_max => Ok(plain),
        Ok(_) => Err(RepoError::damaged(what, format!("decompresses to more than {len_max} bytes"))),
        Err(error) => Err(RepoError::damaged(what, format!("does not decompress: {error}"))),
    }
}

fn system(error: std::io::Error) -> RepoError {
    RepoError::System(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let plain = b"0123456789".repeat(1000);
        let mut compressor = Compressor::new(1).unwrap();
        let compressed = compressor.shorter(&plain).unwrap().to_vec();
        let mut out = vec![0; plain.len()];
        Decompressor::new().unwrap().exactly(&compressed, &mut out, &"blob").unwrap();
        assert_eq!(out, plain);
        assert_eq!(decompress_file(&compressed, 10_000, "file").unwrap(), plain);
    }

    #[test]
    fn wrong_lengths_and_bombs_are_damage() {
        let mut compressor = Compressor::new(1).unwrap();
        let bomb = compressor.shorter(&vec![0; 1 << 20]).unwrap().to_vec();
        assert!(decompress_file(&bomb, 1000, "file").unwrap_err().is_damage());
        for len in [10, (1 << 20) - 1, (1 << 20) + 1] {
            let result = Decompressor::new().unwrap().exactly(&bomb, &mut vec![0; len], &"blob");
            assert!(result.unwrap_err().is_damage(), "{len}");
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_raw() {
        let mut noise = vec![0; 4096];
        getrandom::fill(&mut noise).unwrap();
        assert!(Compressor::new(1).unwrap().shorter(&noise).is_none());
    }
}
