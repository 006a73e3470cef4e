//! A test's second life as a user without rights.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Run the test `name` of this test program once more as a user without rights, with `variable` set to `value`.
///
/// The test finds itself in that second life by the variable. Without root there is nothing to give up, so the test is
/// run as whoever we are.
///
/// # Panics
/// If that run does not pass.
#[track_caller]
pub(crate) fn again_as_nobody(name: &str, variable: &str, value: &Path) {
    const NOBODY: u32 = 65_534;
    // A copy where nobody may go: the target directory may lie in root's home.
    let place = tempfile::tempdir().expect("a directory for the copy");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let program = place.path().join("again");
    fs::copy(std::env::current_exe().expect("a path"), &program).expect("copied");
    let mut command = std::process::Command::new(program);
    command.args(["--exact", name, "--nocapture"]).env(variable, value).current_dir("/");
    if rustix::process::geteuid().is_root() {
        use std::os::unix::process::CommandExt;
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
