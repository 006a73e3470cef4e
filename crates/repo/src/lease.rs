//! Who is at work in a repository: a lease of ours, and a lock that stock restic understands.
//!
//! Form of a lock: restic's `{time,exclusive,hostname,username,pid,uid,gid}` under `locks/`, and where its process
//! is. Form of a lease: the same as `x/lease/<holder>/<n>`, renewed by making `n + 1`. Both are renewed every
//! [`RENEW_EVERY`]. A holder on this machine counts as dead when its process or its value is gone, any other one
//! [`DEAD_AFTER`] its last renewal, **both by the store's clock**: the age of a foreign object is compared with that
//! of our own newest one, never with our clock.
//!
//! Invariants: of an exclusive holder and any other one that begin at one time, at least one sees the other and
//! steps back, because each writes first and looks afterwards (the store lists what was written). A holder that
//! was silent for too long never trusts itself again. Who takes a dead holder's place removes its lease first, so
//! a holder that still finds its own ([`Lease::verify_kept`]) was never taken for dead, whatever clocks say.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Sender, bounded};
use store::Key as ObjectKey;

use crate::error::{RepoError, Result};
use crate::packer::Guard;
pub use crate::presence::DEAD_AFTER;
use crate::presence::Registered;
use crate::repository::{FileKind, Repository};
use crate::threads::{both, map_waiting};

/// Where leases lie, below `x/`.
pub(crate) const FOLDER: &str = "lease";
/// How often a holder says that it is alive.
pub const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
/// How soon after a renewal that failed.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// When a holder must no longer trust itself: well before the others stop trusting it.
const DOUBTFUL_AFTER: Duration = Duration::from_secs(20 * 60);

/// Who somebody is, for locks, keys and snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Host.
    pub hostname: String,
    /// User.
    pub username: String,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Process.
    pub pid: u32,
}

mod held;
pub(crate) use held::holder_of;
use held::{Held, Mode, lock};

/// The right to work in a repository; given back when dropped.
pub struct Lease {
    held: Arc<Held>,
    began_at: SystemTime,
    /// Of each writer that was dead when this one began, its lease object, unless that had to go at once.
    dead: Vec<Option<ObjectKey>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a beginning ended.
enum Begun {
    Working(Lease),
    NameTaken,
    /// Somebody alive keeps it from working: who, in words.
    KeptOut(String),
}

impl Begun {
    /// Of somebody who takes no for an answer; `name` is that under which it was begun.
    fn or_in_use(self, name: &str) -> Result<Lease> {
        match self {
            Self::Working(lease) => Ok(lease),
            Self::NameTaken => Err(RepoError::InUse { holder: name.to_owned() }),
            Self::KeptOut(holder) => Err(RepoError::InUse { holder }),
        }
    }
}

/// Under what one begins to work.
#[derive(Clone, Copy)]
struct Beginning<'a> {
    identity: &'a Identity,
    mode: Mode,
    /// Whether the name comes again and again.
    recurs: bool,
}

mod turn;
pub use turn::await_turn;

impl Lease {
    /// Work beside others. `holder` names the lease, like the id of a backup; `None` where somebody holds that name. Waits
    /// for who works alone, as long as the repository says.
    ///
    /// # Errors
    /// [`RepoError::InUse`] while somebody has the repository for himself.
    pub fn shared(repository: &Arc<Repository>, holder: &str, identity: &Identity) -> Result<Option<Self>> {
        let how = Beginning { identity, mode: Mode::Beside, recurs: false };
        Self::in_turn(repository, || holder.to_owned(), how)
    }

    /// The same under a name that comes again and again, such as that of a tenant's runs: where nothing can be deleted, it is
    /// free again all the same when its holder is dead. A holder that was taken for dead may not notice it there.
    ///
    /// # Errors
    /// As [`Lease::shared`].
    pub fn recurring(
        repository: &Arc<Repository>,
        holder: &str,
        identity: &Identity,
    ) -> Result<Option<Self>> {
        let how = Beginning { identity, mode: Mode::Beside, recurs: true };
        Self::in_turn(repository, || holder.to_owned(), how)
    }

    /// Work beside others at `verb`, under a name that nobody else has.
    ///
    /// # Errors
    /// As [`Lease::shared`].
    pub fn beside(repository: &Arc<Repository>, verb: &str, identity: &Identity) -> Result<Self> {
        Self::under_new_name(repository, verb, identity, Mode::Beside)
    }

    /// The same for who only reads, and may be in a hurry: whoever waits to work alone waits for it.
    ///
    /// # Errors
    /// As [`Lease::shared`].
    pub fn reading(repository: &Arc<Repository>, verb: &str, identity: &Identity) -> Result<Self> {
        Self::under_new_name(repository, verb, identity, Mode::AtOnce)
    }

    fn under_new_name(
        repository: &Arc<Repository>,
        verb: &str,
        identity: &Identity,
        mode: Mode,
    ) -> Result<Self> {
        let mut dice = [0; 8];
        getrandom::fill(&mut dice)?;
        let (name, tries) = (format!("{verb}-{}", hex::encode(dice)), Cell::new(0));
        // A name for each try: where nothing can be deleted, that of the one before is taken.
        let holder = || match tries.replace(tries.get() + 1) {
            0 => name.clone(),
            again => format!("{name}-{again}"),
        };
        let how = Beginning { identity, mode, recurs: false };
        Self::in_turn(repository, holder, how)?.ok_or(RepoError::InUse { holder: name.clone() })
    }

    fn in_turn(
        repository: &Arc<Repository>,
        holder: impl Fn() -> String,
        how: Beginning<'_>,
    ) -> Result<Option<Self>> {
        let begin = |mode| Self::begin(repository, &holder(), Beginning { mode, ..how }, None);
        match turn::until_let_in(repository, how.identity, how.mode, begin)? {
            Begun::NameTaken => Ok(None),
            begun => begun.or_in_use("").map(Some),
        }
    }

    /// Work alone.
    ///
    /// # Errors
    /// [`RepoError::InUse`] while anybody else is at work.
    pub fn exclusive(repository: &Arc<Repository>, holder: &str, identity: &Identity) -> Result<Self> {
        let how = Beginning { identity, mode: Mode::Alone, recurs: false };
        Self::begin(repository, holder, how, None)?.or_in_use(holder)
    }

    /// Begin; `before` is of the same work, and in nobody's way.
    fn begin(
        repository: &Arc<Repository>,
        holder: &str,
        Beginning { identity, mode, recurs }: Beginning<'_>,
        before: Option<&Held>,
    ) -> Result<Begun> {
        let held = Arc::new(Held {
            repository: Arc::clone(repository),
            identity: identity.clone(),
            mode,
            holder: holder.to_owned(),
            recurs,
            registered: Registered::new(identity.pid)?,
            stored: Mutex::default(),
            renewed_at: Mutex::new(repository.clock().elapsed()),
            is_lost: AtomicBool::new(false),
        });
        // From here on a failure drops the lease, which takes away again what is there of it.
        let mut lease = Self {
            held: Arc::clone(&held),
            began_at: SystemTime::UNIX_EPOCH,
            dead: vec![],
            stop: None,
            thread: None,
        };
        // Both are written before anything is listed; each of the two steps takes one round trip.
        let (lock, is_named) = both(|| held.put_lock(), || held.put_lease());
        let (lock, is_named) = (lock?, is_named?);
        let (locks, leases) =
            both(|| repository.store().list(FileKind::Lock.folder()), || repository.list_notes(FOLDER));
        let (locks, leases) = (locks?, leases?);
        let own = locks.iter().find(|object| object.key == lock);
        lease.began_at = own.ok_or_else(|| unlisted(&lock))?.modified;
        let mut own = held.own();
        own.extend(before.map(Held::own).unwrap_or_default());
        if let Some(holder) = held.other_lock(&locks, &own, lease.began_at, mode)? {
            return Ok(Begun::KeptOut(holder));
        }
        let of_our_name = held.look_at_leases(leases, &own, lease.began_at, &mut lease.dead)?;
        // A name that was a dead one's is free by now, or goes on behind what cannot be deleted.
        if of_our_name.is_alive || !(is_named || held.put_lease_behind(of_our_name.left)?) {
            return Ok(Begun::NameTaken);
        }
        let (stop, stopped) = bounded::<()>(0);
        lease.thread = Some(std::thread::spawn(move || {
            let mut pause = RENEW_EVERY;
            while held.repository.clock().wait(pause, &stopped) {
                // When none succeeds, `check` sees it: the lease grows old.
                pause = if held.renew().is_ok() { RENEW_EVERY } else { TRY_AGAIN_AFTER };
            }
        }));
        lease.stop = Some(stop);
        repository.leases().fetch_add(1, Ordering::SeqCst);
        Ok(Begun::Working(lease))
    }

    /// Whether others surely count this process as alive. Asks nobody; ask before every step that takes something.
    ///
    /// # Errors
    /// [`RepoError::LeaseLost`], and from then on always.
    pub fn check(&self) -> Result<()> {
        self.held.check()
    }

    /// Whether nobody has taken this holder for dead until now. Asks the store; ask **after** a commit, and before
    /// a row of steps that take something: then no clock, and no sleep of the machine, is trusted at all.
    ///
    /// # Errors
    /// [`RepoError::LeaseLost`] where the lease is gone; what the store says.
    pub fn verify_kept(&self) -> Result<()> {
        self.check()?;
        self.held.verify_stored()
    }

    /// Whether holders were dead when this one began: something may lie about. Whoever writes takes that over first and
    /// clears their leases away afterwards; who works alone does so at once.
    pub fn follows_dead(&self) -> bool {
        !self.dead.is_empty()
    }

    /// Clear the leases of the dead away; prune looks again, and waits for what could not be deleted.
    pub fn clear_dead(&self) {
        self.dead.iter().flatten().for_each(|object| drop(self.held.repository.store().delete(object)));
    }

    /// What a pipeline asks before it writes an index file: packs of a holder that was taken for dead may be gone.
    pub fn guard(&self) -> Guard {
        let held = Arc::clone(&self.held);
        Guard::new(move || held.check().and_then(|()| held.verify_stored()))
    }

    /// Go without giving anything back.
    #[cfg(test)]
    pub(crate) fn leave_as_a_kill_does(self) {
        lock(&self.held.stored).objects.clear();
    }

    /// When this lease began, by the clock of the store.
    pub fn began_at(&self) -> SystemTime {
        self.began_at
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
            self.held.repository.leases().fetch_sub(1, Ordering::SeqCst);
        }
        let objects = std::mem::take(&mut lock(&self.held.stored).objects);
        // What cannot be deleted ends by itself.
        drop(map_waiting(&objects, |object| drop(self.held.repository.store().delete(object))));
    }
}

fn unlisted(key: &ObjectKey) -> RepoError {
    RepoError::System(format!(
        "the store does not list {key}, which was just stored; locks need that it does"
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::Clock;
    use crate::presence::LockForm;
    use crate::testing;

    fn identity(pid: u32) -> Identity {
        Identity { hostname: "here".into(), username: "u".into(), uid: 1, gid: 1, pid }
    }

    fn me() -> Identity {
        identity(std::process::id())
    }

    fn elsewhere() -> Identity {
        Identity { hostname: "there".into(), ..me() }
    }

    fn leases(repository: &Repository) -> Vec<String> {
        repository.list_notes("lease").unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn shared_ones_work_side_by_side_and_an_exclusive_one_alone() {
        let repository = testing::repository();
        let one = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        let two = Lease::shared(&repository, "two", &me()).unwrap().unwrap();
        let error = Lease::exclusive(&repository, "prune", &me()).err().unwrap();
        assert!(matches!(&error, RepoError::InUse { holder } if holder.contains("u@here")), "{error}");
        drop((one, two));
        let alone = Lease::exclusive(&repository, "prune", &me()).unwrap();
        assert!(matches!(Lease::shared(&repository, "one", &me()), Err(RepoError::InUse { .. })));
        drop(alone);
        assert!(repository.list(FileKind::Lock).unwrap().is_empty());
        assert!(leases(&repository).is_empty());
    }

    #[test]
    fn a_name_is_held_once_also_after_it_was_renewed() {
        let repository = testing::repository();
        let one = Lease::shared(&repository, "same", &me()).unwrap().unwrap();
        assert!(Lease::shared(&repository, "same", &me()).unwrap().is_none());
        one.held.renew().unwrap();
        assert!(Lease::shared(&repository, "same", &me()).unwrap().is_none());
        assert!(Lease::shared(&repository, "same", &elsewhere()).unwrap().is_none());
        assert_eq!(leases(&repository), ["same/1"]);
        one.verify_kept().unwrap();
    }

    #[test]
    fn the_lock_of_a_dead_process_here_does_not_block() {
        let repository = testing::repository();
        // Above the kernel's largest process id.
        Lease::exclusive(&repository, "old", &identity(5_000_000)).unwrap().leave_as_a_kill_does();
        assert_eq!(leases(&repository).len(), 1);
        let next = Lease::shared(&repository, "old", &me()).unwrap();
        assert!(next.is_some() && leases(&repository) == ["old/0"]);
    }

    #[test]
    fn a_holder_that_died_in_a_living_process_does_not_block() {
        let repository = testing::repository();
        Lease::exclusive(&repository, "prune", &me()).unwrap().leave_as_a_kill_does();
        assert!(matches!(Lease::exclusive(&repository, "prune", &elsewhere()), Err(RepoError::InUse { .. })));
        drop(Lease::exclusive(&repository, "prune", &me()).unwrap());
        assert!(leases(&repository).is_empty());
    }

    #[test]
    fn a_lock_without_a_place_is_believed_whatever_its_host_and_number_say() {
        let repository = testing::repository();
        let here = identity(5_000_000);
        let lease = Lease::shared(&repository, "other-container", &here).unwrap().unwrap();
        // What restic writes, or somebody in a container of the same name.
        let form = LockForm { process: None, ..lease.held.form() };
        repository.save_file(FileKind::Lock, &serde_json::to_vec(&form).unwrap()).unwrap();
        assert!(matches!(Lease::exclusive(&repository, "prune", &me()), Err(RepoError::InUse { .. })));
    }

    #[test]
    fn renewing_replaces_both() {
        let repository = testing::repository();
        let lease = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        let before = repository.list(FileKind::Lock).unwrap()[0].id;
        lease.held.renew().unwrap();
        let locks = repository.list(FileKind::Lock).unwrap();
        assert!(locks.len() == 1 && locks[0].id != before);
        assert_eq!(leases(&repository), ["one/1"]);
    }

    #[test]
    fn who_was_silent_for_too_long_is_lost_for_good() {
        let clock = Clock::by_hand(Timestamp::UNIX_EPOCH);
        let repository = testing::repository_at(&clock);
        let lease = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        // Somebody sets the time: that is no silence.
        clock.set(Timestamp::MAX);
        lease.check().unwrap();
        lock(&lease.held.stored).next = 1;
        *lock(&lease.held.renewed_at) = Duration::ZERO;
        // The machine slept; the renewal that is due when it wakes comes too late.
        clock.advance(DOUBTFUL_AFTER + Duration::from_secs(9));
        assert!(matches!(lease.held.renew(), Err(RepoError::LeaseLost { seconds: 9 })));
        assert!(matches!(lease.check(), Err(RepoError::LeaseLost { .. })));
        assert_eq!(leases(&repository), ["one/0"]);
    }

    #[test]
    fn who_was_taken_for_dead_finds_out() {
        let repository = testing::repository();
        let lease = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        lease.verify_kept().unwrap();
        repository.delete_note("lease/one/0").unwrap();
        assert!(matches!(lease.verify_kept(), Err(RepoError::LeaseLost { .. })));
        assert!(lease.check().is_err(), "and does not forget it");
    }

    /// A machine that stood still, clock and all: seed 2661 of the world.
    #[test]
    fn who_was_taken_for_dead_does_not_renew_itself_back_to_life() {
        let repository = testing::repository();
        let lease = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        lease.held.renew().unwrap();
        repository.delete_note("lease/one/1").unwrap();
        assert!(matches!(lease.held.renew(), Err(RepoError::LeaseLost { .. })));
        assert!(lease.verify_kept().is_err(), "although a newer one is there");
        drop(lease);
        assert!(leases(&repository).is_empty());
    }

    #[test]
    fn the_lease_of_a_dead_one_that_worked_alone_goes_before_anything_is_relied_on() {
        let repository = testing::repository();
        Lease::exclusive(&repository, "prune", &identity(5_000_000)).unwrap().leave_as_a_kill_does();
        Lease::shared(&repository, "writer", &identity(5_000_000)).unwrap().unwrap().leave_as_a_kill_does();
        let next = Lease::shared(&repository, "next", &me()).unwrap().unwrap();
        assert_eq!(leases(&repository), ["next/0", "writer/0"], "what a writer stored is adopted first");
        assert!(next.follows_dead());
        assert_eq!(next.dead.len(), 1);
    }

    #[test]
    fn a_dead_writer_of_the_same_name_left_something_too() {
        let repository = testing::repository();
        Lease::shared(&repository, "one", &identity(5_000_000)).unwrap().unwrap().leave_as_a_kill_does();
        let next = Lease::shared(&repository, "one", &me()).unwrap().unwrap();
        assert!(next.follows_dead());
        // Ours has its name, and stays when the dead are cleared away.
        next.clear_dead();
        next.verify_kept().unwrap();
    }
}
