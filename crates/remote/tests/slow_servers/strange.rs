//! Servers that break a promise: the probe sees which, and what makes up for it keeps the others.

use std::sync::Arc;

use store::probe::{Behaviour, adapt, probe};
use store::retry::{Patience, RetryStore};
use testkit::s3::S3;

use crate::open;

/// What the server does is `habits`; adapted, it keeps every promise.
fn is_seen_and_made_up_for(s3: &S3, habits: Behaviour) {
    s3.make_bucket("acme");
    // Tried again, as the face does it: after a wrong range the gateway's connection is out of step, and the next
    // request on it fails.
    let store = Arc::new(RetryStore::new(open(s3, "acme", "p"), Patience::default()));
    assert_eq!(probe(&*store).unwrap(), habits);
    let adapted = adapt(store, &habits).unwrap();
    assert_eq!(probe(&*adapted).unwrap(), Behaviour::SOUND);
}

#[test]
fn rclone_overwrites_what_is_there() {
    is_seen_and_made_up_for(&S3::rclone(), Behaviour { keeps_first: false, ..Behaviour::SOUND });
}

#[test]
fn moto_keeps_every_promise() {
    is_seen_and_made_up_for(&S3::moto(), Behaviour::SOUND);
}

#[test]
fn a_gateway_without_cluster_overwrites_and_answers_wrong_ranges() {
    let habits = Behaviour { keeps_first: false, exact_ranges: false, ..Behaviour::SOUND };
    is_seen_and_made_up_for(&S3::dbstore(), habits);
}
