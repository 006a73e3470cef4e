//! Who works in the world, and at what: the verbs of the engine, and a writer that knows nothing of marks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::writing::{FileCounts, Order, Outcome, Writing, save_small_file, save_tree};
use engine::{catalog, copy, delete, forget};
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupKind;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::progress::Progress;
use model::retention::Policy;
use model::secret::Secret;
use repo::clock::Clock;
use repo::lease::Identity;
use repo::packer::Guard;
use repo::prune::{PruneOptions, prune};
use repo::repository::FileKind;
use repo::saver::{SaveOptions, Saver};
use repo::snapshot_file::SnapshotFile;
use repo::{RepoError, Repository};
use testkit::world::dice::Dice;
use testkit::world::stage::Stage;

use crate::bug::Buggy;

/// Any error at all: an actor that fails tries something else next.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;
/// Files by name, as the seed of their bytes.
pub(crate) type Files = BTreeMap<String, u64>;

/// Long, so that key derivation stays cheap.
pub(crate) fn password() -> Secret {
    Secret::new("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01")
}

/// The bytes of a file; without any order, so that they stay as long as they are.
pub(crate) fn bytes_of(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..100).flat_map(|_| dice.number().to_le_bytes()).collect()
}

/// What was said to be done.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Acknowledged backups.
    pub(crate) backups: Mutex<BTreeMap<Digest, Files>>,
    /// Acknowledged copies in the other repository.
    pub(crate) copies: Mutex<BTreeMap<Digest, Files>>,
    /// What went wrong for whom, for the trace.
    pub(crate) troubles: Mutex<Vec<String>>,
}

/// What one world asks of all.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) cooling_off: SignedDuration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    BackUp,
    BackUpAsResticDoes,
    Prune,
    Forget,
    Delete,
    Undelete,
    Copy,
    Rotate,
}

/// One host.
pub(crate) struct Actor {
    pub(crate) number: usize,
    pub(crate) store: Arc<Buggy>,
    pub(crate) repository: Arc<Repository>,
    pub(crate) other: Arc<Repository>,
    pub(crate) clock: Clock,
    pub(crate) stage: Arc<Stage>,
}

impl Actor {
    pub(crate) fn identity(&self) -> Identity {
        let hostname = format!("host{}", self.number);
        Identity { hostname, username: "u".into(), uid: 1, gid: 1, pid: std::process::id() }
    }

    /// One verb after the other, each as a program of its own.
    pub(crate) fn live(&self, verbs: &[Verb], mut dice: Dice, terms: Terms, ledger: &Ledger) {
        for verb in verbs {
            self.stage.sleep(self.number, Duration::from_secs(dice.below(4000)));
            self.store.forget_all();
            if let Err(trouble) = self.perform(*verb, &mut dice, terms, ledger) {
                ledger.troubles.lock().unwrap().push(format!("{}: {verb:?}: {trouble}", self.number));
            }
            if self.stage.is_crashed(self.number) {
                self.stage.rise(self.number);
            }
        }
    }

    fn perform(&self, verb: Verb, dice: &mut Dice, terms: Terms, ledger: &Ledger) -> Result<(), Trouble> {
        match verb {
            Verb::BackUp => self.back_up(dice, ledger),
            Verb::BackUpAsResticDoes => self.back_up_as_restic_does(dice, ledger),
            Verb::Prune => {
                let options = PruneOptions {
                    cooling_off: terms.cooling_off,
                    unused_percent_max: 0,
                    ..PruneOptions::default()
                };
                let (progress, cancel) = (Progress::new(), CancelToken::new());
                let now = self.clock.now();
                Ok(prune(&self.repository, &options, &self.identity(), now, &progress, &cancel).map(drop)?)
            }
            Verb::Forget => {
                let policy = Policy { keep_last: Some(1), ..Policy::default() };
                let records = catalog::list(&self.repository)?;
                let now = self.clock.now();
                let plan = forget::plan(&self.repository, &policy, records, now)?;
                let cancel = CancelToken::new();
                Ok(forget::forget(&self.repository, |_| Ok(plan), &self.identity(), now, &cancel)
                    .map(drop)?)
            }
            Verb::Delete => {
                let records = catalog::list(&self.repository)?;
                if records.is_empty() {
                    return Ok(());
                }
                Ok(delete::delete(
                    &self.repository,
                    dice.choose(&records),
                    &self.identity(),
                    self.clock.now(),
                )?)
            }
            Verb::Undelete => {
                let deleted = delete::list_deleted(&self.repository)?;
                if deleted.is_empty() {
                    return Ok(());
                }
                let id = dice.choose(&deleted).record.id.to_string();
                Ok(delete::undelete(&self.repository, &id, &self.identity()).map(drop)?)
            }
            Verb::Copy => self.copy(ledger),
            Verb::Rotate => {
                let id = self.repository.add_key(&password(), "u", "another")?;
                Ok(self.repository.remove_key(&id.to_hex()).map(drop)?)
            }
        }
    }

    fn files(dice: &mut Dice) -> Files {
        // Few contents, so that backups share them.
        (0..1 + dice.below(3)).map(|n| (format!("f{n}"), dice.below(6))).collect()
    }

    fn order(&self, source: u64) -> Order {
        Order {
            tenant: "acme".parse().unwrap(),
            source: format!("s{source}").parse().unwrap(),
            label: String::new(),
            hold: false,
            identity: self.identity(),
            now: self.clock.now(),
            level: None,
            cancel: CancelToken::new(),
            progress: Progress::new(),
        }
    }

    /// A while in which the source delivers nothing; mostly short.
    fn dawdle(&self, dice: &mut Dice) {
        if dice.once_in(3) {
            let span = [60, 2_000, 8_000][dice.below(3) as usize];
            self.stage.sleep(self.number, Duration::from_secs(span));
        }
    }

    fn back_up(&self, dice: &mut Dice, ledger: &Ledger) -> Result<(), Trouble> {
        let files = Self::files(dice);
        let order = self.order(dice.below(2));
        let writing = Writing::begin(&self.repository, &order)?;
        self.dawdle(dice);
        let save =
            |(name, seed): (&String, &u64)| save_small_file(&writing.saver, name, &bytes_of(*seed), &order);
        let mut nodes = files.iter().map(save).collect::<Result<Vec<_>, _>>()?;
        let root = save_tree(&writing.saver, &mut nodes)?;
        self.dawdle(dice);
        let outcome = Outcome {
            kind: BackupKind::Directory,
            database: String::new(),
            size_bytes: 0,
            sha256: None,
            relation_count: 0,
            positions: None,
            paths: vec!["/srv".into()],
            excludes: vec![],
            parent: None,
            tags: vec![],
            incomplete: false,
            files: FileCounts::default(),
        };
        let record = writing.commit(root, &outcome)?;
        ledger.backups.lock().unwrap().insert(record.snapshot.unwrap(), files);
        Ok(())
    }

    /// Lock, index of everything, data, snapshot; a lock that was not renewed for too long ends it.
    fn back_up_as_restic_does(&self, dice: &mut Dice, ledger: &Ledger) -> Result<(), Trouble> {
        let (files, order) = (Self::files(dice), self.order(9));
        let repository = &self.repository;
        let form = |time: Timestamp| {
            format!(
                r#"{{"time":"{time}","exclusive":false,"hostname":"h{}","username":"u","pid":9}}"#,
                self.number
            )
        };
        let began = self.clock.elapsed();
        let lock = repository.save_file(FileKind::Lock, form(self.clock.now()).as_bytes())?;
        let ends = |outcome| {
            repository.store().delete(&FileKind::Lock.object(&lock)).ok();
            outcome
        };
        for _ in 0..2 {
            for listed in repository.list(FileKind::Lock)? {
                let Ok(json) = repository.load_file(FileKind::Lock, &listed.id) else { continue };
                if String::from_utf8_lossy(&json).contains(r#""exclusive":true"#) {
                    return ends(Err("locked".into()));
                }
            }
        }
        let index = Arc::new(repository.load_index()?);
        let clock = self.clock.clone();
        // restic stops everything when its lock was not renewed in time.
        let guard = Guard::new(move || match clock.elapsed() - began < Duration::from_secs(20 * 60) {
            true => Ok(()),
            false => Err(RepoError::LeaseLost { seconds: 0 }),
        });
        let saver = Saver::start(repository, &index, SaveOptions { guard, ..SaveOptions::default() })?;
        if dice.once_in(3) {
            self.stage.sleep(self.number, Duration::from_secs(600));
        }
        let save = |(name, seed): (&String, &u64)| save_small_file(&saver, name, &bytes_of(*seed), &order);
        let mut nodes = files.iter().map(save).collect::<Result<Vec<_>, _>>()?;
        let tree = save_tree(&saver, &mut nodes)?;
        saver.finish()?;
        if self.clock.elapsed() - began > Duration::from_secs(20 * 60) {
            return ends(Err("the lock is too old".into()));
        }
        let json = format!(
            r#"{{"time":"{}","tree":"{tree}","paths":["/srv"],"hostname":"h","username":"u"}}"#,
            order.now
        );
        let id = repository.commit_snapshot(&serde_json::from_str::<SnapshotFile>(&json)?)?;
        ledger.backups.lock().unwrap().insert(id, files);
        ends(Ok(()))
    }

    fn copy(&self, ledger: &Ledger) -> Result<(), Trouble> {
        let records = catalog::list(&self.repository)?;
        let (progress, cancel) = (Progress::new(), CancelToken::new());
        let report =
            copy::copy(&self.repository, &self.other, &records, &self.identity(), &progress, &cancel)?;
        let known = ledger.backups.lock().unwrap();
        let copied = report.copied.iter().filter_map(|(from, to)| Some((*to, known.get(from)?.clone())));
        ledger.copies.lock().unwrap().extend(copied);
        Ok(())
    }
}
