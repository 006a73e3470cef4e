//! The installation by one line, in a Debian that knows nothing of mainstay.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use testkit::means::{is_root, lack};
use testkit::program::Program;

#[test]
fn u1_one_line_installs_and_the_first_backup_comes_back() {
    if !is_root("make a chroot") {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/try-install.sh");
    let ran = Program::new(script).run(&[env!("CARGO_BIN_EXE_mainstay")]).ok();
    assert!(ran.text().contains("try-install ok"), "{}\n{}", ran.text(), ran.stderr);
}

/// What the chroot cannot show: a systemd that runs.
#[test]
fn t14_a_living_systemd_starts_backups_by_the_timer_and_stops_the_daemon_in_order() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/try-systemd.sh");
    let ran = Program::new(script).run(&[env!("CARGO_BIN_EXE_mainstay")]);
    if ran.code == Some(77) {
        lack(&ran.stderr);
        return;
    }
    assert!(ran.text().contains("try-systemd ok"), "{}\n{}", ran.text(), ran.stderr);
}
