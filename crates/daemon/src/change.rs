//! Directories that are backed up when they change: what the kernel tells of them (inotify), and when they have come to rest.
//!
//! Invariant: nothing that changes is lost without being counted as a change: where the kernel's queue overflows, everything
//! has changed; where a directory cannot be watched, that is said, and its daily run goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// What never comes to rest runs after so many times the rest that it should come to.
const RESTLESS: u32 = 30;
/// Bytes of events that are read at once.
const EVENTS_LEN: usize = 16 << 10;
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// What is watched, and what has changed there.
pub struct Changes {
    inotify: OwnedFd,
    roots: Vec<Root>,
    /// By the kernel's number: the directory, and whose it is.
    watched: HashMap<i32, (PathBuf, BTreeSet<usize>)>,
    /// Since when each has changed, and when it did last.
    changed: BTreeMap<usize, (Instant, Instant)>,
}

/// A directory of a source.
#[derive(Clone)]
struct Root {
    source: usize,
    path: PathBuf,
    is_watched: bool,
}

impl Changes {
    /// Of nothing yet.
    ///
    /// # Errors
    /// Where the system has no more of them.
    pub fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, roots: vec![], watched: HashMap::new(), changed: BTreeMap::new() })
    }

    /// Watch the tree `root` for `source`, but for what lies in one of `elsewhere`, such as a repository, which grows by each
    /// backup. A root that is not there yet is looked for again at every [`Changes::look`].
    ///
    /// # Errors
    /// Where the system watches no more directories (`fs.inotify.max_user_watches`): what could be watched is.
    pub fn watch(&mut self, source: usize, root: &Path, elsewhere: &[PathBuf]) -> io::Result<()> {
        let done = self.tree(source, root, elsewhere);
        self.roots.push(Root { source, path: root.to_owned(), is_watched: root.is_dir() });
        done
    }

    fn tree(&mut self, source: usize, folder: &Path, elsewhere: &[PathBuf]) -> io::Result<()> {
        if elsewhere.iter().any(|other| folder == other) {
            return Ok(());
        }
        match inotify::add_watch(&self.inotify, folder, EVENTS) {
            Ok(number) => {
                let known =
                    self.watched.entry(number).or_insert_with(|| (folder.to_owned(), BTreeSet::new()));
                known.1.insert(source);
            }
            // Gone meanwhile, or never ours: the backup itself says what it could not read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let folders: Vec<_> = entries.flatten().filter(is_folder).map(|entry| entry.path()).collect();
        folders.iter().try_for_each(|folder| self.tree(source, folder, elsewhere))
    }

    /// Take in what the kernel has told since.
    ///
    /// # Errors
    /// As [`Changes::watch`], of directories that are new.
    pub fn look(&mut self, now: Instant, elsewhere: &[PathBuf]) -> io::Result<()> {
        let (mut new, mut told) = (vec![], BTreeSet::new());
        let mut buffer = [MaybeUninit::uninit(); EVENTS_LEN];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                told.extend(self.roots.iter().map(|root| root.source));
                self.roots.iter_mut().for_each(|root| root.is_watched = false);
                continue;
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
                continue;
            }
            let Some((folder, sources)) = self.watched.get(&event.wd()) else { continue };
            let path = match event.file_name().and_then(|name| name.to_str().ok()) {
                Some(name) => folder.join(name),
                None => folder.clone(),
            };
            if elsewhere.contains(&path) {
                continue;
            }
            told.extend(sources);
            if event.events().contains(ReadFlags::ISDIR)
                && event.events().intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
            {
                new.extend(sources.iter().map(|source| (*source, path.clone())));
            }
            if event.events().contains(ReadFlags::DELETE_SELF) {
                let gone = self.roots.iter_mut().filter(|root| root.path == *folder);
                gone.for_each(|root| root.is_watched = false);
            }
        }
        for source in told {
            self.mark(source, now);
        }
        for number in 0..self.roots.len() {
            let Root { source, path, is_watched } = self.roots[number].clone();
            if !is_watched && path.is_dir() {
                self.roots[number].is_watched = true;
                self.mark(source, now);
                new.push((source, path));
            }
        }
        new.iter().try_for_each(|(source, folder)| self.tree(*source, folder, elsewhere))
    }

    /// Its sources have other numbers now, and those without one are no longer watched.
    pub fn renumber(&mut self, number: impl Fn(usize) -> Option<usize>) {
        self.roots.retain_mut(|root| {
            let new = number(root.source);
            root.source = new.unwrap_or(root.source);
            new.is_some()
        });
        for (_, sources) in self.watched.values_mut() {
            *sources = sources.iter().filter_map(|source| number(*source)).collect();
        }
        let inotify = &self.inotify;
        self.watched.retain(|watch, (_, sources)| {
            let is_wanted = !sources.is_empty();
            if !is_wanted {
                // It may be gone itself.
                inotify::remove_watch(inotify, *watch).ok();
            }
            is_wanted
        });
        let changed = std::mem::take(&mut self.changed);
        self.changed =
            changed.into_iter().filter_map(|(source, times)| Some((number(source)?, times))).collect();
    }

    fn mark(&mut self, source: usize, now: Instant) {
        self.changed.entry(source).or_insert((now, now)).1 = now;
    }

    /// Sources that have changed and come to rest; `rest` says how long nothing must have changed. They count as unchanged
    /// from here on; [`Changes::again`] takes that back.
    pub fn settled(&mut self, now: Instant, rest: impl Fn(usize) -> Duration) -> Vec<usize> {
        let is_due = |source: usize, (first, last): (Instant, Instant)| {
            let rest = rest(source);
            now.duration_since(last) >= rest || now.duration_since(first) >= rest * RESTLESS
        };
        let due = self.changed.iter().filter(|(source, times)| is_due(**source, **times));
        let due: Vec<usize> = due.map(|(source, _)| *source).collect();
        due.iter().for_each(|source| _ = self.changed.remove(source));
        due
    }

    /// It could not run now.
    pub fn again(&mut self, source: usize, now: Instant) {
        self.mark(source, now);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const REST: Duration = Duration::from_secs(10);

    /// Until the kernel has told of `source`, by a clock that stands still.
    fn until_told(changes: &mut Changes, now: Instant, elsewhere: &[PathBuf]) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            changes.look(now, elsewhere).unwrap();
            if !changes.changed.is_empty() {
                return true;
            }
        }
        false
    }

    #[test]
    fn a_tree_is_due_when_it_changed_and_came_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("tree");
        let own = root.join("repository");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(&own).unwrap();
        let elsewhere = [own.clone()];
        let mut changes = Changes::new().unwrap();
        changes.watch(7, &root, &elsewhere).unwrap();
        let start = Instant::now();
        let settled = |changes: &mut Changes, seconds: u64| {
            changes.settled(start + Duration::from_secs(seconds), |_| REST)
        };
        // What lies elsewhere, and reading, are no changes.
        fs::write(own.join("pack"), "x").unwrap();
        fs::write(root.join("a/b/c"), "x").unwrap();
        assert!(until_told(&mut changes, start, &elsewhere));
        assert!(settled(&mut changes, 9).is_empty());
        assert_eq!(settled(&mut changes, 10), [7]);
        fs::read(root.join("a/b/c")).unwrap();
        fs::write(own.join("pack"), "y").unwrap();
        changes.look(start, &elsewhere).unwrap();
        assert!(settled(&mut changes, 100).is_empty());
        // A new directory is watched too.
        fs::create_dir(root.join("new")).unwrap();
        assert!(until_told(&mut changes, start, &elsewhere));
        assert_eq!(settled(&mut changes, 10), [7]);
        fs::write(root.join("new/file"), "x").unwrap();
        assert!(until_told(&mut changes, start, &elsewhere));
        // One that never rests runs all the same, and one that could not run is due again.
        changes.again(7, start + Duration::from_secs(299));
        assert!(settled(&mut changes, 299).is_empty());
        assert_eq!(settled(&mut changes, 300), [7]);
    }

    #[test]
    fn sources_with_other_numbers_keep_what_changed_and_the_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = |name: &str| folder.path().join(name);
        let mut changes = Changes::new().unwrap();
        let now = Instant::now();
        for (source, name) in ["kept", "dropped"].iter().enumerate() {
            fs::create_dir(root(name)).unwrap();
            changes.watch(source, &root(name), &[]).unwrap();
        }
        fs::write(root("kept").join("file"), "x").unwrap();
        assert!(until_told(&mut changes, now, &[]));
        changes.renumber(|source| (source == 0).then_some(5));
        fs::write(root("dropped").join("file"), "x").unwrap();
        changes.look(now, &[]).unwrap();
        assert_eq!(changes.settled(now + REST, |_| REST), [5]);
        fs::write(root("kept").join("file"), "y").unwrap();
        assert!(until_told(&mut changes, now, &[]));
        assert_eq!(changes.settled(now + REST, |_| REST), [5]);
        // One that comes again is watched again.
        changes.watch(0, &root("dropped"), &[]).unwrap();
        fs::write(root("dropped").join("file"), "y").unwrap();
        assert!(until_told(&mut changes, now, &[]));
        assert_eq!(changes.settled(now + REST, |_| REST), [0]);
    }

    #[test]
    fn a_directory_that_comes_later_or_comes_back_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("later");
        let mut changes = Changes::new().unwrap();
        let now = Instant::now();
        changes.watch(0, &root, &[]).unwrap();
        for _ in 0..2 {
            fs::create_dir(&root).unwrap();
            assert!(until_told(&mut changes, now, &[]));
            assert_eq!(changes.settled(now + REST, |_| REST), [0]);
            fs::write(root.join("file"), "x").unwrap();
            assert!(until_told(&mut changes, now, &[]));
            fs::remove_dir_all(&root).unwrap();
            changes.look(now, &[]).unwrap();
            assert_eq!(changes.settled(now + REST, |_| REST), [0]);
        }
    }
}
