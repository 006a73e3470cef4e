//! Letting the system write to the disk while a restore goes on, so that the sync at its end finds little.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::error::{EngineError, Result};

/// Bytes of files that are worth a sync of their own before the end.
const WORTH_LEN: u64 = 128 << 20;
/// How often one looks how many there are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Do `work`, which adds to `written` what it wrote, and `sync` that meanwhile.
///
/// # Errors
/// What `work` returns; an error of the disk, which is not told again at the end.
pub(crate) fn while_written_back<T>(
    written: &AtomicU64,
    sync: impl Fn() -> Result<()> + Send,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let (is_over, over) = bounded::<()>(0);
    let write_back = move || -> Result<()> {
        let mut seen = 0;
        while over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = written.load(Ordering::Relaxed);
            if now - seen >= WORTH_LEN {
                sync()?;
                seen = now;
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let synced = scope.spawn(write_back);
        let done = work();
        drop(is_over);
        let synced = synced.join().unwrap_or_else(|_| Err(EngineError::panicked()));
        done.and_then(|done| synced.map(|()| done))
    })
}
