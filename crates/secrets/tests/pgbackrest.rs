//! The file `s3.conf` of pgBackRest's credentials, read as it is (H6), and again when it changed (H9).
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrets::SecretError;
use secrets::fetch::fetch;

/// As the Secret has it, with what such files have beside.
const S3_CONF: &str = "\
[global]
repo2-cipher-pass=c1pher=pass#with;signs==
repo2-s3-key=AKIDEXAMPLE
repo2-s3-key-secret=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY
# the second place
repo3-cipher-pass = other pass
repo3-s3-key=

[demo]
repo2-s3-key=not-this-one
";

fn get(path: &Path, key: &str) -> Result<String, SecretError> {
    let reference = format!("pgbackrest:{}#{key}", path.display()).parse().unwrap();
    fetch(&reference, &|_| None).map(|secret| secret.expose().to_owned())
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn h6_s3_conf_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.conf");
    write(&path, S3_CONF);
    for (key, value) in [
        ("repo2-cipher-pass", "c1pher=pass#with;signs=="),
        ("repo2-s3-key", "AKIDEXAMPLE"),
        ("repo2-s3-key-secret", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ("repo3-cipher-pass", "other pass"),
    ] {
        assert_eq!(get(&path, key).unwrap(), value);
    }
    assert!(matches!(get(&path, "repo3-s3-key"), Err(SecretError::Empty(_))));
    let missing = get(&path, "repo4-s3-key").unwrap_err().to_string();
    assert!(missing.contains("s3.conf") && missing.contains("repo4-s3-key"), "{missing}");
}

#[test]
fn h6_a_doubtful_s3_conf_is_refused_and_shown_to_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.conf");
    for text in
        ["[global]\nrepo2-s3-key=hunter2\nrepo2-s3-key=hunter3\n", "[global]\nrepo2-s3-key=a\nhunter2\n"]
    {
        write(&path, text);
        let words = get(&path, "repo2-s3-key").unwrap_err().to_string();
        assert!(!words.contains("hunter"), "{words}");
    }
    write(&path, &format!("[global]\nrepo2-s3-key=a\nrepo3-s3-key={}\n", "a".repeat(64 << 10)));
    assert!(matches!(get(&path, "repo2-s3-key"), Err(SecretError::TooLong(_))));
    write(&path, S3_CONF);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(matches!(get(&path, "repo2-s3-key"), Err(SecretError::Exposed { .. })));
}

#[test]
fn h9_a_mounted_secret_that_changed_is_read_again_without_a_restart() {
    // As the kubelet does it: the name is a link to a link, which is replaced in one step.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s3.conf");
    for (generation, key) in [("..one", "AKIDONE"), ("..two", "AKIDTWO")] {
        fs::create_dir(folder.path().join(generation)).unwrap();
        write(&folder.path().join(generation).join("s3.conf"), &format!("[global]\nrepo2-s3-key={key}\n"));
        let (new, current) = (folder.path().join("..new"), folder.path().join("..data"));
        std::os::unix::fs::symlink(generation, &new).unwrap();
        fs::rename(&new, &current).unwrap();
        if !path.is_symlink() {
            std::os::unix::fs::symlink("..data/s3.conf", &path).unwrap();
        }
        assert_eq!(get(&path, "repo2-s3-key").unwrap(), key);
    }
}
