//! Every store against real servers: the suite of `store::conformance`, and what each server says when it says no.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod errors;
mod others;
mod past;
mod roles;
mod strange;
mod strict;

use remote::Settings;
use store::Store;
use testkit::s3::{ACCESS_KEY, REGION, S3, SECRET_KEY};

/// The environment of somebody who may use the S3 of tests.
fn settings() -> Settings {
    with_secret(SECRET_KEY)
}

fn with_secret(secret: &str) -> Settings {
    let variables =
        [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", secret), ("AWS_REGION", REGION)];
    Settings::new(variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

fn open(s3: &S3, bucket: &str, prefix: &str) -> Box<dyn Store> {
    remote::open(&s3.url(bucket, prefix), &settings()).unwrap()
}
