//! Sources that are due because they changed, while `mainstay serve` runs.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use config::configuration::What;
use config::schedule::Schedule;
use daemon::change::Changes;
use daemon::timetable::Timetable;
use jiff::Timestamp;
use remote::afar;

use super::super::sources::{self, Configured};
use crate::environment::Environment;
use crate::face::Face;

/// The directories of this machine that are backed up when they change.
pub(super) struct Watched<'a> {
    sources: &'a [Configured<'a>],
    changes: Option<Changes>,
    roots: Vec<Root>,
    /// What we write ourselves is no change.
    elsewhere: Vec<PathBuf>,
    face: &'a Face,
}

/// A directory of a source.
struct Root {
    entry: usize,
    name: String,
    path: PathBuf,
}

/// What was watched for another reading of the configuration, and is watched on meanwhile.
pub(super) struct Left {
    changes: Changes,
    roots: Vec<Root>,
    elsewhere: Vec<PathBuf>,
}

impl<'a> Watched<'a> {
    /// Those of `sources` that say so, and what has changed of those that were watched before. What cannot be watched is said,
    /// and runs daily.
    pub(super) fn of(
        sources: &'a [Configured<'a>],
        environment: &Environment,
        face: &'a Face,
        left: Option<Left>,
    ) -> Self {
        let elsewhere = own_places(sources, environment);
        let mut watched = Self { sources, changes: None, roots: vec![], elsewhere, face };
        for (entry, one) in sources.iter().enumerate() {
            if !matches!(one.source.schedule.value, Schedule::OnChange(_)) {
                continue;
            }
            match &one.source.what.value {
                What::Directory(path) if !afar::is_address(path) => {
                    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
                    let path = path.canonicalize().unwrap_or(path);
                    watched.roots.push(Root { entry, name: one.name(), path });
                }
                _ => face.warn(&format!(
                    "{}: only directories of this machine are seen to change; it runs daily",
                    one.name()
                )),
            }
        }
        let (known, doubtful) = left.map(|left| watched.take_over(left)).unwrap_or_default();
        for number in 0..watched.roots.len() {
            if !known.contains(&watched.roots[number].entry) {
                watched.add(number);
            }
        }
        if let Some(changes) = &mut watched.changes {
            doubtful.into_iter().for_each(|entry| changes.again(entry, Instant::now()));
        }
        watched
    }

    /// Another reading of the configuration takes its place.
    pub(super) fn leave(self) -> Option<Left> {
        Some(Left { changes: self.changes?, roots: self.roots, elsewhere: self.elsewhere })
    }

    /// Entries that are watched on as they were, and those whose directory is another one now: nobody saw whether it changed.
    fn take_over(&mut self, mut left: Left) -> (BTreeSet<usize>, BTreeSet<usize>) {
        let before: HashMap<_, _> = left.roots.iter().map(|root| (&*root.name, root)).collect();
        let (mut numbers, mut doubtful) = (HashMap::new(), BTreeSet::new());
        for root in &self.roots {
            let Some(old) = before.get(&*root.name) else { continue };
            let is_same = old.path == root.path
                && inside(&left.elsewhere, &root.path) == inside(&self.elsewhere, &root.path);
            match is_same {
                true => _ = numbers.insert(old.entry, root.entry),
                false => _ = doubtful.insert(root.entry),
            }
        }
        left.changes.renumber(|entry| numbers.get(&entry).copied());
        self.changes = Some(left.changes);
        (numbers.into_values().collect(), doubtful)
    }

    fn add(&mut self, number: usize) {
        let Root { entry, path, name } = &self.roots[number];
        let done = match &mut self.changes {
            Some(changes) => changes.watch(*entry, path, &self.elsewhere),
            None => Changes::new().and_then(|mut changes| {
                let done = changes.watch(*entry, path, &self.elsewhere);
                self.changes = Some(changes);
                done
            }),
        };
        if let Err(error) = done {
            self.face.warn(&format!(
                "{name}: not all of it can be watched ({error}), so some changes wait for the daily run; \
                 fs.inotify.max_user_watches says how many directories can"
            ));
        }
    }

    /// What has changed and come to rest is due; of a set all of its members. What finds its tenant at work waits for the end.
    pub(super) fn trigger(&mut self, table: &mut Timetable, slot: Timestamp) {
        let now = Instant::now();
        let Some(changes) = &mut self.changes else { return };
        if let Err(error) = changes.look(now, &self.elsewhere) {
            self.face.warn(&format!("not all directories can be watched: {error}"));
        }
        let sources = self.sources;
        let rest = |entry: usize| Duration::try_from(sources[entry].source.settle.value).unwrap_or_default();
        for entry in changes.settled(now, rest) {
            let one = sources[entry];
            let of_set = one.tenant.set_of(&one.source.name);
            let is_meant = |(number, other): &(usize, &Configured<'_>)| {
                let is_beside = other.number == one.number
                    && of_set.is_some_and(|set| set.members.contains(&other.source.name));
                *number == entry || is_beside
            };
            let mut together = sources.iter().enumerate().filter(is_meant).map(|(number, _)| number);
            // A tenant that is at work refuses the first one, and then all.
            let is_refused = together.next().is_some_and(|number| table.trigger(number, slot).is_some());
            match is_refused {
                true => changes.again(entry, now),
                // The batch takes them all, once it took the first.
                false => together.for_each(|number| _ = table.trigger(number, slot)),
            }
        }
    }
}

/// Which of `places` lie in `root`.
fn inside<'p>(places: &'p [PathBuf], root: &Path) -> BTreeSet<&'p PathBuf> {
    places.iter().filter(|place| place.starts_with(root)).collect()
}

/// Repositories in directories of this machine, and where we keep what we remember.
fn own_places(all: &[Configured<'_>], environment: &Environment) -> Vec<PathBuf> {
    let repositories = all.iter().flat_map(|one| {
        std::iter::once(&one.tenant.repository)
            .chain(&one.source.copies.value)
            .map(|repository| &repository.url.value)
    });
    let exports = all.iter().filter_map(|one| Some(PathBuf::from(&one.source.export.as_ref()?.value.to)));
    let local = repositories.filter_map(|url| store::open::local_path(url).ok());
    let state = sources::file(environment).ok().and_then(|file| Some(file.parent()?.to_owned()));
    let cache = environment.wire().cache_directory().map(Path::to_owned);
    let all = local.chain(exports).chain(state).chain(cache);
    all.map(|path| path.canonicalize().unwrap_or(path)).collect()
}
