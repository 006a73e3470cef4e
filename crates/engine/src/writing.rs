//! The frame of every backup: claim an id, open the pipeline, and at the end make the snapshot visible.
//!
//! Invariant: [`Writing::commit`] is the only place that makes a backup, and it runs only after every byte is
//! stored and indexed, while the lease is still trusted. Dropping a `Writing` leaves nothing that anybody sees.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use model::backup::{BackupKind, BackupRecord, Engine};
use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::{Entry, EntryKind, Metadata};
use model::lsn::{Lsn, Timeline};
use model::name::{BackupId, SourceName, TenantName};
use model::progress::Progress;
use repo::BlobKind;
use repo::Repository;
use repo::adopt;
use repo::broken::{BrokenPacks, Why};
use repo::index::Index;
use repo::lease::{self, Identity, Lease};
use repo::marks::Known;
use repo::node::Node;
use repo::repository::FileKind;
use repo::saver::{SaveOptions, SaveStats, Saver};
use repo::snapshot_file::{SnapshotFile, Summary};
use repo::threads::both;
use repo::{RepoError, blob, tree};

use crate::catalog;
use crate::error::{EngineError, Result};

/// Backups of one source that may begin in one second.
const SAME_SECOND_MAX: u32 = 100;

/// What every backup is told.
#[derive(Clone, Debug)]
pub struct Order {
    /// Owner.
    pub tenant: TenantName,
    /// Name of the source.
    pub source: SourceName,
    /// Free text.
    pub label: String,
    /// Exempt it from retention.
    pub hold: bool,
    /// Who makes it, where.
    pub identity: Identity,
    /// Now.
    pub now: Timestamp,
    /// zstd level, where not the default.
    pub level: Option<i32>,
    /// The wish to stop.
    pub cancel: CancelToken,
    /// How far it is.
    pub progress: Progress,
}

/// A backup under way.
pub struct Writing {
    /// The repository.
    pub repository: Arc<Repository>,
    /// What it held at the start.
    pub index: Arc<Index>,
    /// What it held as well, but may lose: to be read, not to be relied on.
    pub marked: Index,
    /// Packs that are known to be damaged: what stands in them alone is not in `index`.
    pub broken: HashSet<Digest>,
    /// The pipeline.
    pub saver: Saver,
    /// The handle of the backup to be.
    pub id: BackupId,
    lease: Lease,
    order: Order,
}

/// What becomes the record and the snapshot.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Kind of source.
    pub kind: BackupKind,
    /// The database, for dumps.
    pub database: String,
    /// Bytes of the contents.
    pub size_bytes: u64,
    /// SHA-256 of a dump.
    pub sha256: Option<Digest>,
    /// Tables with data.
    pub relation_count: u64,
    /// Where in the log it is, for clusters.
    pub positions: Option<ClusterPositions>,
    /// Paths, as restic groups snapshots by them.
    pub paths: Vec<String>,
    /// Patterns left out.
    pub excludes: Vec<String>,
    /// The snapshot it was compared with.
    pub parent: Option<Digest>,
    /// Further tags.
    pub tags: Vec<String>,
    /// Something could not be read.
    pub incomplete: bool,
    /// Figures of files.
    pub files: FileCounts,
}

/// Where in the log of its cluster a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterPositions {
    /// Recovery begins here.
    pub start: Lsn,
    /// From here on it is consistent.
    pub stop: Lsn,
    /// On this timeline.
    pub timeline: Timeline,
}

/// Files seen by a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCounts {
    /// Not in the parent.
    pub new: u64,
    /// Different from the parent's.
    pub changed: u64,
    /// As in the parent.
    pub unmodified: u64,
}

impl Writing {
    /// Claim an id and open the pipeline.
    ///
    /// # Errors
    /// When the repository is held by somebody alone, or cannot be read.
    pub fn begin(repository: &Arc<Repository>, order: &Order) -> Result<Self> {
        let (id, lease, Known { usable, marked, broken }) = claim(repository, order)?;
        let index = Arc::new(usable);
        let mut options = SaveOptions { cancel: order.cancel.clone(), ..SaveOptions::default() };
        options.guard = lease.guard();
        options.level = order.level.unwrap_or(options.level);
        let saver = Saver::start(repository, &index, options)?;
        let repository = Arc::clone(repository);
        Ok(Self { repository, index, marked, broken, saver, id, lease, order: order.clone() })
    }

    /// What can be read while the lease is held: also what prune has marked, and nothing that stands in broken packs alone.
    pub(crate) fn load_sound(&self) -> Result<Arc<Index>> {
        match self.marked.is_empty() {
            true => Ok(Arc::clone(&self.index)),
            false => Ok(Arc::new(self.repository.load_index_without(&self.broken)?)),
        }
    }

    /// A tree of an earlier snapshot is damaged: this backup relies on nothing that lies in the same pack, and others are told.
    pub(crate) fn distrust(&self, tree: &Digest, why: Why) {
        if let Ok(Some(place)) = self.index.find(BlobKind::Tree, tree) {
            self.saver.distrust(&place);
            // Where it cannot be written down, whoever meets it next finds out as well.
            let mut packs = BrokenPacks::default();
            packs.add(self.index.pack_id(place.pack), why);
            repo::broken::note(&self.repository, &packs).ok();
        }
    }

    /// The record of the backup to be, as far as it is known before the commit.
    pub fn record(&self, outcome: &Outcome) -> BackupRecord {
        let engine = if outcome.kind == BackupKind::Directory { Engine::FILES } else { Engine::POSTGRES };
        BackupRecord {
            id: self.id.clone(),
            tenant: self.order.tenant.clone(),
            source: self.order.source.clone(),
            kind: outcome.kind,
            database: outcome.database.clone(),
            created_at: self.order.now,
            size_bytes: outcome.size_bytes,
            stored_bytes: 0,
            sha256: outcome.sha256,
            destination: String::new(),
            location: String::new(),
            engine: Engine(engine.to_owned()),
            snapshot: None,
            last_verification: None,
            relation_count: outcome.relation_count,
            start_lsn: outcome.positions.map(|at| at.start.to_string()).unwrap_or_default(),
            stop_lsn: outcome.positions.map(|at| at.stop.to_string()).unwrap_or_default(),
            timeline: outcome.positions.map(|at| at.timeline.to_string()).unwrap_or_default(),
            label: self.order.label.clone(),
            hold: self.order.hold,
            incomplete: outcome.incomplete,
        }
    }

    /// Store the root, wait for everything, and make the backup visible.
    ///
    /// # Errors
    /// Anything that failed before: then there is no backup.
    pub fn commit(self, root: Digest, outcome: &Outcome) -> Result<BackupRecord> {
        let mut record = self.record(outcome);
        let Self { repository, saver, lease, order, .. } = self;
        let stats = saver.finish()?;
        order.cancel.check()?;
        // What is seen afterwards is taken back, but a crash may come first, and what is broken then stops every prune.
        lease.verify_kept()?;
        record.stored_bytes = stats.stored;
        let snapshot = snapshot_of(&order, &record, root, outcome, stats);
        // A hold that came after the snapshot would be lost by a crash between the two.
        let id = repository.commit_snapshot_after(&snapshot, |id| match order.hold {
            true => catalog::put_hold(&repository, id, &record.id),
            false => Ok(()),
        })?;
        record.snapshot = Some(id);
        confirm(&repository, &order, &lease, &id, root)?;
        // The snapshot is the backup; a record that is missing is found again in it.
        both(|| repository.put_note(&format!("record/{id}"), &record).ok(), || drop(lease));
        record.found_at(repository.store().location());
        Ok(record)
    }
}

/// Whether all that `root` needs is there, and none of it only in packs that prune has marked.
fn is_whole(repository: &Repository, order: &Order, root: Digest) -> Result<bool> {
    let index = repository.load_index_for_writing()?;
    let (_, broken) = repo::reachable::collect(repository, &index, &[(root, root)], &order.cancel)?;
    Ok(broken.is_empty())
}

/// Wait until a backup can begin: before anything is begun that is not to wait for a prune, such as a server's locks, and the time
/// that the backup is of.
///
/// # Errors
/// As [`lease::await_turn`].
pub fn await_turn(repository: &Arc<Repository>, identity: &Identity) -> Result<()> {
    Ok(lease::await_turn(repository, identity)?)
}

/// A backup is acknowledged only when nobody had taken its writer for dead before the snapshot was visible: prune
/// removes a dead holder's lease first and looks at the snapshots afterwards.
fn confirm(
    repository: &Arc<Repository>,
    order: &Order,
    lease: &Lease,
    snapshot: &Digest,
    root: Digest,
) -> Result<()> {
    let Err(lost) = lease.verify_kept() else { return Ok(()) };
    if !matches!(lost, RepoError::LeaseLost { .. }) {
        return Err(lost.into());
    }
    let _new = Lease::beside(repository, "resume", &order.identity)?;
    if is_whole(repository, order, root)? {
        return Ok(());
    }
    // Something of it may be gone, and nobody was told of it yet.
    repository.store().delete(&FileKind::Snapshot.object(snapshot)).map_err(RepoError::from)?;
    Err(lost.into())
}

/// The id belongs to whoever holds the lease of that name, unless a backup has it already. What the repository holds is
/// looked at meanwhile.
fn claim(repository: &Arc<Repository>, order: &Order) -> Result<(BackupId, Lease, Known)> {
    for nth in 1..=SAME_SECOND_MAX {
        let id = BackupId::new(&order.tenant, &order.source, order.now, nth);
        let Some(lease) = Lease::shared(repository, id.as_str(), &order.identity)? else { continue };
        let look = || {
            adopt::after_crash(repository, &lease, &order.cancel)?;
            repository.load_known()
        };
        let (is_taken, known) = both(|| is_taken(repository, &id, order), look);
        if !is_taken? {
            return Ok((id, lease, known?));
        }
    }
    Err(EngineError::Refused(format!("{SAME_SECOND_MAX} backups of {} began in one second", order.source)))
}

/// A snapshot that cannot be read keeps no backup from being made: its record, where there is one, tells its id as well.
fn is_taken(repository: &Repository, id: &BackupId, order: &Order) -> Result<bool> {
    // Ids of other seconds cannot collide, and there may be thousands; the store's clock may be an hour off.
    let since = order.now - jiff::SignedDuration::from_hours(1);
    let listed = repository.list(FileKind::Snapshot)?.into_iter();
    let recent = listed.filter(|listed| listed.modified >= std::time::SystemTime::from(since));
    for listed in recent {
        let its_id = match repository.load_snapshot(&listed.id) {
            Ok(snapshot) => snapshot.tag("id").map(str::to_owned),
            Err(error) if error.is_damage() => {
                order.progress.warn(format!("snapshot {} cannot be read: {error}", listed.id.short()));
                let record = repository.load_note::<BackupRecord>(&format!("record/{}", listed.id));
                record.ok().map(|record| record.id.to_string())
            }
            // Pruned or deleted since it was listed.
            Err(RepoError::Store(error)) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if its_id.as_deref() == Some(id.as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn snapshot_of(
    order: &Order,
    record: &BackupRecord,
    root: Digest,
    outcome: &Outcome,
    stats: SaveStats,
) -> SnapshotFile {
    let mut tags = vec![
        catalog::TAG.to_owned(),
        format!("id={}", record.id),
        format!("tenant={}", record.tenant),
        format!("source={}", record.source),
        format!("kind={}", record.kind.as_str()),
    ];
    tags.extend((!record.label.is_empty()).then(|| format!("label={}", record.label)));
    tags.extend(record.incomplete.then(|| "incomplete".to_owned()));
    tags.extend(outcome.tags.iter().cloned());
    let FileCounts { new, changed, unmodified } = outcome.files;
    SnapshotFile {
        time: order.now,
        parent: outcome.parent,
        tree: root,
        paths: outcome.paths.clone(),
        hostname: order.identity.hostname.clone(),
        username: order.identity.username.clone(),
        uid: order.identity.uid,
        gid: order.identity.gid,
        excludes: outcome.excludes.clone(),
        tags,
        original: None,
        program_version: concat!("mainstay ", env!("CARGO_PKG_VERSION")).to_owned(),
        summary: Some(Summary {
            backup_start: order.now,
            backup_end: Timestamp::now(),
            files_new: new,
            files_changed: changed,
            files_unmodified: unmodified,
            data_blobs: stats.data_blobs as i64,
            tree_blobs: stats.tree_blobs as i64,
            data_added: stats.added,
            data_added_packed: stats.stored,
            total_files_processed: new + changed + unmodified,
            total_bytes_processed: record.size_bytes,
        }),
    }
}

/// A file of the tree that we made ourselves: private, owned by who runs us.
pub fn plain_node(name: &str, size: u64, content: Vec<Digest>, order: &Order) -> Node {
    let metadata = Metadata {
        mode: 0o600,
        uid: order.identity.uid,
        gid: order.identity.gid,
        user: order.identity.username.clone(),
        group: String::new(),
        mtime: order.now,
        atime: order.now,
        ctime: order.now,
        inode: 0,
        device_id: 0,
        links: 1,
        size,
        xattrs: vec![],
    };
    Node {
        entry: Entry { name: name.as_bytes().to_vec(), kind: EntryKind::File, metadata },
        content,
        subtree: None,
    }
}

/// A directory of the tree that we made ourselves; its subtree is still to come.
pub fn plain_directory(name: &str, order: &Order) -> Node {
    let mut node = plain_node(name, 0, vec![], order);
    node.entry.kind = EntryKind::Directory;
    node.entry.metadata.mode = 0o700;
    node
}

/// Save a small file in one piece.
///
/// # Errors
/// When the pipeline has failed.
pub fn save_small_file(saver: &Saver, name: &str, bytes: &[u8], order: &Order) -> Result<Node> {
    /// A blob of this length is still read by every restic.
    const PIECE_LEN: usize = 4 << 20;
    let mut hand = saver.hand()?;
    let pieces = bytes.chunks(PIECE_LEN).map(|piece| Ok(hand.save(BlobKind::Data, piece)?.id));
    let content = pieces.collect::<Result<Vec<_>>>()?;
    Ok(plain_node(name, bytes.len() as u64, content, order))
}

/// Save a tree.
///
/// # Errors
/// When the pipeline has failed.
pub fn save_tree(saver: &Saver, nodes: &mut [Node]) -> Result<blob::BlobId> {
    Ok(saver.hand()?.save(BlobKind::Tree, &tree::encode(nodes))?.id)
}
