//! The road of a whole cluster, judged by PostgreSQL's own programs and by stock restic.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod load;
mod room;
mod full;
mod increments;
mod failures;
mod restore;
mod point_in_time;
mod window;
mod half;
mod selected;
mod tables;
mod tables_trouble;
mod consolidate;
mod majors;
mod streamed;

use testkit::site::Site;

/// A place with a repository, for the program under test.
fn site() -> Site {
    Site::new(env!("CARGO_BIN_EXE_mainstay"))
}
