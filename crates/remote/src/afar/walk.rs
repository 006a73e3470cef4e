//! The walk over a far directory: the events of a local one, from listings of a server that nobody trusts.

use std::sync::Arc;

use files::error::Error;
use files::exclude::{CACHE_SIGNATURE, CACHE_TAG, Excludes};
use files::origin::Walking;
use files::relative::RelativePath;
use files::walk::Event;
use model::entry::Entry;
use model::entry::is_plain_name;

use super::ahead::Ahead;
use super::far::{Far, Trouble};
use super::talk::{Listing, Look, Talk};

/// Directories in each other: servers that follow links show loops as endless ones, and no path has 4,096 bytes.
const DEPTH_MAX: usize = 512;
const PATH_LEN_MAX: usize = 4096;
/// A tag of a cache is not longer than a page.
const TAG_LEN_MAX: u64 = 4096;

/// A walk in progress.
pub(super) struct FarWalk {
    far: Arc<Far>,
    excludes: Excludes,
    ahead: Ahead,
    excluded: u64,
    stack: Vec<Directory>,
    /// Events that are due before the walk goes on, last first.
    due: Vec<Event>,
}

/// A directory on the way.
struct Directory {
    path: RelativePath,
    /// What tells it from others, where the server tells that; else 0.
    inode: u64,
    entries: std::vec::IntoIter<Entry>,
    last_name: Vec<u8>,
}

impl FarWalk {
    /// Walk what is below the directory that is described as `root`.
    pub(super) fn new(far: &Arc<Far>, root: Entry, excludes: Excludes) -> Self {
        let ahead = Ahead::start(far, &excludes);
        let (stack, due) = (vec![], vec![]);
        let mut walk = Self { far: far.clone(), excludes, ahead, excluded: 0, stack, due };
        let event = walk.enter(RelativePath::root(), root);
        walk.due.push(event);
        walk
    }

    fn problem(&self, path: RelativePath, action: &'static str, words: String) -> Event {
        let error = Error::io(action, self.far.full(&path), std::io::Error::other(words));
        Event::Problem { path, error }
    }

    /// List a directory; what is wrong with it is due after its beginning.
    fn enter(&mut self, path: RelativePath, entry: Entry) -> Event {
        let listed = match self.is_endless(&path, &entry) {
            Some(words) => Err(Trouble::This(std::io::Error::other(words))),
            None => self.ahead.take(&path),
        };
        let Listing { mut entries, unclear } = match listed {
            Ok(listing) => listing,
            Err(trouble) => {
                let error = self.far.error("list", &path, trouble);
                let is_lost = error.is_lost();
                let problem = Event::Problem { path: path.clone(), error };
                if is_lost {
                    self.stack.clear();
                    self.due.clear();
                    return problem;
                }
                self.due.push(problem);
                Listing::default()
            }
        };
        for (name, words) in unclear {
            self.due_about(&path, &name, words);
        }
        if self.excludes.leaves_caches_out() && self.is_cache(&path, &entries) {
            let all = entries.len();
            entries.retain(|entry| entry.name == CACHE_TAG);
            self.excluded += (all - entries.len()) as u64;
        }
        let (inode, entries, last_name) = (entry.metadata.inode, entries.into_iter(), vec![]);
        self.stack.push(Directory { path: path.clone(), inode, entries, last_name });
        Event::Enter { path, entry }
    }

    /// Something that is there, and nothing can be made of it; where it is left out, nobody minds.
    fn due_about(&mut self, directory: &RelativePath, name: &[u8], words: String) {
        let path = directory.join(name).unwrap_or_else(|_| directory.clone());
        if self.excludes.is_excluded(&path, false) {
            self.excluded += 1;
            return;
        }
        let problem = self.problem(path, "take", words);
        self.due.push(problem);
    }

    /// Why a directory is not entered: a server that follows links shows loops as directories without an end.
    fn is_endless(&self, path: &RelativePath, entry: &Entry) -> Option<String> {
        let same = |above: &&Directory| above.inode != 0 && above.inode == entry.metadata.inode;
        if let Some(above) = self.stack.iter().find(same) {
            return Some(format!(
                "it is {} again: the server follows links",
                self.far.full(&above.path).display()
            ));
        }
        (self.stack.len() >= DEPTH_MAX || path.as_bytes().len() > PATH_LEN_MAX).then(|| {
            format!("it lies in more than {DEPTH_MAX} directories or {PATH_LEN_MAX} bytes of path: a loop on the server?")
        })
    }

    /// One more entry of the directory on top. `None`: nothing to tell about it.
    fn visit(&mut self, mut entry: Entry) -> Option<Event> {
        let directory = self.stack.last_mut()?;
        let above = directory.path.clone();
        let shown = String::from_utf8_lossy(&entry.name).into_owned();
        let Some(path) = is_plain_name(&entry.name).then(|| above.join(&entry.name).ok()).flatten() else {
            return Some(self.problem(
                above,
                "take all of",
                format!("the server tells of {shown:?}, which is no name"),
            ));
        };
        if directory.last_name == entry.name {
            return Some(self.problem(above, "take all of", format!("the server tells of {shown:?} twice")));
        }
        directory.last_name.clone_from(&entry.name);
        if self.excludes.is_excluded(&path, entry.is_dir()) {
            self.excluded += 1;
            return None;
        }
        entry.metadata.mode &= 0o7777;
        match entry.is_dir() {
            true => Some(self.enter(path, entry)),
            false => Some(Event::Entry { path, entry }),
        }
    }

    fn is_cache(&self, directory: &RelativePath, entries: &[Entry]) -> bool {
        let tag = entries.iter().find(|entry| entry.name == CACHE_TAG && entry.is_file());
        let Some(tag) = tag.filter(|tag| tag.metadata.size <= TAG_LEN_MAX) else { return false };
        let Ok(path) = directory.join(CACHE_TAG) else { return false };
        let expected = Look::of(tag);
        let read = |talk: &mut dyn Talk| {
            talk.open(&self.far.at(&path), 0, &expected)?;
            let (mut head, mut filled) = (vec![0; TAG_LEN_MAX as usize], 0);
            loop {
                match talk.read(&mut head[filled..])? {
                    0 => break,
                    count => filled += count,
                }
            }
            talk.close()?;
            head.truncate(filled);
            Ok(head)
        };
        self.far.ask("read", &path, read).is_ok_and(|head| head.starts_with(CACHE_SIGNATURE))
    }
}

impl Walking for FarWalk {
    fn excluded(&self) -> u64 {
        self.excluded
    }
}

impl Iterator for FarWalk {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.due.pop() {
                return Some(event);
            }
            match self.stack.last_mut()?.entries.next() {
                Some(entry) => {
                    if let Some(event) = self.visit(entry) {
                        return Some(event);
                    }
                }
                None => {
                    let path = self.stack.pop()?.path;
                    return Some(Event::Leave { path });
                }
            }
        }
    }
}
