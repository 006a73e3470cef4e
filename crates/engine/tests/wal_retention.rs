//! Which base backups and which WAL stay, for a window in which a cluster comes back to every moment.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod wal_world;

use std::sync::Arc;

use engine::expire_wal::{ExpireOptions, ExpiredWal, expire_wal};
use engine::{catalog, delete, forget};
use jiff::SignedDuration;
use model::cancel::CancelToken;
use model::retention::{Policy, Verdict};
use repo::Repository;
use wal_world::copy_world::repository;
use wal_world::copy_world::world::{at, at_once, me, run};
use wal_world::{base_backup, name, names, push, push_all, segment};

/// From where the window is seen, in hours.
const NOW: i64 = 33;

/// A segment each hour, and until hour 30 a base backup every five.
fn full_of_wal() -> Arc<Repository> {
    let (_, repository) = repository();
    for hour in 1..NOW {
        repository.clock().set(at(hour));
        if hour % 5 == 0 {
            base_backup(&repository, hour as u64, hour);
        }
        push_all(&repository, [hour as u64]);
    }
    repository.clock().set(at(NOW));
    repository
}

fn window(hours: i64) -> Policy {
    let span = SignedDuration::from_hours(hours);
    Policy { keep_last: Some(1), keep_wal_within: Some(span), ..Policy::default() }
}

/// The hours of those that stay, and why.
fn kept(repository: &Repository, policy: &Policy) -> Vec<(String, &'static str)> {
    let plan = forget::plan(repository, policy, catalog::list(repository).unwrap(), at(NOW)).unwrap();
    let kept = plan.into_iter().filter_map(|(record, verdict)| match verdict {
        Verdict::Keep(reason) => Some((record.id.to_string(), reason)),
        Verdict::Forget => None,
    });
    kept.collect()
}

/// Remove with a window, as prune does at once.
fn expire(repository: &Repository, hours: Option<i64>) -> ExpiredWal {
    let window = |tenant: &str, source: &str| {
        assert_eq!((tenant, source), ("acme", "main"));
        hours.map(SignedDuration::from_hours)
    };
    let options = ExpireOptions { until: at(NOW), window: &window, now: at(NOW), dry_run: false };
    expire_wal(repository, &options, &CancelToken::new()).unwrap()
}

fn segments(hours: impl IntoIterator<Item = u64>) -> Vec<String> {
    hours.into_iter().map(|hour| name(1, hour)).collect()
}

#[test]
fn the_base_backup_with_which_the_window_begins_stays_with_its_reason() {
    let repository = full_of_wal();
    let last = ("acme-main-30".to_owned(), "newest good one");
    let needed = |hour: i64| (format!("acme-main-{hour}"), "needed by the recovery window");
    // Ten hours ago it was 23: the one of hour 20 leads there.
    assert_eq!(kept(&repository, &window(10)), [last.clone(), needed(20)]);
    assert_eq!(kept(&repository, &window(13)), [last.clone(), needed(20)]);
    assert_eq!(kept(&repository, &window(14)), [last.clone(), needed(15)]);
    assert_eq!(kept(&repository, &window(1000)), [last.clone(), needed(5)], "it is not full yet");
    let alone = Policy { keep_wal_within: None, ..window(10) };
    assert_eq!(kept(&repository, &alone), std::slice::from_ref(&last));
    // Behind a gap the first one is needed, too.
    repository.store().delete(&wal_world::file(&name(1, 23)).object()).unwrap();
    assert_eq!(kept(&repository, &window(12)), [last, needed(25), needed(20)]);
}

#[test]
fn pitfall_19_forget_and_prune_leave_every_moment_of_the_window_and_the_ends_of_older_backups() {
    let repository = full_of_wal();
    let policy = Policy { keep_last: Some(5), ..window(9) };
    let plan = forget::plan(&repository, &policy, catalog::list(&repository).unwrap(), at(NOW)).unwrap();
    let (_, gone) =
        forget::forget(&repository, |_| Ok(plan.clone()), &me(), at(NOW), &CancelToken::new()).unwrap();
    assert_eq!(gone.len(), 1);
    // The one of hour 5 can come back as long as prune has not buried it: its own WAL stays as long.
    let expired = expire(&repository, Some(9));
    assert_eq!(names(&repository), segments([5, 10, 15].into_iter().chain(20..33)));
    assert_eq!((expired.files, expired.kept), (16, 16));
    assert_eq!(run(&repository, &at_once(), NOW + 1).buried, 1);
    expire(&repository, Some(9));
    assert_eq!(names(&repository), segments([10, 15].into_iter().chain(20..33)));
    // Where nothing is said of a window, all that follows the oldest base backup is needed, and so nothing else goes.
    assert_eq!(expire(&repository, None).files, 0);
    // A window of two hours begins with the one of hour 30.
    assert_eq!(expire(&repository, Some(2)).files, 8);
    assert_eq!(names(&repository), segments([10, 15, 20, 25, 30, 31, 32]));
}

#[test]
fn pitfall_19_a_base_backup_that_is_no_good_is_no_beginning_of_the_window() {
    let repository = full_of_wal();
    let record = catalog::find(&repository, "acme-main-20").unwrap();
    catalog::save_verification(&repository, &record, false, at(NOW)).unwrap();
    assert!(kept(&repository, &window(10)).iter().any(|(id, _)| id == "acme-main-15"));
    expire(&repository, Some(10));
    assert_eq!(names(&repository), segments([5, 10].into_iter().chain(15..33)));
    // Histories stay whatever goes; a snapshot that cannot be read keeps everything.
    let record = catalog::find(&repository, "acme-main-25").unwrap();
    delete::delete(&repository, &record, &me(), at(NOW)).unwrap();
    push(&repository, "00000002.history", b"1\t0/1E00000\tbecause\n").unwrap();
    push(&repository, &name(2, 30), &segment(2, 30, 1)).unwrap();
    repository
        .store()
        .put_new(&format!("snapshots/{}", "ab".repeat(32)).parse().unwrap(), b"no snapshot")
        .unwrap();
    let window = |_: &str, _: &str| Some(SignedDuration::ZERO);
    let options = ExpireOptions { until: at(NOW), window: &window, now: at(NOW), dry_run: false };
    expire_wal(&repository, &options, &CancelToken::new()).unwrap_err();
    assert_eq!(names(&repository).len(), 22);
}

#[test]
fn a_locker_keeps_the_wal_that_prune_would_leave() {
    let (_, repository) = repository();
    repository.clock().set(at(1));
    push_all(&repository, 1..4);
    base_backup(&repository, 4, 1);
    push_all(&repository, 4..7);
    let needed = engine::needed::find(&repository, &CancelToken::new()).unwrap();
    assert_eq!(needed.damage, [""; 0]);
    let wal = |number| wal_world::file(&name(1, number)).object();
    assert!(needed.needs_hidden_wal(&wal(9)) && !needed.needs_hidden_wal(&wal(2)));
    assert!(
        !needed.needs_hidden_wal(&"wal/7/00000001/000000010000000000000009".parse().unwrap()),
        "another cluster"
    );
    let found: Vec<_> = (1..7).filter(|number| needed.objects.contains(&wal(*number))).collect();
    repository.clock().set(at(NOW));
    expire(&repository, None);
    assert_eq!(found.into_iter().map(|number| name(1, number)).collect::<Vec<_>>(), names(&repository));
    assert_eq!(names(&repository), segments(4..7));
}
