//! Everything of a data directory that a base backup takes, in the order of the walk; tablespaces are walked where their
//! links stand.
//!
//! Invariant: `global/pg_control` and the log are not among it; they come when all else is stored.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use files::exclude::Excludes;
use files::origin::{Opened, Origin};
use files::owner::Owners;
use files::relative::RelativePath;
use files::walk::Event;
use model::entry::{Entry, EntryKind};
use pg::data_directory::{Treatment, treatment};

use crate::cluster_manifest::PG_CONTROL;
use crate::error::Result;

/// What the walk meets.
pub(super) enum Step {
    /// A directory begins.
    Enter(Vec<u8>, Box<Entry>),
    /// A file: its path in the backup, and where it is.
    File(Vec<u8>, Box<Place>),
    /// Something else that is kept as it is.
    Other(Box<Entry>),
    /// The directory that began last ends.
    Leave,
    /// Something that cannot be looked at.
    Problem(files::error::Error),
    /// Something that has no place in a backup.
    Special(Vec<u8>),
}

/// Where a file is.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) origin: Arc<dyn Origin>,
    pub(super) path: RelativePath,
    pub(super) entry: Entry,
}

/// Takes what is met; it says when to stop.
type Take<'a> = &'a mut dyn FnMut(Step) -> ControlFlow<()>;

/// Walk the data directory, of a server of that major version.
pub(super) fn walk(
    opened: Opened,
    owners: &Arc<Owners>,
    major: u32,
    take: Take<'_>,
) -> Result<ControlFlow<()>> {
    walk_below(opened, b"", owners, major, take)
}

fn walk_below(
    opened: Opened,
    prefix: &[u8],
    owners: &Arc<Owners>,
    major: u32,
    take: Take<'_>,
) -> Result<ControlFlow<()>> {
    let Opened { walk, origin } = opened;
    // How deep we are in a directory whose content is not taken.
    let mut left_out = 0;
    for event in walk {
        let flow = match event {
            Event::Enter { .. } if left_out > 0 => {
                left_out += 1;
                continue;
            }
            Event::Leave { .. } if left_out > 0 => {
                left_out -= 1;
                continue;
            }
            Event::Leave { path } if path.is_root() && !prefix.is_empty() => continue,
            Event::Leave { .. } => take(Step::Leave),
            Event::Entry { .. } if left_out > 0 => continue,
            Event::Enter { path, entry } => {
                let whole = joined(prefix, &path);
                match inside(&whole, &path, prefix, major) {
                    Treatment::LeaveOut => {
                        left_out = 1;
                        continue;
                    }
                    // The root of a tablespace was entered by its link.
                    Treatment::Keep if path.is_root() && !prefix.is_empty() => continue,
                    Treatment::Keep => take(Step::Enter(whole, Box::new(entry))),
                    Treatment::KeepEmpty => {
                        left_out = 1;
                        match take(Step::Enter(whole, Box::new(entry))) {
                            ControlFlow::Continue(()) => take(Step::Leave),
                            stop => stop,
                        }
                    }
                }
            }
            Event::Entry { path, entry } => {
                let whole = joined(prefix, &path);
                match met(whole, path, entry, &origin) {
                    Met::Nothing => continue,
                    Met::Step(step) => take(step),
                    Met::Tablespace { whole, link, target } => {
                        tablespace(&whole, *link, &target, owners, major, take)?
                    }
                }
            }
            // Files come and go while a server runs; what is gone is replayed by WAL.
            Event::Problem { error: files::error::Error::Vanished { .. }, .. } => continue,
            Event::Problem { .. } if left_out > 0 => continue,
            Event::Problem { path, error } => match treatment(&joined(prefix, &path)) {
                Treatment::Keep => take(Step::Problem(error)),
                _ => continue,
            },
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What an entry that is no directory is.
enum Met {
    Nothing,
    Step(Step),
    Tablespace { whole: Vec<u8>, link: Box<Entry>, target: Vec<u8> },
}

fn met(whole: Vec<u8>, path: RelativePath, entry: Entry, origin: &Arc<dyn Origin>) -> Met {
    match (&entry.kind, treatment(&whole)) {
        (_, Treatment::LeaveOut) => Met::Nothing,
        (EntryKind::File, _) if whole == PG_CONTROL.as_bytes() => Met::Nothing,
        (EntryKind::File, _) => {
            let place = Place { origin: Arc::clone(origin), path, entry };
            Met::Step(Step::File(whole, Box::new(place)))
        }
        (EntryKind::Symlink { target }, _) if is_tablespace(&whole) => {
            let target = target.clone();
            Met::Tablespace { whole, link: Box::new(entry), target }
        }
        (EntryKind::Symlink { .. }, _) if whole == b"pg_wal" => Met::Nothing,
        (EntryKind::Symlink { .. }, _) => Met::Step(Step::Other(Box::new(entry))),
        _ => Met::Step(Step::Special(whole)),
    }
}

/// What becomes of a directory: of a tablespace's, only the one of this version is the cluster's.
fn inside(whole: &[u8], path: &RelativePath, prefix: &[u8], major: u32) -> Treatment {
    let is_first = !prefix.is_empty() && path.parts().count() == 1;
    let is_other = is_first && !path.as_bytes().starts_with(format!("PG_{major}_").as_bytes());
    match treatment(whole) {
        // The log is taken apart, and its directory made for it.
        _ if whole == b"pg_wal" || is_other => Treatment::LeaveOut,
        treatment => treatment,
    }
}

fn is_tablespace(path: &[u8]) -> bool {
    tablespace_of(path).is_some()
}

/// The number of the tablespace whose directory, or link, this is.
pub(super) fn tablespace_of(path: &[u8]) -> Option<String> {
    let number = path.strip_prefix(b"pg_tblspc/")?;
    let is_number = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
    is_number.then(|| String::from_utf8_lossy(number).into_owned())
}

/// The directory that a link in `pg_tblspc` leads to stands in its place.
fn tablespace(
    whole: &[u8],
    link: Entry,
    target: &[u8],
    owners: &Arc<Owners>,
    major: u32,
    take: Take<'_>,
) -> Result<ControlFlow<()>> {
    let target = Path::new(OsStr::from_bytes(target));
    let opened = files::here::open(target, Excludes::nothing(), Arc::clone(owners))?;
    let root = opened.origin.above(target);
    let mut entry = root.unwrap_or_else(|| link.clone());
    entry.name = link.name;
    entry.kind = EntryKind::Directory;
    if take(Step::Enter(whole.to_vec(), Box::new(entry))).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    match walk_below(opened, whole, owners, major, take)? {
        ControlFlow::Continue(()) => Ok(take(Step::Leave)),
        stop => Ok(stop),
    }
}

fn joined(prefix: &[u8], path: &RelativePath) -> Vec<u8> {
    match (prefix.is_empty(), path.is_root()) {
        (true, _) => path.as_bytes().to_vec(),
        (false, true) => prefix.to_vec(),
        (false, false) => [prefix, b"/", path.as_bytes()].concat(),
    }
}
