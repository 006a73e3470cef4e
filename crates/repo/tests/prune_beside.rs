//! A prune that takes turns with others at work, by the machine's own time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod prune_world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use model::cancel::CancelToken;
use model::progress::Progress;
use prune_world::{assert_sound, at_once, back_up, files, me, password, restore};
use repo::Repository;
use repo::lease::Lease;
use repo::packer::Guard;
use repo::prune::prune;
use repo::repository::FileKind;
use repo::waiting::{AtWork, Waiting};
use store::Store;
use store::memory::MemoryStore;

#[test]
fn what_is_needed_moves_beside_others_and_the_rest_goes_when_they_have_ended() {
    let store = Arc::new(MemoryStore::new());
    Repository::init(store.clone(), &password(), "u", "h").unwrap();
    let (told, waits) = std::sync::mpsc::channel::<String>();
    let opened = || {
        let told = told.clone();
        let waiting = Waiting {
            at_most: Duration::from_secs(60),
            tell: Arc::new(move |whom| told.send(whom.to_owned()).unwrap()),
            is_stopped: Arc::new(|| false),
            at_work: AtWork::default(),
        };
        Arc::new(Repository::open(store.clone(), &password()).unwrap().with_waiting(waiting))
    };
    let (writer, pruner) = (opened(), opened());
    let (all, part) = (files(&[("a", 1), ("b", 2)]), files(&[("a", 1)]));
    let gone = back_up(&writer, &all, 0);
    let kept = back_up(&writer, &part, 0);
    let now = Timestamp::now();
    writer.delete_snapshot(&gone, now, &Guard::default()).unwrap();
    let at_work = Lease::beside(&writer, "backup", &me()).unwrap();
    let before = pruner.list(FileKind::Pack).unwrap().len();
    let report = std::thread::scope(|scope| {
        let prune = scope.spawn(|| {
            let (progress, cancel) = (Progress::new(), CancelToken::new());
            prune(&pruner, &at_once(), &me(), now, &progress, &cancel).unwrap()
        });
        assert!(waits.recv_timeout(Duration::from_secs(60)).unwrap().starts_with("u@here"));
        assert_eq!(writer.list(FileKind::Pack).unwrap().len(), before + 1, "what is needed is there twice");
        assert_eq!(restore(&writer, &kept), part);
        assert!(!prune.is_finished());
        drop(at_work);
        prune.join().unwrap()
    });
    assert_eq!((report.repacked_packs, report.in_use_by), (1, None));
    assert_eq!(assert_sound(&writer, "afterwards"), 0);
    assert_eq!(restore(&writer, &kept), part);
    assert!(store.list("locks").unwrap().is_empty() && store.list("x/lease").unwrap().is_empty());
}
