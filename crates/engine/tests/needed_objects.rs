//! What a locker keeps locked: all that prune would leave, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod copy_world;

use std::collections::BTreeSet;

use copy_world::world::{at, at_once, files, me, restore, run};
use copy_world::{back_up, repository};
use engine::catalog::{self, find as find_one};
use engine::delete::{delete, list_deleted, undelete};
use engine::needed::{Needed, find};
use model::cancel::CancelToken;
use model::progress::Progress;
use repo::Repository;
use repo::check::{CheckOptions, check};
use repo::repository::FileKind;
use store::{Key, Store};

fn needed(repository: &Repository) -> Needed {
    find(repository, &CancelToken::new()).unwrap()
}

/// Everything that is there of what locks are for.
fn stored(repository: &Repository) -> BTreeSet<Key> {
    let kinds = [FileKind::Pack, FileKind::Index, FileKind::Snapshot, FileKind::Key];
    let listed =
        |kind: FileKind| repository.list(kind).unwrap().into_iter().map(move |one| kind.object(&one.id));
    kinds.into_iter().flat_map(listed).chain(["config".parse().unwrap()]).collect()
}

#[test]
fn what_is_needed_is_what_prune_leaves() {
    let (_, repository) = repository();
    back_up(&repository, "web", &files(&[("a", 1), ("b", 2)]), 1);
    let dropped = back_up(&repository, "mail", &files(&[("a", 1), ("c", 3)]), 2);
    let all = stored(&repository);
    assert_eq!(needed(&repository).objects, all);
    delete(&repository, &dropped, &me(), at(3)).unwrap();
    let left = needed(&repository);
    assert!(left.damage.is_empty(), "{:?}", left.damage);
    assert!(left.objects.is_subset(&all) && left.objects.len() < all.len());
    run(&repository, &at_once(), 4);
    let left = needed(&repository);
    assert_eq!((left.objects, left.damage.len()), (stored(&repository), 0));
}

#[test]
fn where_something_is_gone_every_pack_counts() {
    let (store, repository) = repository();
    let kept = back_up(&repository, "web", &files(&[("a", 1)]), 1);
    let dropped = back_up(&repository, "mail", &files(&[("c", 3)]), 2);
    let packs =
        |objects: &BTreeSet<Key>| objects.iter().filter(|key| key.as_str().starts_with("data/")).count();
    let all = packs(&needed(&repository).objects);
    delete(&repository, &dropped, &me(), at(3)).unwrap();
    assert!(packs(&needed(&repository).objects) < all);
    // Behind our back.
    store.delete(&FileKind::Snapshot.object(&kept.snapshot.unwrap())).unwrap();
    let left = needed(&repository);
    assert_eq!(left.damage.len(), 1, "{:?}", left.damage);
    assert!(left.damage[0].contains(kept.id.as_str()) && left.damage[0].contains("disappeared"));
    assert_eq!(packs(&left.objects), all);
}

#[test]
fn junk_of_somebody_who_can_only_create_changes_nothing() {
    let (store, repository) = repository();
    let content = files(&[("a", 1)]);
    let kept = back_up(&repository, "web", &content, 1);
    let dropped = back_up(&repository, "mail", &files(&[("c", 3)]), 2);
    delete(&repository, &dropped, &me(), at(3)).unwrap();
    let before = needed(&repository).objects;
    let (ours, nobodys) = (dropped.snapshot.unwrap(), "9".repeat(64));
    let junk = [
        "deleted/zzz",
        &format!("deleted/{ours}/0"),
        &format!("deleted/{nobodys}"),
        &format!("record/{nobodys}"),
    ];
    for name in junk {
        store.put_new(&format!("x/{name}").parse().unwrap(), b"junk").unwrap();
    }
    let left = needed(&repository);
    assert!(left.objects == before && left.damage.is_empty(), "{:?}", left.damage);
    assert_eq!(find_one(&repository, "acme-web").unwrap().id, kept.id);
    assert_eq!(restore(&repository, &kept.snapshot.unwrap()), content);
    let deleted = list_deleted(&repository).unwrap();
    assert!(deleted.len() == 1 && deleted[0].record.id == dropped.id);
    let report = check(&repository, CheckOptions::default(), &Progress::new(), &CancelToken::new()).unwrap();
    for name in &junk[..3] {
        assert!(
            report.problems.iter().any(|problem| problem.contains(name)),
            "{name}: {:?}",
            report.problems
        );
    }
    undelete(&repository, "acme-mail", &me()).unwrap();
    assert_eq!(catalog::list(&repository).unwrap().len(), 2);
}
