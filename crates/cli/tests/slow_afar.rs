//! Directories on other servers from the command line: there and back, what is read again, what is refused and how, and
//! what a server costs that goes away.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use testkit::ftp::{Habits, Pyftpd, Vsftpd};
use testkit::program::{Program, Ran};
use testkit::proxy::Proxy;
use testkit::restic;
use testkit::s3::{S3, with_credentials};
use testkit::site::{PASSWORD, Site, assert_restores, files_below, id_of, noisy_directory};
use testkit::sshd::Sshd;

/// Older than any doubt about clocks.
const AGE: Duration = Duration::from_secs(3 * 86_400);
/// Long enough for a machine that does many things at once.
const PATIENCE: Duration = Duration::from_secs(120);

fn site() -> Site {
    Site::new(env!("CARGO_BIN_EXE_mainstay"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(SystemTime::now() - AGE).expect("a time");
}

/// A few files, in directories, one of them larger than a chunk.
fn plant(site: &Site) -> PathBuf {
    let source = noisy_directory(site.path(), "data", 6);
    for name in ["empty", "deep/er/one", "deep/two words", "deep/.hidden", "uml\u{e4}ut"] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().expect("a place")).expect("made");
        fs::write(&path, if name == "empty" { "" } else { name }).expect("written");
    }
    for (path, _) in files_below(&source) {
        age(&source.join(path));
    }
    source
}

fn create(program: &Program, address: &str, more: &[&str]) -> Ran {
    program.run(&[&["backup", "create", "acme", "--directory", address], more].concat())
}

fn known_to_sftp(program: Program, server: &Sshd) -> Program {
    server.variables().into_iter().fold(program, |program, (name, value)| program.with(&name, value))
}

/// With the password of the FTP servers, and their authority as a flag.
fn to_ftp(site: &Site) -> Program {
    site.program().with("MAINSTAY_FTP_PASSWORD", Pyftpd::PASSWORD)
}

/// There and back; stock restic restores the same, and nothing shows the password.
fn assert_road(site: &Site, program: &Program, address: &str, more: &[&str], source: &Path) {
    let ran = create(program, address, more).ok();
    let id = id_of(&ran);
    assert!(id.starts_with("acme-data-"), "{id}");
    assert!(!ran.stderr.contains(Pyftpd::PASSWORD));
    assert_restores(program, &id, source);
    let second = create(program, address, more).ok().says("0 new, 0 changed");
    assert_restores(program, &id_of(&second), source);
    site.assert_sound();
    for restic in restic::installed() {
        let listed = site.restic(&restic, &["snapshots", "--json", "--no-lock"]).ok().text();
        let host = address.split(['/', ':']).nth(3).unwrap_or_default();
        assert!(
            listed.contains(host) && listed.contains("/data") && !listed.contains(Pyftpd::PASSWORD),
            "{listed}"
        );
        let place = tempfile::tempdir_in(site.path()).expect("room");
        let target = place.path().join("back");
        restic.run(&site.repository(), PASSWORD, &["restore", "latest", "--target", text(&target)]).ok();
        let contents =
            |root: &Path| files_below(root).into_iter().map(|(_, content)| content).collect::<Vec<_>>();
        assert_eq!(contents(&target), contents(source));
    }
}

#[test]
fn u9_over_sftp_there_and_back() {
    let (server, site) = (Sshd::start(), site());
    let source = plant(&site);
    let program = known_to_sftp(site.program(), &server);
    assert_road(&site, &program, &server.address(&source), &[], &source);
}

#[test]
fn u9_over_ftps_from_vsftpd_there_and_back() {
    let site = site();
    let source = plant(&site);
    let server = Vsftpd::start(site.path(), "");
    let authority = server.certificates().authority();
    assert_road(
        &site,
        &to_ftp(&site),
        &server.address("data"),
        &["--directory-ca-file", text(&authority)],
        &source,
    );
}

/// Port 990, where TLS comes first.
#[test]
fn u9_over_implicit_ftps_from_vsftpd_there_and_back() {
    if !testkit::means::is_root("listen on port 990") {
        return;
    }
    let site = site();
    let source = plant(&site);
    let server = Vsftpd::start_implicit(site.path());
    let authority = server.certificates().authority();
    let more = ["--directory-ca-file", text(&authority)];
    assert_road(&site, &to_ftp(&site), &server.address("data"), &more, &source);
}

/// The `.env` of the original, with a directory behind SFTP whose server and key it names.
#[test]
fn u2_the_env_of_the_original_names_the_directory_and_who_may_read_it() {
    let (ssh, site) = (Sshd::start(), site());
    let home = tempfile::tempdir().expect("a home");
    let user = ssh.variables()[2].1.clone();
    let lines = |host_key: &str| {
        let known = fs::read_to_string(ssh.known_hosts()).expect("a host key");
        let known = known.split_once(' ').expect("a name before it").1.trim().to_owned();
        let key = fs::read_to_string(ssh.key_file()).expect("a key").replace('\n', "\\n");
        let host_key = if host_key.is_empty() { known } else { host_key.to_owned() };
        format!(
            "SFTP_HOST=127.0.0.1\nSFTP_PORT={}\nSFTP_USER={user}\nSFTP_HOST_PUBKEY=\"{host_key}\"\n\
             SFTP_USER_PRIVKEY=\"{key}\"\nSFTP_MOUNT_PATH_IN_DOCKER=/mnt\n",
            ssh.port()
        )
    };
    let file = home.path().join(".env");
    let write = |host_key: &str| {
        fs::write(&file, lines(host_key)).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write("");
    // The login's directory is large here: one file of it is enough.
    let program = site.program().with("MAINSTAY_CONFIG", &file).without("USER");
    let order = ["backup", "create", "customer", "--directory", "sftp:", "--exclude", "/*"];
    let ran = program.run(&order).ok().says("backup ok id=customer-");
    assert!(!ran.stderr.contains("PRIVATE KEY"));
    write("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    program.run(&order).exits(1).says("host key");
    program.run(&order).exits(1);
    write("nonsense");
    program.run(&order).exits(2).says("SFTP_HOST_PUBKEY is no public key");
}

/// What flags say, said in the configuration: for `run`, which has none of them.
#[test]
fn u9_run_knows_keys_pins_and_authorities_from_the_configuration() {
    let (ssh, site) = (Sshd::start(), site());
    let source = plant(&site);
    let ftp = Pyftpd::start(site.path(), &Habits::default());
    let vsftpd = Vsftpd::start(site.path(), "");
    let configure = |host_key: &str, pin: &str, authority: &str| {
        let text = format!(
            "[tenants.acme]\nrepository = {{ url = \"{}\" }}\n\
             [tenants.acme.sources.ssh]\ndirectory = \"{}\"\ndirectory_key = \"{}\"\ndirectory_host_key = \"{host_key}\"\n\
             [tenants.acme.sources.ftp]\ndirectory = \"{}\"\npassword = \"${{FTP_WORD}}\"\ndirectory_pin = \"{pin}\"\n\
             [tenants.acme.sources.vsftpd]\ndirectory = \"{}\"\npassword = \"${{FTP_WORD}}\"\ndirectory_ca_file = \"{authority}\"\n",
            site.repository().display(),
            ssh.address(&source),
            ssh.key_file().display(),
            ftp.address("data"),
            vsftpd.address("data"),
        );
        fs::write(site.path().join("mainstay.toml"), text).unwrap();
    };
    let program = site.program().with("MAINSTAY_CONFIG", site.path().join("mainstay.toml"));
    let program = program.with("FTP_WORD", Pyftpd::PASSWORD).without("MAINSTAY_REPOSITORY");
    let (authority, pin) = (vsftpd.certificates().authority(), ftp.certificates().fingerprint());
    configure(&fingerprint_of(&ssh), &pin, text(&authority));
    let ran = program.run(&["run"]).ok();
    for name in ["acme-ssh-", "acme-ftp-", "acme-vsftpd-"] {
        assert!(ran.stderr.contains(&format!("backup ok id={name}")), "{name}: {}", ran.stderr);
    }
    assert!(!ran.stderr.contains(Pyftpd::PASSWORD));
    configure("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &"ab".repeat(32), "/dev/null");
    let ran = program.run(&["run"]);
    for name in ["acme/ssh", "acme/ftp", "acme/vsftpd"] {
        assert!(ran.stderr.contains(&format!("run failed source={name}")), "{name}: {}", ran.stderr);
    }
}

#[test]
fn u9_over_ftps_from_pyftpdlib_there_and_back() {
    let site = site();
    let source = plant(&site);
    let server = Pyftpd::start(site.path(), &Habits::default());
    let pin = server.certificates().fingerprint();
    assert_road(&site, &to_ftp(&site), &server.address("data"), &["--directory-pin", &pin], &source);
}

#[test]
fn names_of_any_bytes_and_links_come_back_from_sftp_and_vsftpd() {
    let (ssh, site) = (Sshd::start(), site());
    let source = site.path().join("odd");
    fs::create_dir(&source).unwrap();
    for name in [&b"\xff\xfe"[..], b"caf\xe9", b" x ", b"*[a]", b"-rf", b"a -> b"] {
        fs::write(source.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("no/where -> at all", source.join("link")).unwrap();
    symlink(".", source.join("loop")).unwrap();
    let ftp = Vsftpd::start(site.path(), "");
    let program = known_to_sftp(to_ftp(&site), &ssh);
    let authority = ftp.certificates().authority();
    for (address, more) in
        [(ssh.address(&source), vec![]), (ftp.address("odd"), vec!["--directory-ca-file", text(&authority)])]
    {
        let id = id_of(&create(&program, &address, &more).ok());
        let place = tempfile::tempdir_in(site.path()).unwrap();
        let target = place.path().join("back");
        program.run(&["backup", "restore", &id, "--to", text(&target)]).ok();
        let names = |directory: &Path| {
            let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> =
                names.map(|name| (fs::read_link(directory.join(&name)).ok(), name)).collect();
            names.sort();
            names
        };
        assert_eq!(names(&target), names(&source), "{address}");
    }
}

#[test]
fn an_unchanged_directory_is_listed_and_not_read() {
    let (ssh, site) = (Sshd::start(), site());
    let source = plant(&site);
    let ftp = Pyftpd::start(site.path(), &Habits::default());
    let pin = ftp.certificates().fingerprint();
    let program = to_ftp(&site);
    let run = || create(&program, &ftp.address("data"), &["--directory-pin", &pin]).ok();
    run();
    let first = ftp.count("RETR");
    assert_eq!(first, files_below(&source).len());
    let packs = || files_below(&site.repository().join("data")).len();
    let before = packs();
    run().says("0 new, 0 changed");
    assert_eq!((ftp.count("RETR"), packs()), (first, before), "nothing is read, and nothing is stored");
    // One that changed is read alone.
    fs::write(source.join("deep/er/one"), "two").unwrap();
    let changed = run().says("0 new, 1 changed");
    assert_eq!(ftp.count("RETR"), first + 1);
    assert_restores(&program, &id_of(&changed), &source);
    // It is young now, so it is read once more, though it is the same.
    run().says("0 new, 1 changed");
    age(&source.join("deep/er/one"));

    let proxy = Proxy::start(ssh.port());
    let pin = fingerprint_of(&ssh);
    let address = ssh.address(&source).replace(&format!(":{}/", ssh.port()), &format!(":{}/", proxy.port()));
    let program = known_to_sftp(site.program(), &ssh);
    let run = || {
        let before = proxy.bytes();
        create(&program, &address, &["--directory-host-key", &pin]).ok();
        proxy.bytes() - before
    };
    let (first, second) = (run(), run());
    assert!(first > 6 << 20 && second < 200_000, "{first} and {second} bytes");
}

fn fingerprint_of(server: &Sshd) -> String {
    let shown = std::process::Command::new("ssh-keygen")
        .arg("-lf")
        .arg(server.known_hosts())
        .output()
        .expect("ssh-keygen");
    let shown = String::from_utf8(shown.stdout).expect("text");
    shown.split(' ').find(|word| word.starts_with("SHA256:")).expect("a fingerprint").to_owned()
}

#[test]
fn whom_it_does_not_know_it_tells_nothing_and_says_what_to_do() {
    let (mut ssh, site) = (Sshd::start(), site());
    let source = plant(&site);
    let ftp = Pyftpd::start(site.path(), &Habits::default());
    let address = ftp.address("data");
    create(&to_ftp(&site), &address, &[]).exits(1).says("--directory-ca-file").says("not proved");
    let wrong = "ab".repeat(32);
    create(&to_ftp(&site), &address, &["--directory-pin", &wrong])
        .exits(1)
        .says("not the pinned certificate");
    let pin = ftp.certificates().fingerprint();
    assert_eq!(ftp.count("USER"), 0);
    create(&site.program(), &address, &["--directory-pin", &pin]).exits(2).says("MAINSTAY_FTP_PASSWORD");
    let mistaken = site.program().with("MAINSTAY_FTP_PASSWORD", "CanaryMistake");
    let ran = create(&mistaken, &address, &["--directory-pin", &pin]).exits(2).says("530");
    assert!(!ran.stderr.contains("CanaryMistake"));
    let file = site.path().join("password");
    fs::write(&file, format!("{}\n", Pyftpd::PASSWORD)).unwrap();
    let more = ["--directory-pin", &pin, "--directory-password-file", text(&file)];
    create(&site.program(), &address, &more).ok();
    create(&to_ftp(&site), &ftp.address("none"), &["--directory-pin", &pin]).exits(5);
    create(&to_ftp(&site), &address.replace("ftps", "ftp"), &[]).exits(2).says("in the clear");
    create(&to_ftp(&site), "ftps://backup:CanaryInside@127.0.0.1/x", &[]).exits(2);
    create(&to_ftp(&site), &address, &["--one-file-system"]).exits(2);

    let program = known_to_sftp(site.program(), &ssh);
    create(&program, &ssh.address(&source), &[]).ok();
    let stranger = program.clone().with("MAINSTAY_SFTP_KNOWN_HOSTS", "/dev/null");
    create(&stranger, &ssh.address(&source), &[]).exits(1).says("--directory-host-key");
    create(&stranger, &ssh.address(&source), &["--directory-host-key", &fingerprint_of(&ssh)]).ok();
    // A pin for stores is about another server.
    let pinned = stranger.with("MAINSTAY_SFTP_HOST_KEY", fingerprint_of(&ssh));
    create(&pinned, &ssh.address(&source), &[]).exits(1);
    let before = site.ids().len();
    ssh.change_host_key();
    create(&program, &ssh.address(&source), &[]).exits(1).says("has changed").says("stand between");
    assert_eq!(site.ids().len(), before);
}

#[test]
fn what_cannot_be_read_is_named_and_the_backup_is_incomplete() {
    let site = site();
    let source = plant(&site);
    fs::write(source.join("no\rcommand"), b"says this name").unwrap();
    let server = Pyftpd::start(site.path(), &Habits::default());
    let pin = server.certificates().fingerprint();
    create(&to_ftp(&site), &server.address("data"), &["--directory-pin", &pin])
        .exits(3)
        .says("no command of FTP can say its name")
        .says("1 problems");
    let more = ["--directory-pin", &pin, "--exclude", "no*command"];
    create(&to_ftp(&site), &server.address("data"), &more).ok().says("1 left out");
}

#[test]
fn a_cut_connection_is_gone_on_with() {
    let site = site();
    let source = site.path().join("data");
    fs::create_dir(&source).unwrap();
    let content: Vec<u8> =
        (0..20_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(source.join("large"), &content).unwrap();
    let server = Pyftpd::start(site.path(), &Habits { cut_after: 5 << 20, ..Habits::default() });
    let pin = server.certificates().fingerprint();
    server.cut_once();
    let ran = create(&to_ftp(&site), &server.address("data"), &["--directory-pin", &pin]).ok();
    assert_eq!((server.count("RETR"), server.count("REST")), (2, 1));
    assert_restores(&site.program(), &id_of(&ran), &source);
    site.assert_sound();
}

#[test]
fn a_server_that_is_gone_for_good_leaves_no_backup() {
    let (mut server, site) = (Sshd::start(), site());
    let source = noisy_directory(site.path(), "data", 120);
    let program = known_to_sftp(site.program(), &server);
    let proxy = Proxy::start(server.port());
    proxy.throttle(4 << 20);
    let address =
        server.address(&source).replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    let pin = fingerprint_of(&server);
    let arguments = [
        "backup",
        "create",
        "acme",
        "--directory",
        &address,
        "--directory-host-key",
        &pin,
        "--retry-for",
        "1",
    ];
    let writer = program.start(&arguments);
    let begin = Instant::now();
    while proxy.bytes() < 10 << 20 {
        assert!(begin.elapsed() < PATIENCE, "nothing is read");
        std::thread::sleep(Duration::from_millis(20));
    }
    server.kill();
    proxy.cut();
    Ran::wait(writer).exits(1).says("is lost").says("nothing was made of it");
    assert!(site.ids().is_empty());
    create(&program, &address, &["--directory-host-key", &pin, "--retry-for", "0"]).exits(1);
    assert!(site.ids().is_empty());
    site.assert_sound();
}

#[test]
fn u17_from_sftp_into_s3_and_back() {
    let (server, s3, site) = (Sshd::start(), S3::moto(), Site::bare(env!("CARGO_BIN_EXE_mainstay")));
    s3.make_bucket("acme");
    let source = plant(&site);
    let program = known_to_sftp(with_credentials(site.program()), &server)
        .with("MAINSTAY_REPOSITORY", s3.url("acme", "u17"));
    program.run(&["init", "--no-recovery-key"]).ok();
    let id = id_of(&create(&program, &server.address(&source), &[]).ok());
    assert_restores(&program, &id, &source);
    program.run(&["check", "--read-data"]).ok();
}

/// Several connections read at once, and what they bring goes on at once: no copy of it is made here first, for which there
/// would be no place.
#[test]
fn u9_a_directory_is_read_over_several_connections_and_copied_nowhere_first() {
    let site = site();
    let source = noisy_directory(site.path(), "data", 12);
    let large: Vec<u8> = (0..40_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(source.join("large"), &large).unwrap();
    let server = Pyftpd::start(site.path(), &Habits::default());
    let pin = server.certificates().fingerprint();
    let program = to_ftp(&site).with("TMPDIR", "/nonexistent");
    let address = server.address("data");
    let arguments =
        ["backup", "create", "acme", "--directory", &address, "--directory-pin", &pin, "--no-cache"];
    // A file may be as large as a pack, and no larger: whoever copied the large one would be killed.
    let ran = program.under(&["prlimit", "--fsize=25165824"]).run(&arguments).ok();
    assert!(server.count("2 at once") > 0);
    assert_restores(&site.program(), &id_of(&ran), &source);
}
