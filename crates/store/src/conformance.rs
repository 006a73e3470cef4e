//! What every store must do: one suite that each implementation runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use crate::key::Key;
use crate::store::{Bytes, Range, Reads, Store, StoreError, read};

/// How often several writers want one name at one moment.
const CONTESTS: u32 = 8;

fn key(text: &str) -> Key {
    text.parse().expect("a key of the suite")
}

/// Run the whole suite against an **empty** store.
///
/// # Panics
/// Where the store does not keep a promise; the message names it.
pub fn run(store: &dyn Store) {
    of_many_writers_one_wins(store);
    run_one_by_one(store);
}

/// The suite without several that write one name at one moment; [`crate::probe`] sees who cannot keep that promise.
///
/// # Panics
/// As [`run`].
pub fn run_one_by_one(store: &dyn Store) {
    what_was_put_is_read_back(store);
    the_first_put_wins(store);
    packs_are_kept_as_all_else(store);
    ranges_are_exact(store);
    an_empty_object_has_no_bytes(store);
    names_are_kept_as_they_are(store);
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

fn packs_are_kept_as_all_else(store: &dyn Store) {
    for (name, reads) in [("p/trees", Reads::Often), ("p/pieces", Reads::Seldom)] {
        let content = Bytes::from(vec![9; 3 << 20]);
        store.put_pack(&key(name), &content, reads).expect("put");
        assert!(read(store, &key(name)).expect("get") == content, "{name} came back changed");
        let second = store.put_pack(&key(name), &Bytes::from_static(b"second"), reads);
        assert!(second.expect_err("a second put of one name").is_already_exists());
        assert!(content.is_unique(), "the store keeps what it was lent");
    }
}

fn of_many_writers_one_wins(store: &dyn Store) {
    // Each time in a folder that nobody has made yet: who comes second must not stumble over that either.
    for round in 0..CONTESTS {
        one_wins(store, &key(&format!("b/{round}/contended")));
    }
}

fn one_wins(store: &dyn Store, contended: &Key) {
    let winners = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for writer in 0..8u8 {
            let winners = &winners;
            scope.spawn(move || {
                loop {
                    match store.put_new(contended, &[writer; 1000]) {
                        Ok(()) => _ = winners.fetch_add(1, Ordering::SeqCst),
                        // "Not now, somebody else is writing it": an answer, but no decision.
                        Err(error) if error.is_transient() => continue,
                        Err(error) => assert!(error.is_already_exists(), "{error}"),
                    }
                    break;
                }
            });
        }
    });
    assert_eq!(winners.into_inner(), 1, "several writers were told that they made the object");
    let content = read(store, contended).expect("get");
    assert!(content.len() == 1000 && content.iter().all(|byte| *byte == content[0]), "mixed content");
}

fn ranges_are_exact(store: &dyn Store) {
    store.put_new(&key("c/digits"), b"0123456789").expect("put");
    let mut into = vec![1; 100];
    for (offset, len, want) in [(0, 10, &b"0123456789"[..]), (3, 4, b"3456"), (9, 1, b"9"), (4, 0, b"")] {
        store.get(&key("c/digits"), Range::Bytes { offset, len }, &mut into).expect("range");
        assert_eq!(into, want);
    }
    for (offset, len) in [(0, 11), (9, 2), (10, 1), (11, 1), (1 << 40, 1), (u64::MAX, 1)] {
        let error = store.get(&key("c/digits"), Range::Bytes { offset, len }, &mut into);
        assert!(error.is_err(), "a range beyond the end gave bytes");
    }
    let many: Vec<u8> = (0..600_000u32).map(|number| (number * 7 + (number >> 8)) as u8).collect();
    store.put_new(&key("c/many"), &many).expect("put");
    for (offset, len) in [(0, 1), (599_999, 1), (262_143, 2), (1, 599_999), (300_000, 65_536)] {
        let range = Range::Bytes { offset: offset as u64, len: len as u64 };
        store.get(&key("c/many"), range, &mut into).expect("range");
        assert!(into == many[offset..offset + len], "{len} bytes from {offset} are others");
    }
}

fn an_empty_object_has_no_bytes(store: &dyn Store) {
    store.put_new(&key("c/empty"), b"").expect("put");
    let mut into = vec![1];
    store.get(&key("c/empty"), Range::Bytes { offset: 0, len: 0 }, &mut into).expect("nothing of nothing");
    assert_eq!(into, b"");
    assert!(store.get(&key("c/empty"), Range::Bytes { offset: 0, len: 1 }, &mut into).is_err());
    let missing = store.get(&key("c/missing"), Range::Bytes { offset: 0, len: 1 }, &mut into);
    assert!(missing.expect_err("a missing object").is_not_found());
    assert!(store.put_new(&key("c/empty"), b"x").expect_err("a second put").is_already_exists());
}

fn names_are_kept_as_they_are(store: &dyn Store) {
    let long = ["long", &"n".repeat(200), &"m".repeat(200), &"o".repeat(200)].join("/");
    keeps_names(store, &["a.b", "a..b", ".hidden", "a_b-c~d", "A", "00000001.history", &long]);
}

/// Names with characters that mean something in addresses. mainstay itself never writes such names, but prefixes are
/// chosen by people.
///
/// # Panics
/// Where a name comes back changed or not at all.
pub fn odd_names_are_kept_as_they_are(store: &dyn Store) {
    keeps_names(
        store,
        &["a b", "a+b", "a%20b", "a&b=c", "a?b", "a#b", "ä-日本-🙂", "!$'()*,;:@", "[a]{b}^`|\"<>"],
    );
}

fn keeps_names(store: &dyn Store, names: &[&str]) {
    let mut wanted: Vec<String> = names.iter().map(|name| format!("o/{name}")).collect();
    for name in &wanted {
        store.put_new(&key(name), name.as_bytes()).unwrap_or_else(|error| panic!("put {name:?}: {error}"));
        assert_eq!(read(store, &key(name)).expect("get"), name.as_bytes());
    }
    let mut listed: Vec<_> =
        store.list("o").expect("list").iter().map(|object| object.key.to_string()).collect();
    wanted.sort();
    listed.sort();
    assert_eq!(listed, wanted);
    for name in &wanted {
        store.delete(&key(name)).expect("delete");
    }
    assert_eq!(store.list("o").expect("list"), []);
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
        assert!(object.modified > SystemTime::UNIX_EPOCH, "a listing without times");
    }
}

/// More objects than any store lists at once. A part of its own, because a store that syncs each object is slow at it.
///
/// # Panics
/// Where the listing has others than those that were put.
pub fn a_long_list_is_whole(store: &dyn Store) {
    const COUNT: usize = 2_100;
    const WRITERS: usize = 16;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in (writer..COUNT).step_by(WRITERS) {
                    store.put_new(&key(&format!("g/{number:05}")), b"g").expect("put");
                }
            });
        }
    });
    let mut names: Vec<_> =
        store.list("g").expect("list").iter().map(|object| object.key.to_string()).collect();
    names.sort();
    let wanted: Vec<_> = (0..COUNT).map(|number| format!("g/{number:05}")).collect();
    assert!(names == wanted, "{} names instead of {COUNT}, or others", names.len());
}

fn deleting_twice_is_fine(store: &dyn Store) {
    store.put_new(&key("f/short-lived"), b"x").expect("put");
    store.delete(&key("f/short-lived")).expect("delete");
    store.delete(&key("f/short-lived")).expect("delete again");
    assert!(read(store, &key("f/short-lived")).expect_err("deleted").is_not_found());
    store.put_new(&key("f/short-lived"), b"y").expect("the name is free again");
}
