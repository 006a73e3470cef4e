//! Who is at work in a repository: a lease of ours, and a lock that stock restic understands.
//!
//! Form of a lock: restic's `{time,exclusive,hostname,username,pid,uid,gid}` under `locks/`. Form of a lease:
//! `x/lease/<holder>/<n>`, renewed by making `n + 1`. Both are renewed every [`RENEW_EVERY`] and count as dead
//! after [`DEAD_AFTER`], or at once when their process on this host is gone. Invariant: of an exclusive holder and
//! any other one that begin at one time, at least one sees the other and steps back, because each writes first
//! and looks afterwards (the store lists what was written).

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use jiff::Timestamp;
use model::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::error::{RepoError, Result};
use crate::repository::{FileKind, Repository};

/// How often a holder says that it is alive.
pub const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);
/// When others count a silent holder as dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(30 * 60);
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

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LockForm {
    time: Timestamp,
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: u32,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
}

/// The right to work in a repository; given back when dropped.
pub struct Lease {
    held: Arc<Held>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Held {
    repository: Arc<Repository>,
    identity: Identity,
    exclusive: bool,
    holder: String,
    current: Mutex<(Digest, u64)>,
    renewed_at: AtomicI64,
}

impl Lease {
    /// Work beside others. `holder` names the lease, like the id of a backup; `None` where somebody holds that name.
    ///
    /// # Errors
    /// [`RepoError::InUse`] while somebody has the repository for himself.
    pub fn shared(repository: &Arc<Repository>, holder: &str, identity: &Identity) -> Result<Option<Self>> {
        Self::begin(repository, holder, identity, false)
    }

    /// Work beside others at `verb`, under a name that nobody else has.
    ///
    /// # Errors
    /// As [`Lease::shared`].
    pub fn beside(repository: &Arc<Repository>, verb: &str, identity: &Identity) -> Result<Self> {
        let mut dice = [0; 8];
        getrandom::fill(&mut dice)?;
        let holder = format!("{verb}-{}", hex::encode(dice));
        Self::shared(repository, &holder, identity)?.ok_or(RepoError::InUse { holder })
    }

    /// Work alone.
    ///
    /// # Errors
    /// [`RepoError::InUse`] while anybody else is at work.
    pub fn exclusive(repository: &Arc<Repository>, holder: &str, identity: &Identity) -> Result<Self> {
        Self::begin(repository, holder, identity, true)?
            .ok_or_else(|| RepoError::InUse { holder: holder.to_owned() })
    }

    fn begin(
        repository: &Arc<Repository>,
        holder: &str,
        identity: &Identity,
        exclusive: bool,
    ) -> Result<Option<Self>> {
        let form = form(identity, exclusive);
        if !repository.put_note(&format!("lease/{holder}/0"), &form)? {
            return Ok(None);
        }
        let lock = save_lock(repository, &form).inspect_err(|_| {
            drop(repository.delete_note(&format!("lease/{holder}/0")));
        })?;
        let held = Arc::new(Held {
            repository: Arc::clone(repository),
            identity: identity.clone(),
            exclusive,
            holder: holder.to_owned(),
            current: Mutex::new((lock, 0)),
            renewed_at: AtomicI64::new(Timestamp::now().as_second()),
        });
        let mut lease = Self { held: Arc::clone(&held), stop: None, thread: None };
        // From here on a failure drops the lease, which takes the lock away again.
        if let Some(other) = other_holder(repository, exclusive, &lock, identity)? {
            return Err(RepoError::InUse { holder: other });
        }
        let (stop, stopped) = bounded::<()>(0);
        lease.thread = Some(std::thread::spawn(move || {
            while stopped.recv_timeout(RENEW_EVERY) == Err(RecvTimeoutError::Timeout) {
                // A renewal that fails is seen by `check`: the lease grows old.
                drop(held.renew());
            }
        }));
        lease.stop = Some(stop);
        Ok(Some(lease))
    }

    /// Whether others still count this process as alive. Ask before a commit.
    ///
    /// # Errors
    /// [`RepoError::LeaseLost`].
    pub fn check(&self) -> Result<()> {
        let age = Timestamp::now().as_second() - self.held.renewed_at.load(Ordering::SeqCst);
        let limit = DOUBTFUL_AFTER.as_secs() as i64;
        if age > limit { Err(RepoError::LeaseLost { seconds: (age - limit) as u64 }) } else { Ok(()) }
    }

    /// Go without giving anything back.
    #[cfg(test)]
    pub(crate) fn leave_as_a_kill_does(mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        std::mem::forget(self);
    }
}

impl Held {
    fn renew(&self) -> Result<()> {
        let form = form(&self.identity, self.exclusive);
        let (old_lock, number) = *self.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.repository.put_note(&format!("lease/{}/{}", self.holder, number + 1), &form)?;
        let lock = save_lock(&self.repository, &form)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (lock, number + 1);
        self.renewed_at.store(form.time.as_second(), Ordering::SeqCst);
        self.repository.delete_note(&format!("lease/{}/{number}", self.holder))?;
        Ok(self.repository.store().delete(&FileKind::Lock.object(&old_lock))?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        // Where deleting is refused, both end by themselves.
        let (lock, number) = *self.held.current.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.held.repository.store().delete(&FileKind::Lock.object(&lock)));
        drop(self.held.repository.delete_note(&format!("lease/{}/{number}", self.held.holder)));
    }
}

fn form(identity: &Identity, exclusive: bool) -> LockForm {
    LockForm {
        time: Timestamp::now(),
        exclusive,
        hostname: identity.hostname.clone(),
        username: identity.username.clone(),
        pid: identity.pid,
        uid: identity.uid,
        gid: identity.gid,
    }
}

fn save_lock(repository: &Repository, form: &LockForm) -> Result<Digest> {
    let json = serde_json::to_vec(form).map_err(|error| RepoError::System(error.to_string()))?;
    repository.save_file(FileKind::Lock, &json)
}

/// Somebody alive whom we must not disturb. Locks of the dead are cleared away.
fn other_holder(
    repository: &Repository,
    exclusive: bool,
    own: &Digest,
    me: &Identity,
) -> Result<Option<String>> {
    for listed in repository.list(FileKind::Lock)? {
        if listed.id == *own {
            continue;
        }
        if is_old(listed.modified) {
            // Also one that nobody can read: it must not block for ever.
            repository.store().delete(&FileKind::Lock.object(&listed.id)).ok();
            continue;
        }
        let form: LockForm = match repository.load_file(FileKind::Lock, &listed.id) {
            Ok(json) => serde_json::from_slice(&json)
                .map_err(|error| RepoError::damaged(format!("lock {}", listed.id), error))?,
            // Its holder ended between the two looks.
            Err(RepoError::Store(error)) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        if is_dead(&form, listed.modified, me) {
            drop(repository.store().delete(&FileKind::Lock.object(&listed.id)));
        } else if exclusive || form.exclusive {
            let kind = if form.exclusive { "alone, " } else { "" };
            let LockForm { hostname, username, pid, time, .. } = form;
            return Ok(Some(format!("{username}@{hostname} ({kind}process {pid}, since {time:.0})")));
        }
    }
    Ok(None)
}

/// By the store's clock; a time in the future is young.
fn is_old(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).unwrap_or_default() > DEAD_AFTER
}

fn is_dead(form: &LockForm, modified: SystemTime, me: &Identity) -> bool {
    is_old(modified) || (form.hostname == me.hostname && form.pid != me.pid && !is_process(form.pid))
}

fn is_process(pid: u32) -> bool {
    std::path::Path::new("/proc/self").exists() && std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Leases whose holder is dead: [`DEAD_AFTER`] by the store's time, or its process on this host is gone.
///
/// # Errors
/// When the store fails.
pub fn find_dead(repository: &Repository, me: &Identity) -> Result<Vec<String>> {
    let mut dead = vec![];
    for (name, object) in repository.list_notes("lease")? {
        let name = format!("lease/{name}");
        let is_dead = is_old(object.modified)
            || match repository.load_note::<LockForm>(&name) {
                Ok(form) => is_dead(&form, object.modified, me),
                // Its holder ended between the two looks.
                Err(RepoError::Store(error)) if error.is_not_found() => false,
                Err(error) => return Err(error),
            };
        if is_dead {
            dead.push(name);
        }
    }
    Ok(dead)
}

/// Remove the leases of the dead.
///
/// # Errors
/// When the store fails.
pub fn clear_dead(repository: &Repository, me: &Identity) -> Result<()> {
    find_dead(repository, me)?.iter().try_for_each(|lease| repository.delete_note(lease))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn identity(pid: u32) -> Identity {
        Identity { hostname: "here".into(), username: "u".into(), uid: 1, gid: 1, pid }
    }

    #[test]
    fn shared_ones_work_side_by_side_and_an_exclusive_one_alone() {
        let repository = testing::repository();
        let me = identity(std::process::id());
        let one = Lease::shared(&repository, "one", &me).unwrap().unwrap();
        let two = Lease::shared(&repository, "two", &me).unwrap().unwrap();
        let error = Lease::exclusive(&repository, "prune", &me).err().unwrap();
        assert!(matches!(&error, RepoError::InUse { holder } if holder.contains("u@here")), "{error}");
        drop((one, two));
        let alone = Lease::exclusive(&repository, "prune", &me).unwrap();
        assert!(matches!(Lease::shared(&repository, "one", &me), Err(RepoError::InUse { .. })));
        drop(alone);
        assert!(repository.list(FileKind::Lock).unwrap().is_empty());
        assert!(repository.list_notes("lease").unwrap().is_empty());
    }

    #[test]
    fn a_name_is_held_once() {
        let repository = testing::repository();
        let me = identity(std::process::id());
        let _one = Lease::shared(&repository, "same", &me).unwrap().unwrap();
        assert!(Lease::shared(&repository, "same", &me).unwrap().is_none());
    }

    #[test]
    fn the_lock_of_a_dead_process_here_does_not_block() {
        let repository = testing::repository();
        // Above the kernel's largest process id.
        let dead = identity(5_000_000);
        save_lock(&repository, &form(&dead, true)).unwrap();
        repository.put_note("lease/old/0", &form(&dead, true)).unwrap();
        let me = identity(std::process::id());
        assert!(Lease::shared(&repository, "one", &me).unwrap().is_some());
        clear_dead(&repository, &me).unwrap();
        assert!(repository.list_notes("lease").unwrap().is_empty());
    }

    #[test]
    fn renewing_replaces_both() {
        let repository = testing::repository();
        let lease = Lease::shared(&repository, "one", &identity(std::process::id())).unwrap().unwrap();
        let before = repository.list(FileKind::Lock).unwrap()[0].id;
        lease.held.renew().unwrap();
        let locks = repository.list(FileKind::Lock).unwrap();
        assert!(locks.len() == 1 && locks[0].id != before);
        assert_eq!(repository.list_notes("lease").unwrap()[0].0, "one/1");
        lease.held.renewed_at.store(Timestamp::now().as_second() - 1900, Ordering::SeqCst);
        assert!(matches!(lease.check(), Err(RepoError::LeaseLost { .. })));
    }
}
