//! WAL on this machine's disk that is not, or not yet, in the repository.
//!
//! Form: a folder for each cluster, named by its system identifier; in it whole segments and histories under their own
//! names, and the one that grows as `<name>.partial`, as long as a segment and zeros behind what came. `lock` is held by the
//! one process that writes there. Invariants: what has its own name is whole and on disk; what was said to be on disk stays
//! there until the repository has it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use model::lsn::{SystemId, Timeline};
use model::wal_name::{SegmentName, SegmentSize, WalName};

use crate::archive_wal::LocalWal;
use crate::error::{EngineError, Result};

/// The file that says who writes.
const LOCK: &str = "lock";

/// The folder of one cluster, written by nobody else while this lives.
pub(crate) struct Spool {
    folder: PathBuf,
    system_id: SystemId,
    _lock: File,
}

/// The clusters that have a folder below `root`.
pub(crate) fn clusters(root: &Path) -> Result<Vec<SystemId>> {
    let listing = || EngineError::io(format!("listing {}", root.display()));
    let mut found = vec![];
    for entry in fs::read_dir(root).map_err(listing())? {
        let name = entry.map_err(listing())?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<SystemId>().ok()));
    }
    Ok(found)
}

impl Spool {
    /// The folder of a cluster below `root`, made if need be.
    pub(crate) fn open(root: &Path, system_id: SystemId) -> Result<Self> {
        let folder = root.join(system_id.to_string());
        let making = || EngineError::io(format!("making {}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(making())?;
        sync_folder(root).map_err(making())?;
        let path = folder.join(LOCK);
        let locking = || EngineError::io(format!("locking {}", path.display()));
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(locking())?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, system_id, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                Err(EngineError::Refused(format!("another process receives WAL into {}", folder.display())))
            }
            Err(TryLockError::Error(cause)) => Err(locking()(cause)),
        }
    }

    /// Whose it is.
    pub(crate) fn system_id(&self) -> SystemId {
        self.system_id
    }

    /// What is there, by name.
    pub(crate) fn contents(&self) -> Result<Vec<LocalWal>> {
        let listing = || EngineError::io(format!("listing {}", self.folder.display()));
        let mut found = vec![];
        for entry in fs::read_dir(&self.folder).map_err(listing())? {
            found.extend(LocalWal::at(&entry.map_err(listing())?.path(), self.system_id));
        }
        found.sort_by(|one, other| one.file.name.cmp(&other.file.name));
        Ok(found)
    }

    /// Keep the history of a timeline, for good: it tells whom a timeline comes from.
    pub(crate) fn keep_history(&self, timeline: Timeline, content: &[u8]) -> Result<()> {
        let path = self.folder.join(WalName::History(timeline).to_string());
        let writing = || EngineError::io(format!("writing {}", path.display()));
        if path.exists() {
            return Ok(());
        }
        let unfinished = path.with_extension("history.new");
        fs::write(&unfinished, content).map_err(writing())?;
        File::open(&unfinished).and_then(|file| file.sync_all()).map_err(writing())?;
        fs::rename(&unfinished, &path).and_then(|()| sync_folder(&self.folder)).map_err(writing())
    }

    /// The segment that grows, from its beginning; bytes of it that are there already stay until they are written anew.
    pub(crate) fn grow(&self, name: SegmentName, size: SegmentSize) -> Result<Growing> {
        let path = self.folder.join(WalName::Partial(name).to_string());
        let open = || {
            let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
            file.set_len(size.bytes())?;
            file.sync_all()?;
            sync_folder(&self.folder)?;
            Ok(file)
        };
        let file = open().map_err(EngineError::io(format!("making {}", path.display())))?;
        Ok(Growing { file, path, name, written: 0, is_synced: true })
    }

    /// Where a segment lies once it is whole.
    pub(crate) fn whole(&self, name: SegmentName) -> PathBuf {
        self.folder.join(name.to_string())
    }
}

/// A file that the repository has needs to be here no longer.
pub(crate) fn remove(wal: &LocalWal) -> Result<()> {
    fs::remove_file(&wal.path).map_err(EngineError::io(format!("removing {}", wal.path.display())))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A segment of which not all has come.
pub(crate) struct Growing {
    file: File,
    path: PathBuf,
    name: SegmentName,
    written: u64,
    is_synced: bool,
}

impl Growing {
    /// Bytes from its beginning that were written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Write what follows.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let writing = EngineError::io(format!("writing {}", self.path.display()));
        self.file.write_all_at(bytes, self.written).map_err(writing)?;
        self.written += bytes.len() as u64;
        self.is_synced = false;
        Ok(())
    }

    /// Bring it to disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if !self.is_synced {
            self.file.sync_data().map_err(EngineError::io(format!("syncing {}", self.path.display())))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// All of it is there: give it its own name.
    pub(crate) fn finish(mut self, spool: &Spool) -> Result<()> {
        self.sync()?;
        let path = spool.whole(self.name);
        let naming = EngineError::io(format!("renaming {}", self.path.display()));
        fs::rename(&self.path, &path).and_then(|()| sync_folder(&spool.folder)).map_err(naming)
    }
}

#[cfg(test)]
mod tests {
    use model::wal_name::SegmentNo;

    use super::*;

    #[test]
    fn a_segment_grows_and_gets_its_name_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let size = SegmentSize::new(1 << 20).unwrap();
        let name = SegmentName::new(Timeline(1), SegmentNo(3), size);
        let spool = Spool::open(root.path(), SystemId(7)).unwrap();
        let names = |spool: &Spool| -> Vec<String> {
            spool.contents().unwrap().iter().map(|wal| wal.file.name.to_string()).collect()
        };
        let mut growing = spool.grow(name, size).unwrap();
        growing.write(&[1; 1000]).unwrap();
        growing.sync().unwrap();
        assert_eq!(names(&spool), [format!("{name}.partial")]);
        drop(growing);
        // Begun anew, it loses nothing before it is written again.
        let mut growing = spool.grow(name, size).unwrap();
        growing.write(&[1; 10]).unwrap();
        let content = fs::read(root.path().join("7").join(format!("{name}.partial"))).unwrap();
        assert_eq!((content.len(), content[999], content[1000]), (1 << 20, 1, 0));
        growing.finish(&spool).unwrap();
        spool.keep_history(Timeline(2), b"1\t0/3000110\tsaid\n").unwrap();
        assert_eq!(names(&spool), [name.to_string(), "00000002.history".to_owned()]);
        assert!(matches!(Spool::open(root.path(), SystemId(7)), Err(EngineError::Refused(_))));
        assert_eq!(clusters(root.path()).unwrap(), [SystemId(7)]);
    }
}
