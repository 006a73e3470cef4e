//! Delete, undelete and forget, with holds and prune beside them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod copy_world;

use std::collections::{HashMap, HashSet};

use copy_world::world::{at, at_once, files, me, restore, run};
use copy_world::{back_up, repository};
use engine::delete::{delete, list_deleted, undelete};
use engine::forget::{foreign_origins, forget, plan_forget, receive_times};
use engine::{EngineError, catalog};
use model::cancel::CancelToken;
use model::retention::{Policy, Verdict};
use repo::lease::Lease;

#[test]
fn a_deleted_backup_comes_back_by_its_id_until_prune_takes_it() {
    let (_, repository) = repository();
    let content = files(&[("a", 1)]);
    let record = back_up(&repository, "web", &content, 1);
    delete(&repository, &record, &me(), at(2)).unwrap();
    assert!(catalog::list(&repository).unwrap().is_empty());
    assert!(matches!(delete(&repository, &record, &me(), at(2)), Err(EngineError::NoBackup(_))));
    let deleted = list_deleted(&repository).unwrap();
    assert_eq!((&deleted[0].record.id, deleted[0].deleted_at), (&record.id, at(2)));
    assert_eq!(serde_json::to_value(&deleted[0]).unwrap()["deletedAt"], "2026-01-01T02:00:00Z");
    assert!(matches!(undelete(&repository, "acme-other", &me()), Err(EngineError::NoBackup(_))));
    let back = undelete(&repository, "acme-web", &me()).unwrap();
    assert_eq!((&back.id, back.snapshot), (&record.id, record.snapshot));
    assert_eq!(restore(&repository, &record.snapshot.unwrap()), content);
    // By the snapshot's id, and without a record.
    delete(&repository, &record, &me(), at(3)).unwrap();
    repository.delete_note(&format!("record/{}", record.snapshot.unwrap())).unwrap();
    let back = undelete(&repository, &record.snapshot.unwrap().to_hex()[..10], &me()).unwrap();
    assert_eq!(back.id, record.id);
    delete(&repository, &record, &me(), at(4)).unwrap();
    assert_eq!(run(&repository, &at_once(), 5).buried, 1);
    assert!(matches!(undelete(&repository, "acme-web", &me()), Err(EngineError::NoBackup(_))));
}

#[test]
fn a_held_backup_is_neither_deleted_nor_forgotten() {
    let (_, repository) = repository();
    repository.clock().set(at(1));
    let old = back_up(&repository, "web", &files(&[("a", 1)]), 1);
    repository.clock().set(at(2));
    let new = back_up(&repository, "web", &files(&[("a", 2)]), 2);
    let policy = Policy { keep_last: Some(1), ..Policy::default() };
    let plan = plan_forget(
        &policy,
        catalog::list(&repository).unwrap(),
        &receive_times(&repository).unwrap(),
        &HashMap::new(),
        &HashSet::new(),
        at(9),
    );
    assert_eq!(plan.len(), 2);
    assert_eq!((plan[1].0.id.clone(), plan[1].1), (old.id.clone(), Verdict::Forget));
    repository.clock().set(at(9));
    // Held after the plan was made.
    catalog::set_hold(&repository, &old, true).unwrap();
    assert!(
        forget(&repository, |_| Ok(plan.clone()), &me(), at(9), &CancelToken::new()).unwrap().1.is_empty()
    );
    let error = delete(&repository, &old, &me(), at(9)).unwrap_err();
    assert_eq!(error.to_string(), format!("backup {} is on hold", old.id));
    catalog::set_hold(&repository, &old, false).unwrap();
    assert!(!catalog::find(&repository, old.id.as_str()).unwrap().hold);
    // Behind the lease, so that nobody waits with a plan in his hand.
    let behind_lease = |_| {
        assert_eq!(repository.list_notes("lease").unwrap().len(), 1);
        Ok(plan.clone())
    };
    let (_, gone) = forget(&repository, behind_lease, &me(), at(9), &CancelToken::new()).unwrap();
    assert_eq!(gone.iter().map(|record| &record.id).collect::<Vec<_>>(), [&old.id]);
    let left = catalog::list(&repository).unwrap();
    assert_eq!(left.iter().map(|record| &record.id).collect::<Vec<_>>(), [&new.id]);
    assert!(repository.list_notes("lease").unwrap().is_empty());
}

#[test]
fn sources_do_not_displace_each_other() {
    let (_, repository) = repository();
    for hour in 1..=3 {
        repository.clock().set(at(hour));
        back_up(&repository, "web", &files(&[("a", 1)]), hour);
        repository.clock().set(at(hour + 10));
        back_up(&repository, "db", &files(&[("b", 2)]), hour + 10);
    }
    let policy = Policy { keep_last: Some(1), ..Policy::default() };
    let plan = plan_forget(
        &policy,
        catalog::list(&repository).unwrap(),
        &receive_times(&repository).unwrap(),
        &HashMap::new(),
        &HashSet::new(),
        at(99),
    );
    let error = forget(&repository, |_| Ok(plan.clone()), &me(), at(99), &CancelToken::new()).unwrap_err();
    assert!(error.to_string().contains("so nothing is forgotten"), "a clock that jumped (threat-5): {error}");
    repository.clock().set(at(99));
    forget(&repository, |_| Ok(plan.clone()), &me(), at(99), &CancelToken::new()).unwrap();
    let left = catalog::list(&repository).unwrap();
    let ids: Vec<_> = left.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids, ["acme-db-13", "acme-web-3"]);
    assert_eq!(list_deleted(&repository).unwrap().len(), 4);
}

#[test]
fn nothing_is_deleted_while_prune_is_alone() {
    let (_, repository) = repository();
    let record = back_up(&repository, "web", &files(&[("a", 1)]), 1);
    let alone = Lease::exclusive(&repository, "prune", &me()).unwrap();
    assert!(delete(&repository, &record, &me(), at(2)).is_err());
    assert!(undelete(&repository, "acme", &me()).is_err());
    drop(alone);
    delete(&repository, &record, &me(), at(2)).unwrap();
}

#[test]
fn decoys_in_the_repository_push_nothing_out_threat_3() {
    let (_, repository) = repository();
    let real: Vec<_> = (1..=3).map(|hour| back_up(&repository, "web", &files(&[("a", 1)]), hour)).collect();
    // Whoever can append knows the tags. World time is long before the store's, so 2090 is the future of both.
    for hour in [-9_000, -8_000, -7_000, 600_000, 600_001, 600_002] {
        back_up(&repository, "web", &files(&[("a", 2)]), hour);
    }
    let policy = Policy { keep_last: Some(3), ..Policy::default() };
    let received = receive_times(&repository).unwrap();
    assert_eq!(received.len(), 9);
    let plan = plan_forget(
        &policy,
        catalog::list(&repository).unwrap(),
        &received,
        &HashMap::new(),
        &HashSet::new(),
        at(600_003),
    );
    let is_real = |record: &model::backup::BackupRecord| real.iter().any(|real| real.id == record.id);
    assert_eq!(
        plan.iter().filter(|(record, verdict)| is_real(record) && *verdict != Verdict::Forget).count(),
        3
    );
}

#[test]
fn snapshots_of_restic_count_by_host_and_paths() {
    let (_, repository) = repository();
    let index = repository.load_index_for_writing().unwrap();
    let tree = copy_world::world::save_tree(&repository, index, &files(&[("a", 1)]));
    let from = [("one", "/srv/web"), ("other", "/srv/web"), ("one", "/var/web")];
    for (hour, (host, path)) in (1..).zip(from.iter().cycle().take(6)) {
        let json =
            format!(r#"{{"time":"{}","tree":"{tree}","paths":["{path}"],"hostname":"{host}"}}"#, at(hour));
        repository.commit_snapshot(&serde_json::from_str(&json).unwrap()).unwrap();
    }
    let own = back_up(&repository, "web", &files(&[("a", 2)]), 1);
    let records = catalog::list(&repository).unwrap();
    let foreign = foreign_origins(&repository, &records).unwrap();
    assert_eq!((foreign.len(), foreign.contains_key(&own.snapshot.unwrap())), (6, false));
    let policy = Policy { keep_last: Some(1), ..Policy::default() };
    let plan = plan_forget(&policy, records, &HashMap::new(), &foreign, &HashSet::new(), at(9));
    let mut gone: Vec<_> = plan.iter().filter(|(_, verdict)| *verdict == Verdict::Forget).collect();
    gone.sort_by_key(|(record, _)| record.created_at);
    let hours: Vec<_> = gone.iter().map(|(record, _)| record.created_at).collect();
    assert_eq!(hours, [at(1), at(2), at(3)], "the newest of each host and path stays");
}
