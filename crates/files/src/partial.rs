//! Names of files that are not finished yet, and whether whoever makes them is still there.
//!
//! Form: `.mainstay-<here>-<process>-<serial>.partial`, where `<here>` stands for this host and its process namespace:
//! elsewhere the number of a process means another one. Invariant: what may still be written is never abandoned.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

const START: &str = ".mainstay-";
const END: &str = ".partial";
/// Nobody writes one file for longer without touching it; so old, one of another host is abandoned too.
const FOREIGN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A name for an unfinished file of this process; two of one serial are the same.
pub fn name(serial: u64) -> String {
    format!("{START}{}-{}-{serial}{END}", here(), std::process::id())
}

/// Whether `name` is that of an unfinished file that nobody will finish. `modified`: its time, where it has one.
pub fn is_abandoned(name: &[u8], modified: impl FnOnce() -> Option<SystemTime>) -> bool {
    let Some((host, process)) = parse(name) else { return false };
    if host == here() {
        return !is_alive(process);
    }
    let age = modified().and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_some_and(|age| age > FOREIGN_AFTER)
}

fn parse(name: &[u8]) -> Option<(&str, u32)> {
    let inner = std::str::from_utf8(name).ok()?.strip_prefix(START)?.strip_suffix(END)?;
    let mut parts = inner.split('-');
    let (host, process, serial) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    (parts.next().is_none() && serial.parse::<u64>().is_ok()).then_some((host, process))
}

/// Without `/proc` everybody counts as alive.
fn is_alive(process: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{process}")).exists()
}

fn here() -> &'static str {
    static HERE: OnceLock<String> = OnceLock::new();
    HERE.get_or_init(|| {
        let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        let uname = rustix::system::uname();
        let bytes = uname.nodename().to_bytes().iter().chain(namespace.as_os_str().as_encoded_bytes());
        // FNV-1a: any hash does, and this one stays the same from build to build.
        let hash =
            bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_still_be_written_is_never_abandoned() {
        let now = || Some(SystemTime::now());
        let long_ago = || Some(SystemTime::UNIX_EPOCH);
        assert!(!is_abandoned(name(7).as_bytes(), long_ago), "this process is alive");
        // Above the kernel's largest process id.
        let dead = format!(".mainstay-{}-5000000-7.partial", here());
        assert!(is_abandoned(dead.as_bytes(), now));
        let foreign = ".mainstay-otherhost-5000000-7.partial";
        assert!(!is_abandoned(foreign.as_bytes(), now));
        assert!(!is_abandoned(foreign.as_bytes(), || None));
        assert!(is_abandoned(foreign.as_bytes(), long_ago));
    }

    #[test]
    fn other_names_are_not_ours() {
        let dead = format!(".mainstay-{}-5000000-7.partial", here());
        for other in [
            dead.replace(".partial", ""),
            dead.replace(".mainstay", "mainstay"),
            dead.replace("-7", ""),
            dead.replace("-7", "-7-7"),
            dead.replace("5000000", "x"),
            ".mainstay-.partial".to_owned(),
        ] {
            assert!(!is_abandoned(other.as_bytes(), || Some(SystemTime::UNIX_EPOCH)), "{other}");
        }
        assert!(!is_abandoned(b"\xff.partial", || None));
    }
}
