//! Is a holder that names a process of this machine still there? Only where we can really look.
//!
//! A host name and a number are not enough: two containers may share both names, and a number is used again. So a
//! holder also tells the boot of the kernel, the namespace of its numbers, when its process began, and which of the
//! process's leases it is. Where boot or namespace differ, nobody here can say anything, and time decides.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use store::Object;

use crate::error::{RepoError, Result};

/// When others count a silent holder as dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(30 * 60);

/// The leases that this process holds.
static HELD: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Where a holder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Presence {
    boot: String,
    namespace: String,
    pid: u32,
    /// In ticks since the boot; 0 where there is no such process.
    started: u64,
    /// Which lease of the process.
    lease: u64,
}

/// What a lock and a lease say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LockForm {
    pub(crate) time: Timestamp,
    pub(crate) exclusive: bool,
    /// Who begins from now on waits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) wants_alone: bool,
    #[serde(default)]
    pub(crate) hostname: String,
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) pid: u32,
    #[serde(default)]
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Presence>,
}

impl LockForm {
    /// Who, in words.
    pub(crate) fn describe(&self) -> String {
        let Self { hostname, username, pid, time, .. } = self;
        let kind = match (self.exclusive, self.wants_alone) {
            (true, _) => "alone, ",
            (_, true) => "soon alone, ",
            _ => "",
        };
        format!("{username}@{hostname} ({kind}process {pid}, since {time:.0})")
    }
}

/// What becomes of somebody else's lock or lease.
pub(crate) enum Judgement {
    Gone,
    Dead { was_alone: bool },
    Alive(Box<LockForm>),
}

/// One lease of this process; others see it as gone when this value is.
#[derive(Debug)]
pub(crate) struct Registered {
    lease: u64,
    presence: Option<Presence>,
}

impl Registered {
    /// A new lease of the process `pid`, which is this one unless a test says otherwise.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn new(pid: u32) -> Result<Self> {
        let mut dice = [0; 8];
        getrandom::fill(&mut dice)?;
        let lease = u64::from_le_bytes(dice);
        held().insert(lease);
        let place = || {
            let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
            let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_str()?.to_owned();
            Some(Presence { boot, namespace, pid, started: started(pid).unwrap_or(0), lease })
        };
        Ok(Self { lease, presence: place() })
    }

    /// Whether the holder that stored `object`, which was `loaded`, lives `now`; `hostname` is ours.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn judge(
        &self,
        loaded: Result<LockForm>,
        object: &Object,
        now: SystemTime,
        hostname: &str,
    ) -> Result<Judgement> {
        let is_old = now.duration_since(object.modified).unwrap_or_default() > DEAD_AFTER;
        match loaded {
            // Its holder ended between the two looks.
            Err(RepoError::Store(error)) if error.is_not_found() => Ok(Judgement::Gone),
            // One that nobody can read must not block for ever.
            Err(error) if error.is_damage() && is_old => Ok(Judgement::Dead { was_alone: true }),
            Err(error) => Err(error),
            Ok(form) => {
                let seen = form.process.as_ref().filter(|_| form.hostname == hostname);
                let is_alive = seen.and_then(|process| self.lives(process)).unwrap_or(!is_old);
                Ok(match is_alive {
                    true => Judgement::Alive(Box::new(form)),
                    false => Judgement::Dead { was_alone: form.exclusive },
                })
            }
        }
    }

    /// What others are told; nothing where `/proc` tells nothing.
    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.presence.as_ref()
    }

    /// Whether the holder at `other` lives, if that can be seen from here.
    pub(crate) fn lives(&self, other: &Presence) -> Option<bool> {
        let own = self.presence.as_ref()?;
        if (&other.boot, &other.namespace) != (&own.boot, &own.namespace) {
            return None;
        }
        let is_same_process = (other.pid, other.started) == (own.pid, own.started);
        Some(match is_same_process {
            true => held().contains(&other.lease),
            false => other.started != 0 && started(other.pid) == Some(other.started),
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        held().remove(&self.lease);
    }
}

fn held() -> MutexGuard<'static, BTreeSet<u64>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a process began, from the 22nd field of its line; the second may hold blanks and brackets.
fn started(pid: u32) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    line.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above the kernel's largest process id.
    const NOBODY: u32 = 5_000_000;

    #[test]
    fn a_lease_lives_as_long_as_its_value_or_its_process() {
        let me = Registered::new(std::process::id()).unwrap();
        let other = Registered::new(std::process::id()).unwrap();
        let there = other.presence().unwrap().clone();
        assert_eq!(me.lives(&there), Some(true));
        drop(other);
        assert_eq!(me.lives(&there), Some(false));
        let dead = Registered::new(NOBODY).unwrap();
        assert_eq!(me.lives(dead.presence().unwrap()), Some(false));
        let parent = Registered::new(std::os::unix::process::parent_id()).unwrap();
        assert_eq!(me.lives(parent.presence().unwrap()), Some(true));
        // Its number is used again by another process.
        let again = Presence { started: 1, ..parent.presence().unwrap().clone() };
        assert_eq!(me.lives(&again), Some(false));
    }

    #[test]
    fn of_another_container_or_another_boot_nobody_here_can_say_anything() {
        let me = Registered::new(std::process::id()).unwrap();
        let gone = Registered::new(NOBODY).unwrap().presence().unwrap().clone();
        assert_eq!(me.lives(&Presence { namespace: "pid:[1]".into(), ..gone.clone() }), None);
        assert_eq!(me.lives(&Presence { boot: "other".into(), ..gone }), None);
    }
}
