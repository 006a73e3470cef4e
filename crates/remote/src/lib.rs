//! Stores behind a network: object storage and what else speaks over a wire. Heavy crates live here and nowhere else.

pub mod settings;
mod runtime;
pub mod sftp;
mod address;
mod trust;
pub mod lock;
mod answer;
mod web;
mod fault;
mod cloud;
mod connect;
mod profile;
mod s3;
mod signed;
mod versions;
mod past;
mod locked;
mod retention;
pub mod canary;
pub mod locker;
mod gcs;
mod azure;
pub mod protection;
pub mod archive;
pub mod afar;
pub mod open;
pub mod shelf;

pub use open::{as_it_was, is_object_storage, is_past, open};
pub use settings::Settings;
