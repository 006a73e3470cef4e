//! The one asynchronous engine of all remote stores: their crates are asynchronous, ours are not, and this is the seam.

use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// Threads that drive sockets, TLS and SSH; the work that costs is done by those who call.
const THREADS: usize = 2;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Start the engine unless it runs.
///
/// # Errors
/// Where the system gives no threads.
pub(crate) fn start() -> io::Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let built =
        Builder::new_multi_thread().worker_threads(THREADS).thread_name("remote").enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| built))
}

/// Do `work` and wait for it. Not to be called from within the engine.
///
/// # Errors
/// Those of `work`, or of [`start`].
pub(crate) fn block_on<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    start()?.block_on(work)
}

/// What says goodbye by itself when it is dropped, which it can only do within the engine.
pub(crate) struct Inside<T>(Option<T>);

impl<T> Inside<T> {
    /// Keep `value` until then.
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Inside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Inside<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Inside<T> {
    fn drop(&mut self) {
        let _entered = start().map(Runtime::enter);
        drop(self.0.take());
    }
}
