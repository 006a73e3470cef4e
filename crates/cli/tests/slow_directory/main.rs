//! Directories under kill -9, in great numbers, and the demo interrupted.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod kills;
mod flips;
mod large;
mod demo;
mod unfinished;

#[path = "../directory_site/mod.rs"]
mod directory_site;

use directory_site::{create, fill, id, restore, site, stored};
