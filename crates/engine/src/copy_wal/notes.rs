//! What is done, as it is noted where files of WAL were copied to.

use std::collections::HashMap;

use model::lsn::SystemId;
use repo::threads;
use serde::{Deserialize, Serialize};

use super::WalRoad;
use crate::error::Result;

/// Some files that are done.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    is_compared: bool,
    files: Vec<NotedFile>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct NotedFile {
    pub(super) name: String,
    /// Bytes of the object that was read.
    pub(super) from: u64,
    /// Bytes of the one that is archived.
    pub(super) to: u64,
}

impl WalRoad<'_> {
    fn folder(&self, system_id: SystemId) -> String {
        format!("wal-copy/{}/{system_id}", self.from.config().id)
    }

    /// Files that are done, by name, and whether they were compared.
    pub(super) fn noted(&self, system_id: SystemId) -> Result<HashMap<String, (NotedFile, bool)>> {
        let folder = self.folder(system_id);
        let mut names: Vec<_> =
            self.to.list_notes(&folder)?.into_iter().map(|(name, _)| format!("{folder}/{name}")).collect();
        names.sort_unstable();
        let mut noted = HashMap::new();
        for note in threads::map_waiting(&names, |name| self.to.load_note::<Note>(name))? {
            match note {
                Ok(Note { is_compared, files }) => {
                    noted.extend(files.into_iter().map(|file| (file.name.clone(), (file, is_compared))));
                }
                // What it says is found out again.
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(noted)
    }

    pub(super) fn note(&self, system_id: SystemId, files: Vec<NotedFile>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let folder = self.folder(system_id);
        let numbers = self.to.list_notes(&folder)?.into_iter().filter_map(|(name, _)| name.parse().ok());
        let mut number = numbers.max().map_or(1, |last: u32| last + 1);
        let note = Note { is_compared: self.is_mirror, files };
        while !self.to.put_note(&format!("{folder}/{number:08}"), &note)? {
            number += 1;
        }
        Ok(())
    }
}
