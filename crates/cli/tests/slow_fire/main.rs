//! Everything that changes a repository, killed or failing at every moment: on local disk, by the real program.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod scene;
mod moment;
mod kills;
mod failures;
mod disks;
mod beside;

#[path = "../directory_site/mod.rs"]
mod directory_site;
