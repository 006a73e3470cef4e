//! One connection to the server: from where the spool ends, through every timeline, until it breaks.
//!
//! Invariant: the server hears that WAL is on disk only after it is.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use model::lsn::{Lsn, Timeline};
use model::size::ByteSize;
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use pg::replication::{
    Event, Started, WalStream, create_slot, identify_system, read_slot, segment_size, timeline_history,
};
use pg::timeline_history::TimelineHistory;
use pg::wire::{Conversation, WireError};

use super::begin::{Begin, Known, begin};
use super::intake::Intake;
use super::spool::Spool;
use super::{Keeper, ReceiveEvent, ReceiveOptions, connect};
use crate::error::{EngineError, Result};
use crate::wal_error::WalError;

/// How often the server hears from us, at least: a tenth of what it waits by default.
const REPORT_EVERY: Duration = Duration::from_secs(6);
/// While we catch up, what is written goes to disk when nothing comes for so long.
const MOMENT: Duration = Duration::from_millis(20);
/// How often it is looked whether the uploader lives.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After such a silence the server is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(30);
/// And after such a one it is not.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// What the server says where WAL is gone.
const UNDEFINED_FILE: &str = "58P01";
/// How long a server without a free connection is asked what it still has.
const ASKED_MAX: Duration = Duration::from_secs(60);

/// What one connection works with.
pub(crate) struct Session<'a> {
    pub(crate) keeper: &'a Keeper<'a>,
    pub(crate) options: &'a ReceiveOptions<'a>,
    pub(crate) spool: &'a Spool,
    /// Wakes the uploader.
    pub(crate) bell: &'a Sender<()>,
    /// Whether the uploader has ended: then there is no use in going on.
    pub(crate) is_over: &'a dyn Fn() -> bool,
    /// A gap was accepted: begin with the first segment behind this one that the server has.
    pub(crate) skips: Cell<Option<SegmentNo>>,
}

impl Session<'_> {
    /// Receive over `server` until it ends, which is always an error.
    pub(crate) fn run(&self, mut server: Conversation) -> Result<Infallible> {
        let size = segment_size(&mut server)?;
        let mut place = self.place(&mut server, size)?;
        loop {
            self.keep_history(&mut server, place.timeline)?;
            let shown = server.place().to_owned();
            let start = size.start_of(place.segment);
            let next = match WalStream::start(server, self.options.slot.as_ref(), place.timeline, start) {
                Ok(Started::Ended { server, next }) => (server, Some(next)),
                Ok(Started::Streams(stream)) => {
                    let Begin { timeline, .. } = place;
                    (self.keeper.tell)(ReceiveEvent::Streams { place: shown, timeline, start });
                    let at = Cell::new(start);
                    match self.follow(stream, (timeline, size), &at) {
                        // What is gone is often noticed only when it is to be sent.
                        Err(EngineError::Wire(error)) => return Err(self.missing(error, at.get(), size)),
                        followed => followed?,
                    }
                }
                Err(error) => return Err(self.missing(error, start, size)),
            };
            let (talk, Some((timeline, at))) = next else { return Err(WireError::Closed.into()) };
            (self.keeper.tell)(ReceiveEvent::Switched { timeline, at });
            place = Begin { timeline, segment: size.segment_of(at), gap_after: None };
            server = talk;
        }
    }

    /// Where to begin.
    fn place(&self, server: &mut Conversation, size: SegmentSize) -> Result<Begin> {
        let identity = identify_system(server)?;
        let system_id = self.spool.system_id();
        if identity.system_id != system_id {
            let found = identity.system_id;
            return Err(EngineError::Refused(format!(
                "the server is now the cluster {found}, and was {system_id}"
            )));
        }
        let spooled: Vec<WalName> = self.spool.contents()?.into_iter().map(|wal| wal.file.name).collect();
        let mut known = Known {
            spooled: &spooled,
            archived: &[],
            first: None,
            slot: None,
            server: (identity.flushed, identity.timeline),
            size,
        };
        if let Some(slot) = &self.options.slot {
            if self.options.creates_slot {
                create_slot(server, slot)?;
            }
            known.slot = read_slot(server, slot)?.and_then(|slot| slot.restart);
        }
        let archived: Vec<WalName>;
        if !spooled.iter().any(|name| matches!(name, WalName::Segment(_) | WalName::Partial(_))) {
            let stored = self.keeper.repository.list_wal(system_id, None)?;
            archived = stored.into_iter().map(|stored| stored.file.name).collect();
            known.archived = &archived;
            known.first = self.first_of_newest(&archived, size);
        }
        if let Some(gone) = self.skips.get() {
            let present = size.segment_of(identity.flushed);
            let segment = self.first_kept(identity.timeline, (gone, present), size)?;
            self.skips.set(None);
            return Ok(Begin { timeline: identity.timeline, segment, gap_after: None });
        }
        let found = begin(&known);
        if let Some(last) = found.gap_after {
            let first = SegmentName::new(found.timeline, found.segment, size);
            self.accept(format!(
                "the archive ends with {last}, and the server has WAL from {first} on: there is a gap"
            ))?;
        }
        Ok(found)
    }

    /// With which segment the newest timeline begins of which something is archived, where the server knows that.
    fn first_of_newest(&self, archived: &[WalName], size: SegmentSize) -> Option<SegmentNo> {
        let segments = archived.iter().filter(|name| matches!(name, WalName::Segment(_)));
        let newest = segments.map(WalName::timeline).max().filter(|newest| newest.0 > 1)?;
        // Over a connection of its own, since the answer may be a refusal.
        let (mut server, _) = connect(self.options).ok()?;
        let history = timeline_history(&mut server, newest).ok()?;
        server.close();
        let parent = TimelineHistory::parse(newest, &history).ok()?.parent()?;
        Some(size.segment_of(parent.end))
    }

    /// A gap is refused, unless it was said that it may be; then it is told.
    fn accept(&self, gap: String) -> Result<()> {
        if !self.options.accepts_gap {
            return Err(WalError::Gap(gap).into());
        }
        (self.keeper.tell)(ReceiveEvent::Gap(gap));
        Ok(())
    }

    /// The first segment behind `gone` that the server still has of this timeline; the `present` one it writes. What is removed
    /// is removed from the oldest on, so it is looked for by halves, each over a connection of its own.
    fn first_kept(
        &self,
        timeline: Timeline,
        (gone, present): (SegmentNo, SegmentNo),
        size: SegmentSize,
    ) -> Result<SegmentNo> {
        let (mut gone, mut kept) = (gone.0, present.0);
        let until = Instant::now() + ASKED_MAX;
        while kept.saturating_sub(gone) > 1 {
            let middle = gone + (kept - gone) / 2;
            match self.is_kept_surely(timeline, size.start_of(SegmentNo(middle)), until)? {
                true => kept = middle,
                false => gone = middle,
            }
        }
        Ok(SegmentNo(kept))
    }

    /// [`Self::is_kept`], asked until the server answers. Where it has no connection left for the question until then, that WAL
    /// counts as gone, so that what is written meanwhile does not go too.
    fn is_kept_surely(&self, timeline: Timeline, start: Lsn, until: Instant) -> Result<bool> {
        loop {
            match self.is_kept(timeline, start) {
                Err(EngineError::Wire(error)) if error.is_passing() => {
                    self.verify_going(Instant::now())?;
                    if Instant::now() > until {
                        return Ok(false);
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
                answer => return answer,
            }
        }
    }

    /// Whether the server sends WAL from `start` on.
    fn is_kept(&self, timeline: Timeline, start: Lsn) -> Result<bool> {
        let is_gone = |error: &WireError| error.sqlstate() == Some(UNDEFINED_FILE);
        let (server, _) = connect(self.options)?;
        let mut stream = match WalStream::start(server, None, timeline, start) {
            Ok(Started::Streams(stream)) => stream,
            Ok(Started::Ended { .. }) => return Ok(false),
            Err(error) if is_gone(&error) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let asked = Instant::now();
        loop {
            self.verify_going(asked)?;
            match stream.next(Instant::now() + LOOK_EVERY) {
                Ok(Event::Wal { .. }) => {
                    stream.close();
                    return Ok(true);
                }
                Ok(Event::Quiet | Event::Alive { .. }) => {}
                Ok(Event::End) => return Ok(false),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The server does not stream from `start`. Where the WAL is gone and may be, the next session begins elsewhere.
    fn missing(&self, error: WireError, start: Lsn, size: SegmentSize) -> EngineError {
        if error.sqlstate() != Some(UNDEFINED_FILE) {
            return error.into();
        }
        match self.accept(format!("the server has no WAL from {start} on any more: there is a gap")) {
            Ok(()) => {
                self.skips.set(Some(size.segment_of(start)));
                WireError::Closed.into()
            }
            Err(error) => error,
        }
    }

    /// Where the timeline came from.
    fn keep_history(&self, server: &mut Conversation, timeline: Timeline) -> Result<()> {
        if timeline.0 > 1 {
            self.spool.keep_history(timeline, &timeline_history(server, timeline)?)?;
            self.bell.try_send(()).ok();
        }
        Ok(())
    }

    /// Take one timeline to its end; `at` is how far it came. Gives back the conversation, and where the next one begins.
    fn follow(
        &self,
        mut stream: WalStream,
        (timeline, size): (Timeline, SegmentSize),
        at: &Cell<Lsn>,
    ) -> Result<(Conversation, Option<(Timeline, Lsn)>)> {
        let mut intake = Intake::new(self.spool, timeline, size, stream.position());
        let mut heard = Instant::now();
        let mut next_report = heard;
        loop {
            self.verify_going(heard)?;
            let now = Instant::now();
            if now >= next_report {
                stream.report(intake.progress(), heard + ASK_AFTER < now)?;
                next_report = now + REPORT_EVERY;
            }
            let until = match intake.is_synced() {
                true => next_report.min(now + LOOK_EVERY),
                false if intake.is_far() => now + MOMENT,
                false => now,
            };
            let event = stream.next(until)?;
            at.set(stream.position());
            if event != Event::Quiet {
                heard = Instant::now();
            }
            match event {
                Event::Wal { bytes, server_end, .. } => {
                    intake.server_end = server_end;
                    if intake.take(&bytes)? {
                        self.bell.try_send(()).ok();
                        next_report = heard;
                        self.wait_for_room(&mut stream, &mut intake, size)?;
                    }
                    if intake.is_due() {
                        intake.sync()?;
                        next_report = heard;
                    }
                }
                Event::Quiet | Event::Alive { wants_answer: true } => {
                    let is_news = !intake.is_synced() || event != Event::Quiet;
                    intake.sync()?;
                    if is_news {
                        next_report = now;
                    }
                }
                Event::Alive { .. } => {}
                Event::End => {
                    intake.sync()?;
                    stream.report(intake.progress(), false)?;
                    return Ok(stream.end()?);
                }
            }
        }
    }

    fn verify_going(&self, heard: Instant) -> Result<()> {
        self.options.cancel.check()?;
        if (self.is_over)() {
            // The uploader says why.
            return Err(model::cancel::Cancelled.into());
        }
        match heard.elapsed() > SILENCE_MAX {
            true => Err(WireError::Silent(SILENCE_MAX).into()),
            false => Ok(()),
        }
    }

    /// A spool that is full takes no more; the server keeps what it has.
    fn wait_for_room(
        &self,
        stream: &mut WalStream,
        intake: &mut Intake<'_>,
        size: SegmentSize,
    ) -> Result<()> {
        let mut is_told = false;
        loop {
            let spooled = self.spool.contents()?.len() as u64 * size.bytes();
            if spooled <= self.options.spool_max.0 {
                return Ok(());
            }
            if !is_told {
                (self.keeper.tell)(ReceiveEvent::SpoolFull(ByteSize(spooled)));
                is_told = true;
            }
            self.verify_going(Instant::now())?;
            intake.sync()?;
            stream.report(intake.progress(), false)?;
            std::thread::sleep(LOOK_EVERY);
        }
    }
}
