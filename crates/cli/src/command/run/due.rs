//! Sources that are due because they changed, while `mainstay serve` runs.

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
    /// What we write ourselves is no change.
    elsewhere: Vec<PathBuf>,
    face: &'a Face,
}

impl<'a> Watched<'a> {
    /// Those of `sources` that say so. What cannot be watched is said, and runs daily.
    pub(super) fn of(sources: &'a [Configured<'a>], environment: &Environment, face: &'a Face) -> Self {
        let elsewhere = own_places(sources, environment);
        let mut watched = Self { sources, changes: None, elsewhere, face };
        for (entry, one) in sources.iter().enumerate() {
            if !matches!(one.source.schedule.value, Schedule::OnChange(_)) {
                continue;
            }
            match &one.source.what.value {
                What::Directory(path) if !afar::is_address(path) => watched.add(entry, Path::new(path)),
                _ => face.warn(&format!(
                    "{}: only directories of this machine are seen to change; it runs daily",
                    one.name()
                )),
            }
        }
        watched
    }

    fn add(&mut self, entry: usize, root: &Path) {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let root = root.canonicalize().unwrap_or(root);
        let done = match &mut self.changes {
            Some(changes) => changes.watch(entry, &root, &self.elsewhere),
            None => Changes::new().and_then(|mut changes| {
                let done = changes.watch(entry, &root, &self.elsewhere);
                self.changes = Some(changes);
                done
            }),
        };
        if let Err(error) = done {
            self.face.warn(&format!(
                "{}: not all of it can be watched ({error}), so some changes wait for the daily run; fs.inotify.max_user_watches \
                 says how many directories can",
                self.sources[entry].name()
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
