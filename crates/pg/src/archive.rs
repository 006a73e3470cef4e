//! Archives in pg_dump's custom format: understood while they pass, and taken apart without pg_restore.
//!
//! Formats 1.12 (PostgreSQL 9.3) to 1.16 (17 and 18). The bytes are never changed on the way to the repository;
//! what is learned of them is an [`ArchiveSummary`], and a stored archive serves any of its tables by offset.

mod error;
mod cursor;
mod header;
mod toc;
mod summary;
mod blocks;
mod reader;
mod derive;
mod plan;
mod hazard;

pub use error::ArchiveError;
pub use hazard::Hazard;
pub use header::{Compression, Header};
pub use plan::{DataBlock, RestorePlan, list_of, list_of_schemas, list_of_the_end, plan_restore};
pub use reader::ArchiveReader;
pub use summary::{ArchiveEntry, ArchiveSummary};
pub use toc::{Section, TOC_LEN_MAX, Toc, TocEntry};
