//! The road of a dump under fire: what takes longer than `make quick` allows.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod flips;
mod names;
mod faults;
mod kills;
mod foreign;
mod versions;

use testkit::site::Site;

/// A place with a repository, for the program under test.
fn site() -> Site {
    Site::new(env!("CARGO_BIN_EXE_mainstay"))
}

/// A place without one.
fn bare() -> Site {
    Site::bare(env!("CARGO_BIN_EXE_mainstay"))
}
