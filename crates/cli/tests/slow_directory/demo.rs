//! `mainstay demo` to its end proves what it says; Ctrl-C at any moment of it leaves no process, no directory, nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use testkit::program::Program;
use testkit::site::Site;

const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// A place for all that a demo makes: PostgreSQL refuses root, and the user that it runs as must be able to come here.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    place
}

fn program(place: &Path) -> Program {
    Site::bare(MAINSTAY).program().with("TMPDIR", place).with("HOME", place)
}

/// A demo in a process group of its own, as a shell starts one in the foreground.
fn start(place: &Path) -> Child {
    let mut command = program(place).command(&["demo", "--rows", "20000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().unwrap()
}

/// Processes that have to do with `place`: what they are called, or where they stand.
fn processes(place: &Path) -> Vec<String> {
    let place = place.to_str().unwrap();
    let numbers = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let about = |process: &Path| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let stands = fs::read_link(process.join("cwd")).unwrap_or_default();
        (words.contains(place) || stands.starts_with(place)).then_some(words)
    };
    numbers.filter_map(|process| about(&process)).collect()
}

#[track_caller]
fn assert_nothing_left(place: &Path, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !processes(place).is_empty() {
        assert!(Instant::now() < deadline, "{what}: still running: {:?}", processes(place));
        std::thread::sleep(Duration::from_millis(50));
    }
    let left: Vec<_> = fs::read_dir(place).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "{what}: {left:?}");
}

fn shared_memory() -> usize {
    fs::read_to_string("/proc/sysvipc/shm").map_or(0, |text| text.lines().count())
}

/// No more of it than `before`, at a moment when servers of other tests have none.
#[track_caller]
fn assert_no_shared_memory_left(before: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while shared_memory() > before {
        assert!(Instant::now() < deadline, "shared memory was left");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_demo_brings_every_row_back_stores_little_twice_and_leaves_nothing() {
    let (place, before) = (place(), shared_memory());
    let ran = program(place.path()).run(&["--json", "demo", "--rows", "60000"]).ok();
    let said: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(said["restic"], true, "stock restic finds the repository sound: {}", ran.stderr);
    assert_eq!(said["rowsCompared"], "126000", "orders, events and customers");
    let number = |of: &str, field: &str| said[of][field].as_str().unwrap().parse::<u64>().unwrap();
    let (first, second) = (number("first", "storedBytes"), number("second", "storedBytes"));
    assert!(second > 0 && second * 5 <= first, "{second} bytes after {first}");
    assert!(number("first", "sizeBytes") > 5_000_000 && first < number("first", "sizeBytes"));
    assert_nothing_left(place.path(), &ran.stderr);
    assert_no_shared_memory_left(before);
}

#[test]
fn the_demo_interrupted_at_any_moment_leaves_nothing() {
    let before = shared_memory();
    let mut ended_early = 0;
    for wait_ms in [5, 60, 200, 500, 900, 1400, 2000, 2800, 3700, 4800, 6000] {
        let place = place();
        let mut child = start(place.path());
        std::thread::sleep(Duration::from_millis(wait_ms));
        let mut is_interrupted = false;
        if child.try_wait().unwrap().is_none() {
            is_interrupted = true;
            kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
            std::thread::sleep(Duration::from_millis(wait_ms % 7));
            // Once more, as people do; it may have ended by now.
            kill_process_group(Pid::from_child(&child), Signal::INT).ok();
            ended_early += 1;
        }
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        let is_whole = String::from_utf8_lossy(&output.stdout).contains("demo ok in ");
        match output.status.code() {
            Some(0) => assert!(is_whole, "{wait_ms} ms: {words}"),
            // Before its first word it does not watch for signals yet.
            None => assert!(is_interrupted && words.is_empty(), "{wait_ms} ms: {}, {words}", output.status),
            Some(code) => assert!(is_interrupted && code == 1 && !is_whole, "{wait_ms} ms: {code}, {words}"),
        }
        assert!(!words.contains("panicked"), "{wait_ms} ms: {words}");
        assert_nothing_left(place.path(), &format!("after {wait_ms} ms, {:?}: {words}", output.status));
    }
    assert!(ended_early >= 5, "most moments are before its end");
    assert_no_shared_memory_left(before);
}
