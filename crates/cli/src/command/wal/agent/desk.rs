//! What the agent does for those who ask: their file, and ahead of them the next ones.
//!
//! Invariants: what is answered was done on exactly the file that was asked about: one that changed since is another one.
//! That there is no such file, and that something failed, is never an answer from before: it is tried anew (pitfall 6).

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use engine::archive_wal::{LocalWal, header_of};
use engine::fetch_wal::{Durability, Loader, deliver, sweep, write_beside};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};
use repo::threads::cores;
use repo::wal_object::WalFile;
use tempfile::TempPath;

use super::ahead::Ahead;
use super::client::is_alive;
use super::message::{Answer, BEAT, Failure, FetchJob, PushJob, Request};
use crate::command::wal::work::{Archive, Pushed};
use crate::error::{CliError, Result};

/// Threads at most: each has a segment in memory.
const WORKERS_MAX: usize = 4;
/// Bytes that are pushed or fetched ahead; of longer segments one.
const AHEAD_MAX: u64 = 128 << 20;

/// A file as it was when its push was asked for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct PushKey {
    job: PushJob,
    stamp: (u64, u64, i64, i64),
}

/// A file to be fetched into a directory.
#[derive(Clone, PartialEq, Eq, Hash)]
struct FetchKey {
    file: WalFile,
    folder: PathBuf,
    durability: Durability,
}

impl FetchKey {
    /// Put what there is of it beside its place.
    fn write(&self, content: Option<&[u8]>) -> Result<Option<TempPath>> {
        let written = content.map(|content| write_beside(&self.folder, content, self.durability));
        Ok(written.transpose()?)
    }
}

/// The desk of an agent.
pub(super) struct Desk<'a> {
    open: &'a (dyn Fn() -> Result<Archive> + Sync),
    archive: OnceLock<std::result::Result<Archive, Failure>>,
    pushes: Ahead<PushKey, std::result::Result<Pushed, Failure>>,
    fetches: Ahead<FetchKey, std::result::Result<Option<TempPath>, Failure>>,
    swept: Mutex<Vec<PathBuf>>,
}

impl<'a> Desk<'a> {
    pub(super) fn new(open: &'a (dyn Fn() -> Result<Archive> + Sync)) -> Self {
        Self {
            open,
            archive: OnceLock::new(),
            pushes: Ahead::new(),
            fetches: Ahead::new(),
            swept: Mutex::default(),
        }
    }

    /// The repository, opened once.
    pub(super) fn archive(&self) -> std::result::Result<&Archive, Failure> {
        self.archive.get_or_init(|| (self.open)().map_err(Failure::from)).as_ref().map_err(Clone::clone)
    }

    /// Whether the repository could not be opened.
    pub(super) fn is_shut(&self) -> bool {
        self.archive.get().is_some_and(std::result::Result::is_err)
    }

    /// Work until it is over, on threads of `scope`.
    pub(super) fn employ<'scope>(&'scope self, scope: &'scope std::thread::Scope<'scope, '_>) {
        for _ in 0..workers() {
            scope.spawn(|| self.pushes.work(|key, is_alone| self.push_one(key, shared(is_alone))));
            scope.spawn(|| {
                let mut loader = Loader::default();
                self.fetches.work(|key, is_alone| self.fetch_one(key, &mut loader, shared(is_alone)));
            });
        }
    }

    /// Nothing is begun from now on.
    pub(super) fn close(&self) {
        self.pushes.end();
        self.fetches.end();
    }

    /// The answer; `None` where nobody waits for it any more.
    pub(super) fn answer(&self, request: Request, is_waiting: impl FnMut() -> bool) -> Option<Answer> {
        match request {
            Request::Push(job) => self.push(job, is_waiting),
            Request::Fetch(job) => self.fetch(&job, is_waiting),
        }
    }

    fn push(&self, job: PushJob, mut is_waiting: impl FnMut() -> bool) -> Option<Answer> {
        let key = match stamped(job) {
            Ok(key) => key,
            Err(error) => return Some(Answer::Failed(error.into())),
        };
        self.pushes.expect(&key, &ready_after(&key));
        let mut done = self.pushes.want(&key, BEAT, &mut is_waiting)?;
        if done.was_ahead && done.result.is_err() {
            done = self.pushes.want(&key, BEAT, &mut is_waiting)?;
        }
        Some(match done.result {
            Ok(pushed) => Answer::Pushed(pushed),
            Err(failure) => Answer::Failed(failure),
        })
    }

    fn push_one(&self, key: &PushKey, cores: usize) -> std::result::Result<Pushed, Failure> {
        let archive = self.archive()?;
        let wal = LocalWal::at(&key.job.path, key.job.system_id).map_err(CliError::from)?;
        Ok(archive.push(&wal, &key.job.claim, key.job.takes_over, cores)?)
    }

    fn fetch(&self, job: &FetchJob, mut is_waiting: impl FnMut() -> bool) -> Option<Answer> {
        let failed = |error: CliError| Some(Answer::Failed(error.into()));
        let name: WalName = match job.file.parse() {
            Ok(name) => name,
            Err(error) => return failed(CliError::usage(format!("{error}"))),
        };
        let folder = job.to.parent().unwrap_or(Path::new("/")).to_owned();
        self.sweep_once(&folder);
        let file = WalFile { system_id: job.system_id, name };
        let key = FetchKey { file, folder, durability: Durability::of(&job.to) };
        let mut done = self.fetches.want(&key, BEAT, &mut is_waiting)?;
        if done.was_ahead && !matches!(done.result, Ok(Some(_))) {
            done = self.fetches.want(&key, BEAT, &mut is_waiting)?;
        }
        let written = match done.result {
            Err(failure) => return Some(Answer::Failed(failure)),
            Ok(Some(written)) => written,
            Ok(None) => match self.fetch_now(&key) {
                Err(failure) => return Some(Answer::Failed(failure)),
                Ok(None) => return Some(Answer::Absent),
                Ok(Some(written)) => written,
            },
        };
        self.fetches.expect(&key, &stored_after(&key, &written));
        // Who gave up waiting fetches by itself, and PostgreSQL may want another file under that name by now.
        if !is_waiting() {
            return None;
        }
        match deliver(written, &job.to) {
            Ok(()) => Some(Answer::Delivered),
            Err(error) => failed(error.into()),
        }
    }

    fn fetch_one(
        &self,
        key: &FetchKey,
        loader: &mut Loader,
        cores: usize,
    ) -> std::result::Result<Option<TempPath>, Failure> {
        Ok(key.write(self.archive()?.load_ahead(loader, &key.file, cores)?)?)
    }

    /// What there is of a file that is wanted now, also if it is only the beginning.
    fn fetch_now(&self, key: &FetchKey) -> std::result::Result<Option<TempPath>, Failure> {
        Ok(key.write(self.archive()?.load(&mut Loader::default(), &key.file, cores())?)?)
    }

    /// What an agent that was killed left on its way.
    fn sweep_once(&self, folder: &Path) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if !swept.iter().any(|known| known == folder) {
            sweep(folder, is_alive);
            swept.push(folder.to_owned());
        }
    }
}

fn workers() -> usize {
    cores().clamp(1, WORKERS_MAX)
}

/// All cores for what is alone, one for each where there are several.
fn shared(is_alone: bool) -> usize {
    if is_alone { cores() } else { 1 }
}

fn stamped(job: PushJob) -> Result<PushKey> {
    let what = format!("reading {}", job.path.display());
    let about = std::fs::metadata(&job.path).map_err(CliError::io(&what))?;
    let stamp = (about.ino(), about.len(), about.mtime(), about.mtime_nsec());
    Ok(PushKey { job, stamp })
}

/// How many segments of a size are worked on ahead.
fn count_ahead(size: SegmentSize) -> u64 {
    (AHEAD_MAX / size.bytes()).clamp(1, 2 * workers() as u64)
}

fn next(name: &SegmentName, size: SegmentSize, steps: u64) -> Option<SegmentName> {
    Some(SegmentName::new(name.timeline, SegmentNo(name.number(size)?.0 + steps), size))
}

/// The segments after this one that the server has marked as ready.
fn ready_after(key: &PushKey) -> Vec<PushKey> {
    let folder = key.job.path.parent().unwrap_or(Path::new("/"));
    let name = key.job.path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    let (Some(WalName::Segment(name)), Some(header)) = (name, header_of(&key.job.path)) else {
        return vec![];
    };
    let ready = |steps| {
        let next = next(&name, header.size, steps)?.to_string();
        folder.join(format!("archive_status/{next}.ready")).exists().then_some(())?;
        // A takeover was said of one file.
        let job = PushJob { path: folder.join(next), takes_over: false, ..key.job.clone() };
        stamped(job).ok()
    };
    (1..=count_ahead(header.size)).map_while(ready).collect()
}

/// The segments that a server asks for after this one, unless its timeline ends there; who puts a file anywhere else than
/// into a `pg_wal` asks for that one alone.
fn stored_after(key: &FetchKey, written: &Path) -> Vec<FetchKey> {
    let is_server = key.folder.file_name().is_some_and(|name| name == "pg_wal");
    let (WalName::Segment(name), Some(header), true) = (&key.file.name, header_of(written), is_server) else {
        return vec![];
    };
    let following = |steps| {
        let name = WalName::Segment(next(name, header.size, steps)?);
        let file = WalFile { name, ..key.file.clone() };
        Some(FetchKey { file, ..key.clone() })
    };
    (1..=count_ahead(header.size)).map_while(following).collect()
}
