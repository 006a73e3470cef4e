//! Taking turns: who comes waits for who works alone, and who wants to work alone for those at work.
//!
//! Nothing that keeps data safe rests on this: a lease is begun as ever, and refused as ever where somebody is in the way.

use std::sync::Arc;
use std::time::Duration;

use super::held::{Mode, find_in_the_way};
use super::{Beginning, Begun, Identity, Lease};
use crate::error::{RepoError, Result};
use crate::presence::Registered;
use crate::repository::{FileKind, Repository};
use crate::waiting::Wait;

/// Ends the name of one who waits to work alone.
const SOON: &str = "soon";
/// Looks at what keeps us out, before one tries again whether its holder lives: only who writes knows the store's time.
const LOOKS_MAX: usize = 150;

/// Begin in this `mode`, and again when nobody is in the way any more, as long as the repository says that one waits. Who only
/// waits to work alone has nobody's way to bar: whoever does not wait, or has waited long enough, begins all the same.
pub(super) fn until_let_in(
    repository: &Arc<Repository>,
    identity: &Identity,
    mode: Mode,
    begin: impl Fn(Mode) -> Result<Begun>,
) -> Result<Begun> {
    let Some(waiting) = repository.waiting() else { return begin(Mode::AtOnce) };
    let mut begun = begin(mode)?;
    let mut wait = waiting.begin(waiting.at_most, repository.clock());
    while let Begun::KeptOut(holder) = begun {
        let is_patient = wait.pause(&holder)? && look_on(repository, identity, mode, &mut wait)?;
        if !is_patient {
            return begin(Mode::AtOnce);
        }
        begun = begin(mode)?;
    }
    Ok(begun)
}

/// Wait until nobody is in the way of who would begin to work beside others, and leave nothing: before something is begun that
/// must not wait later. Who is there even then is met by whoever begins.
///
/// # Errors
/// [`RepoError::Cancelled`]; what the store says.
pub fn await_turn(repository: &Arc<Repository>, identity: &Identity) -> Result<()> {
    let Some(waiting) = repository.waiting() else { return Ok(()) };
    let mut wait = waiting.begin(waiting.at_most, repository.clock());
    look_on(repository, identity, Mode::Beside, &mut wait).map(drop)
}

/// Look until nobody is in the way any more, or it is time to see whether he lives; and leave nothing: what one leaves of oneself
/// would keep the other waiting. False where one has waited long enough. The dead of other hosts count as alive.
fn look_on(
    repository: &Arc<Repository>,
    identity: &Identity,
    mode: Mode,
    wait: &mut Wait<'_>,
) -> Result<bool> {
    let registered = Registered::new(identity.pid)?;
    for _ in 0..LOOKS_MAX {
        let locks = repository.store().list(FileKind::Lock.folder())?;
        match find_in_the_way(repository, &registered, &identity.hostname, mode, locks.iter(), None)? {
            Some(holder) if !wait.pause(&holder)? => return Ok(false),
            Some(_) => {}
            None => break,
        }
    }
    Ok(true)
}

impl Lease {
    /// Work alone, after those at work have ended: whoever comes meanwhile waits. For `at_most` so long, and not at all in a
    /// repository that was opened without [`Waiting`](crate::waiting::Waiting).
    ///
    /// # Errors
    /// [`RepoError::InUse`] while somebody is at work even then, or works alone.
    pub fn after_others(
        repository: &Arc<Repository>,
        holder: &str,
        identity: &Identity,
        at_most: Duration,
    ) -> Result<Self> {
        let Some(waiting) = repository.waiting() else {
            return Self::exclusive(repository, holder, identity);
        };
        let how = |mode| Beginning { identity, mode, recurs: false };
        let mut wait = waiting.begin(at_most, repository.clock());
        // Until the end of this function whoever comes waits.
        let mut before: Option<Self> = None;
        loop {
            let held = before.as_ref().map(|before| &*before.held);
            let mut other = match Self::begin(repository, holder, how(Mode::Alone), held)? {
                Begun::KeptOut(holder) => Some(holder),
                begun => return begun.or_in_use(holder),
            };
            let before = match &before {
                Some(before) => before,
                None => {
                    let soon = format!("{holder}-{SOON}");
                    let begun = Self::begin(repository, &soon, how(Mode::BeforeAlone), None)?;
                    before.insert(begun.or_in_use(&soon)?)
                }
            };
            while let Some(holder) = other {
                if !wait.pause(&holder)? {
                    return Err(RepoError::InUse { holder });
                }
                other = before.other_at_work()?;
            }
        }
    }

    /// Somebody else who is alive, in words.
    fn other_at_work(&self) -> Result<Option<String>> {
        let locks = self.held.repository.store().list(FileKind::Lock.folder())?;
        let own = self.held.own();
        // The store's time, as of our last renewal.
        let now = locks.iter().filter(|object| own.contains(&object.key)).map(|object| object.modified).max();
        self.held.other_lock(&locks, &own, now.unwrap_or(self.began_at), Mode::Alone)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use store::Store;
    use store::memory::MemoryStore;

    use super::*;
    use crate::testing;
    use crate::waiting::{AtWork, Waiting};

    /// Long enough for a busy machine; reached by what fails alone.
    const PATIENCE: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(300);

    fn me() -> Identity {
        let pid = std::process::id();
        Identity { hostname: "here".into(), username: "u".into(), uid: 1, gid: 1, pid }
    }

    /// One repository, as several processes have opened it.
    struct Scene {
        store: Arc<MemoryStore>,
        told: Arc<Mutex<Vec<String>>>,
        is_stopped: Arc<AtomicBool>,
    }

    impl Scene {
        fn new() -> Self {
            let store = Arc::new(MemoryStore::new());
            testing::repository_in(store.clone());
            Self { store, told: Arc::default(), is_stopped: Arc::default() }
        }

        fn opened(&self, at_most: Duration) -> Arc<Repository> {
            let (told, is_stopped) = (Arc::clone(&self.told), Arc::clone(&self.is_stopped));
            let repository = Repository::open(self.store.clone(), &testing::password()).unwrap();
            Arc::new(repository.with_waiting(Waiting {
                at_most,
                tell: Arc::new(move |whom| told.lock().unwrap().push(whom.to_owned())),
                is_stopped: Arc::new(move || is_stopped.load(Ordering::SeqCst)),
                // Each is a process of its own.
                at_work: AtWork::default(),
            }))
        }

        fn told(&self) -> Vec<String> {
            self.told.lock().unwrap().clone()
        }

        /// Wait until somebody has told that it waits, for the n-th time.
        fn await_told(&self, times: usize) {
            let begun = Instant::now();
            while self.told().len() < times {
                assert!(begun.elapsed() < PATIENCE, "nobody waits");
                std::thread::sleep(Duration::from_millis(5));
            }
        }

        fn is_empty(&self) -> bool {
            ["locks", "x/lease"].iter().all(|folder| self.store.list(folder).unwrap().is_empty())
        }
    }

    #[test]
    fn who_comes_waits_for_one_who_works_alone() {
        let scene = Scene::new();
        let repository = scene.opened(PATIENCE);
        let alone = Lease::exclusive(&repository, "prune", &me()).unwrap();
        let other = scene.opened(PATIENCE);
        let comes = std::thread::spawn(move || Lease::beside(&other, "backup", &me()).map(drop));
        scene.await_told(1);
        assert!(!comes.is_finished());
        drop(alone);
        comes.join().unwrap().unwrap();
        let told = scene.told();
        assert!(told.len() == 1 && told[0].starts_with("u@here (alone, process "), "{told:?}");
        assert!(scene.is_empty());
    }

    #[test]
    fn nobody_waits_longer_than_was_said_or_after_a_wish_to_stop() {
        let scene = Scene::new();
        let alone = Lease::exclusive(&scene.opened(SHORT), "prune", &me()).unwrap();
        let refused = Lease::beside(&scene.opened(SHORT), "backup", &me()).err().unwrap();
        assert!(matches!(refused, RepoError::InUse { .. }), "{refused}");
        let other = scene.opened(PATIENCE);
        let comes = std::thread::spawn(move || Lease::beside(&other, "backup", &me()).err());
        scene.await_told(2);
        scene.is_stopped.store(true, Ordering::SeqCst);
        let stopped = comes.join().unwrap().unwrap();
        assert!(matches!(stopped, RepoError::Cancelled(_)), "{stopped}");
        drop(alone);
        assert!(scene.is_empty());
    }

    #[test]
    fn one_who_wants_to_work_alone_waits_for_those_at_work_and_holds_back_who_comes() {
        let scene = Scene::new();
        let at_work = scene.opened(PATIENCE);
        let first = Lease::beside(&at_work, "backup", &me()).unwrap();
        let pruning = scene.opened(PATIENCE);
        let prune = std::thread::spawn(move || Lease::after_others(&pruning, "prune", &me(), PATIENCE));
        scene.await_told(1);
        let comes = scene.opened(PATIENCE);
        let comes = std::thread::spawn(move || Lease::beside(&comes, "backup", &me()));
        scene.await_told(2);
        // What belongs to work that is waited for must not wait for the one who waits.
        let nested = Lease::beside(&at_work, "verify", &me()).unwrap();
        drop(first);
        std::thread::sleep(Duration::from_millis(300));
        assert!(!prune.is_finished() && !comes.is_finished());
        drop(nested);
        let alone = prune.join().unwrap().unwrap();
        assert!(!comes.is_finished());
        drop(alone);
        drop(comes.join().unwrap().unwrap());
        let told = scene.told();
        assert!(told[1].contains("soon alone"), "{told:?}");
        assert!(scene.is_empty());
    }

    #[test]
    fn nobody_is_refused_by_one_who_only_waits() {
        let scene = Scene::new();
        let at_work = scene.opened(PATIENCE);
        let first = Lease::beside(&at_work, "backup", &me()).unwrap();
        let pruning = scene.opened(PATIENCE);
        let prune = std::thread::spawn(move || Lease::after_others(&pruning, "prune", &me(), PATIENCE));
        scene.await_told(1);
        // Of one that does not wait, one that has waited long enough, and one that may be in a hurry.
        let hasty = Arc::new(Repository::open(scene.store.clone(), &testing::password()).unwrap());
        let others = [
            Lease::beside(&hasty, "backup", &me()).unwrap(),
            Lease::beside(&scene.opened(SHORT), "backup", &me()).unwrap(),
            Lease::reading(&scene.opened(PATIENCE), "restore", &me()).unwrap(),
        ];
        assert_eq!(scene.told().len(), 2, "{:?}", scene.told());
        assert!(!prune.is_finished());
        drop((first, others));
        drop(prune.join().unwrap().unwrap());
        assert!(scene.is_empty());
    }

    #[test]
    fn whoever_waited_in_vain_leaves_nothing() {
        let scene = Scene::new();
        let repository = scene.opened(PATIENCE);
        let at_work = Lease::beside(&repository, "backup", &me()).unwrap();
        let pruning = scene.opened(PATIENCE);
        let refused = Lease::after_others(&pruning, "prune", &me(), SHORT).err().unwrap();
        assert!(matches!(&refused, RepoError::InUse { holder } if holder.contains("u@here")), "{refused}");
        drop(Lease::beside(&scene.opened(SHORT), "backup", &me()).unwrap());
        drop(at_work);
        assert!(scene.is_empty());
    }
}
