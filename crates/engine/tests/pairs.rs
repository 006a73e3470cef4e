//! Repositories on two stores: what of the cold one is asked for by which verb, and what is warmed up before it is read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod files_world;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use engine::copy::copy;
use engine::forget::{forget, plan_forget, receive_times};
use engine::verify::verify;
use engine::warm_up::{self, Need};
use engine::{catalog, delete};
use files::exclude::Excludes;
use files_world::{World, order, relative};
use jiff::{SignedDuration, Timestamp};
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::progress::Progress;
use model::retention::Policy;
use model::secret::Secret;
use repo::Repository;
use repo::check::{CheckOptions, check};
use repo::hot::{Look, fill_hot, plan_hot};
use repo::lease::{Identity, Lease};
use repo::marks::{self, Marks};
use repo::prune::{PruneOptions, PruneReport, prune};
use repo::repair::reindex::repair_index;
use repo::repository::FileKind;
use store::archive::Terms;
use store::clock::StandingClock;
use store::faulty::{Fault, FaultyStore, Plan};
use store::frozen::FrozenStore;
use store::memory::MemoryStore;
use store::store::read;
use store::tiers::Tiers;
use store::{Key, Store};
use testkit::site::PASSWORD;
use testkit::tree::assert_same_tree;

/// A pair, of which the packs of the cold part need two looks to warm up.
struct Pair {
    world: World,
    hot: Arc<MemoryStore>,
    cold: Arc<FrozenStore<MemoryStore>>,
}

impl Pair {
    fn new() -> Self {
        let (hot, cold) = (Arc::default(), Arc::new(FrozenStore::new(MemoryStore::new(), 2)));
        let alone = Repository::init(cold.clone(), &Secret::new(PASSWORD), "u", "h").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        let now = Timestamp::now() + SignedDuration::from_secs(60);
        let world = World { dir, repository: Arc::new(alone), now, told: Mutex::default() };
        let mut pair = Self { world, hot, cold };
        pair.repair();
        pair
    }

    /// Make the hot part from the cold one, and use both.
    fn repair(&mut self) {
        let alone = Repository::open(self.cold.clone(), &Secret::new(PASSWORD)).unwrap();
        let plan = plan_hot(&alone, &self.hot, Look::Read).unwrap();
        fill_hot(&alone, &self.hot, &plan, &Progress::new(), &CancelToken::new()).unwrap();
        self.open();
    }

    fn open(&mut self) {
        let tiers = Arc::new(Tiers::new(self.hot.clone(), self.cold.clone()));
        self.world.repository = Arc::new(Repository::open(tiers, &Secret::new(PASSWORD)).unwrap());
    }

    /// So many files of noise, large enough for several packs of the smallest length.
    fn fill(&self, from: u8, to: u8) {
        for number in from..to {
            testkit::tree::fill_with_noise(&self.world.data().join(format!("d{number}")), number.into(), 1);
        }
    }

    fn back_up(&mut self) -> BackupRecord {
        self.world.back_up().record
    }

    fn need(&self, record: &BackupRecord, only: &[&str]) -> Need {
        let repository = &self.world.repository;
        let index = repository.load_index().unwrap();
        let only: Vec<_> = only.iter().map(|path| relative(path)).collect();
        let cancel = CancelToken::new();
        let data = warm_up::data_of(repository, &index, record, &only, &cancel).unwrap();
        let packs = warm_up::packs_of(repository, &index, &data).unwrap();
        warm_up::look(&*self.cold, packs, &cancel).unwrap()
    }

    fn prune(&self, hours: i64, dry_run: bool) -> PruneReport {
        let options = PruneOptions {
            cooling_off: SignedDuration::from_hours(hours),
            unused_percent_max: 0,
            dry_run,
            ..PruneOptions::default()
        };
        let (progress, cancel) = (Progress::new(), CancelToken::new());
        prune(&self.world.repository, &options, &me(), Timestamp::now(), &progress, &cancel).unwrap()
    }
}

fn me() -> Identity {
    Identity { hostname: "h".into(), username: "u".into(), uid: 0, gid: 0, pid: std::process::id() }
}

#[test]
fn u8_no_verb_but_those_that_read_data_asks_the_cold_part_for_anything() {
    let mut pair = Pair::new();
    // What made the hot part reads cold, and nothing from here on does.
    let before = pair.cold.gets();
    let unread = |pair: &Pair, what: &str| assert_eq!(pair.cold.gets(), before, "{what} reads the cold part");
    pair.fill(0, 1);
    let first = pair.back_up();
    unread(&pair, "backup");
    let needed_by_first: Vec<_> = pair.need(&first, &[]).cold.iter().map(|pack| pack.id).collect();
    fs::remove_dir_all(pair.world.data().join("d0")).unwrap();
    pair.fill(1, 3);
    pair.back_up();
    fs::remove_dir_all(pair.world.data().join("d1")).unwrap();
    pair.fill(3, 4);
    pair.open();
    let last = pair.back_up();
    unread(&pair, "a later backup");
    let repository = pair.world.repository.clone();
    let listed = catalog::list(&repository).unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(catalog::find(&repository, first.id.as_str()).unwrap().id, first.id);
    unread(&pair, "list");
    catalog::set_hold(&repository, &last, true).unwrap();
    catalog::set_hold(&repository, &last, false).unwrap();
    unread(&pair, "hold");
    delete::delete(&repository, &last, &me(), pair.world.now).unwrap();
    delete::undelete(&repository, last.id.as_str(), &me()).unwrap();
    unread(&pair, "delete and undelete");
    let policy = Policy { keep_last: Some(1), ..Policy::default() };
    let times = receive_times(&repository).unwrap();
    let plan = plan_forget(&policy, listed, &times, &HashMap::new(), &HashSet::new(), pair.world.now);
    forget(&repository, |_| Ok(plan.clone()), &me(), Timestamp::now(), &CancelToken::new()).unwrap();
    unread(&pair, "forget");
    let plan = pair.prune(0, true);
    assert!(plan.removed_packs >= needed_by_first.len(), "{plan:?}");
    unread(&pair, "prune --dry-run");
    let report = check(&repository, CheckOptions { read_percent: 0 }, &Progress::new(), &CancelToken::new());
    assert_eq!(report.unwrap().problems, Vec::<String>::new());
    unread(&pair, "check");
    // A writer that was killed: what it left is not looked into.
    let dead = Lease::shared(&repository, "killed", &Identity { pid: 5_000_000, ..me() }).unwrap().unwrap();
    std::mem::forget(dead);
    pair.fill(6, 7);
    pair.back_up();
    unread(&pair, "a backup after one that was killed");
    let needed: Vec<_> = pair.need(&last, &[]).cold.iter().map(|pack| pack.id).collect();
    pair.prune(0, false);
    unread(&pair, "prune");
    // Packs of data that nobody needs are gone, those of which a half is needed are as they were.
    let packs: Vec<_> = repository.list(FileKind::Pack).unwrap().iter().map(|pack| pack.id).collect();
    assert!(needed_by_first.iter().all(|id| !packs.contains(id)));
    assert!(needed.iter().all(|id| packs.contains(id)));
    assert_eq!(pair.cold.cold_gets(), 0);
}

#[test]
fn u8_a_restore_knows_what_is_cold_warms_it_up_and_reads_it() {
    let mut pair = Pair::new();
    pair.fill(0, 5);
    let record = pair.back_up();
    let to = pair.world.path("back");
    let whole = pair.need(&record, &[]);
    let part = pair.need(&record, &["d1"]);
    assert!(whole.warm.is_empty() && whole.warming.is_empty());
    assert!(warm_up::bytes(&whole.cold) >= 5 << 20 && !part.cold.is_empty());
    assert!(part.cold.len() <= whole.cold.len());
    assert_eq!(pair.cold.cold_gets(), 0);
    // Without asking for it first: told as what it is, and not as damage.
    let report = pair.world.restore(&record, &to);
    assert_eq!(report.damaged, 0);
    assert!(report.problems > 0);
    assert!(pair.world.take_told().iter().any(|words| words.contains("archive class")));
    fs::remove_dir_all(&to).unwrap();

    let (progress, cancel, terms) = (Progress::new(), CancelToken::new(), Terms::default());
    let mut need = pair.need(&record, &[]);
    warm_up::ask(&*pair.cold, &mut need, &terms, &progress, &cancel).unwrap();
    assert_eq!(pair.cold.asked(), whole.cold.len());
    // Whoever comes back tomorrow finds it on its way, and asks for nothing twice.
    let mut need = pair.need(&record, &[]);
    assert_eq!((need.cold.len(), need.warming.len()), (0, whole.cold.len()));
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let clock = StandingClock::new();
    let stopped = warm_up::wait(&*pair.cold, &mut need.clone(), &terms, &clock, &progress, &cancelled);
    assert!(matches!(stopped, Err(error) if error.is_cancelled()));
    warm_up::wait(&*pair.cold, &mut need, &terms, &clock, &progress, &cancel).unwrap();
    assert!(need.is_warm() && need.warm.len() == whole.cold.len());
    pair.world.restore(&record, &to);
    assert_same_tree(&pair.world.data(), &to);
    let index = Arc::new(pair.world.repository.load_index().unwrap());
    verify(&pair.world.repository, &index, &record, &progress, &cancel).unwrap();
}

#[test]
fn u8_a_lost_hot_part_is_made_again_from_the_cold_one_of_which_only_trees_are_read() {
    let mut pair = Pair::new();
    pair.fill(0, 3);
    let record = pair.back_up();
    pair.hot = Arc::default();
    let alone = Repository::open(pair.cold.clone(), &Secret::new(PASSWORD)).unwrap();
    let plan = plan_hot(&alone, &pair.hot, Look::Read).unwrap();
    let (progress, cancel, terms) = (Progress::new(), CancelToken::new(), Terms::default());
    let too_cold = fill_hot(&alone, &pair.hot, &plan, &progress, &cancel).unwrap_err();
    assert!(too_cold.is_too_cold(), "{too_cold}");
    let mut need = warm_up::look(&*pair.cold, plan.packs.clone(), &cancel).unwrap();
    assert!(!need.cold.is_empty());
    warm_up::ask(&*pair.cold, &mut need, &terms, &progress, &cancel).unwrap();
    warm_up::wait(&*pair.cold, &mut need, &terms, &StandingClock::new(), &progress, &cancel).unwrap();
    let packs = alone.list(FileKind::Pack).unwrap().len();
    assert!(pair.cold.asked() < packs, "{} of {packs}", pair.cold.asked());
    pair.repair();
    assert_eq!(catalog::list(&pair.world.repository).unwrap()[0].id, record.id);
    assert!(pair.world.repository.load_index().unwrap().len() > 3);
    assert!(!pair.need(&record, &[]).cold.is_empty());
}

/// Every object of a store.
fn image(store: &MemoryStore) -> BTreeMap<Key, Vec<u8>> {
    let mut all =
        BTreeMap::from([("config".parse().unwrap(), read(store, &"config".parse().unwrap()).unwrap())]);
    for folder in ["keys", "x", "locks", "index", "snapshots", "data"] {
        all.extend(store.list(folder).unwrap().into_iter().map(|object| {
            let content = read(store, &object.key).unwrap();
            (object.key, content)
        }));
    }
    all
}

/// Make a store what it was.
fn set_back(store: &MemoryStore, to: &BTreeMap<Key, Vec<u8>>) {
    image(store).keys().try_for_each(|key| store.delete(key)).unwrap();
    to.iter().try_for_each(|(key, content)| store.put_new(key, content)).unwrap();
}

#[test]
fn u8_a_backup_cut_short_at_any_call_to_either_store_leaves_a_sound_pair() {
    let (hot, cold): (Arc<MemoryStore>, Arc<MemoryStore>) = Default::default();
    let password = Secret::new(PASSWORD);
    let alone = Repository::init(cold.clone(), &password, "u", "h").unwrap();
    let repair = |alone: &Repository| {
        let plan = plan_hot(alone, &hot, Look::Read).unwrap();
        fill_hot(alone, &hot, &plan, &Progress::new(), &CancelToken::new()).unwrap();
    };
    repair(&alone);
    // So many calls to both together go through, then none any more, as for a process that is killed.
    let calls_left = Arc::new(AtomicI64::new(i64::MAX));
    let faulty = |store: &Arc<MemoryStore>| {
        let left = calls_left.clone();
        let plan: Plan =
            Box::new(move |_, _, _| (left.fetch_sub(1, Ordering::SeqCst) <= 0).then_some(Fault::Denied));
        Arc::new(FaultyStore::new(store.clone(), plan))
    };
    let open = |tiers: Tiers| Arc::new(Repository::open(Arc::new(tiers), &password).unwrap());
    let cut = open(Tiers::new(faulty(&hot), faulty(&cold)));
    let sound = open(Tiers::new(hot.clone(), cold.clone()));
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    testkit::tree::fill_with_noise(&data, 1, 1);
    let back_up = |repository: &Arc<Repository>| {
        let order = order(Timestamp::now() + SignedDuration::from_secs(60));
        files_world::back_up(repository, &data, Excludes::nothing(), &order, &|_| {})
    };
    let start = (image(&hot), image(&cold));
    let (mut calls, mut is_done, mut lacked) = (0, false, 0);
    while !is_done {
        set_back(&hot, &start.0);
        set_back(&cold, &start.1);
        calls_left.store(calls, Ordering::SeqCst);
        is_done = back_up(&cut).is_ok();
        let (in_hot, in_cold) = (image(&hot), image(&cold));
        let extra = in_hot.keys().find(|key| !in_cold.contains_key(*key));
        assert!(extra.is_none(), "after {calls} calls hot has {extra:?}, and cold has not");
        // Whoever comes next finds it sound, without a repair; what hot lacks is copied.
        let whole = CheckOptions { read_percent: 100 };
        let report = check(&sound, whole, &Progress::new(), &CancelToken::new()).unwrap();
        assert!(report.problems.is_empty() && report.touched_files == 0, "after {calls} calls: {report:?}");
        lacked += usize::from(!plan_hot(&sound, &hot, Look::Listed).unwrap().is_empty());
        repair(&sound);
        assert!(plan_hot(&sound, &hot, Look::Read).unwrap().is_empty());
        calls += 1;
    }
    assert!(
        calls > 20 && lacked > 2,
        "{calls} calls, of which {lacked} left something missing, prove little"
    );
}

#[test]
fn u8_who_works_on_the_cold_part_alone_is_seen_through_both_and_loses_nothing() {
    let mut pair = Pair::new();
    pair.fill(0, 2);
    let through_both = pair.world.repository.clone();
    let alone = Arc::new(Repository::open(pair.cold.clone(), &Secret::new(PASSWORD)).unwrap());
    pair.world.repository = alone.clone();
    let record = pair.back_up();
    pair.world.repository = through_both.clone();
    assert_eq!(catalog::list(&through_both).unwrap()[0].id, record.id);
    // Its directories are in the cold part alone: what cannot be read may be needed, so nothing is pruned beside it.
    let (progress, cancel, terms) = (Progress::new(), CancelToken::new(), Terms::default());
    let packs = alone.list(FileKind::Pack).unwrap().len();
    let options =
        PruneOptions { cooling_off: SignedDuration::ZERO, unused_percent_max: 0, ..PruneOptions::default() };
    let refused = prune(&through_both, &options, &me(), Timestamp::now(), &progress, &cancel).unwrap_err();
    assert!(refused.to_string().contains("archive class"), "{refused}");
    assert_eq!(alone.list(FileKind::Pack).unwrap().len(), packs);
    // Once hot has them, too, prune waits for whoever is at work there.
    let plan = plan_hot(&alone, &pair.hot, Look::Listed).unwrap();
    let mut need = warm_up::look(&*pair.cold, plan.packs.clone(), &cancel).unwrap();
    warm_up::ask(&*pair.cold, &mut need, &terms, &progress, &cancel).unwrap();
    warm_up::wait(&*pair.cold, &mut need, &terms, &StandingClock::new(), &progress, &cancel).unwrap();
    pair.repair();
    let at_work = Lease::beside(&alone, "backup", &me()).unwrap();
    fs::remove_dir_all(pair.world.data().join("d0")).unwrap();
    let second = pair.back_up();
    delete::delete(&pair.world.repository, &record, &me(), Timestamp::now()).unwrap();
    assert!(pair.prune(0, false).in_use_by.is_some());
    assert_eq!(alone.list(FileKind::Snapshot).unwrap()[0].id, second.snapshot.unwrap());
    drop(at_work);
    assert!(pair.prune(0, false).in_use_by.is_none());
}

#[test]
fn u8_a_damaged_index_file_keeps_neither_check_nor_repair_from_the_rest() {
    let mut pair = Pair::new();
    pair.fill(0, 2);
    let record = pair.back_up();
    let repository = pair.world.repository.clone();
    let alone = Repository::open(pair.cold.clone(), &Secret::new(PASSWORD)).unwrap();
    let id = alone.list(FileKind::Index).unwrap()[0].id;
    let file = FileKind::Index.object(&id);
    for store in [&*pair.cold as &dyn Store, &*pair.hot] {
        let mut bytes = read(store, &file).unwrap();
        bytes[20] ^= 1;
        store.delete(&file).unwrap();
        store.put_new(&file, &bytes).unwrap();
    }
    // A snapshot that hot lacks, and that cold has damaged, keeps nothing else from being copied either.
    let snapshot = FileKind::Snapshot.object(&record.snapshot.unwrap());
    let sound = read(&pair.hot, &snapshot).unwrap();
    let put_in_cold = |bytes: &[u8]| {
        pair.cold.delete(&snapshot).unwrap();
        pair.cold.put_new(&snapshot, bytes).unwrap();
    };
    put_in_cold(&sound[1..]);
    pair.hot.delete(&snapshot).unwrap();
    pair.hot.delete(&"config".parse().unwrap()).unwrap();
    let (progress, cancel) = (Progress::new(), CancelToken::new());
    assert_eq!(plan_hot(&repository, &pair.hot, Look::Listed).unwrap().unreadable, [id]);
    let plan = plan_hot(&alone, &pair.hot, Look::Read).unwrap();
    assert_eq!((plan.unreadable.as_slice(), plan.objects.len(), plan.config), ([id].as_slice(), 1, true));
    let passed_over = fill_hot(&alone, &pair.hot, &plan, &progress, &cancel).unwrap();
    assert_eq!(passed_over.len(), 1);
    assert!(passed_over[0].to_string().contains(&record.snapshot.unwrap().to_hex()), "{passed_over:?}");
    put_in_cold(&sound);
    // While packs are cold of which the damaged file may have told, it stays: prune stops at it.
    let report = repair_index(&repository, &me(), false, &progress, &cancel).unwrap();
    assert!(report.unreadable_files == [id] && !report.cold_packs.is_empty(), "{report:?}");
    assert!(alone.list(FileKind::Index).unwrap().iter().any(|listed| listed.id == id));
    let options =
        PruneOptions { cooling_off: SignedDuration::ZERO, unused_percent_max: 0, ..PruneOptions::default() };
    prune(&repository, &options, &me(), Timestamp::now(), &progress, &cancel).unwrap_err();
    let mut cold = alone.list(FileKind::Pack).unwrap();
    cold.retain(|pack| report.cold_packs.contains(&pack.id));
    let mut need = warm_up::look(&*pair.cold, cold, &cancel).unwrap();
    let terms = Terms::default();
    warm_up::ask(&*pair.cold, &mut need, &terms, &progress, &cancel).unwrap();
    warm_up::wait(&*pair.cold, &mut need, &terms, &StandingClock::new(), &progress, &cancel).unwrap();
    let report = repair_index(&repository, &me(), false, &progress, &cancel).unwrap();
    assert!(report.unreadable_files == [id] && report.cold_packs.is_empty(), "{report:?}");
    let report = check(&repository, CheckOptions { read_percent: 0 }, &progress, &cancel).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(plan_hot(&alone, &pair.hot, Look::Listed).unwrap().unreadable.is_empty());
}

#[test]
fn u8_a_copy_asks_also_for_what_the_target_has_in_packs_that_are_about_to_go() {
    let mut pair = Pair::new();
    pair.fill(0, 2);
    let record = pair.back_up();
    let from = pair.world.repository.clone();
    let to = Repository::init(Arc::new(MemoryStore::new()), &Secret::new(PASSWORD), "u", "h").unwrap();
    let to = Arc::new(to);
    let (progress, cancel, terms) = (Progress::new(), CancelToken::new(), Terms::default());
    let records = [record];
    let look = |pair: &Pair| {
        let packs = warm_up::packs_to_copy(&from, &to, &records, &cancel).unwrap();
        warm_up::look(&*pair.cold, packs, &cancel).unwrap()
    };
    let warm_and_copy = |pair: &Pair| {
        let mut need = look(pair);
        assert_eq!(need.cold.len(), pair.need(&records[0], &[]).cold.len());
        warm_up::ask(&*pair.cold, &mut need, &terms, &progress, &cancel).unwrap();
        warm_up::wait(&*pair.cold, &mut need, &terms, &StandingClock::new(), &progress, &cancel).unwrap();
        copy(&from, &to, &records, &me(), &progress, &cancel).unwrap();
        pair.cold.cool_down();
    };
    warm_and_copy(&pair);
    assert!(look(&pair).cold.is_empty());
    // Deleted there, and marked by prune: a copy relies on nothing of it.
    let copied = catalog::list(&to).unwrap().remove(0);
    delete::delete(&to, &copied, &me(), Timestamp::now()).unwrap();
    let packs = to.list(FileKind::Pack).unwrap().into_iter();
    marks::save(&to, &packs.map(|pack| (pack.id, Timestamp::now())).collect::<Marks>()).unwrap();
    warm_and_copy(&pair);
}
