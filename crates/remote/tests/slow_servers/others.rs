//! Azure by Microsoft's own emulator, Google Cloud Storage by a fake of ours that follows the published interface.

use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use object_store::client::{HttpRequest, HttpRequestBody};
use remote::Settings;
use store::{Refusal, StoreError, conformance};
use testkit::azurite::{ACCOUNT, ACCOUNT_KEY, Azurite};
use testkit::gcs::{Gcs, TOKEN};

fn settings(name: &str, value: &str) -> Settings {
    Settings::new([(name.to_owned(), value.to_owned())])
}

/// Our stores make no containers, so this does it by a signed request of its own.
fn make_container(azurite: &Azurite, container: &str) {
    let url = format!("{}/{container}?restype=container", azurite.endpoint());
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = reqwest::Method::PUT;
    *request.uri_mut() = url.parse().unwrap();
    request.headers_mut().insert("content-length", "0".parse().unwrap());
    let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(ACCOUNT_KEY).unwrap());
    AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().enable_time().build().unwrap();
    let tls =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into());
    let tls = tls.with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let client = reqwest::Client::builder().tls_backend_preconfigured(tls).build().unwrap();
    let sent = client.put(url).headers(request.headers().clone()).send();
    let status = runtime.block_on(sent).unwrap().status();
    assert!(status.is_success(), "{status}");
}

#[test]
fn azurite_conforms() {
    let azurite = Azurite::start();
    make_container(&azurite, "acme");
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
    assert!(matches!(error, StoreError::Refused { why: Refusal::Denied(_), .. }), "{error}");
}
