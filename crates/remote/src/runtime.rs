//! The one asynchronous engine of all remote stores: their crates are asynchronous, ours are not, and this is the seam.

use std::future::Future;
use std::io;
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
