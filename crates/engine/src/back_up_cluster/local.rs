//! The way from the data directory: backup mode, files read in parallel, and the log behind them.
//!
//! The walk (one thread) decides what to take of each file → reading, comparing checksums of pages (all cores) → hashing,
//! compressing, sealing (all cores) → tree and manifest (this thread), in the order of the walk. Then `pg_control`, the end
//! of backup mode, and the WAL between start and stop.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use files::owner::Owners;
use files::relative::RelativePath;
use files::target::Target;
use jiff::Timestamp;
use pg::backup_label::{BACKUP_LABEL, TABLESPACE_MAP};
use pg::backup_manifest::ManifestWriter;
use pg::backup_mode::{BackupMode, Stopped, drop_slots};
use pg::control_file::{ControlFile, ControlFileError};
use pg::wal_summary::Changes;
use repo::BlobKind;
use repo::node::Node;
use repo::saver::Saver;
use repo::threads::{both, cores};

use super::archive::{ArchivedLog, without_gap};
use super::choose::{self, Choosing};
use super::earlier::{Beside, ELSEWHERE, Earlier};
use super::gather::{Gathering, Seen};
use super::pace::Pace;
use super::read::{FileRead, PIECE_LEN, Reading};
use super::{Begun, Saved, Waited, elsewhere, log, marker};
use crate::cluster_manifest::{ClusterManifest, PG_CONTROL, link_name};
use crate::cutter;
use crate::error::{EngineError, Result};
use crate::stored_tree::TreeSource;

/// Files that wait for a reader, or for their turn in the tree.
const WAITING: usize = 256;
/// How long the server may take to summarise its WAL, before the files themselves are looked at.
const SUMMARIZER_PATIENCE: Duration = Duration::from_secs(10);
/// How often `pg_control` is read that is torn, and the pause before.
const CONTROL_ATTEMPTS_MAX: u32 = 100;
const CONTROL_PAUSE: Duration = Duration::from_millis(5);
/// How often it is asked.
const SUMMARIZER_POLL: Duration = Duration::from_millis(20);

/// Read the data directory of `begun` on this machine.
pub(super) fn save(begun: &Begun<'_>, data: &Path) -> Result<Saved> {
    let Begun { facts, writing, .. } = begun;
    // The archive is asked while the server makes its checkpoint.
    let archived = || ArchivedLog::list(&writing.repository, facts.system_id, facts.segment_size());
    let ((mut mode, checkpoint), earlier) = match begun.source.full {
        true => begin(begun, data)?,
        false => {
            let (begin, archived) = both(|| begin(begun, data), archived);
            let (mode, earlier) = begin?;
            let whole = earlier.map(|earlier| without_gap(begun, earlier, archived?)).transpose()?;
            (mode, whole.flatten())
        }
    };
    let began = Instant::now();
    let changes = match &earlier {
        Some(earlier) if facts.summarizes => changes(begun, &mut mode, earlier)?,
        _ => None,
    };
    let waited = Waited { checkpoint, summarizer: began.elapsed(), ..Waited::default() };
    let owners = Owners::read(Path::new("/etc")).map_err(EngineError::io("reading /etc/passwd"))?;
    let local = Local { begun, data, owners: Arc::new(owners), earlier: earlier.as_ref(), changes };
    let (link, seen, stopped, stopped_at) = local.save(&mut mode)?;
    // After the stop: whatever was read lies in the history that this marks. Without a mark, the next one is a full one.
    let marker = marker::write(data).ok();
    // That of a backup before must not be believed any more, wherever it is.
    let (_, slots) = begun.own_marks();
    if !slots.is_empty()
        && let Err(error) = drop_slots(&begun.server, &slots)
    {
        (begun.source.tell)(&format!("the mark of an earlier backup is left on the server: {error}"));
    }
    Ok(Saved { link, seen, stopped, stopped_at, marker, earlier, waited })
}

/// A cluster in backup mode, how long that took, and the backup that this one can be an increment of.
fn begin(begun: &Begun<'_>, data: &Path) -> Result<((BackupMode, Duration), Option<Earlier>)> {
    let Begun { server, facts, source, order, .. } = begun;
    let label = format!("mainstay {}", order.source);
    let began = Instant::now();
    let mode = BackupMode::start(server, &label, source.fast, &order.cancel)?;
    let checkpoint = began.elapsed();
    // The directory has the slot that the server has just made for this session, or it is another server's.
    if mode.slot().is_some_and(|slot| !data.join("pg_replslot").join(slot).is_dir()) {
        return Err(elsewhere(facts));
    }
    let in_file = marker::read(data);
    let is_marked =
        |mark: &str| in_file.as_deref() == Some(mark) || facts.marks.iter().any(|slot| slot == mark);
    let earlier = if source.full { None } else { Earlier::find(begun, &is_marked)? };
    if earlier.as_ref().is_some_and(|earlier| !earlier.leads_to(mode.timeline(), mode.start_lsn())) {
        (source.tell)(&format!("{ELSEWHERE}, so this backup is a full one"));
        return Ok(((mode, checkpoint), None));
    }
    Ok(((mode, checkpoint), earlier))
}

/// What the server's summaries say has changed since then; nothing where they do not reach to here in time.
fn changes(begun: &Begun<'_>, mode: &mut BackupMode, earlier: &Earlier) -> Result<Option<Changes>> {
    let began = Instant::now();
    while mode.summarized(&begun.order.cancel)? < mode.start_lsn() {
        if began.elapsed() > SUMMARIZER_PATIENCE {
            return Ok(None);
        }
        std::thread::sleep(SUMMARIZER_POLL);
    }
    let from = earlier.manifest.start_lsn;
    // Without this knowledge the files themselves are looked at.
    Ok(Changes::ask(&begun.server, mode.timeline(), from, mode.start_lsn()).unwrap_or_default())
}

/// One backup of a directory on this machine.
struct Local<'a> {
    begun: &'a Begun<'a>,
    data: &'a Path,
    owners: Arc<Owners>,
    earlier: Option<&'a Earlier>,
    changes: Option<Changes>,
}

impl Local<'_> {
    fn save(&self, mode: &mut BackupMode) -> Result<(Node, Seen, Stopped, Timestamp)> {
        let Begun { server, facts, writing, source, order } = self.begun;
        let (data, earlier) = (self.data, self.earlier);
        order.progress.begin("reading", 0);
        let saver = &writing.saver;
        let cutter = cutter::load(&writing.repository, PIECE_LEN)?;
        let manifest = ManifestWriter::begin(server.version(), facts.system_id);
        let mut gathering = Gathering::begin(saver, &cutter, manifest)?;
        let reading = Reading {
            saver,
            has_checksums: facts.has_checksums,
            pace: Pace::new(source.rate_kib_max, cores(), source.tell),
            progress: order.progress.clone(),
            cancel: order.cancel.clone(),
        };
        self.save_files(&reading, &mut gathering)?;
        self.save_control(saver, &mut gathering)?;
        let stopped = mode.stop(&order.cancel)?;
        let stopped_at = Timestamp::now();
        refuse_new_tablespaces(&gathering.seen, &stopped)?;
        gathering.seen.judge(stopped.start, stopped.stop);
        gathering.made(BACKUP_LABEL, label(&stopped, earlier).as_bytes(), order)?;
        if !stopped.tablespace_map.is_empty() {
            gathering.made(TABLESPACE_MAP, stopped.tablespace_map.as_bytes(), order)?;
        }
        reading.pace.go_on_alone();
        let mut wal = log::save(&reading, data, facts.system_id, facts.segment_size(), &stopped, order)?;
        wal.iter_mut().try_for_each(|node| gathering.own(&mut node.entry))?;
        wal.push(gathering.directory("archive_status", vec![])?);
        let wal = gathering.directory("pg_wal", wal)?;
        gathering.put_into_root(wal)?;
        let name = link_name(earlier.map_or(0, |earlier| earlier.links.len()));
        let end = |manifest: ManifestWriter| manifest.finish(stopped.timeline, stopped.start, stopped.stop);
        let (link, seen) = gathering.finish(&name, end, order)?;
        seen.problems.iter().for_each(|words| (source.tell)(words));
        Ok((link, seen, stopped, stopped_at))
    }

    /// All files but `pg_control`.
    fn save_files(&self, reading: &Reading<'_>, gathering: &mut Gathering<'_>) -> Result<()> {
        let Begun { server, writing, source, .. } = self.begun;
        let trees = TreeSource::new(&writing.repository, &writing.index)?.and(&writing.marked);
        let failure = Failure::default();
        let (to_read, jobs) = bounded(WAITING);
        let (to_gather, items) = bounded(WAITING);
        let choosing =
            Choosing { beside: Beside::new(self.earlier, self.changes.as_ref(), trees), to_read, to_gather };
        let (data, major) = (self.data, server.version().major());
        let gathered = std::thread::scope(|scope| {
            let failure = &failure;
            let owners = &self.owners;
            scope.spawn(move || failure.catch(choosing.run(data, owners, major)));
            for _ in 0..cores() {
                let jobs = jobs.clone();
                scope.spawn(move || failure.catch(choose::read_files(reading, &jobs)));
            }
            drop(jobs);
            choose::gather(gathering, items, source.tell)
        });
        match failure.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(first) => Err(first),
            None => gathered,
        }
    }

    /// The last file: with what it says, the others can be brought up to the stop.
    fn save_control(&self, saver: &Saver, gathering: &mut Gathering<'_>) -> Result<()> {
        let gone = || EngineError::Gone(format!("{} is not there", self.data.join(PG_CONTROL).display()));
        let path = RelativePath::parse(PG_CONTROL).map_err(files::error::Error::from)?;
        let mut entry = Target::open(self.data)?.look_at(&path, &self.owners)?.ok_or_else(gone)?;
        let bytes = read_control(self.data).map_err(EngineError::io(format!("reading {PG_CONTROL}")))?;
        entry.metadata.size = bytes.len() as u64;
        let content = vec![saver.hand()?.save(BlobKind::Data, &bytes)?.id];
        let (crc, source_size) = (crc32c::crc32c(&bytes), bytes.len() as u64);
        let read = FileRead { entry, content, crc, source_size, misfits: vec![] };
        gathering.control(PG_CONTROL.as_bytes(), read)
    }
}

/// `pg_control` of a data directory. The server may just be writing it: what is torn is read again.
pub(super) fn read_control(data: &Path) -> io::Result<Vec<u8>> {
    let mut attempts = 0;
    loop {
        let bytes = std::fs::read(data.join(PG_CONTROL))?;
        match ControlFile::parse(&bytes) {
            Err(ControlFileError::Torn) if attempts < CONTROL_ATTEMPTS_MAX => attempts += 1,
            Err(error) => return Err(io::Error::other(error)),
            Ok(_) => return Ok(bytes),
        }
        std::thread::sleep(CONTROL_PAUSE);
    }
}

/// The map is of the beginning. A tablespace that was made since then is in no map, and its directory would be in the way
/// of the recovery that makes it.
fn refuse_new_tablespaces(seen: &Seen, stopped: &Stopped) -> Result<()> {
    let mapped = |oid: &String| {
        stopped.tablespace_map.lines().any(|line| line.split(' ').next() == Some(oid.as_str()))
    };
    match seen.tablespaces.iter().find(|oid| !mapped(oid)) {
        Some(oid) => Err(EngineError::Gone(format!(
            "tablespace {oid} was made while the backup ran; take the backup again"
        ))),
        None => Ok(()),
    }
}

/// The label that the server wrote. Of an increment it says so, as those of PostgreSQL 17 do: no server starts on it.
fn label(stopped: &Stopped, earlier: Option<&Earlier>) -> String {
    let mut label = stopped.label.clone();
    if let Some(earlier) = earlier {
        let ClusterManifest { start_lsn, timeline, .. } = &earlier.manifest;
        label.push_str(&format!("INCREMENTAL FROM LSN: {start_lsn}\nINCREMENTAL FROM TLI: {timeline}\n"));
    }
    label
}

/// What stopped the pipeline first.
#[derive(Default)]
struct Failure(Mutex<Option<EngineError>>);

impl Failure {
    fn catch(&self, outcome: Result<()>) {
        if let Err(error) = outcome {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }
}
