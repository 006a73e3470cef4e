//! What a server refuses, and what becomes of it: an error that names what is to be mended.

use remote::Settings;
use store::store::read;
use store::{Refusal, Store, StoreError};
use testkit::s3::S3;
use testkit::service::free_port;

use crate::{open, settings, with_secret};

fn write(store: &dyn Store) -> StoreError {
    store.put_new(&"config".parse().unwrap(), b"x").expect_err("a refusal")
}

fn refusal(error: &StoreError) -> &Refusal {
    match error {
        StoreError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

/// Against a server that checks everything, with a bucket `acme`.
pub(crate) fn each_no_is_named(s3: &S3) {
    let missing = open(s3, "no-such-bucket", "p");
    let error = write(&*missing);
    assert_eq!(*refusal(&error), Refusal::NoBucket);
    assert!(error.to_string().contains("write config in s3://no-such-bucket/p?endpoint="), "{error}");
    assert_eq!(*refusal(&missing.list("data").unwrap_err()), Refusal::NoBucket);
    assert_eq!(*refusal(&read(&*missing, &"config".parse().unwrap()).unwrap_err()), Refusal::NoBucket);

    let url = s3.url("acme", "p");
    let wrong = remote::open(&url, &with_secret("wrong")).unwrap();
    assert_eq!(*refusal(&write(&*wrong)), Refusal::WrongSecret);
    let unknown = settings_of("NOBODY", "wrong");
    let error = write(&*remote::open(&url, &unknown).unwrap());
    assert!(matches!(refusal(&error), Refusal::UnknownCredentials(_)), "{error}");
}

fn settings_of(key: &str, secret: &str) -> Settings {
    let pairs = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
    Settings::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

#[test]
fn a_server_that_is_not_there_is_a_transient_error() {
    let url = format!("s3://acme/p?endpoint=http://127.0.0.1:{}", free_port());
    let error = write(&*remote::open(&url, &settings()).unwrap());
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn without_credentials_the_error_says_so_and_is_final() {
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), nobody)];
    let store = remote::open("s3://acme/p?endpoint=http://localhost:1", &Settings::new(variables)).unwrap();
    let error = write(&*store);
    assert!(matches!(refusal(&error), Refusal::NoCredentials(_)), "{error}");
}
