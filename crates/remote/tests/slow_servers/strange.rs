//! Servers that break a promise: the probe sees which, and what makes up for it keeps the others.

use std::sync::Arc;

use remote::Settings;
use remote::canary::{Canary, try_canary};
use store::probe::{Behaviour, adapt, probe};
use store::retry::{Patience, RetryStore};
use testkit::http::{self, Request, Response};
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
    // Looking first does not help who looks at one moment with others.
    assert_eq!(Behaviour { one_wins: true, ..probe(&*adapted).unwrap() }, Behaviour::SOUND);
}

#[test]
fn rclone_overwrites_what_is_there() {
    is_seen_and_made_up_for(
        &S3::rclone(),
        Behaviour { keeps_first: false, one_wins: false, ..Behaviour::SOUND },
    );
}

#[test]
fn moto_keeps_every_promise() {
    is_seen_and_made_up_for(&S3::moto(), Behaviour::SOUND);
}

#[test]
fn a_gateway_without_cluster_overwrites_and_answers_wrong_ranges() {
    let habits = Behaviour { keeps_first: false, one_wins: false, exact_ranges: false, ..Behaviour::SOUND };
    is_seen_and_made_up_for(&S3::dbstore(), habits);
}

/// Amazon shows no lock in the headers of an object to whoever may not ask for it; every gateway here does.
#[test]
fn a_lock_that_nobody_may_see_is_no_broken_one() {
    let tried = |may_read: bool| {
        let answer = move |request: &Request| {
            let asks = |what: &str| request.query.contains_key(what);
            match request.method.as_str() {
                "GET" if may_read && asks("retention") => {
                    Response::of(200, "<Retention><Mode>GOVERNANCE</Mode></Retention>")
                }
                "PUT" if !asks("retention") => Response::of(200, "").with("x-amz-version-id", "v1"),
                "HEAD" => Response::of(200, ""),
                "DELETE" if !asks("versionId") => Response::of(204, ""),
                _ => Response::error(403, "AccessDenied"),
            }
        };
        let port = http::start(answer);
        let url =
            format!("s3://acme/p?endpoint=http://127.0.0.1:{port}&path-style=true&object-lock=compliance:1d");
        let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let settings = Settings::new(keys.map(|(name, value)| (name.to_owned(), value.to_owned())));
        try_canary(&url, &settings).unwrap()
    };
    assert_eq!(tried(false), Some(Canary::Unseen));
    assert_eq!(tried(true), Some(Canary::Unlocked), "it may be seen, and is none that holds");
}
