//! A stored cluster, met file by file, each as if it had never been taken in parts.

use std::collections::VecDeque;

use files::relative::RelativePath;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::Entry;
use pg::backup_manifest;
use repo::index::Index;
use repo::snapshot_file::SnapshotFile;
use repo::{RepoError, Repository};

use super::links::{ChainWalk, Draft, Links, Met};
use super::merged::Stored;
use super::survey::content;
use super::window::{FileTask, Located, Window};
use crate::error::Result;
use crate::stored_tree::TreeSource;

/// What the walk meets.
pub(crate) enum Whole {
    /// A directory begins; the data directory itself is the first.
    Enter(Box<Entry>),
    /// A file.
    File(Box<WholeFile>),
    /// A link, or the like.
    Special(Box<Entry>),
    /// The directory that was entered last, and not left yet, ends.
    Leave,
}

/// A file.
pub(crate) struct WholeFile {
    /// Below the data directory.
    pub(crate) path: RelativePath,
    /// As it is, under its own name.
    pub(crate) entry: Entry,
    /// Its pieces, where one link has all of it.
    pub(crate) content: Option<Vec<Digest>>,
    task: FileTask,
}

/// A walk under way.
pub(crate) struct WholeWalk<'a> {
    stored: Stored<'a>,
    trees: TreeSource<'a>,
    links: Links,
    walk: ChainWalk,
    /// What was met and not handed out yet.
    met: VecDeque<Whole>,
}

impl<'a> WholeWalk<'a> {
    /// Of the cluster in a snapshot.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn open(
        repository: &'a Repository,
        index: &'a Index,
        snapshot: &SnapshotFile,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let mut trees = TreeSource::new(repository, index)?;
        let links = Links::find(&mut trees, &snapshot.tree)?;
        let walk = links.walk();
        let stored = Stored { repository, index, cancel };
        Ok(Self { stored, trees, links, walk, met: VecDeque::new() })
    }

    /// What comes next.
    ///
    /// # Errors
    /// Damage, or the wish to stop.
    pub(crate) fn next(&mut self) -> Result<Option<Whole>> {
        if self.met.is_empty() {
            self.meet_more()?;
        }
        Ok(self.met.pop_front())
    }

    /// The `backup_manifest` of the newest link, where it has one.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn manifest(&mut self) -> Result<Option<Vec<u8>>> {
        let node = self.links.newest_file(&mut self.trees, backup_manifest::NAME)?;
        node.map(|node| content(self.stored.repository, self.stored.index, &node)).transpose()
    }

    /// The bytes of `file` from `from` on, as many as `buffer` has; it must have so many.
    ///
    /// # Errors
    /// Damage, or the wish to stop.
    pub(crate) fn fill(&self, file: &WholeFile, from: u64, buffer: &mut [u8]) -> Result<()> {
        self.stored.fill(&file.task, from, buffer)
    }

    /// As many as are put together at once.
    fn meet_more(&mut self) -> Result<()> {
        let (mut window, mut steps) = (Window::default(), vec![]);
        while !window.is_full() {
            self.stored.cancel.check()?;
            let Some(met) = self.walk.next(&mut self.trees) else { break };
            steps.push(match met? {
                Met::Enter { entry, .. } => Some(Whole::Enter(entry)),
                Met::Special { entry, .. } => Some(Whole::Special(entry)),
                Met::Leave => Some(Whole::Leave),
                Met::File(draft) => {
                    window.push(Located { site: 0, path: draft.path.clone(), draft, is_zeros: false });
                    None
                }
            });
        }
        let kept: Vec<_> = window.drafts.iter().map(|file| kept_content(&file.draft)).collect();
        let mut files = self.stored.assemble(window)?.into_iter().zip(kept);
        for step in steps {
            let met = match step {
                Some(met) => met,
                None => {
                    let missing = || RepoError::damaged("a file", "is in no link");
                    let (task, content) = files.next().ok_or_else(missing)?;
                    Whole::File(Box::new(WholeFile::of(task, content)))
                }
            };
            self.met.push_back(met);
        }
        Ok(())
    }
}

impl WholeFile {
    fn of(task: FileTask, content: Option<Vec<Digest>>) -> Self {
        let (path, mut entry) = (task.path.clone(), task.entry.clone());
        if let Some((_, name)) = path.split() {
            entry.name = name.to_vec();
        }
        Self { path, entry, content, task }
    }
}

fn kept_content(draft: &Draft) -> Option<Vec<Digest>> {
    (!draft.is_merged()).then(|| draft.versions[0].content.clone())
}
