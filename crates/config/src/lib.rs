//! The configuration of many tenants: read from `mainstay.toml` and what it includes, completed from defaults, and every
//! value with the place where it was said (`docs/reference/configuration.md`).
//!
//! Three steps: [`load`] reads the files as they are written ([`file`]), [`resolve`] makes of them what holds for each
//! source, and whoever runs sources uses that alone. Secrets are not in it, only where they come from.

pub mod error;
pub mod origin;
mod written;
pub mod address;
pub mod tenant_list;
pub mod schedule;
mod keep;
mod repository;
pub mod export_name;
mod export;
mod hooks;
mod section;
pub mod file;
pub mod configuration;
pub mod load;
pub mod resolve;
pub mod show;
