//! Azure by Microsoft's own emulator, Google Cloud Storage by a fake of ours that follows the published interface.

use remote::Settings;
use store::{Refusal, StoreError, conformance};
use testkit::azurite::{ACCOUNT_KEY, Azurite};
use testkit::gcs::{Gcs, TOKEN};

fn settings(name: &str, value: &str) -> Settings {
    Settings::new([(name.to_owned(), value.to_owned())])
}

#[test]
fn azurite_conforms() {
    let azurite = Azurite::start();
    azurite.make_container("acme");
    let settings = settings("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY);
    let open = |url: &str| remote::open(url, &settings).unwrap();
    conformance::run(&*open(&azurite.url("acme", "suite")));
    let error = open(&azurite.url("nothing", "p")).put_new(&"config".parse().unwrap(), b"x").unwrap_err();
    assert!(matches!(error, StoreError::Refused { why: Refusal::NoBucket, .. }), "{error}");
}

#[test]
fn the_published_interface_of_google_suffices() {
    let gcs = Gcs::start();
    let settings = settings("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN);
    conformance::run(&*remote::open(&gcs.url("suite"), &settings).unwrap());
    conformance::a_long_list_is_whole(&*remote::open(&gcs.url("long"), &settings).unwrap());
    let stranger = self::settings("GOOGLE_OAUTH_ACCESS_TOKEN", "wrong");
    let store = remote::open(&gcs.url("suite"), &stranger).unwrap();
    let error = store.put_new(&"config".parse().unwrap(), b"x").unwrap_err();
    assert!(matches!(error, StoreError::Refused { why: Refusal::UnknownCredentials(_), .. }), "{error}");
}
