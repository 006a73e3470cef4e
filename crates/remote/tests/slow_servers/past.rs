//! Buckets with versions and locks: the suite through PUTs of our own, and a past that is listed whole.

use jiff::Timestamp;
use store::prefix::PrefixStore;
use store::probe::{Behaviour, probe};
use store::store::read;
use store::{Key, Refusal, Store, StoreError, conformance};
use testkit::s3::S3;

use crate::settings;

/// More than a page of a listing, twice: each is deleted again.
const TIMES: usize = 1_100;

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn names(store: &dyn Store, folder: &str) -> Vec<(String, u64)> {
    let listed = store.list(folder).unwrap().into_iter();
    let mut names: Vec<_> = listed.map(|object| (object.key.to_string(), object.size)).collect();
    names.sort();
    names
}

/// The past of `url` as far as it went until now is the present, and nothing can be changed in it.
fn the_past_until_now_is_the_present(url: &str) {
    let present = remote::open(url, &settings()).unwrap();
    let past = remote::as_it_was(url, "2100-01-01T00:00:00Z".parse::<Timestamp>().unwrap()).unwrap();
    let past = remote::open(&past, &settings()).unwrap();
    for folder in ["data", "x"] {
        let there = names(&*present, folder);
        let (was, count) = (names(&*past, folder), there.len());
        let differs = was.iter().zip(&there).find(|(was, is)| was != is);
        assert!(was == there, "{folder}: {} of {count} objects, {differs:?}", was.len());
        for (name, _) in there.iter().step_by(there.len().div_ceil(50)) {
            assert!(read(&*past, &key(name)).unwrap() == read(&*present, &key(name)).unwrap(), "{name}");
        }
    }
    assert!(read(&*past, &key("x/many")).unwrap_err().is_not_found());
    assert!(read(&*past, &key("never")).unwrap_err().is_not_found());
    for refused in [past.put_new(&key("x/new"), b"x"), past.delete(&key("x/stays"))] {
        assert!(matches!(refused, Err(StoreError::Refused { why: Refusal::Past, .. })), "{refused:?}");
    }
}

fn one_name_many_times(store: &dyn Store) {
    for _ in 0..TIMES {
        store.put_new(&key("x/many"), b"again").unwrap();
        store.delete(&key("x/many")).unwrap();
    }
    store.put_new(&key("x/stays"), b"here").unwrap();
}

#[test]
fn a_bucket_of_ceph_that_locks_conforms_one_by_one_and_its_past_is_whole() {
    let s3 = S3::ceph();
    s3.ask("PUT", "locked", &["x-amz-bucket-object-lock-enabled: true"], "");
    let url = |prefix: &str| format!("{}&object-lock=compliance:1d", s3.url("locked", prefix));
    // Below `data/` everything is locked.
    let packs =
        |prefix: &str| PrefixStore::new(remote::open(&url(prefix), &settings()).unwrap(), "data").unwrap();
    conformance::run_one_by_one(&packs("suite"));
    conformance::run_one_by_one(&packs(""));
    conformance::odd_names_are_kept_as_they_are(&packs("pre fix+ä"));
    conformance::odd_names_are_kept_as_they_are(&packs("long"));
    conformance::a_long_list_is_whole(&packs("long"));
    one_name_many_times(&*remote::open(&url("long"), &settings()).unwrap());
    the_past_until_now_is_the_present(&url("long"));
    // Without versions, one of them wins; see `strict`.
    let store = remote::open(&url("probe"), &settings()).unwrap();
    let seen = || probe(&*store).unwrap();
    // A machine that is busy may run them one after the other.
    let is_seen = (0..50).any(|_| seen() == Behaviour { one_wins: false, ..Behaviour::SOUND });
    assert!(is_seen, "Ceph has learnt to let one win: say so in the documents");
}

#[test]
fn the_past_of_a_bucket_of_moto_is_whole() {
    let s3 = S3::moto();
    s3.make_bucket("kept");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.ask("PUT", "kept?versioning=", &[], enabled);
    let store = remote::open(&s3.url("kept", "p"), &settings()).unwrap();
    let packs = PrefixStore::new(store, "data").unwrap();
    conformance::odd_names_are_kept_as_they_are(&packs);
    conformance::a_long_list_is_whole(&packs);
    one_name_many_times(&*remote::open(&s3.url("kept", "p"), &settings()).unwrap());
    the_past_until_now_is_the_present(&s3.url("kept", "p"));
}
