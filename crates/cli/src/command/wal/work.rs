//! Push and fetch themselves, on an open repository: what the agent does, and whoever does without one.

use std::path::Path;
use std::sync::Arc;

use engine::EngineError;
use engine::archive_wal::{Archived, LocalWal, archive_wal, find_missed};
use engine::fetch_wal::Loader;
use engine::wal_owner::{Claim, Owners, take_over};
use model::wal_name::WalName;
use repo::Repository;
use repo::wal_object::WalFile;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// An open repository, and whose timelines it keeps.
pub(super) struct Archive {
    repository: Arc<Repository>,
    owners: Owners,
}

/// What became of a file that was pushed, and what there is to say of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pushed {
    /// `stored`, or `same`: it was there.
    pub(super) outcome: String,
    /// Things that people should know.
    pub(super) notes: Vec<String>,
}

impl Archive {
    pub(super) fn new(repository: Arc<Repository>) -> Self {
        Self { repository, owners: Owners::default() }
    }

    /// Archive a file; with the history of a timeline also what its past lacks.
    pub(super) fn push(
        &self,
        wal: &LocalWal,
        claim: &Claim,
        takes_over: bool,
        cores: usize,
    ) -> Result<Pushed> {
        if takes_over {
            take_over(&self.repository, wal.file.system_id, wal.file.name.timeline(), claim)?;
        }
        self.owners.verify(&self.repository, wal, claim)?;
        let mut notes = vec![];
        if let WalName::History(_) = wal.file.name {
            notes = self.push_missed(wal, cores)?;
        }
        let outcome = match archive_wal(&self.repository, wal, cores)? {
            Archived::Stored(_) => "stored",
            Archived::Same => "same",
        };
        Ok(Pushed { outcome: outcome.to_owned(), notes })
    }

    fn push_missed(&self, history: &LocalWal, cores: usize) -> Result<Vec<String>> {
        let folder = history.path.parent().unwrap_or(Path::new("."));
        let WalFile { system_id, name } = &history.file;
        let mut notes = vec![];
        for wal in find_missed(&self.repository, folder, *system_id, name.timeline())? {
            match archive_wal(&self.repository, &wal, cores) {
                Ok(_) => {
                    notes.push(format!("{} was never archived by its primary, and is now", wal.file.name))
                }
                // It must not keep the history from being archived.
                Err(EngineError::Wal(error)) => notes.push(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(notes)
    }

    /// The content of an archived file; `None`: there certainly is none.
    pub(super) fn load<'a>(
        &self,
        loader: &'a mut Loader,
        file: &WalFile,
        cores: usize,
    ) -> Result<Option<&'a [u8]>> {
        Ok(loader.load(&self.repository, file, cores)?)
    }

    /// The same for who works ahead: the unfinished beginning of a segment may be a whole one when it is asked for.
    pub(super) fn load_ahead<'a>(
        &self,
        loader: &'a mut Loader,
        file: &WalFile,
        cores: usize,
    ) -> Result<Option<&'a [u8]>> {
        Ok(loader.load_exactly(&self.repository, file, cores)?)
    }
}
