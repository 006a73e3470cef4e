//! The backup that an increment is made against: which one may be, and what it knows of each file.
//!
//! Invariant: where anything is doubtful there is none, and the backup is a full one: another cluster, timeline or checksum
//! setting, a start that is not before ours, a backup that is damaged or incomplete or whose chain failed a verification, a
//! chain that is long enough. Why is told, but for the last, which is how it is meant to be.

use std::collections::HashMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use model::digest::Digest;
use model::entry::Entry;
use model::lsn::{Lsn, Timeline};
use pg::backup_mode::ClusterFacts;
use pg::data_directory::{Fork, RelationFile};
use pg::incremental;
use pg::wal_summary::{Changes, FileChange};
use repo::RepoError;
use repo::node::Node;
use repo::repository::FileKind;
use repo::snapshot_file::SnapshotFile;

use super::read::Take;
use super::{Begun, trust};
use crate::catalog;
use crate::cluster_manifest::{CHAIN, CONSOLIDATED, ClusterManifest, EarlierLink, link_name};
use crate::error::Result;
use crate::stored_tree::TreeSource;
use crate::writing::{Order, Writing};

/// Links of a chain at most: each one is read at a restore.
pub const LINKS_MAX: usize = 15;
/// Times of files tick, and the clock of the file system may not be ours.
const DOUBT: SignedDuration = SignedDuration::from_secs(2);

/// The cluster does not say that it has the history behind the backup before.
pub(super) const NO_MARK: &str = "the data directory does not bear the mark of the backup before";
/// It has another one.
pub(super) const ELSEWHERE: &str =
    "the server is on another timeline than at the backup before, or behind it";

/// Why there is no increment against a backup.
enum Unfit {
    /// Stored bytes are wrong or gone.
    Damaged(String),
    /// Another reason, in words.
    Other(String),
    /// Its chain is long enough.
    Long,
}

impl Unfit {
    fn words(&self) -> Option<&str> {
        match self {
            Self::Damaged(words) | Self::Other(words) => Some(words),
            Self::Long => None,
        }
    }
}

/// An earlier backup, and its chain.
pub(super) struct Earlier {
    /// Its snapshot.
    pub(super) snapshot: Digest,
    /// What it says of itself.
    pub(super) manifest: ClusterManifest,
    /// The links that it has, as they stand in the tree.
    pub(super) links: Vec<Node>,
    /// What did not change after this is as it was.
    trusted_until: Timestamp,
}

impl Earlier {
    /// Whether nothing was backed up of the source before.
    pub(super) fn is_first(writing: &Writing, order: &Order) -> Result<bool> {
        match newest_first(writing, order)?.next() {
            Some(Err(error)) if !error.is_damage() => Err(error),
            newest => Ok(newest.is_none()),
        }
    }

    /// The newest backup of the same source that an increment can be made against. `is_marked` says of a mark whether the
    /// cluster bears it. Where there are backups, but none of that kind, it is told why.
    pub(super) fn find(begun: &Begun<'_>, is_marked: &dyn Fn(&str) -> bool) -> Result<Option<Self>> {
        let Begun { writing, source, order, .. } = begun;
        for backup in newest_first(writing, order)? {
            let (is_consolidated, found) = match backup {
                // It may be of any source.
                Err(error) => (false, Err(error)),
                Ok((id, snapshot)) => {
                    (snapshot.tag(CONSOLIDATED).is_some(), Self::open(begun, id, &snapshot, is_marked))
                }
            };
            let unfit = match found {
                Ok(Ok(earlier)) => return Ok(Some(earlier)),
                Ok(Err(unfit)) => unfit,
                Err(error) if error.is_damage() => {
                    Unfit::Damaged(format!("the backup before is damaged: {error}"))
                }
                Err(error) => return Err(error),
            };
            // Only the newest one: what came after another would be in neither. One that was made of another, later than it
            // may be, has that one's mark: where it does not fit, the other one is looked at.
            match (&unfit, is_consolidated) {
                (Unfit::Damaged(words), true) => (source.tell)(words),
                (_, true) => {}
                (unfit, false) => {
                    if let Some(words) = unfit.words() {
                        (source.tell)(&format!("{words}, so this backup is a full one"));
                    }
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    fn open(
        begun: &Begun<'_>,
        id: Digest,
        snapshot: &SnapshotFile,
        is_marked: &dyn Fn(&str) -> bool,
    ) -> Result<std::result::Result<Self, Unfit>> {
        let Begun { facts, writing, order, .. } = begun;
        let sound = writing.load_sound()?;
        let manifest = catalog::load_cluster_manifest(&writing.repository, &sound, snapshot)?;
        let mut trees = TreeSource::new(&writing.repository, &writing.index)?.and(&writing.marked);
        let links = links(&mut trees, &snapshot.tree)?;
        if links.len() != manifest.earlier.len() + 1 {
            return Err(
                RepoError::damaged(format!("snapshot {id}"), "has not the links that it names").into()
            );
        }
        if let Some(words) = objection(&manifest, snapshot, facts, is_marked) {
            return Ok(Err(Unfit::Other(words.to_owned())));
        }
        if links.len() >= LINKS_MAX {
            return Ok(Err(Unfit::Long));
        }
        if let Some(failed) = trust::failed_of(&writing.repository, id, &manifest)? {
            let words = format!("the verification of {failed}, which it would rest on, has failed");
            return Ok(Err(Unfit::Damaged(words)));
        }
        if !trust::is_whole(writing, &sound, (id, snapshot.tree), order)? {
            return Ok(Err(Unfit::Damaged("the backup before rests on data that is damaged".to_owned())));
        }
        let trusted_until = snapshot.time - DOUBT;
        Ok(Ok(Self { snapshot: id, manifest, links, trusted_until }))
    }

    /// Whether pages that changed after its start are all that changed, for a backup that starts there on that timeline.
    pub(super) fn leads_to(&self, timeline: Timeline, start: Lsn) -> bool {
        self.manifest.timeline == timeline && self.manifest.start_lsn <= start
    }

    /// The links before a backup that is made against it.
    pub(super) fn as_earlier_links(&self) -> Vec<EarlierLink> {
        let record = &self.manifest.record;
        let newest = EarlierLink {
            id: record.id.clone(),
            created_at: record.created_at,
            start_lsn: self.manifest.start_lsn,
        };
        self.manifest.earlier.iter().cloned().chain([newest]).collect()
    }

    /// The tree of its newest link.
    pub(super) fn newest_tree(&self) -> Option<Digest> {
        self.links.last()?.subtree
    }
}

/// What speaks against an increment against the backup of `manifest`, by what is known of it alone.
fn objection(
    manifest: &ClusterManifest,
    snapshot: &SnapshotFile,
    facts: &ClusterFacts,
    is_marked: &dyn Fn(&str) -> bool,
) -> Option<&'static str> {
    let objections = [
        (manifest.system_id != facts.system_id, "the backup before is of another cluster"),
        (
            manifest.has_checksums != facts.has_checksums,
            "checksums were switched on or off since the backup before",
        ),
        (
            manifest.is_standby != facts.is_standby,
            "of the backup before and the server now, one is a standby and the other is none",
        ),
        (snapshot.tags.iter().any(|tag| tag == "incomplete"), "the backup before is incomplete"),
        (snapshot.time > Timestamp::now(), "the backup before is from the future: the clock was set back"),
        (manifest.marker.is_none(), "the backup before could leave no mark"),
        // A machine that was turned back, or a restore over it, has another history under the same numbers.
        (!manifest.marker.as_deref().is_some_and(is_marked), NO_MARK),
    ];
    objections.into_iter().find_map(|(holds, words)| holds.then_some(words))
}

/// The backups of a source, and what cannot be read of those whose source nobody knows.
fn newest_first<'a>(
    writing: &'a Writing,
    order: &'a Order,
) -> Result<impl Iterator<Item = Result<(Digest, SnapshotFile)>> + 'a> {
    let mut listed = writing.repository.list(FileKind::Snapshot)?;
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.modified));
    let load = |id: Digest| Ok((id, writing.repository.load_snapshot(&id)?));
    let is_ours = |loaded: &Result<(Digest, SnapshotFile)>| {
        loaded.as_ref().map_or(true, |(_, found)| is_of(found, order))
    };
    Ok(listed.into_iter().map(move |listed| load(listed.id)).filter(is_ours))
}

/// The links in the tree of a snapshot; they must be `00` and so on without a gap.
fn links(trees: &mut TreeSource<'_>, root: &Digest) -> Result<Vec<Node>> {
    let chain = trees.load(root)?.into_iter().find(|node| node.entry.name == CHAIN.as_bytes());
    let Some(tree) = chain.and_then(|node| node.subtree) else {
        return Err(RepoError::damaged(format!("tree {root}"), format!("has no {CHAIN}")).into());
    };
    let links = trees.load(&tree)?;
    let is_whole = links.iter().enumerate().all(|(at, link)| link.entry.name == link_name(at).as_bytes());
    match is_whole && !links.is_empty() {
        true => Ok(links),
        false => Err(RepoError::damaged(format!("tree {tree}"), "has a gap in its chain").into()),
    }
}

fn is_of(snapshot: &SnapshotFile, order: &Order) -> bool {
    let tag = |name| snapshot.tag(name);
    (tag("kind"), tag("tenant"), tag("source"))
        == (Some("cluster"), Some(order.tenant.as_str()), Some(order.source.as_str()))
}

/// Walks the newest link beside the data directory.
pub(super) struct Beside<'a> {
    earlier: Option<&'a Earlier>,
    /// What the server knows of changes since then.
    changes: Option<&'a Changes>,
    trees: TreeSource<'a>,
    /// Files of the directories that are open, by the names that they have in the cluster.
    open: Vec<HashMap<Vec<u8>, Node>>,
    /// The tree of the root, until it is entered.
    root: Option<Digest>,
}

impl<'a> Beside<'a> {
    pub(super) fn new(
        earlier: Option<&'a Earlier>,
        changes: Option<&'a Changes>,
        trees: TreeSource<'a>,
    ) -> Self {
        Self { earlier, changes, trees, open: vec![], root: earlier.and_then(Earlier::newest_tree) }
    }

    /// The walk enters a directory.
    pub(super) fn enter(&mut self, name: &[u8]) -> Result<()> {
        let tree = match self.open.last() {
            None => self.root.take(),
            Some(nodes) => nodes.get(name).and_then(|node| node.subtree),
        };
        let nodes = match tree {
            Some(tree) => self.trees.load(&tree)?,
            None => vec![],
        };
        let named = nodes.into_iter().map(|node| (own_name(&node.entry.name).to_vec(), node));
        self.open.push(named.collect());
        Ok(())
    }

    /// The walk leaves the directory that it entered last.
    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// What to take of a file. Without LSNs that tell of every change, and where another file has the name, all of it.
    pub(super) fn take_of(
        &self,
        (path, full): (&[u8], &Path),
        entry: &Entry,
        relation: Option<RelationFile>,
    ) -> Take {
        let (Some(earlier), Some(relation)) = (self.earlier, relation) else { return Take::Whole };
        let was = self.open.last().and_then(|nodes| nodes.get(&entry.name));
        let Some(was) = was.filter(|node| node.entry.is_file()) else { return Take::Whole };
        let (was, is) = (&was.entry.metadata, &entry.metadata);
        let has_pages = is.size > 0 && is.size.is_multiple_of(pg::page::PAGE_LEN as u64);
        // What the server has sent bears no number: then its summaries alone say whether it is another file, as they do
        // when it makes an increment itself.
        let may_be_it = was.inode == is.inode || (was.inode == 0 && self.changes.is_some());
        if relation.fork != Fork::Main || !may_be_it || !has_pages {
            return Take::Whole;
        }
        if let Some(changes) = self.changes {
            return match changes.of(path, relation) {
                FileChange::All => Take::Whole,
                FileChange::Pages(pages, None) if pages.is_empty() => Take::Nothing,
                FileChange::Pages(pages, limit) => Take::Pages(pages, limit),
            };
        }
        let is_as_it_was = (was.mtime, was.ctime) == (is.mtime, is.ctime) && is.ctime < earlier.trusted_until;
        match is_as_it_was {
            true => Take::Nothing,
            // Another file under the same name and number, as of a database that was dropped and made anew by copying:
            // its pages have the positions that they had where they came from.
            false if is_born_since(full, earlier.trusted_until) => Take::Whole,
            false => Take::ChangedSince(earlier.manifest.start_lsn),
        }
    }
}

/// Whether a file was made after that, where the file system tells.
fn is_born_since(path: &Path, since: Timestamp) -> bool {
    let born = std::fs::symlink_metadata(path).and_then(|about| about.created());
    born.is_ok_and(|born| born >= std::time::SystemTime::from(since))
}

/// The name of a file in the cluster, by its name in a link.
fn own_name(name: &[u8]) -> &[u8] {
    name.strip_prefix(incremental::PREFIX.as_bytes()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    /// Change one thing of what there was, or of what there is.
    fn objected(change: impl Fn(&mut Value, &mut Value, &mut SnapshotFile)) -> Option<&'static str> {
        let mut manifest = json!({
            "manifestVersion": 1,
            "record": {
                "id": "acme-main-20260101T000000Z", "tenant": "acme", "source": "main", "kind": "cluster",
                "createdAt": "2026-01-01T00:00:00Z", "sizeBytes": "0", "storedBytes": "0", "engine": "postgres",
            },
            "serverVersion": 150_000, "systemId": "1", "timeline": 1, "startLsn": "0/1000000",
            "stopLsn": "0/2000000", "segmentSize": "16777216", "hasChecksums": true, "isStandby": false,
            "dataDirectory": "", "tablespaces": [], "earlier": [], "marker": "ours", "problems": [],
        });
        let mut facts = json!({
            "system_id": "1", "data_directory": null, "started_at": 0, "is_standby": false, "has_checksums": true,
            "summarizes": false, "archives": false, "segment_size": 16_777_216, "page_size": 8192,
            "is_partial": false, "wal_level": "replica", "marks": [], "tablespaces": [],
        });
        let mut snapshot: SnapshotFile =
            from_value(json!({ "time": "2026-01-01T00:00:00Z", "tree": "22".repeat(32) })).unwrap();
        change(&mut manifest, &mut facts, &mut snapshot);
        let (manifest, facts) = (from_value(manifest).unwrap(), from_value(facts).unwrap());
        objection(&manifest, &snapshot, &facts, &|mark| mark == "ours")
    }

    #[test]
    fn whatever_is_doubtful_is_an_objection_and_nothing_else_is() {
        assert_eq!(objected(|_, _, _| ()), None);
        let objected = |change: fn(&mut Value, &mut Value, &mut SnapshotFile)| objected(change).unwrap();
        assert!(objected(|_, facts, _| facts["system_id"] = "2".into()).contains("another cluster"));
        assert!(objected(|_, facts, _| facts["has_checksums"] = false.into()).contains("switched on or off"));
        assert!(objected(|was, _, _| was["hasChecksums"] = false.into()).contains("switched on or off"));
        assert!(objected(|_, facts, _| facts["is_standby"] = true.into()).contains("one is a standby"));
        assert!(objected(|was, _, _| was["isStandby"] = true.into()).contains("one is a standby"));
        assert!(objected(|_, _, snapshot| snapshot.tags = vec!["incomplete".into()]).contains("incomplete"));
        let ahead = |_: &mut Value, _: &mut Value, snapshot: &mut SnapshotFile| {
            snapshot.time = Timestamp::now() + SignedDuration::from_secs(60);
        };
        assert!(objected(ahead).contains("the clock was set back"));
        assert!(objected(|was, _, _| was["marker"] = Value::Null).contains("could leave no mark"));
        assert_eq!(objected(|was, _, _| was["marker"] = "theirs".into()), NO_MARK);
    }
}
