//! Archive files of `pg_wal`: looked at, sealed, and durable before anybody is told so.
//!
//! Invariants: a file is stored only as what its name says, whole and of the cluster that archives; what is stored under
//! a name is never replaced. The same bytes again are success. Nobody is told that something is archived in a repository
//! that was given up (see [`crate::retired`]).

use std::fs;
use std::path::{Path, PathBuf};

use model::lsn::{SystemId, Timeline};
use model::wal_name::{SegmentSize, WalName};
use pg::timeline_history::TimelineHistory;
use pg::wal_segment::SegmentHeader;
use repo::Repository;
use repo::wal_object::WalFile;

use crate::error::{EngineError, Result};
use crate::retired;
use crate::wal_error::WalError;

/// How the note of a base backup begins.
const NOTE_BEGIN: &[u8] = b"START WAL LOCATION: ";

/// A file of `pg_wal` on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocalWal {
    /// Where it is.
    pub path: PathBuf,
    /// What it is by its name.
    pub file: WalFile,
}

/// What became of it; either way it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archived {
    /// It is stored now, in so many bytes.
    Stored(u64),
    /// It was there, with the same bytes.
    Same,
}

impl LocalWal {
    /// The file at `path`, of the cluster `system_id`.
    ///
    /// # Errors
    /// [`WalError::Name`] where files of `pg_wal` have no such name.
    pub fn at(path: &Path, system_id: SystemId) -> Result<Self, WalError> {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        let name = name.ok_or_else(|| WalError::Name(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), file: WalFile { system_id, name } })
    }
}

/// Archive one file, on so many cores.
///
/// # Errors
/// Where it is not what its name says, [`WalError::Differs`], or what the store says.
pub fn archive_wal(repository: &Repository, wal: &LocalWal, cores: usize) -> Result<Archived> {
    let reading = || EngineError::io(format!("reading {}", wal.path.display()));
    let plain = fs::read(&wal.path).map_err(reading())?;
    archive_content(repository, wal, &plain, cores)
}

/// Archive the content of a file, wherever it was read.
///
/// # Errors
/// As [`archive_wal`].
pub fn archive_content(
    repository: &Repository,
    wal: &LocalWal,
    plain: &[u8],
    cores: usize,
) -> Result<Archived> {
    let segment_size = verify(wal, plain)?;
    put_wal(repository, &wal.file, segment_size, plain, cores)
}

/// Archive the content of a file that was looked at.
///
/// # Errors
/// As [`archive_wal`].
pub fn put_wal(
    repository: &Repository,
    file: &WalFile,
    segment_size: Option<SegmentSize>,
    plain: &[u8],
    cores: usize,
) -> Result<Archived> {
    let (object, sealer) = (file.object(), repository.sealer());
    let sealed = file.seal(sealer, segment_size, plain, cores)?;
    let archived = match repository.store().put_new(&object, &sealed) {
        Ok(()) => Archived::Stored(sealed.len() as u64),
        Err(error) if error.is_already_exists() => {
            verify_same(repository, file, plain, cores)?;
            Archived::Same
        }
        Err(error) => return Err(repo::RepoError::from(error).into()),
    };
    retired::refuse(repository)?;
    Ok(archived)
}

/// That what is stored of a file is `plain`. It is read to its end: a damaged object is no copy.
///
/// # Errors
/// [`WalError::Differs`], damage, or what the store says.
pub fn verify_same(repository: &Repository, file: &WalFile, plain: &[u8], cores: usize) -> Result<()> {
    let stored = store::store::read(repository.store(), &file.object()).map_err(repo::RepoError::from)?;
    let (_, before) = file.open(repository.sealer(), &stored, cores)?;
    match before == plain {
        true => Ok(()),
        false => {
            let (name, place) = (file.name.to_string(), repository.store().location());
            Err(WalError::Differs { name, place }.into())
        }
    }
}

/// That a file is what its name says; the size of segments where it tells.
fn verify(wal: &LocalWal, plain: &[u8]) -> Result<Option<SegmentSize>, WalError> {
    match &wal.file.name {
        WalName::Segment(name) | WalName::Partial(name) => {
            let of_file = |cause| WalError::Segment { path: wal.path.clone(), cause };
            let header = SegmentHeader::parse(plain).map_err(of_file)?;
            header.verify(name, wal.file.system_id, plain.len() as u64).map_err(of_file)?;
            Ok(Some(header.size))
        }
        WalName::History(timeline) => {
            let parsed = TimelineHistory::parse(*timeline, plain);
            parsed.map_err(|cause| WalError::History { path: wal.path.clone(), cause })?;
            Ok(None)
        }
        WalName::Backup(..) if plain.starts_with(NOTE_BEGIN) => Ok(None),
        WalName::Backup(..) => Err(WalError::Backup(wal.path.clone())),
    }
}

/// Files that the archive lacks before the timeline `of` begins, and that lie in `folder`: who was promoted has segments that
/// its dead primary streamed and never archived, and marks them as done (pitfall 5). Histories come too.
///
/// # Errors
/// When the store cannot list, or the history in `folder` cannot be read.
pub fn find_missed(
    repository: &Repository,
    folder: &Path,
    system_id: SystemId,
    of: Timeline,
) -> Result<Vec<LocalWal>> {
    let Some(history) = local_history(folder, of)? else { return Ok(vec![]) };
    let mut missed = vec![];
    for ancestor in &history.ancestors {
        let stored = repository.list_wal(system_id, Some(ancestor.timeline))?;
        let is_stored = |name: &WalName| stored.iter().any(|stored| stored.file.name == *name);
        let here = fs::read_dir(folder).map_err(EngineError::io(format!("listing {}", folder.display())))?;
        for entry in here {
            let path = entry.map_err(EngineError::io(format!("listing {}", folder.display())))?.path();
            let Ok(wal) = LocalWal::at(&path, system_id) else { continue };
            let name = &wal.file.name;
            if name.timeline() == ancestor.timeline
                && !is_stored(name)
                && is_before(&path, name, ancestor.end)
            {
                missed.push(wal);
            }
        }
    }
    missed.sort_by(|one, other| one.file.name.cmp(&other.file.name));
    Ok(missed)
}

/// Whether all of a file belongs to a timeline that was left at `end`. Later ones may be prepared for reuse, under names that
/// say nothing.
fn is_before(path: &Path, name: &WalName, end: model::lsn::Lsn) -> bool {
    match name {
        WalName::History(_) => true,
        WalName::Segment(segment) => {
            let header = header_of(path).filter(|header| segment.number(header.size).is_some());
            header.is_some_and(|header| header.start.0 + header.size.bytes() <= end.0)
        }
        WalName::Partial(_) | WalName::Backup(..) => false,
    }
}

/// The header of the segment in a file.
pub fn header_of(path: &Path) -> Option<SegmentHeader> {
    use std::io::Read;
    let mut first = [0; pg::wal_segment::HEADER_LEN];
    fs::File::open(path).ok()?.read_exact(&mut first).ok()?;
    SegmentHeader::parse(&first).ok()
}

/// The history of a timeline, if it lies in `folder`.
///
/// # Errors
/// Where it is there and cannot be read.
pub fn local_history(folder: &Path, timeline: Timeline) -> Result<Option<TimelineHistory>> {
    let path = folder.join(WalName::History(timeline).to_string());
    match fs::read(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => {
            let text = read.map_err(EngineError::io(format!("reading {}", path.display())))?;
            let parsed = TimelineHistory::parse(timeline, &text);
            Ok(Some(parsed.map_err(|cause| WalError::History { path, cause })?))
        }
    }
}
