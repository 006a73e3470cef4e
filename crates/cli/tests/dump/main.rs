//! The road of a dump, with the real program, a real PostgreSQL and stock restic as judges.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod round_trip;
mod restore_choices;
mod server_failures;
mod strange;
mod damage;
mod repaired;
mod usage;
mod places;
mod known;
mod face;
mod secrets;
mod keys;
mod kill;
mod pitfalls;
mod leftovers;
mod terminal;
mod foreign_dump;

use testkit::site::Site;

/// A place with a repository, for the program under test.
fn site() -> Site {
    Site::new(env!("CARGO_BIN_EXE_mainstay"))
}

/// A place without one.
fn bare() -> Site {
    Site::bare(env!("CARGO_BIN_EXE_mainstay"))
}
