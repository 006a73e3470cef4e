//! Who the server is, who we are for a while, and how the server keeps what it gets: TLS, session tokens, encryption at
//! rest, storage classes.

use testkit::s3::{KMS_KEY, S3, with_credentials};
use testkit::site::id_of;

use crate::{BUCKET, Far, text};

/// The address over TLS at `host`.
fn address(s3: &S3, host: &str, prefix: &str, options: &str) -> String {
    format!("s3://{BUCKET}/{prefix}?endpoint=https://{host}:{}{options}", s3.tls().0)
}

#[test]
fn only_a_server_that_proves_who_it_is_gets_a_backup() {
    let s3 = S3::guarded();
    s3.make_bucket(BUCKET);
    let (_, certificates) = s3.tls();
    let (ca, pin) = (certificates.authority(), certificates.fingerprint());
    let by_ca = format!("&ca-file={}", text(&ca));
    let mut far = Far::bare(&address(&s3, "127.0.0.1", "tls", &by_ca), with_credentials);
    far.restic_url = format!("s3:https://127.0.0.1:{}/{BUCKET}/tls", s3.tls().0);
    far.run(&["init", "--no-recovery-key"]).ok();
    let source = far.source("tree", 8);
    let id = id_of(&far.back_up(&source, &[]).ok());
    far.assert_restores(&id, &source);
    far.by_restic(&["--cacert", text(&ca), "check", "--read-data"]);

    let list = ["backup", "list"];
    let at = |host: &str, options: &str| {
        far.program.clone().with("MAINSTAY_REPOSITORY", address(&s3, host, "tls", options)).run(&list)
    };
    at("127.0.0.1", "").exits(1).says("identity is not proved").says("?ca-file=");
    // The authority is right, and the name is another one.
    at("localhost", &by_ca).exits(1).says("identity is not proved");
    at("127.0.0.1", "&ca-file=/nowhere").exits(2).says("/nowhere");
    // One certificate alone, whatever its name.
    for host in ["127.0.0.1", "localhost"] {
        at(host, &format!("&pin=sha256:{pin}")).ok();
    }
    let wrong = format!("&pin=sha256:{}", "0".repeat(64));
    at("127.0.0.1", &wrong).exits(1).says(&pin.replace(':', "").to_lowercase());
    at("127.0.0.1", "&pin=sha256:12").exits(2).says("64 hex digits");

    a_token_is_shown_with_temporary_credentials(&s3, &far, &by_ca);
    the_server_seals_what_it_is_told_to(&s3, &far, &by_ca);
}

fn a_token_is_shown_with_temporary_credentials(s3: &S3, far: &Far, by_ca: &str) {
    let [key, secret, token] = s3.session();
    let keyed = far.program.clone().with(key.0, &key.1).with(secret.0, &secret.1);
    let keyed = keyed.with("MAINSTAY_REPOSITORY", address(s3, "127.0.0.1", "token", by_ca));
    let whole = keyed.clone().with(token.0, &token.1);
    whole.run(&["init", "--no-recovery-key"]).ok();
    let source = far.site.path().join("tree");
    whole.run(&["backup", "create", "acme", "--directory", text(&source)]).ok();
    whole.run(&["check", "--read-data"]).ok();
    let forged = whole.clone().with(token.0, "Zm9yZ2VkIHRva2Vu");
    for without in [keyed, forged] {
        let ran = without.run(&["backup", "list"]);
        assert!(matches!(ran.code, Some(1 | 2)), "the token is needed: {}", ran.stderr);
        assert!(!ran.stderr.contains(&token.1) && !ran.stderr.contains(&secret.1), "{}", ran.stderr);
    }
    // The same by a file of AWS's own programs.
    let file = far.site.path().join("credentials");
    let lines = format!(
        "[nightly]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        key.1, secret.1, token.1
    );
    std::fs::write(&file, lines).unwrap();
    let bare = [key.0, secret.0, token.0].iter().fold(whole, |program, name| program.without(name));
    let by_file = bare.with("AWS_SHARED_CREDENTIALS_FILE", &file).with("AWS_PROFILE", "nightly");
    by_file.run(&["check"]).ok();
}

fn the_server_seals_what_it_is_told_to(s3: &S3, far: &Far, by_ca: &str) {
    let options = format!("{by_ca}&sse=aws:kms&sse-kms-key={KMS_KEY}");
    let url = address(s3, "127.0.0.1", "sealed", &options);
    let program = far.program.clone().with("MAINSTAY_REPOSITORY", &url);
    program.run(&["init", "--no-recovery-key"]).ok();
    let source = far.site.path().join("tree");
    program.run(&["backup", "create", "acme", "--directory", text(&source)]).ok();
    program.run(&["check", "--read-data"]).ok();
    let how = |prefix: &str| s3.head(&format!("{BUCKET}/{prefix}/config"));
    assert!(how("sealed").contains("x-amz-server-side-encryption: aws:kms"), "{}", how("sealed"));
    assert!(!how("tls").contains("server-side-encryption"), "{}", how("tls"));
}

#[test]
fn packs_go_into_their_own_storage_class_and_nothing_else() {
    let s3 = S3::moto();
    s3.make_bucket(BUCKET);
    let url = format!("{}&storage-class=STANDARD_IA", s3.url(BUCKET, "p"));
    let far = Far::bare(&url, with_credentials);
    far.run(&["init", "--no-recovery-key"]).ok();
    let source = far.source("tree", 8);
    let id = id_of(&far.back_up(&source, &[]).ok());
    far.assert_restores(&id, &source);
    let listed = s3.ask("GET", BUCKET, &[], "");
    let objects: Vec<_> = listed.split("<Contents>").skip(1).collect();
    assert!(objects.len() > 5, "{listed}");
    for object in objects {
        let is_pack = object.contains("<Key>p/data/");
        assert_eq!(object.contains("<StorageClass>STANDARD_IA<"), is_pack, "{object}");
    }
}
