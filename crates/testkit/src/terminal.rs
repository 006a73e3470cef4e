//! A program on a real terminal (a pseudo-terminal), with somebody who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::program::{Program, Ran};

/// What is typed, and when.
pub struct Typed<'a> {
    /// Once this was shown …
    pub behind: &'a str,
    /// … these keys are pressed.
    pub keys: &'a str,
}

impl Program {
    /// Run to the end with stdin and stderr on a terminal of its own; what the terminal showed is the stderr.
    ///
    /// # Panics
    /// Where there are no terminals, or the program cannot be started.
    pub fn run_on_terminal(&self, arguments: &[&str], typed: &Typed<'_>) -> Ran {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal to give away");
        let name = ptsname(&ours, Vec::new()).expect("a terminal's name");
        let theirs = File::options().read(true).write(true).open(name.to_str().expect("ASCII"));
        let theirs = OwnedFd::from(theirs.expect("the terminal opens"));
        // setsid makes it the terminal of a session, so that Ctrl-C is a signal.
        let mut command = self.under(&["setsid", "--ctty", "--wait"]).command(arguments);
        command.stdin(theirs.try_clone().expect("a descriptor")).stderr(theirs).stdout(Stdio::piped());
        let child = command.spawn().expect("setsid is installed");
        drop(command);
        let shown = converse(File::from(ours), typed);
        let output = child.wait_with_output().expect("a child ends");
        Ran { stderr: shown, ..Ran::of(&output) }
    }
}

/// Read to the end; the system ends a terminal that nobody holds any more with an error.
fn converse(mut terminal: File, typed: &Typed<'_>) -> String {
    let (mut shown, mut buffer, mut is_typed) = (vec![], [0; 4096], false);
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
        if !is_typed && String::from_utf8_lossy(&shown).contains(typed.behind) {
            is_typed = true;
            terminal.write_all(typed.keys.as_bytes()).expect("a terminal takes keys");
        }
    }
    String::from_utf8_lossy(&shown).into_owned()
}
