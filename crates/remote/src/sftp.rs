//! A directory on a server with SSH as a store, over SFTP; the layout is the one of restic's.
//!
//! **An object appears whole or not at all.** It is written into `.tmp/<random>`, synced (`fsync@openssh.com`), and
//! then linked to its name (`hardlink@openssh.com`), which no POSIX system does over an existing file: put-if-absent.
//! Then its folder is synced. Where links are missing, plain renaming must do, and only after the server has shown
//! that it refuses to rename over an existing file. What killed writers leave in `.tmp` is no object; a later writer
//! removes it after a day by the server's clock.
//!
//! **Who answers is checked** before anything is said: by `known_hosts`, or by a pinned fingerprint.
//!
//! Several connections are held, made when they are needed and made again when they broke.

mod address;
mod trust;
mod login;
mod link;
mod dial;
mod transfer;
mod folder;
mod object;
mod pool;
mod root;
mod store;
mod shelf;

pub use self::store::SftpStore;
pub use address::Address;
pub(crate) use link::{Channel, Dial};
pub(crate) use root::store_error;
pub use shelf::{SftpShelf, SftpUpload};
pub use trust::HostKeyTrouble;
