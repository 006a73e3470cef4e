//! From the spool into the repository, beside what still comes in.
//!
//! What is whole goes as soon as it is; the unfinished end of a timeline goes once a later timeline grows. A repository that
//! is away is waited for, since the spool keeps everything; what it refuses for good ends the whole reception. Invariant: a
//! file leaves the spool only after the repository has said that it has it.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use model::wal_name::WalName;
use repo::threads::{be_polite, each_until_error};

use super::spool::{Spool, remove};
use super::{AT_ONCE, Keeper, ReceiveEvent};
use crate::archive_wal::{Archived, LocalWal, archive_wal};
use crate::error::{EngineError, Result};
use crate::fetch_wal::verify_there;
use crate::wal_error::WalError;
use crate::wal_owner::take_over;

/// Before the second try, doubled before each further one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Upload whenever somebody rings, until nobody can any more.
pub(crate) fn upload(keeper: &Keeper<'_>, spool: &Spool, rings: &Receiver<()>) -> Result<()> {
    // Commits may wait for what is received; for this nobody waits, unless the spool is full.
    be_polite();
    let mut pause = PAUSE;
    // Histories stay in the spool; they need to be stored once.
    let mut stored = HashSet::new();
    loop {
        match upload_ready(keeper, spool, &mut stored) {
            Ok(()) => {
                pause = PAUSE;
                if rings.recv().is_err() {
                    return Ok(());
                }
            }
            Err(error) if is_away(&error) => {
                (keeper.tell)(ReceiveEvent::StoreAway { words: error.to_string(), pause });
                if rings.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return Ok(());
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether waiting can help.
fn is_away(error: &EngineError) -> bool {
    match error {
        EngineError::Repository(error) => !error.is_damage(),
        EngineError::Wal(WalError::Unhealthy { .. }) => true,
        _ => false,
    }
}

/// Everything in the spool, what is unfinished too: for a spool that nobody fills any more.
pub(crate) fn upload_all(keeper: &Keeper<'_>, spool: &Spool) -> Result<Vec<String>> {
    let mut archived = vec![];
    for wal in spool.contents()? {
        store(keeper, &wal)?;
        archived.push(wal.file.name.to_string());
    }
    Ok(archived)
}

/// What will not grow any more.
fn upload_ready(keeper: &Keeper<'_>, spool: &Spool, stored: &mut HashSet<WalName>) -> Result<()> {
    let contents = spool.contents()?;
    let grows = contents.iter().rev().find(|wal| matches!(wal.file.name, WalName::Partial(_)));
    let ready = contents.iter().filter(|wal| Some(*wal) != grows && !stored.contains(&wal.file.name));
    // Where a timeline comes from is told before anything of it.
    let (histories, rest): (Vec<_>, Vec<_>) =
        ready.partition(|wal| matches!(wal.file.name, WalName::History(_)));
    for history in histories {
        store(keeper, history)?;
        stored.insert(history.file.name.clone());
    }
    // Not one more before these are there: however long one takes, the archive ends at most so many segments behind a hole.
    rest.chunks(AT_ONCE).try_for_each(|some| each_until_error(AT_ONCE, some, |wal| store(keeper, wal)))
}

/// Store one file and remove it from the spool, but for histories.
fn store(keeper: &Keeper<'_>, wal: &LocalWal) -> Result<()> {
    let Keeper { repository, owners, claim, tell, .. } = keeper;
    if is_blank(wal)? {
        return remove(wal);
    }
    verify_there(repository, &wal.file)?;
    if keeper.takes_over {
        take_over(repository, wal.file.system_id, wal.file.name.timeline(), claim)?;
    }
    owners.verify(repository, wal, claim)?;
    let bytes = match archive_wal(repository, wal, keeper.cores) {
        Ok(Archived::Stored(bytes)) => bytes,
        Ok(Archived::Same) => 0,
        // Stored when it was shorter. The timeline that left it has a copy of its segment up to where it left; whether
        // more than that was acknowledged nobody knows here, so nothing of it is thrown away.
        Err(EngineError::Wal(WalError::Differs { .. })) if is_left(wal) => {
            let kept = set_aside(wal)?;
            tell(ReceiveEvent::Kept { name: wal.file.name.to_string(), place: kept });
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if matches!(wal.file.name, WalName::History(_)) {
        return Ok(());
    }
    remove(wal)?;
    tell(ReceiveEvent::Stored { name: wal.file.name.to_string(), bytes });
    Ok(())
}

/// Out of the way of what is still to be archived, in the same folder.
fn set_aside(wal: &LocalWal) -> Result<PathBuf> {
    let kept = wal.path.with_extension("kept");
    let moving = || EngineError::io(format!("moving {}", wal.path.display()));
    std::fs::rename(&wal.path, &kept).map_err(moving())?;
    let folder = kept.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(moving())?;
    Ok(kept)
}

/// A segment of which nothing has come.
fn is_blank(wal: &LocalWal) -> Result<bool> {
    let mut first = [0; 16];
    let is_partial = matches!(wal.file.name, WalName::Partial(_));
    let mut read = || File::open(&wal.path)?.read_exact(&mut first);
    let reading = EngineError::io(format!("reading {}", wal.path.display()));
    if is_partial {
        read().map_err(reading)?;
    }
    Ok(is_partial && first == [0; 16])
}

/// The unfinished end of a timeline that another one left, as a history beside it says.
fn is_left(wal: &LocalWal) -> bool {
    let WalName::Partial(name) = &wal.file.name else { return false };
    let later = wal.path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let mut names =
        later.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    names.any(|found| matches!(found, WalName::History(timeline) if timeline > name.timeline))
}
