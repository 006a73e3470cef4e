//! Files encrypted by a writer that is not ours (`sops/seal.py`), read by `sops:FILE#key` (N7).
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::secret::Secret;
use secrets::fetch::fetch;
use secrets::{SecretError, SopsError};
use serde_json::Value;

const CRYPTO_KEY: &str = "b3VyLW93bi1zZWNyZXQta2V5LW9mLTMyLWJ5dGVzISE=";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sops").join(name)
}

fn identity() -> String {
    fs::read_to_string(fixture("identity.txt")).unwrap()
}

fn get(file: &Path, key: &str) -> Result<String, SecretError> {
    with(file, key, &[("SOPS_AGE_KEY", &identity())])
}

fn with(file: &Path, key: &str, environment: &[(&str, &str)]) -> Result<String, SecretError> {
    let reference = format!("sops:{}#{key}", file.display()).parse().unwrap();
    let variable =
        |name: &str| environment.iter().find(|(set, _)| *set == name).map(|(_, value)| Secret::new(*value));
    fetch(&reference, &variable).map(|secret| secret.expose().to_owned())
}

fn cause(result: Result<String, SecretError>) -> SopsError {
    match result {
        Err(SecretError::Sops { cause, .. }) => cause,
        other => panic!("no cause of SOPS: {:?}", other.map(|_| "a secret")),
    }
}

/// The fixture with one change, in a file of its own.
fn changed(name: &str, change: impl Fn(&str) -> String) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let text = fs::read_to_string(fixture(name)).unwrap();
    let other = change(&text);
    assert_ne!(text, other);
    fs::write(&path, other).unwrap();
    (folder, path)
}

#[test]
fn n7_a_kubernetes_secret_that_was_edited_with_sops() {
    assert_eq!(get(&fixture("secret.yaml"), "stringData.CRYPTO_KEY_VALUE").unwrap(), CRYPTO_KEY);
    assert_eq!(get(&fixture("secret.yaml"), "stringData.s3.conf").unwrap(), "[global]\na=b");
    // Not encrypted, and under the seal.
    assert_eq!(get(&fixture("secret.yaml"), "metadata.name").unwrap(), "cnpg-backup-crypto");
}

#[test]
fn n7_yaml_of_several_documents_json_and_dotenv() {
    for file in ["documents.yaml", "mixed.json"] {
        for (key, value) in [
            ("password", "hunter2 ünïcode"),
            ("count", "42"),
            ("ratio", "0.25"),
            ("on", "True"),
            ("list.1.deep", "two"),
            ("note_unencrypted", "in the clear"),
        ] {
            assert_eq!(get(&fixture(file), key).unwrap(), value, "{file} {key}");
        }
    }
    assert_eq!(get(&fixture("documents.yaml"), "second").unwrap(), "document");
    assert_eq!(get(&fixture("secrets.env"), "PASSWORD").unwrap(), "hunter2");
    assert_eq!(get(&fixture("secrets.env"), "MULTI").unwrap(), "two\nlines");
    assert!(matches!(get(&fixture("secrets.env"), "EMPTY"), Err(SecretError::Empty(_))));
}

#[test]
fn n7_what_was_changed_without_the_key_is_not_believed() {
    let line = |text: &str, name: &str| {
        text.lines().find(|line| line.trim_start().starts_with(name)).unwrap().trim_start().to_owned()
    };
    // A value in the clear, one that is gone, one put at another name, and the time of the seal.
    type Change<'a> = (&'static str, &'a dyn Fn(&str) -> String);
    let changes: [Change<'_>; 6] = [
        ("secret.yaml", &|text| text.replace("name: cnpg-backup-crypto", "name: other")),
        ("secret.yaml", &|text| text.replace(&format!("    {}\n", line(text, "s3.conf:")), "")),
        ("secret.yaml", &|text| {
            let (key, conf) = (line(text, "CRYPTO_KEY_VALUE:"), line(text, "s3.conf:"));
            text.replace(&key, &conf.replace("s3.conf:", "CRYPTO_KEY_VALUE:"))
        }),
        ("secret.yaml", &|text| text.replace("2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z")),
        ("secret.yaml", &|text| text.replace("generation: 7", "generation: 8")),
        ("mixed.json", &|text| text.replace("\"in the clear\"", "\"in the dark\"")),
    ];
    for (name, change) in changes {
        let (_folder, path) = changed(name, change);
        let key = if name == "mixed.json" { "password" } else { "stringData.CRYPTO_KEY_VALUE" };
        let cause = cause(get(&path, key));
        assert!(matches!(cause, SopsError::Tampered(_)), "{cause}");
        assert!(!cause.to_string().contains("b3Vy") && !cause.to_string().contains("hunter2"));
    }
}

#[test]
fn n7_a_changed_byte_never_gives_another_secret() {
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [
        ("secret.yaml", "stringData.CRYPTO_KEY_VALUE"),
        ("mixed.json", "list.1.deep"),
        ("secrets.env", "PASSWORD"),
    ] {
        let (path, before) = (folder.path().join(name), get(&fixture(name), key).unwrap());
        let bytes = fs::read(fixture(name)).unwrap();
        let mut refused = 0;
        // All of them take 20 s, and were tried: none gave another secret.
        let places: Vec<_> = (0..bytes.len()).step_by(9).collect();
        for &place in &places {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            match get(&path, key) {
                Ok(value) => assert_eq!(value, before, "{name}, byte {place}"),
                Err(_) => refused += 1,
            }
        }
        // What may be changed is in the block of the seal alone: a stranger's key, the version, a space.
        assert!(refused > places.len() / 4, "{name}: {refused} of {}", places.len());
    }
}

#[test]
fn n7_a_seal_over_encrypted_values_alone_guards_no_others() {
    let key = "stringData.CRYPTO_KEY_VALUE";
    assert_eq!(get(&fixture("only-encrypted.yaml"), key).unwrap(), CRYPTO_KEY);
    let (_folder, path) =
        changed("only-encrypted.yaml", |text| text.replace("name: cnpg-backup-crypto", "name: other"));
    assert_eq!(get(&path, key).unwrap(), CRYPTO_KEY);
    assert!(matches!(cause(get(&path, "metadata.name")), SopsError::Bare(_)));
    // Without the rule it is another seal.
    let (_folder, path) = changed("only-encrypted.yaml", |text| {
        text.replace("mac_only_encrypted: true", "mac_only_encrypted: false")
    });
    assert!(matches!(cause(get(&path, key)), SopsError::Tampered(_)));
}

#[test]
fn n7_identities_come_from_where_sops_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join(".config/sops/age");
    fs::create_dir_all(&home).unwrap();
    let file = home.join("keys.txt");
    let (secret, key) = (fixture("secret.yaml"), "stringData.CRYPTO_KEY_VALUE");
    let home = folder.path().to_str().unwrap();
    assert!(matches!(cause(with(&secret, key, &[("HOME", home)])), SopsError::NoIdentity(_)));
    fs::write(&file, identity()).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(with(&secret, key, &[("HOME", home)]), Err(SecretError::Exposed { .. })));
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let (file, config) = (file.to_str().unwrap(), folder.path().join(".config"));
    let command = format!("cat '{file}'");
    for environment in [
        ("HOME", home),
        ("XDG_CONFIG_HOME", config.to_str().unwrap()),
        ("SOPS_AGE_KEY_FILE", file),
        ("SOPS_AGE_KEY_CMD", &command),
    ] {
        assert_eq!(with(&secret, key, &[environment]).unwrap(), CRYPTO_KEY, "{environment:?}");
    }
    let stranger = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
    assert!(matches!(cause(with(&secret, key, &[("SOPS_AGE_KEY", stranger)])), SopsError::NotForUs { .. }));
    let bad = cause(with(&secret, key, &[("SOPS_AGE_KEY", "AGE-SECRET-KEY-1HUNTER2")]));
    assert!(matches!(bad, SopsError::BadIdentity(_)) && !bad.to_string().contains("HUNTER2"), "{bad}");
}

#[test]
fn n7_a_changed_file_is_the_new_one_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.yaml");
    fs::copy(fixture("secret.yaml"), &path).unwrap();
    assert_eq!(get(&path, "stringData.s3.conf").unwrap(), "[global]\na=b");
    fs::copy(fixture("documents.yaml"), &path).unwrap();
    assert_eq!(get(&path, "password").unwrap(), "hunter2 ünïcode");
    assert!(matches!(cause(get(&path, "stringData.s3.conf")), SopsError::NoKey(_)));
    assert!(matches!(cause(get(&path, "list")), SopsError::NotOne(_)));
    fs::write(&path, "password: hunter2\n").unwrap();
    assert!(matches!(cause(get(&path, "password")), SopsError::NotSealed(_)));
}

#[test]
fn n7_other_keys_are_left_to_the_sops_program() {
    let (file, key) = (fixture("pgp.yaml"), "list.1.deep");
    let without = cause(get(&file, key));
    assert!(without.to_string().contains("pgp") && without.to_string().contains("PATH"), "{without}");
    // A stand-in that shows what it is asked: the program itself cannot be had here.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sops");
    fs::write(&program, "#!/bin/sh\nprintf '%s\\n' \"$*\"\n").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let asked = with(&file, key, &[("PATH", folder.path().to_str().unwrap())]).unwrap();
    assert_eq!(asked, format!(r#"--decrypt --extract ["list"][1]["deep"] {}"#, file.display()));
}

/// What a program says that goes well.
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Each value of a document, by its key as a reference names it and as its text.
fn leaves(value: &Value, key: &str, found: &mut Vec<(String, String)>) {
    let below = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
    match value {
        Value::Object(all) => all.iter().for_each(|(name, value)| leaves(value, &below(name), found)),
        Value::Array(all) => {
            all.iter().enumerate().for_each(|(n, value)| leaves(value, &below(&n.to_string()), found));
        }
        Value::String(text) => found.push((key.to_owned(), text.clone())),
        Value::Number(number) => found.push((key.to_owned(), number.to_string())),
        // As SOPS seals them.
        Value::Bool(is) => found.push((key.to_owned(), if *is { "True" } else { "False" }.to_owned())),
        Value::Null => {}
    }
}

/// Every value of every fixture, read by an implementation that shares nothing with ours.
#[test]
fn n7_another_reader_of_sops_reads_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/make-test-server.sh");
    let packages = said(Command::new(script).arg("sops"));
    // A script looks for packages beside itself.
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(packages.trim(), folder.path().join("node_modules")).unwrap();
    let judge = folder.path().join("judge.mjs");
    fs::copy(fixture("judge.mjs"), &judge).unwrap();
    let names = ["secret.yaml", "only-encrypted.yaml", "mixed.json", "secrets.env"];
    let mut command = Command::new("node");
    command.arg(judge).arg(fixture("identity.txt")).args(names.map(fixture));
    let answer = said(&mut command);
    let documents: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(documents.len(), names.len(), "{answer}");
    let mut same = 0;
    for (name, document) in names.iter().zip(&documents) {
        let mut found = vec![];
        leaves(document, "", &mut found);
        for (key, text) in found.iter().filter(|(key, _)| !key.starts_with("sops.")) {
            match get(&fixture(name), key) {
                Ok(value) => {
                    // Line ends at its end are taken off.
                    assert_eq!(value, text.trim_end_matches('\n'), "{name} {key}");
                    same += 1;
                }
                // We give nobody what is empty, nor what no seal guards.
                Err(SecretError::Empty(_)) => assert!(text.is_empty(), "{name} {key}"),
                Err(SecretError::Sops { cause: SopsError::Bare(_), .. }) => {
                    assert_eq!(*name, "only-encrypted.yaml", "{key}");
                }
                Err(other) => panic!("{name} {key}: {other}"),
            }
        }
    }
    assert!(same >= 15, "{same} values were compared: {answer}");
}
