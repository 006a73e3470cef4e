//! The road of a directory, and what is done with a repository, with the real program.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod road;
mod manage;
mod places;
mod pairs;
mod bad_input;
mod golden;
mod repair;

#[path = "../directory_site/mod.rs"]
mod directory_site;

use directory_site::{MAINSTAY, create, fill, id, restore, site, stored};
