//! Directories on other servers as what a backup reads from, over SFTP and over FTP with TLS; streamed, with no copy here.
//!
//! What is common to both is written once: the walk with its listing ahead, several connections, and files that go on
//! where a connection broke. A protocol is a [`talk::Talk`]: one connection, used by one thread at a time.
//!
//! **Nothing that a server says is believed to be harmless**: names are plain or refused, links are recorded and not
//! followed, and depth, entries and lines have bounds.

mod talk;
mod address;
mod pool;
mod far;
mod ahead;
mod contents;
mod origin;
mod walk;
mod sftp;
mod ftp;
mod open;

pub use open::{Access, is_address, open, source_name};
