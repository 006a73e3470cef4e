//! What a lease has in the store, who else has something there, and what of it counts.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use model::digest::Digest;
use store::{Key as ObjectKey, Object};

use super::{DOUBTFUL_AFTER, FOLDER, Identity, RENEW_EVERY};
use crate::blob::id_of;
use crate::error::{RepoError, Result};
use crate::note;
use crate::presence::{Judgement, LockForm, Registered};
use crate::repository::{FileKind, Repository};

/// How somebody works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Beside others, after those who wait to work alone.
    Beside,
    /// Beside others, at once: whoever waits to work alone waits for this one as well.
    AtOnce,
    /// The same, and whoever begins from now on waits: soon somebody works alone. A courtesy, on which nothing rests.
    BeforeAlone,
    /// Alone.
    Alone,
}

/// One lease, as its threads share it.
pub(super) struct Held {
    pub(super) repository: Arc<Repository>,
    pub(super) identity: Identity,
    pub(super) mode: Mode,
    pub(super) holder: String,
    /// Whether the name comes again and again.
    pub(super) recurs: bool,
    pub(super) registered: Registered,
    pub(super) stored: Mutex<Stored>,
    pub(super) renewed_at: Mutex<Duration>,
    pub(super) is_lost: AtomicBool,
}

/// What we left in the store.
#[derive(Default)]
pub(super) struct Stored {
    /// Number of the next lease object.
    pub(super) next: u64,
    /// Whether the name is ours.
    pub(super) is_named: bool,
    /// Number of the newest one that surely followed the others without a gap.
    pub(super) kept: u64,
    /// Everything of ours that may be there, also where an answer was lost.
    pub(super) objects: Vec<ObjectKey>,
}

impl Held {
    pub(super) fn form(&self) -> LockForm {
        let Identity { hostname, username, uid, gid, pid } = self.identity.clone();
        let process = self.registered.presence().cloned();
        let time = self.repository.clock().now();
        let (exclusive, wants_alone) = (self.mode == Mode::Alone, self.mode == Mode::BeforeAlone);
        LockForm { time, exclusive, wants_alone, hostname, username, pid, uid, gid, process }
    }

    pub(super) fn check(&self) -> Result<()> {
        let age = self.repository.clock().elapsed().saturating_sub(*lock(&self.renewed_at));
        if age > DOUBTFUL_AFTER {
            self.is_lost.store(true, Ordering::SeqCst);
        }
        match self.is_lost.load(Ordering::SeqCst) {
            true => Err(RepoError::LeaseLost { seconds: age.saturating_sub(DOUBTFUL_AFTER).as_secs() }),
            false => Ok(()),
        }
    }

    pub(super) fn verify_stored(&self) -> Result<()> {
        // Held, so that no renewal replaces the object under our eyes.
        let stored = lock(&self.stored);
        let name = self.lease_name(stored.kept);
        match self.repository.load_note::<LockForm>(&name) {
            Err(RepoError::Store(error)) if error.is_not_found() => {
                self.is_lost.store(true, Ordering::SeqCst);
                Err(RepoError::LeaseLost { seconds: 0 })
            }
            other => other.map(drop),
        }
    }

    /// A lease that was silent for too long is not renewed: others may have acted on its silence.
    pub(super) fn renew(&self) -> Result<()> {
        self.check()?;
        // Before the store's times of both, so that we doubt ourselves before others do.
        let begun = self.repository.clock().elapsed();
        let old = lock(&self.stored).objects.clone();
        let renewed = self.put_lock().and_then(|_| self.put_lease()).and_then(|_| self.confirm_renewal());
        if renewed.is_ok() {
            *lock(&self.renewed_at) = begun;
            // Where deleting is refused, they end by themselves. Until they are gone they are ours to whoever looks.
            let mut stored = lock(&self.stored);
            old.iter().for_each(|object| drop(self.repository.store().delete(object)));
            stored.objects.retain(|object| !old.contains(object));
        }
        renewed
    }

    /// Rely on the newest object, if the one before is still there when it stands: our clock may have stood still with
    /// the machine, and a new object alone would hide that the old one was taken away.
    fn confirm_renewal(&self) -> Result<()> {
        self.verify_stored()?;
        let mut stored = lock(&self.stored);
        stored.kept = stored.next - 1;
        Ok(())
    }

    pub(super) fn put_lock(&self) -> Result<ObjectKey> {
        let json = serde_json::to_vec(&self.form()).map_err(|error| RepoError::System(error.to_string()))?;
        let sealed = self.repository.seal_json(&json)?;
        let key = FileKind::Lock.object(&id_of(&sealed));
        lock(&self.stored).objects.push(key.clone());
        match self.repository.store().put_new(&key, &sealed) {
            Err(error) if !error.is_already_exists() => Err(error.into()),
            _ => Ok(key),
        }
    }

    /// The first lease object, behind those of the dead that have to stay: whoever makes it has the name.
    pub(super) fn put_lease_behind(&self, left: Option<u64>) -> Result<bool> {
        let first = left.map_or(0, |left| left + 1);
        {
            let mut stored = lock(&self.stored);
            (stored.next, stored.kept) = (first, first);
        }
        self.put_lease()
    }

    /// The next lease object. The first one is refused where somebody has the name.
    pub(super) fn put_lease(&self) -> Result<bool> {
        let (number, is_named) = {
            let stored = lock(&self.stored);
            (stored.next, stored.is_named)
        };
        let name = self.lease_name(number);
        let put = self.repository.put_note(&name, &self.form());
        // After the first one the name is ours: an object that is there is one whose answer was lost. Where that of the first
        // one was lost, it may as well be somebody's who lives, and is left to end by itself.
        let is_ours = is_named || matches!(put, Ok(true));
        if is_ours {
            let mut stored = lock(&self.stored);
            stored.is_named = true;
            stored.next += 1;
            stored.objects.push(note::object(&name)?);
        }
        put.map(|_| is_ours)
    }

    fn lease_name(&self, number: u64) -> String {
        format!("{FOLDER}/{}/{number}", self.holder)
    }

    /// Somebody alive for whom one in this `mode` waits, in words, among all but `own` locks. Locks of the dead are cleared away.
    pub(super) fn other_lock(
        &self,
        locks: &[Object],
        own: &BTreeSet<ObjectKey>,
        now: SystemTime,
        mode: Mode,
    ) -> Result<Option<String>> {
        let others = locks.iter().filter(|object| !own.contains(&object.key));
        find_in_the_way(&self.repository, &self.registered, &self.identity.hostname, mode, others, Some(now))
    }

    /// The objects of ours.
    pub(super) fn own(&self) -> BTreeSet<ObjectKey> {
        lock(&self.stored).objects.iter().cloned().collect()
    }

    /// Find the leases of the dead, and what there is of our name.
    pub(super) fn look_at_leases(
        &self,
        leases: Vec<(String, Object)>,
        own: &BTreeSet<ObjectKey>,
        now: SystemTime,
        dead: &mut Vec<Option<ObjectKey>>,
    ) -> Result<OfOurName> {
        let mut of_our_name = OfOurName::default();
        for (name, object) in leases {
            if own.contains(&object.key) {
                continue;
            }
            let loaded = self.repository.load_note(&format!("{FOLDER}/{name}"));
            match self.registered.judge(loaded, &object, now, &self.identity.hostname)? {
                Judgement::Gone => {}
                // Who worked alone may wake and delete, unless its lease is gone: so that goes before we look around.
                Judgement::Dead { was_alone }
                    if self.mode == Mode::Alone || was_alone || holder_of(&name) == self.holder =>
                {
                    match self.repository.store().delete(&object.key) {
                        // Who works alone deletes, or says why not: its name would look taken by somebody alive.
                        Err(error) if self.mode == Mode::Alone && !error.is_not_found() => {
                            return Err(error.into());
                        }
                        Err(error) if self.recurs && !error.is_not_found() => {
                            of_our_name.left = of_our_name.left.max(number_of(&name));
                        }
                        _ => {}
                    }
                    // A writer of our name was killed, and begun again within a second.
                    dead.extend((!was_alone).then_some(None));
                }
                Judgement::Dead { .. } => dead.push(Some(object.key)),
                Judgement::Alive(_) => of_our_name.is_alive |= holder_of(&name) == self.holder,
            }
        }
        Ok(of_our_name)
    }
}

impl Mode {
    /// Whether one who begins so waits for somebody alive whose lock is so old.
    pub(super) fn waits_for(self, other: &LockForm, age: Duration, repository: &Repository) -> bool {
        // Who waits to work alone waits for all that this process is at: what that needs as well is let in. One that is not
        // renewed is not believed for long: it may be dead, and nothing rests on it.
        let gives_way =
            || other.wants_alone && age < 2 * RENEW_EVERY && repository.leases().load(Ordering::SeqCst) == 0;
        match self {
            Self::Alone => true,
            Self::Beside => other.exclusive || gives_way(),
            Self::AtOnce | Self::BeforeAlone => other.exclusive,
        }
    }
}

/// What there is of a name.
#[derive(Default)]
pub(super) struct OfOurName {
    pub(super) is_alive: bool,
    /// The last number of a dead one that cannot be deleted.
    pub(super) left: Option<u64>,
}

/// Somebody alive for whom one in this `mode` waits, in words, among those of these `locks`. The store's time is `now`: with it
/// the dead are known by their age as well, and their locks cleared away; without it those of other hosts count as alive.
pub(super) fn find_in_the_way<'a>(
    repository: &Repository,
    registered: &Registered,
    hostname: &str,
    mode: Mode,
    locks: impl Iterator<Item = &'a Object>,
    now: Option<SystemTime>,
) -> Result<Option<String>> {
    for object in locks {
        let Ok(id) = object.key.name().parse() else { continue };
        let time = now.unwrap_or(object.modified);
        match registered.judge(load_lock(repository, &id), object, time, hostname)? {
            Judgement::Dead { .. } if now.is_some() => drop(repository.store().delete(&object.key)),
            Judgement::Alive(form) if mode.waits_for(&form, age_at(time, object), repository) => {
                return Ok(Some(form.describe()));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn load_lock(repository: &Repository, id: &Digest) -> Result<LockForm> {
    let json = repository.load_file(FileKind::Lock, id)?;
    serde_json::from_slice(&json).map_err(|error| RepoError::damaged(format!("lock {id}"), error))
}

fn age_at(now: SystemTime, object: &Object) -> Duration {
    now.duration_since(object.modified).unwrap_or_default()
}

fn number_of(name: &str) -> Option<u64> {
    name.rsplit_once('/')?.1.parse().ok()
}

/// The holder of a lease object, by its name below `lease/`.
pub(crate) fn holder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(holder, _)| holder)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
