//! Directories on real servers as what a backup reads from: what every origin promises, whom it believes, and what it
//! survives.

use std::fs;
use std::path::Path;
use std::time::Duration;

use files::conformance::{self, Habits};
use files::exclude::Excludes;
use files::origin::Opened;
use files::read::Steadiness;
use files::relative::RelativePath;
use files::walk::Event;
use model::entry::Entry;
use model::secret::Secret;
use remote::Settings;
use remote::afar::{self, Access};
use store::retry::{Patience, Retry};
use store::{Refusal, StoreError};
use testkit::certificate::Certificates;
use testkit::ftp::{self, Pyftpd, Vsftpd};
use testkit::sshd::Sshd;

fn access(settings: Settings) -> Access {
    let patience = Patience { deadline: Duration::from_secs(20), ..Patience::default() };
    Access { settings, password: None, owner: (7, 8), retry: Retry::new(patience) }
}

fn over_sftp(server: &Sshd, place: &Path, excludes: Excludes) -> Result<Opened, StoreError> {
    afar::open(&server.address(place), excludes, access(Settings::new(server.variables())))
}

#[test]
fn a_directory_behind_sftp_conforms() {
    let (server, place) = (Sshd::start(), tempfile::tempdir().unwrap());
    let open = |excludes| over_sftp(&server, place.path(), excludes).unwrap();
    conformance::run(place.path(), &open, Habits::ALL);
}

fn with_authority(certificates: &Certificates) -> Settings {
    Settings::default().with("ca-file", certificates.authority().display().to_string())
}

fn over_ftps(
    url: &str,
    settings: Settings,
    password: Option<&str>,
    excludes: Excludes,
) -> Result<Opened, StoreError> {
    afar::open(url, excludes, Access { password: password.map(Secret::new), ..access(settings) })
}

fn at_vsftpd(server: &Vsftpd, excludes: Excludes) -> Opened {
    let settings = with_authority(server.certificates());
    over_ftps(&server.address(""), settings, Some("x"), excludes).expect("it opens")
}

fn at_pyftpd(server: &Pyftpd, excludes: Excludes) -> Opened {
    let settings = with_authority(server.certificates());
    over_ftps(&server.address(""), settings, Some(Pyftpd::PASSWORD), excludes).expect("it opens")
}

#[test]
fn a_directory_behind_vsftpd_that_requires_tls_session_reuse_conforms() {
    let place = tempfile::tempdir().unwrap();
    let server = Vsftpd::start(place.path(), "");
    conformance::run(place.path(), &|excludes| at_vsftpd(&server, excludes), Habits::ALL);
}

#[test]
fn an_old_server_that_knows_pasv_and_list_alone_conforms() {
    let place = tempfile::tempdir().unwrap();
    let refused = vec!["MLSD", "MLST", "EPSV", "FEAT", "MDTM", "OPTS"];
    let server = Pyftpd::start(place.path(), &ftp::Habits { refused, ..ftp::Habits::default() });
    // Times are those of LIST: of two years ago by the day.
    let habits = Habits { step_seconds: 24 * 3600, tells_changes: false, tells_links: true, ..PYFTPD };
    conformance::run(place.path(), &|excludes| at_pyftpd(&server, excludes), habits);
    // Whatever its clock and zone are, what is young is not taken for unchanged.
    fs::write(place.path().join("young"), b"x").unwrap();
    let (_, young) = files(&mut at_pyftpd(&server, Excludes::nothing())).pop().unwrap();
    assert!(young.metadata.ctime > jiff::Timestamp::now() + jiff::SignedDuration::from_hours(14));
}

#[test]
fn vsftpd_behind_nat_that_knows_no_epsv_conforms() {
    let place = tempfile::tempdir().unwrap();
    // The address that it names is one where nobody listens.
    let server = Vsftpd::start(place.path(), "pasv_address=192.0.2.7\ncmds_denied=EPSV\n");
    conformance::run(place.path(), &|excludes| at_vsftpd(&server, excludes), Habits::ALL);
}

/// It shows what links point to, and speaks in text.
const PYFTPD: Habits = Habits { tells_links: false, takes_any_bytes: false, ..Habits::ALL };

#[test]
fn a_directory_behind_pyftpdlib_conforms() {
    let place = tempfile::tempdir().unwrap();
    let server = Pyftpd::start(place.path(), &ftp::Habits::default());
    conformance::run(place.path(), &|excludes| at_pyftpd(&server, excludes), PYFTPD);
}

#[test]
fn a_server_without_mlsd_behind_nat_that_lets_in_two_conforms() {
    let place = tempfile::tempdir().unwrap();
    let habits = ftp::Habits {
        refused: vec!["MLSD", "MLST", "EPSV"],
        features: Some(vec!["MDTM", "SIZE", "REST STREAM", "UTF8"]),
        strange_address: Some("192.0.2.7"),
        connections_max: 2,
        ..ftp::Habits::default()
    };
    let server = Pyftpd::start(place.path(), &habits);
    conformance::run(
        place.path(),
        &|excludes| at_pyftpd(&server, excludes),
        Habits { tells_links: true, ..PYFTPD },
    );
}

#[test]
fn a_server_that_follows_links_into_a_loop_is_told_so() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("d")).unwrap();
    std::os::unix::fs::symlink("..", place.path().join("d/loop")).unwrap();
    let server = Pyftpd::start(place.path(), &ftp::Habits::default());
    let events: Vec<_> = at_pyftpd(&server, Excludes::nothing()).walk.collect();
    let problems = events.iter().filter(|event| matches!(event, Event::Problem { .. })).count();
    assert!(problems == 1 && events.len() < 20, "{events:?}");
}

fn refusal(result: Result<Opened, StoreError>) -> Refusal {
    match result.err().expect("refused") {
        StoreError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[test]
fn whom_it_does_not_know_is_refused_over_ftps() {
    let place = tempfile::tempdir().unwrap();
    let server = Pyftpd::start(place.path(), &ftp::Habits::default());
    let open = |settings: Settings, password| {
        over_ftps(&server.address(""), settings, password, Excludes::nothing())
    };
    let password = Some(Pyftpd::PASSWORD);
    assert!(matches!(refusal(open(Settings::default(), password)), Refusal::Untrusted(_)));
    let pinned = |pin: String| Settings::default().with("pin", pin);
    open(pinned(server.certificates().fingerprint()), password).unwrap();
    let words = match refusal(open(pinned("ab".repeat(32)), password)) {
        Refusal::Untrusted(words) => words,
        other => panic!("{other}"),
    };
    assert!(words.contains("not the pinned certificate"), "{words}");
    let known = || with_authority(server.certificates());
    assert!(matches!(refusal(open(known(), None)), Refusal::NoCredentials(_)));
    let Refusal::NoLogin(words) = refusal(open(known(), Some("wrong"))) else { panic!() };
    assert!(words.contains("530") && !words.contains("wrong"), "{words}");
    let missing = over_ftps(&server.address("none"), known(), password, Excludes::nothing());
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    let plain = server.address("").replace("ftps:", "ftp:");
    assert!(matches!(
        over_ftps(&plain, known(), password, Excludes::nothing()),
        Err(StoreError::BadUrl { .. })
    ));
}

#[test]
fn without_tls_not_a_word_of_the_login_is_said() {
    let place = tempfile::tempdir().unwrap();
    for command in ["AUTH", "PROT"] {
        let habits = ftp::Habits { refused: vec![command], ..ftp::Habits::default() };
        let server = Pyftpd::start(place.path(), &habits);
        let settings = with_authority(server.certificates());
        let password = Some(Pyftpd::PASSWORD);
        let error = over_ftps(&server.address(""), settings, password, Excludes::nothing()).err().unwrap();
        assert!(!error.is_transient(), "{error}");
        assert_eq!(server.count("USER"), usize::from(command == "PROT"), "{error}");
        assert_eq!(server.count("MLSD") + server.count("LIST"), 0);
    }
}

#[test]
fn a_file_over_ftps_goes_on_at_its_offset_and_is_read_anew_where_the_server_cannot() {
    let place = tempfile::tempdir().unwrap();
    let content = noise(24 << 20);
    fs::write(place.path().join("large"), &content).unwrap();
    for refused in [vec![], vec!["REST"]] {
        let can_rest = refused.is_empty();
        let server = Pyftpd::start(
            place.path(),
            &ftp::Habits { cut_after: 4 << 20, refused, ..ftp::Habits::default() },
        );
        let mut opened = at_pyftpd(&server, Excludes::nothing());
        let file = files(&mut opened).remove(0);
        server.cut_once();
        let (found, end) = read_disturbed(&opened, &file, || ());
        assert_eq!(server.count("REST"), 1, "{end:?}");
        if can_rest {
            assert!(found == content && matches!(end, Ok(Steadiness::Unchanged)), "{end:?}");
        } else {
            assert!(matches!(end, Err(files::error::Error::BeginAgain { .. })), "{end:?}");
        }
    }
    let server = Vsftpd::start(place.path(), "");
    let mut opened = at_vsftpd(&server, Excludes::nothing());
    let file = files(&mut opened).remove(0);
    let (found, end) = read_disturbed(&opened, &file, || server.cut_connections());
    assert!(found == content && matches!(end, Ok(Steadiness::Unchanged)), "{end:?}");
}

fn files(opened: &mut Opened) -> Vec<(RelativePath, Entry)> {
    let file = |event| match event {
        Event::Entry { path, entry } if entry.is_file() => Some((path, entry)),
        Event::Problem { path, error } => panic!("{path}: {error}"),
        _ => None,
    };
    opened.walk.by_ref().filter_map(file).collect()
}

fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Read a file to its end, with `disturb` after the first piece.
fn read_disturbed(
    opened: &Opened,
    (path, entry): &(RelativePath, Entry),
    disturb: impl FnOnce(),
) -> (Vec<u8>, Result<Steadiness, files::error::Error>) {
    let mut file = opened.origin.open(path, entry).expect("opens");
    let (mut content, mut buffer, mut disturb) = (vec![], vec![0; 100_000], Some(disturb));
    loop {
        match file.read_at(content.len() as u64, &mut buffer) {
            Ok(0) => return (content, file.finish()),
            Ok(count) => content.extend_from_slice(&buffer[..count]),
            Err(error) => return (content, Err(error)),
        }
        if let Some(disturb) = disturb.take() {
            disturb();
        }
    }
}

#[test]
fn a_file_half_read_goes_on_after_a_dropped_connection_and_a_changed_one_begins_again() {
    let (server, place) = (Sshd::start(), tempfile::tempdir().unwrap());
    let content = noise(24 << 20);
    fs::write(place.path().join("large"), &content).unwrap();
    let mut opened = over_sftp(&server, place.path(), Excludes::nothing()).unwrap();
    let file = files(&mut opened).remove(0);
    let (found, end) = read_disturbed(&opened, &file, || server.cut_connections());
    assert!(found == content && matches!(end, Ok(Steadiness::Unchanged)), "{end:?}");
    let (_, end) = read_disturbed(&opened, &file, || {
        server.cut_connections();
        fs::write(place.path().join("large"), noise(25 << 20)).unwrap();
    });
    assert!(matches!(end, Err(files::error::Error::BeginAgain { .. })), "{end:?}");
}

#[test]
fn a_server_that_stays_away_is_lost_and_one_that_comes_back_is_found() {
    let (mut server, place) = (Sshd::start(), tempfile::tempdir().unwrap());
    for number in 0..3 {
        fs::create_dir(place.path().join(format!("d{number}"))).unwrap();
        fs::write(place.path().join(format!("d{number}/file")), b"x").unwrap();
    }
    let mut opened = over_sftp(&server, place.path(), Excludes::nothing()).unwrap();
    let found = files(&mut opened);
    server.kill();
    let settings = Settings::new(server.variables());
    let impatient = Patience { deadline: Duration::ZERO, ..Patience::default() };
    let gone = afar::open(
        &server.address(place.path()),
        Excludes::nothing(),
        Access { retry: Retry::new(impatient), ..access(settings.clone()) },
    );
    assert!(gone.err().unwrap().is_transient());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            server.resume();
        });
        let (path, entry) = &found[0];
        let mut file = opened.origin.open(path, entry).expect("it waits for the server");
        assert_eq!(file.read_at(0, &mut [0; 9]).unwrap(), 1);
    });
    let access = Access { retry: Retry::new(impatient), ..access(settings) };
    let opened = afar::open(&server.address(place.path()), Excludes::nothing(), access).unwrap();
    server.kill();
    let error = opened.origin.open(&found[0].0, &found[0].1).err().unwrap();
    assert!(error.is_lost() && error.to_string().contains("sftp://"), "{error}");
}

#[test]
fn whom_it_does_not_know_is_refused_over_sftp() {
    let (mut server, place) = (Sshd::start(), tempfile::tempdir().unwrap());
    let open = |server: &Sshd| over_sftp(server, place.path(), Excludes::nothing());
    open(&server).unwrap();
    let nobody = Settings::new(server.variables()).with("sftp-key", "/nonexistent/key");
    let result = afar::open(&server.address(place.path()), Excludes::nothing(), access(nobody));
    assert!(matches!(refusal(result), Refusal::NoLogin(_)));
    let missing = over_sftp(&server, &place.path().join("none"), Excludes::nothing());
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    fs::write(place.path().join("file"), b"x").unwrap();
    let file = over_sftp(&server, &place.path().join("file"), Excludes::nothing());
    assert!(matches!(file, Err(StoreError::BadUrl { .. })));
    server.change_host_key();
    assert!(matches!(refusal(open(&server)), Refusal::WrongHostKey(_)));
}
