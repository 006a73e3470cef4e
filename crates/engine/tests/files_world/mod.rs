//! A repository and directories for the tests of `files_*`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test may panic, and not every one needs all of it"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use engine::back_up_files::{DirectoryReport, DirectorySource, back_up_files};
use engine::error::Result;
use engine::restore_files::{Notice, RestoreOrder, RestoreReport, restore_files};
use engine::writing::Order;
use files::exclude::Excludes;
use files::owner::Owners;
use files::relative::RelativePath;
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use model::secret::Secret;
use repo::Repository;
use repo::lease::Identity;
use testkit::site::PASSWORD;

/// A repository on disk, and room beside it.
pub struct World {
    pub dir: tempfile::TempDir,
    pub repository: Arc<Repository>,
    /// The present of the next backup: it begins after everything that is there.
    pub now: Timestamp,
    pub told: Mutex<Vec<String>>,
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = store::open::open(dir.path().join("repository").to_str().unwrap()).unwrap();
        let repository = Repository::init(Arc::from(store), &Secret::new(PASSWORD), "u", "h").unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let now = Timestamp::now() + SignedDuration::from_secs(60);
        Self { dir, repository: Arc::new(repository), now, told: Mutex::default() }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn order(&mut self) -> Order {
        self.now += SignedDuration::from_secs(60);
        order(self.now)
    }

    pub fn back_up(&mut self) -> DirectoryReport {
        self.try_back_up(Excludes::nothing()).unwrap()
    }

    pub fn try_back_up(&mut self, excludes: Excludes) -> Result<DirectoryReport> {
        let order = self.order();
        let tell = |words: &str| self.told.lock().unwrap().push(words.to_owned());
        back_up(&self.repository, &self.data(), excludes, &order, &tell)
    }

    pub fn restore(&self, record: &BackupRecord, to: &Path) -> RestoreReport {
        self.try_restore(record, to, |_| {}).unwrap()
    }

    pub fn try_restore(
        &self,
        record: &BackupRecord,
        to: &Path,
        change: impl FnOnce(&mut RestoreOrder<'_>),
    ) -> Result<RestoreReport> {
        let index = self.repository.load_index().unwrap();
        let tell = |notice: &Notice| {
            let words = match notice {
                Notice::Problem(words) | Notice::Loss(words) => words.clone(),
                Notice::Overwrites(path) => format!("overwrites {path}"),
                Notice::Deletes(path) => format!("deletes {path}"),
            };
            self.told.lock().unwrap().push(words);
        };
        let mut order = RestoreOrder {
            place: to.to_path_buf(),
            only: vec![],
            delta: false,
            delete: false,
            dry_run: false,
            owners: owners(),
            tell: &tell,
            progress: Progress::new(),
            cancel: CancelToken::new(),
        };
        change(&mut order);
        restore_files(&self.repository, &index, record, &order)
    }

    /// What was told since the last call, in order of the words.
    pub fn take_told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.lock().unwrap());
        told.sort();
        told
    }
}

pub fn back_up(
    repository: &Arc<Repository>,
    path: &Path,
    excludes: Excludes,
    order: &Order,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<DirectoryReport> {
    let opened = files::here::open(path, excludes, owners())?;
    back_up_files(repository, DirectorySource { opened, patterns: &[], tell }, order)
}

pub fn order(now: Timestamp) -> Order {
    Order {
        tenant: "acme".parse().unwrap(),
        source: "data".parse().unwrap(),
        label: String::new(),
        hold: false,
        identity: Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: 1 },
        now,
        level: None,
        cancel: CancelToken::new(),
        progress: Progress::new(),
    }
}

pub fn owners() -> Arc<Owners> {
    Arc::new(Owners::read(Path::new("/etc")).unwrap())
}

pub fn relative(path: &str) -> RelativePath {
    RelativePath::parse(path).unwrap()
}
