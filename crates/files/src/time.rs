//! Times of the kernel and times of the model.
//!
//! Invariant: to the nanosecond in both directions, also before 1970, where the kernel counts nanoseconds upward from a
//! negative second.

use jiff::Timestamp;
use rustix::fs::{StatxTimestamp, Timespec};

const NANOSECONDS: i32 = 1_000_000_000;

/// What `statx` says; a time that the model cannot hold (after year 9999) becomes the nearest that it can.
pub(crate) fn from_kernel(time: StatxTimestamp) -> Timestamp {
    let nearest = if time.tv_sec < 0 { Timestamp::MIN } else { Timestamp::MAX };
    i32::try_from(time.tv_nsec).ok().and_then(|ns| Timestamp::new(time.tv_sec, ns).ok()).unwrap_or(nearest)
}

/// What `utimensat` wants.
pub(crate) fn to_kernel(time: Timestamp) -> Timespec {
    let (seconds, nanoseconds) = (time.as_second(), time.subsec_nanosecond());
    if nanoseconds < 0 {
        Timespec { tv_sec: seconds - 1, tv_nsec: i64::from(nanoseconds + NANOSECONDS) }
    } else {
        Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_the_nanosecond() {
        for (tv_sec, tv_nsec) in
            [(0, 0), (1, 1), (-1, 999_999_999), (-1, 1), (-86_400, 0), (4_000_000_000, 123_456_789)]
        {
            let there = from_kernel(statx_time(tv_sec, tv_nsec));
            let back = to_kernel(there);
            assert_eq!((back.tv_sec, back.tv_nsec), (tv_sec, i64::from(tv_nsec)));
        }
        assert_eq!(from_kernel(statx_time(i64::MAX, 0)), Timestamp::MAX);
        assert_eq!(from_kernel(statx_time(i64::MIN, 0)), Timestamp::MIN);
    }

    fn statx_time(tv_sec: i64, tv_nsec: u32) -> StatxTimestamp {
        let mut time = rustix::fs::statx(
            rustix::fs::CWD,
            ".",
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::BASIC_STATS,
        )
        .unwrap()
        .stx_mtime;
        (time.tv_sec, time.tv_nsec) = (tv_sec, tv_nsec);
        time
    }
}
