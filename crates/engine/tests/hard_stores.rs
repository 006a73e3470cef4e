//! Stores that do not do everything: one that lets a writer only create, and one that is another one of a sudden.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod copy_world;

use std::io;
use std::sync::Arc;

use copy_world::world::{Rewound, at, me, noise, password};
use engine::writing::{FileCounts, Order, Outcome, Writing, save_small_file, save_tree};
use engine::{EngineError, catalog, copy, delete};
use jiff::Timestamp;
use model::backup::{BackupKind, BackupRecord};
use model::cancel::CancelToken;
use model::progress::Progress;
use repo::check::{CheckOptions, check};
use repo::lease::Lease;
use repo::prune::{PruneOptions, prune};
use repo::{RepoError, Repository};
use store::memory::MemoryStore;
use store::{Key, Object, Range, Store, StoreError};

/// What a writer gets whose credentials can neither delete nor overwrite.
struct CreateOnly(Arc<MemoryStore>);

impl Store for CreateOnly {
    fn put_new(&self, key: &Key, content: &[u8]) -> Result<(), StoreError> {
        self.0.put_new(key, content)
    }

    fn get(&self, key: &Key, range: Range, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.0.get(key, range, into)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.0.list(prefix)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let cause = io::Error::from(io::ErrorKind::PermissionDenied);
        Err(StoreError::Io { action: "delete", key: key.to_string(), place: self.location(), cause })
    }

    fn location(&self) -> String {
        "create-only".to_owned()
    }
}

fn order(hour: i64) -> Order {
    Order {
        tenant: "acme".parse().unwrap(),
        source: "web".parse().unwrap(),
        label: String::new(),
        hold: hour == 1,
        identity: me(),
        now: at(hour),
        level: None,
        cancel: CancelToken::new(),
        progress: Progress::new(),
    }
}

/// A backup as the engine makes it; `before_commit` happens when all data is on its way.
fn back_up(
    repository: &Arc<Repository>,
    hour: i64,
    before_commit: impl FnOnce(),
) -> Result<BackupRecord, EngineError> {
    let order = order(hour);
    let writing = Writing::begin(repository, &order)?;
    let mut nodes = vec![save_small_file(&writing.saver, "file", &noise(hour as u64, 9_000), &order)?];
    let root = save_tree(&writing.saver, &mut nodes)?;
    before_commit();
    let outcome = Outcome {
        kind: BackupKind::Directory,
        database: String::new(),
        size_bytes: 9_000,
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
    writing.commit(root, &outcome)
}

fn open(store: impl Store + 'static) -> Arc<Repository> {
    Arc::new(Repository::open(Arc::new(store), &password()).unwrap())
}

/// A tenant's runs have one name, which the one before could not take away.
#[test]
fn a_name_that_comes_again_is_free_when_its_holder_is_dead_though_nothing_can_be_deleted_threat_1() {
    let inside = Arc::new(MemoryStore::new());
    Repository::init(Arc::new(CreateOnly(Arc::clone(&inside))), &password(), "u", "h").unwrap();
    let repository = open(CreateOnly(Arc::clone(&inside)));
    for _ in 0..3 {
        let run = Lease::recurring(&repository, "run-acme", &me()).unwrap().expect("nobody has it");
        assert!(Lease::recurring(&repository, "run-acme", &me()).unwrap().is_none(), "somebody has it");
        run.verify_kept().unwrap();
        // What a backup is called by is its own for ever.
        let name = Lease::shared(&repository, "acme-web-1", &me()).unwrap();
        drop(name);
    }
    assert!(Lease::shared(&repository, "acme-web-1", &me()).unwrap().is_none());
}

#[test]
fn a_writer_that_can_only_create_does_all_but_prune_forget_and_delete_threat_1() {
    let inside = Arc::new(MemoryStore::new());
    Repository::init(Arc::new(CreateOnly(Arc::clone(&inside))), &password(), "u", "h").unwrap();
    let repository = open(CreateOnly(Arc::clone(&inside)));
    // One after the other, past what the one before could not take away; and one beside another.
    let made: Vec<_> = (1..=3).map(|hour| back_up(&repository, hour, || ()).unwrap()).collect();
    let within = back_up(&repository, 4, || drop(back_up(&repository, 5, || ()).unwrap())).unwrap();
    assert_eq!(catalog::list(&repository).unwrap().len(), 5);
    assert!(catalog::find(&repository, made[0].id.as_str()).unwrap().hold);
    let everything = CheckOptions { read_percent: 100 };
    let report = check(&repository, everything, &Progress::new(), &CancelToken::new()).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let index = repository.load_index().unwrap();
    let snapshot = repository.load_snapshot(&within.snapshot.unwrap()).unwrap();
    assert_eq!(
        catalog::load_small_file(&repository, &index, &snapshot.tree, "file").unwrap(),
        noise(4, 9_000)
    );
    repository.add_key(&password(), "u", "another").unwrap();
    // Into a place that can only create, too.
    let target = Arc::new(MemoryStore::new());
    Repository::init(Arc::new(CreateOnly(Arc::clone(&target))), &password(), "u", "h").unwrap();
    let target = open(CreateOnly(target));
    let records = catalog::list(&repository).unwrap();
    copy::copy(&repository, &target, &records, &me(), &Progress::new(), &CancelToken::new()).unwrap();
    assert_eq!(catalog::list(&target).unwrap().len(), 5);
    // What needs more says so, and what it began is no harm.
    let refused = delete::delete(&repository, &made[2], &me(), at(9)).unwrap_err();
    assert!(matches!(refused, EngineError::Repository(RepoError::Store(_))), "{refused}");
    assert_eq!(catalog::list(&repository).unwrap().len(), 5);
    // Whoever may delete clears up what the writers of this machine left.
    let keeper = open(Rewound::over(Arc::clone(&inside)));
    delete::delete(&keeper, &made[1], &me(), at(9)).unwrap();
    let (progress, cancel) = (Progress::new(), CancelToken::new());
    prune(&keeper, &PruneOptions::default(), &me(), Timestamp::now(), &progress, &cancel).unwrap();
    assert!(keeper.list_notes("lease").unwrap().is_empty());
    assert_eq!(catalog::list(&repository).unwrap().len(), 4);
}

/// A disk that was taken away leaves an empty directory, and everything stored there later would be lost with it.
#[test]
fn a_backup_into_a_place_that_was_swapped_is_never_acknowledged() {
    let place = Arc::new(Rewound::default());
    Repository::init(Arc::clone(&place) as Arc<dyn Store>, &password(), "u", "h").unwrap();
    let disk = place.now();
    let repository = Arc::new(Repository::open(Arc::clone(&place) as Arc<dyn Store>, &password()).unwrap());
    let kept = back_up(&repository, 1, || ()).unwrap();
    let outcome = back_up(&repository, 2, || place.set(MemoryStore::new()));
    assert!(matches!(outcome, Err(EngineError::Repository(RepoError::LeaseLost { .. }))), "{outcome:?}");
    assert!(repository.load_snapshots().unwrap().is_empty(), "nothing is visible in the wrong place");
    let again = open(Rewound::over(disk));
    assert_eq!(catalog::list(&again).unwrap()[0].id, kept.id);
}
