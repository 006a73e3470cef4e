//! Files that several links make, put together: which part comes from where, and bytes of them where somebody asks.

use std::sync::{Mutex, PoisonError};

use model::cancel::CancelToken;
use repo::index::{IdMap, Index};
use repo::reader::Wanted;
use repo::{BlobKind, RepoError, Repository};

use super::links::Draft;
use super::window::{FileTask, Heads, Located, Window};
use crate::error::Result;

/// Where the bytes are.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) cancel: &'a CancelToken,
}

impl Stored<'_> {
    /// Find out where every byte of the files comes from.
    pub(super) fn assemble(self, window: Window) -> Result<Vec<FileTask>> {
        let mut heads = Heads::plan(&window, self.index)?;
        let mut wanted = std::mem::take(&mut heads.wanted);
        let put = |wanted: &Wanted, bytes: Result<&[u8], RepoError>| -> Result<()> {
            heads.put(wanted.tag, bytes.map_err(needed)?);
            Ok(())
        };
        self.repository.read_packed(self.index, &mut wanted, self.cancel, put)?;
        window.drafts.into_iter().map(|file| FileTask::new(file, &heads, self.index)).collect()
    }

    /// The same of one file.
    pub(super) fn file(self, draft: Draft) -> Result<FileTask> {
        let (path, mut window) = (draft.path.clone(), Window::default());
        window.push(Located { site: 0, path, draft, is_zeros: false });
        let missing = || RepoError::damaged("a file", "is in no link");
        Ok(self.assemble(window)?.pop().ok_or_else(missing)?)
    }

    /// The bytes of `file` from `from` on, as many as `buffer` has; it must have so many.
    pub(super) fn fill(self, file: &FileTask, from: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.fill(0);
        let end = from + buffer.len() as u64;
        let first = file.parts.partition_point(|part| part.to + u64::from(part.len) <= from);
        let parts = || file.parts[first..].iter().take_while(|part| part.to < end);
        let (mut wanted, mut places) = (vec![], IdMap::<Vec<_>>::default());
        for part in parts() {
            let place = self.index.require(BlobKind::Data, &part.blob)?;
            let uses = places.entry(part.blob).or_default();
            if uses.is_empty() {
                wanted.push(Wanted { id: part.blob, place, tag: 0 });
            }
            uses.push(*part);
        }
        let buffer = Mutex::new(buffer);
        let put = |wanted: &Wanted, bytes: Result<&[u8], RepoError>| -> Result<()> {
            let bytes = bytes.map_err(needed)?;
            let mut buffer = buffer.lock().unwrap_or_else(PoisonError::into_inner);
            for part in places.get(&wanted.id).into_iter().flatten() {
                // What of the part lies in the stretch that was asked for.
                let (begin, stop) = (part.to.max(from), (part.to + u64::from(part.len)).min(end));
                let source = &bytes[(u64::from(part.from) + begin - part.to) as usize..];
                let len = (stop - begin) as usize;
                buffer[(begin - from) as usize..][..len].copy_from_slice(&source[..len]);
            }
            Ok(())
        };
        self.repository.read_packed(self.index, &mut wanted, self.cancel, put)
    }

    /// All bytes of a small file.
    pub(super) fn content(self, draft: Draft) -> Result<Vec<u8>> {
        let file = self.file(draft)?;
        let mut bytes = vec![0; usize::try_from(file.size).unwrap_or(usize::MAX)];
        self.fill(&file, 0, &mut bytes)?;
        Ok(bytes)
    }
}

/// A pack that is not there is damage to the backup: the index says that it was.
pub(super) fn needed(error: RepoError) -> RepoError {
    match error {
        RepoError::Store(error) if error.is_not_found() => {
            RepoError::damaged("a pack that the backup needs", error)
        }
        error => error,
    }
}
