//! Random moments that a seed replays: `MAINSTAY_TEST_SEED=N` takes the seed that a failed test printed.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A stream of random numbers.
pub struct Moments {
    state: u64,
}

impl Moments {
    /// With the seed of the environment or a new one, which is printed under the test's name.
    pub fn seeded(test: &str) -> Self {
        let told = std::env::var("MAINSTAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = told.unwrap_or(now.as_nanos() as u64);
        // Past the capture of cargo test: a test that is killed prints nothing later.
        drop(std::io::stderr().write_all(format!("{test}: MAINSTAY_TEST_SEED={seed}\n").as_bytes()));
        Self { state: seed }
    }

    /// Splitmix64.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A time shorter than `length`.
    pub fn below(&mut self, length: Duration) -> Duration {
        Duration::from_nanos(self.number() % (length.as_nanos() as u64).max(1))
    }
}
