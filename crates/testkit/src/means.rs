//! What a test needs and a machine may lack: who goes without says so, and is not taken for a judgement.

use std::io::Write;

/// Say on stderr, past the capture of cargo test, that the calling test judges nothing here, and why.
pub fn lack(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: nothing was judged: {why}\n", thread.name().unwrap_or("a test"));
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Whether we are root; where not, that is said, with what it is needed for.
pub fn is_root(to: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        lack(&format!("only root can {to}"));
    }
    is_root
}
