//! What makes the restored files a cluster that recovers: label, map of tablespaces, settings, signal.
//!
//! The label of an increment says that it is one, and a server refuses to start on it: merged, those lines go. The map has
//! the places of this restore, since a server that finds it makes the links anew from it. The manifest of a full backup
//! stays true to the last byte, so that `pg_verifybackup` judges what was restored; one of a chain is of no file here.

use files::relative::RelativePath;
use files::target::Target;
use files::write::Existing;
use model::entry::Metadata;
use pg::backup_label::{BACKUP_LABEL, MappedTablespace, TABLESPACE_MAP, write_tablespace_map};
use pg::backup_manifest;
use pg::control_file::CONTROL_FILE;
use pg::recovery::AUTO_CONF;

use super::order::{ClusterOrder, Destination};
use crate::error::{EngineError, Result};

/// Files that are not written as they are stored, by their paths.
#[derive(Default)]
pub(super) struct HeldBack {
    files: Vec<(String, Vec<u8>, Metadata)>,
}

/// Whether a file waits until all others are there: it is changed, or makes the cluster start.
pub(super) fn is_held_back(path: &RelativePath) -> bool {
    [BACKUP_LABEL, TABLESPACE_MAP, backup_manifest::NAME, AUTO_CONF]
        .iter()
        .any(|name| path.as_bytes() == name.as_bytes())
}

impl HeldBack {
    pub(super) fn put(&mut self, name: &RelativePath, bytes: Vec<u8>, metadata: Metadata) {
        self.files.push((name.to_string(), bytes, metadata));
    }

    fn get(&self, name: &str) -> Option<&(String, Vec<u8>, Metadata)> {
        self.files.iter().find(|(known, ..)| known == name)
    }

    /// What goes into the data directory beside `control`, which pg_control becomes, with its names. Files that are new get the
    /// owner and mode of the label.
    ///
    /// # Errors
    /// For settings that cannot be written.
    pub(super) fn settled(
        &self,
        order: &ClusterOrder<'_>,
        destinations: &[Destination],
        links: usize,
        control: &[u8],
    ) -> Result<Vec<(String, Vec<u8>, Metadata)>> {
        let mut settled = vec![];
        let Some((_, label, like)) = self.get(BACKUP_LABEL) else { return Ok(settled) };
        settled.push((BACKUP_LABEL.to_owned(), without_increment(label), like.clone()));
        let map = self.map(destinations);
        if let Some((bytes, metadata)) = &map {
            settled.push((TABLESPACE_MAP.to_owned(), bytes.clone(), metadata.clone()));
        }
        if let Some((name, manifest, metadata)) = self.get(backup_manifest::NAME).filter(|_| links == 1) {
            let is_moved =
                map.as_ref().zip(self.get(TABLESPACE_MAP)).filter(|((new, _), (_, old, _))| new != old);
            let manifest = match is_moved {
                Some(((new, _), _)) => backup_manifest::with_content(manifest, TABLESPACE_MAP, new),
                None => manifest.clone(),
            };
            let manifest = backup_manifest::with_content(&manifest, CONTROL_FILE, control);
            settled.push((name.clone(), manifest, metadata.clone()));
        }
        let (before, metadata) =
            self.get(AUTO_CONF).map_or((&[][..], like), |(_, bytes, metadata)| (bytes, metadata));
        let conf =
            order.recovery.auto_conf(before).map_err(|error| EngineError::Unsuitable(error.to_string()))?;
        settled.push((AUTO_CONF.to_owned(), conf, metadata.clone()));
        settled.push((order.recovery.signal().to_owned(), vec![], like.clone()));
        Ok(settled)
    }

    /// The map with the places of this restore.
    fn map(&self, destinations: &[Destination]) -> Option<(Vec<u8>, Metadata)> {
        let (_, _, metadata) = self.get(TABLESPACE_MAP)?;
        let mapped = |destination: &Destination| {
            Some(MappedTablespace { oid: destination.oid?, place: destination.place.clone() })
        };
        let mapped: Vec<_> = destinations.iter().filter_map(mapped).collect();
        Some((write_tablespace_map(&mapped), metadata.clone()))
    }
}

/// Write them all.
///
/// # Errors
/// What the system says.
pub(super) fn write(target: &Target, files: &[(String, Vec<u8>, Metadata)]) -> Result<()> {
    let root = target.directory(&RelativePath::root())?;
    for (name, bytes, metadata) in files {
        target.write_whole_file(&root, name.as_bytes(), bytes, metadata, Existing::Replace)?;
    }
    Ok(())
}

/// The label without the lines that say that it is of an increment.
fn without_increment(label: &[u8]) -> Vec<u8> {
    let lines = label.split_inclusive(|byte| *byte == b'\n');
    lines.filter(|line| !line.starts_with(b"INCREMENTAL FROM ")).flatten().copied().collect()
}
