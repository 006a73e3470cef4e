//! Ctrl-C and SIGTERM become the wish to stop; a second one ends the process at once.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use model::cancel::CancelToken;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::unregister;

use crate::error::{CliError, Result};

/// What a shell shows for a process that was ended by SIGINT.
const STATUS_INTERRUPTED: i32 = 130;

/// What the signals cancel, of the last who began to watch for them.
static ASKED: Mutex<Option<CancelToken>> = Mutex::new(None);

const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// A token that the signals cancel, and nothing more: for what would leave a server behind if it ended at once.
pub(crate) fn watch_patiently() -> Result<CancelToken> {
    let cancel = CancelToken::new();
    remember(&cancel);
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

fn remember(cancel: &CancelToken) {
    if let Ok(mut asked) = ASKED.lock() {
        *asked = Some(cancel.clone());
    }
}

/// Whether a signal asked the command to stop that watches for them; where none does, a signal ends the process.
pub(crate) fn is_asked() -> bool {
    ASKED.lock().is_ok_and(|asked| asked.as_ref().is_some_and(CancelToken::is_cancelled))
}

/// A token that the signals cancel.
pub(crate) fn watch() -> Result<CancelToken> {
    Ok(Watch::start()?.cancel)
}

/// The signals of a command that may begin something which has to be brought to an end.
pub(crate) struct Watch {
    /// What they cancel.
    pub(crate) cancel: CancelToken,
    /// What ends the process at the second one.
    at_once: Vec<SigId>,
}

impl Watch {
    /// As [`watch`] does it.
    pub(crate) fn start() -> Result<Self> {
        let (cancel, mut at_once) = (CancelToken::new(), vec![]);
        for signal in SIGNALS {
            // In this order: the first signal finds the flag unset, the second one finds it set.
            let shutdown = signal_hook::flag::register_conditional_shutdown;
            let registered = shutdown(signal, STATUS_INTERRUPTED, cancel.flag());
            at_once.push(registered.map_err(CliError::io("watching for signals"))?);
            signal_hook::flag::register(signal, cancel.flag())
                .map_err(CliError::io("watching for signals"))?;
        }
        remember(&cancel);
        Ok(Self { cancel, at_once })
    }

    /// From now on a second signal is the same wish once more: what was begun comes to its end.
    pub(crate) fn be_patient(&self) {
        for id in &self.at_once {
            unregister(*id);
        }
    }
}
