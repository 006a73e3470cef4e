//! Looks at the repository as somebody who needs no turn, and says what is wrong.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use repo::check::{CheckOptions, check};
use repo::clock::Clock;
use repo::lease::Identity;
use repo::prune::{PruneOptions, prune};
use repo::repository::FileKind;
use repo::{BlobKind, Repository, tree};
use testkit::world::stage::Stage;

use crate::actors::{Files, Ledger, Terms, bytes_of};

pub(crate) struct Judge {
    pub(crate) repository: Arc<Repository>,
    pub(crate) other: Arc<Repository>,
    pub(crate) clock: Clock,
    pub(crate) stage: Arc<Stage>,
}

impl Judge {
    /// Whatever is visible is whole, at any moment.
    pub(crate) fn verify_sound(&self, read_percent: u8) -> Result<(), String> {
        for (name, repository) in [("repository", &self.repository), ("the other one", &self.other)] {
            let report =
                check(repository, CheckOptions { read_percent }, &Progress::new(), &CancelToken::new());
            let report = report.map_err(|error| format!("{name}: {error}"))?;
            if !report.problems.is_empty() {
                return Err(format!("{name}: {}", report.problems.join("; ")));
            }
        }
        Ok(())
    }

    /// Everything that was acknowledged is there bit for bit, or was deleted long enough before it went for good.
    pub(crate) fn verify_kept(&self, ledger: &Ledger, terms: Terms) -> Result<(), String> {
        let deleted = self.repository.deleted_snapshots().map_err(|error| error.to_string())?;
        for (id, files) in &*ledger.backups.lock().unwrap() {
            match self.repository.load_snapshot(id) {
                Ok(snapshot) => self.verify_files(&self.repository, id, &snapshot.tree, files)?,
                Err(error) => match deleted.iter().find(|deleted| deleted.id == *id) {
                    Some(deleted) => {
                        self.verify_files(&self.repository, id, &deleted.snapshot.tree, files)?
                    }
                    None => self.verify_buried(id, terms).map_err(|what| format!("{what} ({error})"))?,
                },
            }
        }
        for (id, files) in &*ledger.copies.lock().unwrap() {
            let snapshot = self.other.load_snapshot(id).map_err(|error| format!("copy {id}: {error}"))?;
            self.verify_files(&self.other, id, &snapshot.tree, files)?;
        }
        Ok(())
    }

    fn verify_buried(&self, id: &Digest, terms: Terms) -> Result<(), String> {
        let rested = self.stage.objects(0, |objects| objects.longest_stay(&format!("x/deleted/{id}")));
        let rested = rested.ok_or_else(|| format!("backup {id} is gone and was never deleted"))?;
        match SignedDuration::try_from(rested).is_ok_and(|rested| rested >= terms.cooling_off) {
            true => Ok(()),
            false => Err(format!("backup {id} could be undeleted for {rested:?} only")),
        }
    }

    fn verify_files(
        &self,
        repository: &Repository,
        id: &Digest,
        root: &Digest,
        files: &Files,
    ) -> Result<(), String> {
        let wrong = |error: &dyn std::fmt::Display| format!("backup {id}: {error}");
        let index = repository.load_index().map_err(|error| wrong(&error))?;
        let json = repository.read_blob(&index, BlobKind::Tree, root).map_err(|error| wrong(&error))?;
        let nodes = tree::decode(&json, &"tree").map_err(|error| wrong(&error))?;
        if nodes.len() != files.len() {
            return Err(wrong(&"has other files"));
        }
        for node in nodes {
            let mut bytes = vec![];
            for piece in &node.content {
                bytes.extend(
                    repository.read_blob(&index, BlobKind::Data, piece).map_err(|error| wrong(&error))?,
                );
            }
            let name = String::from_utf8_lossy(&node.entry.name).into_owned();
            if files.get(&name).map(|seed| bytes_of(*seed)) != Some(bytes) {
                return Err(wrong(&format!("{name} has other bytes")));
            }
        }
        Ok(())
    }

    /// When everybody has gone, the dead block nobody, prune does all that is left, and nothing is lost by it.
    pub(crate) fn clear_up(&self, ledger: &Ledger, terms: Terms) -> Result<(), String> {
        let identity = Identity {
            hostname: "caretaker".into(),
            username: "u".into(),
            uid: 1,
            gid: 1,
            pid: std::process::id(),
        };
        for _ in 0..2 {
            let options = PruneOptions {
                cooling_off: terms.cooling_off,
                unused_percent_max: 0,
                ..PruneOptions::default()
            };
            let now = self.clock.now();
            let report =
                prune(&self.repository, &options, &identity, now, &Progress::new(), &CancelToken::new());
            let report = report.map_err(|error| format!("the last prune: {error}"))?;
            if let Some(holder) = report.in_use_by {
                return Err(format!("{holder} blocks the last prune"));
            }
            self.verify_sound(100)?;
            self.verify_kept(ledger, terms)?;
            let cooling_off = terms.cooling_off.unsigned_abs() + std::time::Duration::from_secs(60);
            self.stage.advance(cooling_off);
            self.clock.advance(cooling_off);
        }
        match self.repository.list(FileKind::Key) {
            Ok(keys) if keys.iter().any(|key| key.id == self.repository.key_id()) => Ok(()),
            _ => Err("the way in is gone".to_owned()),
        }
    }

    pub(crate) fn set_time(&self) {
        self.clock.set(Timestamp::try_from(testkit::world::stage::start() + self.stage.now()).unwrap());
    }
}
