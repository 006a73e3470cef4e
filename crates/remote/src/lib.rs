//! Stores behind a network: object storage and what else speaks over a wire. Heavy crates live here and nowhere else.

pub mod settings;
mod runtime;
pub mod sftp;
mod address;
mod trust;
mod answer;
mod web;
mod fault;
mod cloud;
mod connect;
mod profile;
mod s3;
mod gcs;
mod azure;
pub mod protection;
pub mod open;

pub use open::{is_object_storage, open};
pub use settings::Settings;
