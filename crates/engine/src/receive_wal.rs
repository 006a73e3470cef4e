//! Receive WAL as the server writes it, and archive it.
//!
//! ```text
//! server ─▶ session (writes, syncs, reports) ─▶ spool on this machine's disk ─▶ upload ─▶ repository
//! ```
//!
//! The server hears that WAL is on disk once it is in the spool: as a synchronous standby this loses no commit. A server or a
//! repository that is away is waited for. Invariants: what the server was told is on disk stays in the spool until the
//! repository has it; nothing is left out, or it is refused and said.

use std::path::Path;
use std::time::{Duration, Instant};

use model::cancel::CancelToken;
use model::lsn::{Lsn, Timeline};
use model::size::ByteSize;
use pg::connection::Connection;
use pg::replication::{Identity, SlotName, identify_system};
use pg::wire::{Conversation, Purpose, WireError};
use repo::Repository;

use crate::error::{EngineError, Result};
use crate::wal_owner::{Claim, Owners};

/// Before the second try to reach the server, doubled before each further one.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Segments on their way into the repository at one time: while one waits for the disk or the network, another is compressed.
const AT_ONCE: usize = 2;
/// How often a pause looks whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// From where WAL comes, and where it is kept meanwhile.
pub struct ReceiveOptions<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// libpq's variables and `HOME`.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The slot for which the server keeps WAL while we are away.
    pub slot: Option<SlotName>,
    /// The slot is made if it is not there.
    pub creates_slot: bool,
    /// WAL that is gone is told, and what follows is received.
    pub accepts_gap: bool,
    /// With more than this in the spool no more is taken.
    pub spool_max: ByteSize,
    /// Ends it, in order.
    pub cancel: &'a CancelToken,
}

/// Who keeps what comes in.
pub struct Keeper<'a> {
    /// Where WAL is archived.
    pub repository: &'a Repository,
    /// As whom.
    pub claim: &'a Claim,
    /// Whose the timelines are.
    pub owners: Owners,
    /// Timelines become its own, whoever had them.
    pub takes_over: bool,
    /// Cores for compression and ciphers.
    pub cores: usize,
    /// Who is told what happens.
    pub tell: &'a (dyn Fn(ReceiveEvent) + Sync),
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEvent {
    /// WAL streams.
    Streams {
        /// From which server.
        place: String,
        /// Of which timeline.
        timeline: Timeline,
        /// From where on.
        start: Lsn,
    },
    /// The server goes on with another timeline.
    Switched {
        /// Which.
        timeline: Timeline,
        /// From where on.
        at: Lsn,
    },
    /// WAL is missing in the archive.
    Gap(String),
    /// A file is in the repository, and no longer in the spool.
    Stored {
        /// Its name.
        name: String,
        /// Bytes that were stored for it; none where it was there.
        bytes: u64,
    },
    /// A file is in the repository with fewer bytes, and stays in the spool under another name.
    Kept {
        /// Its name.
        name: String,
        /// Where it is.
        place: std::path::PathBuf,
    },
    /// The server is away.
    ServerAway {
        /// What was said.
        words: String,
        /// Until the next try.
        pause: Duration,
    },
    /// The repository is away; the spool grows.
    StoreAway {
        /// What was said.
        words: String,
        /// Until the next try.
        pause: Duration,
    },
    /// The spool takes no more until the repository does.
    SpoolFull(ByteSize),
}

/// A new conversation with the server, and who that is.
fn connect(options: &ReceiveOptions<'_>) -> Result<(Conversation, Identity)> {
    let (connection, cancel) = (options.connection, options.cancel);
    let mut server = Conversation::open(connection, Purpose::Replication, options.environment, cancel)?;
    let identity = identify_system(&mut server)?;
    Ok((server, identity))
}

mod begin;
mod spool;
mod upload;
mod intake;
mod session;

use session::Session;
use spool::Spool;

/// Receive until `options.cancel` is set.
///
/// # Errors
/// The server or the repository refuses, WAL is missing, or the spool cannot be written. Whoever is only away is waited for.
pub fn receive_wal(keeper: &Keeper<'_>, root: &Path, options: &ReceiveOptions<'_>) -> Result<()> {
    let mut away = Away { keeper, cancel: options.cancel, pause: PAUSE };
    let first = loop {
        match connect(options) {
            Ok(found) => break found,
            Err(error) => away.wait(error)?,
        }
        if options.cancel.is_cancelled() {
            return Ok(());
        }
    };
    let spool = Spool::open(root, first.1.system_id)?;
    let (bell, rings) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        let uploader = scope.spawn(|| upload::upload(keeper, &spool, &rings));
        let session = Session {
            keeper,
            options,
            spool: &spool,
            bell: &bell,
            is_over: &|| uploader.is_finished(),
            skips: std::cell::Cell::new(None),
        };
        let received = receive(&session, first.0, &mut away);
        // The uploader ends with what it has in hand.
        drop(bell);
        let uploaded = uploader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        uploaded.and(received)
    })
}

/// One session after the other.
fn receive(session: &Session<'_>, first: Conversation, away: &mut Away<'_>) -> Result<()> {
    let mut server = Some(first);
    loop {
        let began = Instant::now();
        let open = || Ok(connect(session.options)?.0);
        let error = match server.take().map_or_else(open, Ok).and_then(|server| session.run(server)) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if session.options.cancel.is_cancelled() || (session.is_over)() {
            return Ok(());
        }
        if began.elapsed() > PAUSE_MAX {
            away.pause = PAUSE;
        }
        away.wait(error)?;
    }
}

/// The patience with a server that is away.
struct Away<'a> {
    keeper: &'a Keeper<'a>,
    cancel: &'a CancelToken,
    pause: Duration,
}

impl Away<'_> {
    /// Wait a little, if that can help.
    fn wait(&mut self, error: EngineError) -> Result<()> {
        match &error {
            EngineError::Wire(WireError::Cancelled(_)) => return Ok(()),
            EngineError::Wire(wire) if wire.is_passing() => {}
            // The place to begin at was asked of the repository.
            EngineError::Repository(cause) if !cause.is_damage() => {}
            _ => return Err(error),
        }
        (self.keeper.tell)(ReceiveEvent::ServerAway { words: error.to_string(), pause: self.pause });
        let until = Instant::now() + self.pause;
        while Instant::now() < until && !self.cancel.is_cancelled() {
            std::thread::sleep(LOOK_EVERY);
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}

/// Archive all that is in the spool below `root`, what is unfinished too: for when the server is gone for good. The names of
/// what was archived.
///
/// # Errors
/// Somebody receives into it, or the repository does not take something; that and the rest stay in the spool.
pub fn flush_spool(keeper: &Keeper<'_>, root: &Path) -> Result<Vec<String>> {
    let mut archived = vec![];
    for system_id in spool::clusters(root)? {
        archived.extend(upload::upload_all(keeper, &Spool::open(root, system_id)?)?);
    }
    Ok(archived)
}
