//! `mainstay wal export`: what is archived, as the plain files that PostgreSQL wrote, into a directory.
//!
//! Invariant: a file that is there is never overwritten: the same bytes are fine, others are refused.

use std::fs;
use std::os::unix::fs::DirBuilderExt;

use engine::fetch_wal::{Durability, deliver, load_wal, write_beside};
use model::wal_name::{SegmentName, WalName};
use repo::threads::cores;
use serde_json::json;

use super::whose;
use crate::arguments::{Global, WalExport};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{interrupt, place};

pub(super) fn run(global: &Global, order: &WalExport, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let system_id = whose::only(&repository, order.system_id)?;
    let mut files: Vec<_> =
        repository.list_wal(system_id, None)?.into_iter().map(|stored| stored.file).collect();
    files.retain(|file| is_asked(order, &file.name));
    files.sort_by(|one, other| one.name.cmp(&other.name));
    if files.is_empty() {
        return Err(CliError::new(Kind::NotFound, "nothing of that is archived here"));
    }
    let what = format!("making {}", order.directory.display());
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&order.directory);
    made.map_err(CliError::io(&what))?;
    let mut written = 0;
    for file in &files {
        cancel.check().map_err(engine::EngineError::from)?;
        let gone = || CliError::new(Kind::Failed, format!("{} disappeared", file.name));
        let content = load_wal(&repository, file, cores())?.ok_or_else(gone)?;
        let to = order.directory.join(file.name.to_string());
        match fs::read(&to) {
            Ok(there) if there == content => continue,
            Ok(_) => {
                let words = format!("{} is there with other bytes", to.display());
                return Err(
                    CliError::new(Kind::Refused, words).hint("nothing is overwritten; export elsewhere")
                );
            }
            Err(_) => deliver(write_beside(&order.directory, &content, Durability::Ours)?, &to)?,
        }
        written += 1;
    }
    let (found, directory) = (files.len(), order.directory.display());
    face.result(&json!({ "files": found, "written": written }), || {
        format!("{found} files of the cluster {system_id} are in {directory}, {written} of them new")
    });
    Ok(())
}

/// Segments between the two that were named, with what belongs to them; all histories, which are short.
fn is_asked(order: &WalExport, name: &WalName) -> bool {
    let (WalName::Segment(segment) | WalName::Partial(segment) | WalName::Backup(segment, _)) = name else {
        return true;
    };
    // By place in the log, whatever the timeline.
    let place = |name: &SegmentName| name.to_string()[8..].to_owned();
    let is_after = order.from.is_none_or(|from| place(segment) >= place(&from));
    is_after && order.to.is_none_or(|to| place(segment) <= place(&to))
}
