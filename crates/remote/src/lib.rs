//! Stores behind a network: object storage and what else speaks over a wire. Heavy crates live here and nowhere else.

pub mod settings;
mod runtime;
pub mod sftp;
pub mod open;

pub use open::open;
pub use settings::Settings;
