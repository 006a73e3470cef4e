//! What every store must do: one suite that each implementation runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::key::Key;
use crate::store::{Range, Store, StoreError, read};

fn key(text: &str) -> Key {
    text.parse().expect("a key of the suite")
}

/// Run the whole suite against an **empty** store.
///
/// # Panics
/// Where the store does not keep a promise; the message names it.
pub fn run(store: &dyn Store) {
    what_was_put_is_read_back(store);
    the_first_put_wins(store);
    of_many_writers_one_wins(store);
    ranges_are_exact(store);
    a_missing_object_is_not_found(store);
    a_list_has_all_and_only_its_folder(store);
    deleting_twice_is_fine(store);
}

fn what_was_put_is_read_back(store: &dyn Store) {
    for (name, content) in [("a/empty", vec![]), ("a/one", vec![7]), ("a/large", vec![9; 3 << 20])] {
        store.put_new(&key(name), &content).expect("put");
        assert!(read(store, &key(name)).expect("get") == content, "{name} came back changed");
    }
}

fn the_first_put_wins(store: &dyn Store) {
    store.put_new(&key("b/taken"), b"first").expect("put");
    let second = store.put_new(&key("b/taken"), b"second").expect_err("a second put of one name");
    assert!(second.is_already_exists(), "{second}");
    assert_eq!(read(store, &key("b/taken")).expect("get"), b"first", "the second put overwrote");
}

fn of_many_writers_one_wins(store: &dyn Store) {
    let winners = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..8u8 {
            let winners = &winners;
            scope.spawn(move || match store.put_new(&key("b/contended"), &[writer; 1000]) {
                Ok(()) => _ = winners.fetch_add(1, Ordering::SeqCst),
                Err(error) => assert!(error.is_already_exists(), "{error}"),
            });
        }
    });
    assert_eq!(winners.into_inner(), 1, "several writers were told that they made the object");
    let content = read(store, &key("b/contended")).expect("get");
    assert!(content.len() == 1000 && content.iter().all(|byte| *byte == content[0]), "mixed content");
}

fn ranges_are_exact(store: &dyn Store) {
    store.put_new(&key("c/digits"), b"0123456789").expect("put");
    let mut into = vec![1; 100];
    for (offset, len, want) in [(0, 10, &b"0123456789"[..]), (3, 4, b"3456"), (9, 1, b"9"), (4, 0, b"")] {
        store.get(&key("c/digits"), Range::Bytes { offset, len }, &mut into).expect("range");
        assert_eq!(into, want);
    }
    for (offset, len) in [(0, 11), (10, 1), (u64::MAX, 1)] {
        let error = store.get(&key("c/digits"), Range::Bytes { offset, len }, &mut into);
        assert!(error.is_err(), "a range beyond the end gave bytes");
    }
}

fn a_missing_object_is_not_found(store: &dyn Store) {
    let error = read(store, &key("d/nothing")).expect_err("a missing object");
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
}

fn a_list_has_all_and_only_its_folder(store: &dyn Store) {
    assert_eq!(store.list("e").expect("list of nothing"), []);
    for number in 0..100 {
        store.put_new(&key(&format!("e/{:02x}/{number}", number % 7)), &vec![0; number]).expect("put");
    }
    store.put_new(&key("ee/other"), b"").expect("put");
    let mut found = store.list("e").expect("list");
    found.sort_by_key(|object| object.size);
    assert_eq!(found.len(), 100);
    for (number, object) in found.iter().enumerate() {
        assert_eq!(object.key.as_str(), format!("e/{:02x}/{number}", number % 7));
        assert_eq!(object.size, number as u64);
    }
}

fn deleting_twice_is_fine(store: &dyn Store) {
    store.put_new(&key("f/short-lived"), b"x").expect("put");
    store.delete(&key("f/short-lived")).expect("delete");
    store.delete(&key("f/short-lived")).expect("delete again");
    assert!(read(store, &key("f/short-lived")).expect_err("deleted").is_not_found());
    store.put_new(&key("f/short-lived"), b"y").expect("the name is free again");
}
