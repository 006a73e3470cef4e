//! Secrets from where a configuration says that they are: read when they are needed, kept by nobody in between.
//!
//! So a secret that was changed is the new one at the next run, without a restart. Errors name the place and never what
//! was found there.

mod sops_error;
mod keeper_error;
mod error;
mod command;
mod file;
mod sops;
mod pgbackrest;
mod http;
mod token;
mod infisical;
mod account;
mod vault;
mod kubernetes;
pub mod fetch;

pub use command::CREDENTIALS;
pub use error::{SecretError, Variable};
pub use http::Patience;
pub use keeper_error::KeeperError;
pub use sops_error::SopsError;
