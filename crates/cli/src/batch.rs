//! How the system schedules us: as a batch, which works through what it has and interrupts nobody (sched(7), `SCHED_BATCH`).
//!
//! A dump is a chain of processes that hand each other pieces. Scheduled as if a person waited for each of them, each
//! piece interrupts whoever works, for a few kilobytes: on two cores 200,000 switches for a dump of 3 GB instead of
//! 57,000, and a dump that takes 7 % longer. The server that is backed up is not interrupted either. Programs that we
//! start inherit it.
//!
//! # Why this is safe
//! There is one `unsafe` block, the call of `sched_setscheduler`, which needs a pointer that is valid while it runs: that
//! of a local variable.
#![allow(unsafe_code)]

/// From now on, for this thread and all that are started later. Needs no right; where a system does not let us, we work
/// as before.
pub(crate) fn begin() {
    let own_process = 0;
    let parameters = libc::sched_param { sched_priority: 0 };
    unsafe { libc::sched_setscheduler(own_process, libc::SCHED_BATCH, &raw const parameters) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn we_and_our_children_are_a_batch() {
        super::begin();
        let policy = |path: &str| {
            let stat = std::fs::read_to_string(path).unwrap();
            // proc_pid_stat(5): policy is field 41; the name, field 2, may hold spaces.
            stat.rsplit(") ").next().unwrap().split(' ').nth(41 - 3).unwrap().to_owned()
        };
        let batch = libc::SCHED_BATCH.to_string();
        assert_eq!(policy("/proc/thread-self/stat"), batch);
        let child = std::process::Command::new("cat").arg("/proc/self/stat").output().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), child.stdout).unwrap();
        assert_eq!(policy(file.path().to_str().unwrap()), batch);
    }
}
