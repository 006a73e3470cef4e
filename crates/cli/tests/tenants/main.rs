//! Tenants, sources and schedules of a configuration, through the command line.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod configuration;
mod databases;
mod due;
mod manifests;
mod rooms;
mod serving;
mod watching;

#[path = "../office/mod.rs"]
mod office;

use office::Office;
