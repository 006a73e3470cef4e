//! Ctrl-C at any moment of `mainstay demo` leaves no process, no directory, nothing.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use testkit::site::Site;

const MAINSTAY: &str = env!("CARGO_BIN_EXE_mainstay");

/// A demo in a process group of its own, as a shell starts one in the foreground, with all it makes in one place.
fn start(place: &Path) -> Child {
    let site = Site::bare(MAINSTAY);
    let program = site.program().with("TMPDIR", place).with("HOME", place);
    let mut command = program.command(&["demo", "--rows", "20000"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
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

#[test]
fn the_demo_interrupted_at_any_moment_leaves_nothing() {
    let before = shared_memory();
    let mut ended_early = 0;
    for wait_ms in [5, 60, 200, 500, 900, 1400, 2000, 2800, 3700, 4800, 6000] {
        let place = tempfile::tempdir().unwrap();
        // PostgreSQL refuses root, and the user that it runs as must be able to come here.
        fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let mut child = start(place.path());
        std::thread::sleep(Duration::from_millis(wait_ms));
        if child.try_wait().unwrap().is_none() {
            kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
            std::thread::sleep(Duration::from_millis(wait_ms % 7));
            // Once more, as people do; it may have ended by now.
            kill_process_group(Pid::from_child(&child), Signal::INT).ok();
            ended_early += 1;
        }
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(!words.contains("panicked"), "{wait_ms} ms: {words}");
        assert_nothing_left(place.path(), &format!("after {wait_ms} ms, {:?}: {words}", output.status));
    }
    assert!(ended_early >= 5, "most moments are before its end");
    assert!(shared_memory() <= before, "shared memory was left");
}
