//! Back up a whole cluster: the files of its data directory, and the WAL that makes them consistent.
//!
//! Two ways in: [`local`] reads the data directory where it lies, in parallel, and can take what changed alone; [`stream`]
//! takes what the server sends over the replication protocol, from wherever it is. Both end in a link of a chain; then the
//! backup becomes visible. Fail closed: only pages that do not fit their checksums leave a backup behind, which says so and
//! is incomplete.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use model::backup::{BackupKind, BackupRecord};
use model::wal_name::{SegmentName, WalName};
use pg::backup_label::BackupLabel;
use pg::backup_mode::{Archiver, ClusterFacts, Stopped};
use pg::client::Clients;
use pg::connection::Session;
use pg::control_file::ControlFile;
use pg::server::Server;
use repo::node::Node;
use repo::wal_object::StoredWal;
use repo::{RepoError, Repository};

use crate::cluster_manifest::{CHAIN, ClusterManifest, MANIFEST_VERSION, link_name};
use crate::dump_stream::json;
use crate::error::{EngineError, Result};
use crate::manifest::MANIFEST_NAME;
use crate::writing::{
    ClusterPositions, Order, Outcome, Writing, plain_directory, save_small_file, save_tree,
};

/// zstd level where nobody says otherwise: files of a cluster compress well, and are read by all cores.
pub(crate) const LEVEL: i32 = 3;
/// How long the archiver may take for what the backup needs, before that is told.
const ARCHIVER_PATIENCE: Duration = Duration::from_secs(60);
/// A server notes in a file when it was started, and says it when it is asked, a moment later.
const STARTS_APART_MAX_S: u64 = 5;
/// How often it is asked.
const ARCHIVER_POLL: Duration = Duration::from_millis(200);
/// What the archiver has passed is in the repository by then, also where another one brings it there.
const ARRIVES: Duration = Duration::from_secs(5);
/// How often it is looked for.
const ARRIVES_POLL: Duration = Duration::from_secs(1);
/// A cluster of which nothing came for so long is archived elsewhere, if anywhere.
const LATELY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How the files come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From the data directory, which is on this machine.
    Local,
    /// From the server, which sends them.
    Stream,
}

/// A cluster to back up.
pub struct ClusterSource<'a> {
    /// The client programs that are installed.
    pub clients: &'a Clients,
    /// The way to the server.
    pub session: &'a Session,
    /// How; where nothing is said, from the data directory if it can be read here.
    pub via: Option<Via>,
    /// Whether everything is to be taken, also what an earlier backup has.
    pub full: bool,
    /// Whether to begin at once, by an immediate checkpoint.
    pub fast: bool,
    /// KiB a second at most, of what is read or of what the server sends.
    pub rate_kib_max: Option<u32>,
    /// What libpq's variables say, and `HOME`.
    pub environment: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// Told of what is wrong, while the backup goes on.
    pub tell: &'a (dyn Fn(&str) + Sync),
}

/// A backup of a cluster, and what it saw.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    /// The backup; `incomplete` if there were problems.
    pub record: BackupRecord,
    /// How the files came.
    pub via: Via,
    /// Which link of a chain it is; a full one is 0.
    pub link: usize,
    /// Files, and of how many only what changed was taken.
    pub files: u64,
    /// Of these.
    pub increments: u64,
    /// What was the server's time.
    pub waited: Waited,
}

/// How long a backup waited for its server, which does other things meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// For the checkpoint with which it begins; over the stream, for what the server does before it sends.
    pub checkpoint: Duration,
    /// For the summaries of its WAL.
    pub summarizer: Duration,
    /// For the archiver behind it.
    pub archiver: Duration,
}

/// Everything that is known before the first file.
struct Begun<'a> {
    server: Server,
    facts: ClusterFacts,
    writing: Writing,
    source: &'a ClusterSource<'a>,
    order: &'a Order,
}

/// A link that is stored, and what the server said at its end.
struct Saved {
    link: Node,
    seen: Seen,
    stopped: Stopped,
    stopped_at: Timestamp,
    /// What the data directory was marked with.
    marker: Option<String>,
    earlier: Option<Earlier>,
    waited: Waited,
}

/// The data directory is not on this machine, or is another server's.
fn elsewhere(facts: &ClusterFacts) -> EngineError {
    let directory = facts.data_directory.as_deref().unwrap_or("which the server does not tell to this role");
    EngineError::Unsuitable(format!(
        "the cluster's data directory, {directory}, cannot be read on this machine"
    ))
}

mod walk;
mod pace;
mod misfits;
mod read;
mod trust;
mod earlier;
mod archive;
mod gather;
mod choose;
mod marker;
mod log;
mod local;
mod receive;
mod stream;

use earlier::Earlier;
pub use earlier::LINKS_MAX;
use gather::Seen;
pub use marker::slots_of;

/// Back up the cluster of `source`.
///
/// # Errors
/// Anything that went wrong on the way; then there is no backup. Damaged pages are told, and make it incomplete.
pub fn back_up_cluster(
    repository: &Arc<Repository>,
    source: &ClusterSource<'_>,
    order: &Order,
) -> Result<ClusterReport> {
    order.progress.begin("waiting for the server's checkpoint", 0);
    let order = &Order { level: Some(order.level.unwrap_or(LEVEL)), ..order.clone() };
    let server = Server::open(source.clients.newest()?, source.session)?;
    let facts = ClusterFacts::ask(&server)?;
    let here = data_directory(&facts);
    let via = source.via.unwrap_or(if here.is_some() { Via::Local } else { Via::Stream });
    let writing = Writing::begin(repository, order)?;
    let begun = Begun { server, facts, writing, source, order };
    let saved = match (via, here) {
        (Via::Local, Some(directory)) => local::save(&begun, &directory),
        (Via::Local, None) => Err(elsewhere(&begun.facts)),
        (Via::Stream, _) => stream::save(&begun),
    };
    match saved {
        Ok(saved) => begun.commit(saved, via),
        Err(error) => Err(first_cause(begun.writing, error)),
    }
}

/// What stopped the pipeline is the reason; what others met afterwards is only its consequence.
fn first_cause(writing: Writing, error: EngineError) -> EngineError {
    match writing.saver.finish() {
        Err(RepoError::System(_) | RepoError::Cancelled(_)) | Ok(_) => error,
        Err(first) => first.into(),
    }
}

/// The data directory, where it is on this machine and may be read. A path alone says little: another cluster may have it
/// here, so its `pg_control` is asked.
fn data_directory(facts: &ClusterFacts) -> Option<PathBuf> {
    let directory = std::fs::canonicalize(facts.data_directory.as_ref()?).ok()?;
    let control = ControlFile::parse(&local::read_control(&directory).ok()?).ok()?;
    // A standby, or a copy that was restored, has the same number, and often the same path on another machine.
    let pid_file = std::fs::read_to_string(directory.join("postmaster.pid")).ok()?;
    let started_at = pid_file.lines().nth(2)?.trim().parse::<i64>().ok()?;
    let is_it =
        control.system == facts.system_id && facts.started_at.abs_diff(started_at) <= STARTS_APART_MAX_S;
    is_it.then_some(directory)
}

impl Begun<'_> {
    /// The last segment that the backup needs.
    fn last_segment(&self, stopped: &Stopped) -> SegmentName {
        let size = self.facts.segment_size();
        SegmentName::new(stopped.timeline, size.segment_before(stopped.stop), size)
    }

    /// The backup has all that it needs; whether what comes after it is kept too is worth knowing. Whether the archiver has
    /// passed `last`.
    fn wait_for_archiver(&self, last: SegmentName) -> Result<bool> {
        self.order.progress.begin("waiting for the archiver", 0);
        let last = last.to_string();
        let began = Instant::now();
        let at_first = Archiver::ask(&self.server)?;
        let mut now = at_first.clone();
        while !now.has_passed(&last) {
            if now.failures > at_first.failures || began.elapsed() > ARCHIVER_PATIENCE {
                let failed = now.last_failed.unwrap_or_else(|| "none".to_owned());
                (self.source.tell)(&format!(
                    "the server does not archive its WAL: {last} is not archived (last failure: {failed}); this backup \
                     can be restored, but to no later time"
                ));
                return Ok(false);
            }
            std::thread::sleep(ARCHIVER_POLL);
            self.order.cancel.check()?;
            now = Archiver::ask(&self.server)?;
        }
        Ok(true)
    }

    /// An archiver says that all is well whatever its command does. A repository that has WAL of the cluster is where it goes; one
    /// that has none may be another's business. The backup has all that it needs, whatever the repository says of others.
    fn look_for(&self, last: SegmentName) -> Result<()> {
        match self.arrives(last) {
            Ok(true) => {}
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                (self.source.tell)(&format!("whether {last} is in this repository cannot be told: {error}"));
            }
            Ok(false) => (self.source.tell)(&format!(
                "the server takes {last} for archived, and it is not in this repository yet, which has earlier WAL of the \
                 cluster: until it comes, this backup can be restored, but to no later time; `mainstay doctor` looks at \
                 archive_command"
            )),
        }
        Ok(())
    }

    /// Whether `last` comes into the repository in time, or is not to come here.
    fn arrives(&self, last: SegmentName) -> Result<bool> {
        let repository = &self.writing.repository;
        let is_last = |stored: &StoredWal| stored.file.name == WalName::Segment(last);
        let stored = repository.list_wal(self.facts.system_id, Some(last.timeline))?;
        // What came here long ago, and nothing since, may be archived elsewhere by now.
        let is_recent = |stored: &StoredWal| {
            Timestamp::try_from(stored.modified)
                .is_ok_and(|stored| self.order.now.duration_since(stored) < LATELY)
        };
        if !stored.iter().any(is_recent) || stored.iter().any(is_last) {
            return Ok(true);
        }
        let began = Instant::now();
        while began.elapsed() < ARRIVES {
            std::thread::sleep(ARRIVES_POLL);
            self.order.cancel.check()?;
            let stored = repository.list_wal(self.facts.system_id, Some(last.timeline))?;
            if stored.iter().any(is_last) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How the names of this source's marks begin that are slots, and those that the mark of this backup replaces.
    fn own_marks(&self) -> (String, Vec<&str>) {
        let Order { tenant, source, .. } = self.order;
        let prefix = slots_of(&self.writing.repository, tenant, source);
        let marks = self.facts.marks.iter().map(String::as_str);
        let own = marks.filter(|mark| mark.starts_with(&prefix)).collect();
        (prefix, own)
    }

    fn commit(self, saved: Saved, via: Via) -> Result<ClusterReport> {
        let began = Instant::now();
        let last = self.last_segment(&saved.stopped);
        let has_passed = self.facts.archives && self.wait_for_archiver(last)?;
        let waited = Waited { archiver: began.elapsed(), ..saved.waited };
        if has_passed {
            self.look_for(last)?;
        }
        let Self { server, facts, writing, order, .. } = self;
        let Saved { link, seen, stopped, stopped_at, marker, earlier, .. } = saved;
        let position = earlier.as_ref().map_or(0, |earlier| earlier.links.len());
        let outcome = outcome(&facts, &stopped, &seen, position, earlier.as_ref(), order);
        // The label is of the server that was read; where several hosts are named, the facts may be of another one.
        let label = BackupLabel::parse(&stopped.label).ok();
        let is_standby = label.map_or(facts.is_standby, |label| label.from_standby);
        let manifest = ClusterManifest {
            manifest_version: MANIFEST_VERSION,
            record: writing.record(&outcome),
            server_version: server.version(),
            system_id: facts.system_id,
            timeline: stopped.timeline,
            start_lsn: stopped.start,
            stop_lsn: stopped.stop,
            stopped_at: Some(stopped_at),
            segment_size: facts.segment_size().bytes(),
            has_checksums: facts.has_checksums,
            is_standby,
            data_directory: facts.data_directory.unwrap_or_default(),
            tablespaces: facts.tablespaces,
            earlier: earlier.as_ref().map(Earlier::as_earlier_links).unwrap_or_default(),
            made_of: vec![],
            marker,
            problems: seen.problems,
        };
        let saver = &writing.saver;
        let mut links = earlier.map(|earlier| earlier.links).unwrap_or_default();
        links.push(link);
        let mut chain = plain_directory(CHAIN, order);
        chain.subtree = Some(save_tree(saver, &mut links)?);
        let manifest = save_small_file(saver, MANIFEST_NAME, &json(&manifest)?, order)?;
        let root = save_tree(saver, &mut [chain, manifest])?;
        let record = writing.commit(root, &outcome)?;
        let (files, increments) = (seen.counts.new + seen.counts.changed, seen.counts.changed);
        Ok(ClusterReport { record, via, link: position, files, increments, waited })
    }
}

fn outcome(
    facts: &ClusterFacts,
    stopped: &Stopped,
    seen: &Seen,
    position: usize,
    earlier: Option<&Earlier>,
    order: &Order,
) -> Outcome {
    let Stopped { start, stop, timeline, .. } = stopped;
    Outcome {
        kind: BackupKind::Cluster,
        database: String::new(),
        size_bytes: seen.size,
        sha256: None,
        relation_count: 0,
        positions: Some(ClusterPositions { start: *start, stop: *stop, timeline: *timeline }),
        paths: vec![format!("/{}/{}", order.tenant, order.source)],
        excludes: vec![],
        parent: earlier.map(|earlier| earlier.snapshot),
        tags: vec![
            format!("system={}", facts.system_id),
            format!("timeline={timeline}"),
            format!("start={start}"),
            format!("stop={stop}"),
            format!("segment={}", facts.segment_size().bytes()),
            format!("link={}", link_name(position)),
        ],
        incomplete: !seen.problems.is_empty(),
        files: seen.counts,
    }
}
