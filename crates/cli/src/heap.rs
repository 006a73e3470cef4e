//! When memory that is no longer used goes back to the system.
//!
//! glibc keeps what was freed once it saw that pieces of that size come and go: after one range of a pack was read, ranges lie
//! on heaps of which each thread has one, and stay there. From now on a large piece is a mapping of its own, gone when
//! it is freed: a restore from S3 peaks at 120 MiB instead of 160. That costs a system call and new pages each time, so a
//! backup, which fills the same buffers again and again, is left as it is, unless it was given less memory than is usual
//! (`--memory low`: a peak of 66 to 68 MiB instead of 69 to 79, for about 5 % more time). A run of many tenants is not: 200 of them
//! came to 313 MiB.
//!
//! # Why this is safe
//! There is one `unsafe` block, the call of `mallopt`, which takes two numbers and no pointer.
#![allow(unsafe_code)]

/// Bytes from which on a piece counts as large.
#[cfg(target_env = "gnu")]
const LARGE_LEN: libc::c_int = 1 << 20;

/// From now on, for all threads. Elsewhere than on glibc nothing changes.
pub(crate) fn give_back_at_once() {
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_LEN)
    };
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    #[test]
    fn what_was_freed_is_gone() {
        // Bytes of the process that are in memory: proc_pid_statm(5).
        let resident = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
        };
        super::give_back_at_once();
        let before = resident();
        let pieces: Vec<Vec<u8>> = (1..17).map(|n| vec![n; 4 << 20]).collect();
        assert!(resident() > before + (60 << 20));
        let last = pieces.into_iter().next_back();
        assert!(resident() < before + (20 << 20), "one of them is left: {:?}", last.map(|one| one.len()));
    }
}
