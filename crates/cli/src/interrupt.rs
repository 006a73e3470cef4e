//! Ctrl-C and SIGTERM become the wish to stop; a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use model::cancel::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{CliError, Result};

/// What a shell shows for a process that was ended by SIGINT.
const STATUS_INTERRUPTED: i32 = 130;

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// A token that the signals cancel, and nothing more: for what would leave a server behind if it ended at once.
pub(crate) fn watch_patiently() -> Result<CancelToken> {
    let cancel = CancelToken::new();
    for signal in SIGNALS {
        signal_hook::flag::register(signal, cancel.flag()).map_err(CliError::io("watching for signals"))?;
    }
    Ok(cancel)
}

/// End at once with `status` when somebody asks to stop, where being ended by the signal itself would mean something else to
/// who started us. For what leaves nothing half.
pub(crate) fn end_with(status: i32) -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    for signal in SIGNALS {
        let registered = signal_hook::flag::register_conditional_shutdown(signal, status, always.clone());
        registered.map_err(CliError::io("watching for signals"))?;
    }
    Ok(())
}

/// A token that the signals cancel.
pub(crate) fn watch() -> Result<CancelToken> {
    let cancel = CancelToken::new();
    for signal in SIGNALS {
        // In this order: the first signal finds the flag unset, the second one finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, STATUS_INTERRUPTED, cancel.flag())
            .and_then(|_| signal_hook::flag::register(signal, cancel.flag()))
            .map_err(CliError::io("watching for signals"))?;
    }
    Ok(cancel)
}
