//! The store over SFTP against a real OpenSSH: what every store promises, whom it believes, and what it survives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use remote::Settings;
use store::retry::{Patience, RetryStore};
use store::store::read;
use store::{Key, Range, Refusal, Store, StoreError};
use testkit::sshd::{Sshd, make_key};

fn key(text: &str) -> Key {
    text.parse().expect("a key")
}

fn settings(server: &Sshd) -> Settings {
    Settings::new(server.variables())
}

fn open(server: &Sshd, root: &Path) -> Box<dyn Store> {
    remote::open(&server.address(root), &settings(server)).expect("the server lets us in")
}

fn refusal(result: Result<Box<dyn Store>, StoreError>) -> (Refusal, String) {
    match result.err().expect("refused") {
        error @ StoreError::Refused { .. } => {
            let words = error.to_string();
            let StoreError::Refused { why, .. } = error else { unreachable!() };
            (why, words)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn conforms() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = open(&server, &root.path().join("deep/er"));
    assert_eq!(store.location(), server.address(&root.path().join("deep/er")));
    store::conformance::run(&*store);
    let left = fs::read_dir(root.path().join("deep/er/.tmp")).unwrap().count();
    assert_eq!(left, 0, "something was left in .tmp");
}

#[test]
fn it_is_the_same_repository_as_the_directory_itself() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let (far, near) = (open(&server, root.path()), store::local::LocalStore::new(root.path()));
    far.put_new(&key("data/ab/one"), b"one").unwrap();
    near.put_new(&key("data/cd/two"), b"two").unwrap();
    assert_eq!(read(&near, &key("data/ab/one")).unwrap(), b"one");
    assert_eq!(read(&*far, &key("data/cd/two")).unwrap(), b"two");
    let sorted = |store: &dyn Store| {
        let mut found = store.list("data").unwrap();
        found.sort_by_key(|object| object.key.clone());
        found.into_iter().map(|object| (object.key, object.size)).collect::<Vec<_>>()
    };
    assert_eq!(sorted(&*far), sorted(&near));
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("data/ab"), mode("data/ab/one")), (0o700, 0o400));
}

#[test]
fn large_objects_and_many_writers_come_through_every_connection() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = open(&server, root.path());
    let content = |number: u8| -> Vec<u8> {
        (0..5_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8 ^ number).collect()
    };
    std::thread::scope(|scope| {
        for number in 0..12 {
            let store = &store;
            scope.spawn(move || {
                let (key, content) = (key(&format!("data/{number:02}/large")), content(number));
                store.put_new(&key, &content).unwrap();
                assert!(read(&**store, &key).unwrap() == content);
                let mut part = vec![];
                store.get(&key, Range::Bytes { offset: 4_000_001, len: 999_999 }, &mut part).unwrap();
                assert!(part == content[4_000_001..]);
            });
        }
    });
    assert_eq!(store.list("data").unwrap().len(), 12);
}

#[test]
fn an_unknown_host_key_is_refused_with_its_fingerprint_and_never_learned() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let empty = root.path().join("known_hosts");
    fs::write(&empty, "").unwrap();
    let variables = server.variables().map(|(name, value)| match name.as_str() {
        "MAINSTAY_SFTP_KNOWN_HOSTS" => (name, empty.display().to_string()),
        _ => (name, value),
    });
    let settings = Settings::new(variables);
    let address = server.address(root.path());
    let shown = Command::new("ssh-keygen").arg("-lf").arg(server.known_hosts()).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let fingerprint = shown.split(' ').find(|word| word.starts_with("SHA256:")).unwrap();
    for _ in 0..2 {
        let (why, words) = refusal(remote::open(&address, &settings));
        assert!(matches!(why, Refusal::UnknownHostKey(_)) && words.contains(fingerprint), "{words}");
    }
    assert_eq!(fs::read(&empty).unwrap(), b"");
    // With that fingerprint pinned, it opens; with another one, it does not, whatever known_hosts says.
    remote::open(&address, &settings.clone().with("sftp-host-key", fingerprint)).unwrap();
    let other = settings.with("sftp-host-key", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert!(matches!(refusal(remote::open(&address, &other)).0, Refusal::WrongHostKey(_)));
}

#[test]
fn a_changed_host_key_is_refused_also_in_the_middle_of_a_run() {
    let (mut server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = open(&server, root.path());
    store.put_new(&key("data/one"), b"one").unwrap();
    server.change_host_key();
    let why = |error: StoreError| match error {
        StoreError::Refused { why: Refusal::WrongHostKey(words), .. } => words,
        other => panic!("{other}"),
    };
    // The first call may still find the connection of before broken.
    let patient = RetryStore::new(store, Patience::default());
    let words = why(patient.put_new(&key("data/two"), b"two").unwrap_err());
    assert!(words.contains("has changed") && words.contains("SHA256:"), "{words}");
    let (refused, _) = refusal(remote::open(&server.address(root.path()), &settings(&server)));
    assert!(matches!(refused, Refusal::WrongHostKey(_)));
    assert!(!root.path().join("data/two").exists());
    // The lines hashed, as Debian writes them, are found too.
    server.write_known_hosts();
    let hashed = Command::new("ssh-keygen").args(["-H", "-f"]).arg(server.known_hosts()).output().unwrap();
    assert!(hashed.status.success() && fs::read_to_string(server.known_hosts()).unwrap().starts_with("|1|"));
    open(&server, root.path());
}

#[test]
fn keys_come_from_the_agent_from_home_or_from_a_named_file() {
    let (server, home) = (Sshd::start(), tempfile::tempdir().unwrap());
    let address = server.address(&home.path().join("repository"));
    let ssh = home.path().join(".ssh");
    fs::create_dir(&ssh).unwrap();
    fs::copy(server.known_hosts(), ssh.join("known_hosts")).unwrap();
    let at_home = || Settings::new([("HOME".into(), home.path().display().to_string())]);
    let (why, words) = refusal(remote::open(&address, &at_home()));
    assert!(matches!(why, Refusal::NoLogin(_)) && words.contains("no key was found"), "{words}");

    make_key(&ssh.join("id_rsa"), "rsa");
    let (why, words) = refusal(remote::open(&address, &at_home()));
    assert!(matches!(why, Refusal::NoLogin(_)) && words.contains("id_rsa is refused"), "{words}");
    fs::copy(server.key_file(), ssh.join("id_ed25519")).unwrap();
    remote::open(&address, &at_home()).unwrap();
    fs::remove_file(ssh.join("id_ed25519")).unwrap();
    remote::open(&address, &at_home().with("sftp-key", server.key_file().display().to_string())).unwrap();

    // RSA keys sign with SHA-2: the same server lets the RSA key in once it is told of it.
    let known = fs::read_to_string(server.key_file().with_extension("pub")).unwrap();
    let rsa = fs::read_to_string(ssh.join("id_rsa.pub")).unwrap();
    fs::write(server.key_file().with_extension("pub"), format!("{known}{rsa}")).unwrap();
    remote::open(&address, &at_home()).unwrap();
    fs::write(server.key_file().with_extension("pub"), known).unwrap();

    let socket = home.path().join("agent");
    let mut agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).spawn().unwrap();
    let added = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(server.key_file()).env("SSH_AUTH_SOCK", &socket);
        socket.exists() && add.status().unwrap().success()
    });
    let variables = [("HOME", home.path()), ("SSH_AUTH_SOCK", &socket)];
    let with_agent = Settings::new(variables.map(|(name, path)| (name.into(), path.display().to_string())));
    let opened = remote::open(&address, &with_agent).map(drop);
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert!(added);
    opened.unwrap();
}

#[test]
fn an_encrypted_key_file_needs_its_passphrase() {
    let (server, home) = (Sshd::start(), tempfile::tempdir().unwrap());
    let file = home.path().join("encrypted");
    fs::copy(server.key_file(), &file).unwrap();
    let encrypt = Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "canary words", "-f"])
        .arg(&file)
        .status();
    assert!(encrypt.unwrap().success());
    let settings = settings(&server).with("sftp-key", file.display().to_string());
    let (why, words) = refusal(remote::open(&server.address(home.path()), &settings));
    assert!(matches!(why, Refusal::NoLogin(_)) && words.contains("encrypted"), "{words}");
    let passphrase = ("MAINSTAY_SFTP_KEY_PASSPHRASE".into(), "canary words".into());
    let told = Settings::new(server.variables().into_iter().chain([passphrase]));
    remote::open(&server.address(home.path()), &told.with("sftp-key", file.display().to_string())).unwrap();
}

#[test]
fn cut_connections_are_made_again_and_nothing_acknowledged_is_lost() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let retries = Arc::new(AtomicU64::new(0));
    let seen = retries.clone();
    let store = RetryStore::new(open(&server, root.path()), Patience::default())
        .witnessed(Box::new(move |_, _| _ = seen.fetch_add(1, Ordering::Relaxed)));
    let content: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, content) = (&store, &content);
            scope.spawn(move || {
                for number in 0..8 {
                    store.put_new(&key(&format!("data/{thread}/{number}")), content).unwrap();
                }
            });
        }
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(300));
            server.cut_connections();
        }
    });
    let mut found = store.list("data").unwrap();
    found.sort_by_key(|object| object.key.clone());
    assert_eq!(found.len(), 32);
    for object in found {
        assert!(read(&store, &object.key).unwrap() == content, "{}", object.key);
    }
    assert!(retries.load(Ordering::Relaxed) > 0, "no connection was cut while it was used");
}

#[test]
fn a_server_that_is_away_is_a_transient_error_and_is_found_again() {
    let (mut server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let store = open(&server, root.path());
    store.put_new(&key("config"), b"x").unwrap();
    server.kill();
    for _ in 0..2 {
        let error = read(&*store, &key("config")).unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
    server.resume();
    assert_eq!(read(&*store, &key("config")).unwrap(), b"x");
    server.kill();
    let error =
        remote::open(&server.address(root.path()), &settings(&server)).err().expect("nobody is there");
    assert!(error.is_transient() && error.to_string().contains("refused"), "{error}");
}

#[test]
fn what_killed_writers_left_is_no_object_and_goes_after_a_day() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    let temporary = root.path().join(".tmp");
    fs::create_dir_all(temporary.join("others")).unwrap();
    let (ours, young) = ("0123456789abcdef", "fedcba9876543210");
    // A place for dumps may have been somebody's before, with a directory that is called so, too.
    let others = ["notes", "0123456789ABCDEF", "others/0123456789abcdef"];
    for (name, hours) in [(ours, 25), (young, 1)].into_iter().chain(others.map(|name| (name, 25))) {
        let file = fs::File::create(temporary.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    let store = open(&server, root.path());
    store.put_new(&key("data/one"), b"one").unwrap();
    let mut left: Vec<_> =
        fs::read_dir(&temporary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["0123456789ABCDEF", young, "notes", "others"]);
    assert!(temporary.join(others[2]).exists());
    assert_eq!(store.list("data").unwrap().len(), 1);
}

#[test]
fn a_place_that_cannot_be_written_or_read_says_so() {
    let (server, root) = (Sshd::start(), tempfile::tempdir().unwrap());
    fs::write(root.path().join("file"), b"").unwrap();
    let store = open(&server, &root.path().join("file"));
    let error = store.put_new(&key("config"), b"x").unwrap_err();
    assert!(!error.is_transient() && !error.is_already_exists(), "{error}");
    let home = open(&server, root.path());
    fs::create_dir(root.path().join("config")).unwrap();
    assert!(home.put_new(&key("config"), b"x").unwrap_err().is_already_exists());
}
