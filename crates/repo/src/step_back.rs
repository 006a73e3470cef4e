//! How far readers step back where there is more to do than the cores can: the server's own work comes first.
//!
//! Niceness counts inside one session, cgroup or container alone (sched(7), "The autogroup feature"), and a backup is seldom
//! in that of its server. So what the cores did is looked at: what idled is taken, and where others keep them all busy, a
//! small share of them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::threads;

/// The share of the cores that is taken even where others would need them all.
pub const SHARE: f64 = 0.15;
/// The same where the operator asked for a slow backup.
pub const SHARE_SLOW: f64 = 0.04;
/// How long the cores are looked at before what they did says something: their clock ticks every 10 ms.
const WINDOW: Duration = Duration::from_millis(400);
/// Others that use less of the cores than this have what they want: they would get half of each beside us. (The kernel's work
/// on what we write is among it.)
const OTHERS_MIN: f64 = 0.25;
/// Of `/proc/stat`, in a second, on every architecture (time(7)).
const TICKS: f64 = 100.0;
/// What is left idle, so that who wakes up finds a core.
const IDLE_MIN: f64 = 0.05;
/// Seconds of each core that may be used at once after a quiet time: what is over in a moment is in nobody's way.
const BURST_S: f64 = 0.25;
/// The longest pause before the cores are looked at again.
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// What the cores did, in shares of all that they could.
#[derive(Clone, Copy, Debug)]
struct Did {
    /// Nothing.
    idle: f64,
    /// The work of this process.
    ours: f64,
    /// The work of other programs, and of the kernel's threads.
    others: f64,
}

/// Who steps back, and how far.
#[derive(Debug)]
pub struct StepBack {
    share_min: f64,
    set: CpuSet,
    /// That we may use, as far as the kernel tells what they do.
    cores: f64,
    state: Mutex<State>,
}

/// Seconds of cores: what was done until then.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Programs, this one among them.
    programs: f64,
    idle: f64,
    all: f64,
    ours: f64,
    /// How many there are.
    cores: usize,
}

#[derive(Debug)]
struct State {
    at: Instant,
    sums: Sums,
    /// Of the cores, that we may use.
    share: f64,
    /// Seconds of cores that may be used at once; below zero, what was used too early.
    credit: f64,
    credit_at: Instant,
    /// What this process had used then.
    used: f64,
}

impl StepBack {
    /// One that always takes this share of the cores; nothing where the kernel does not tell what they do. What a quota of
    /// the cgroup leaves of them is counted, but not whether others of the cgroup want it.
    pub fn new(share_min: f64) -> Option<Self> {
        let set = sched_getaffinity(None).ok()?;
        let (sums, now) = (sums(&set)?, Instant::now());
        let cores = sums.cores.min(threads::cores()) as f64;
        let state =
            State { at: now, sums, share: 1.0, credit: BURST_S * cores, credit_at: now, used: used() };
        Some(Self { share_min, set, cores, state: Mutex::new(state) })
    }

    /// How long to pause before more is read; zero is to go on.
    pub fn pause(&self) -> Duration {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now - state.at >= WINDOW
            && let Some(sums) = sums(&self.set)
        {
            if let Some(did) = did(&state.sums, &sums) {
                state.share = next_share(state.share, did, self.share_min);
            }
            (state.at, state.sums) = (now, sums);
        }
        state.pay(now, used(), self.cores)
    }
}

impl State {
    /// What was used is paid for; how long to wait for what it was too much.
    fn pay(&mut self, now: Instant, used: f64, cores: f64) -> Duration {
        let passed = (now - self.credit_at).as_secs_f64();
        let credit = self.credit + self.share * cores * passed - (used - self.used);
        // Other work of this process, which waits for nobody, is not paid for here for ever.
        self.credit = credit.clamp(-BURST_S * cores, BURST_S * cores);
        (self.credit_at, self.used) = (now, used);
        match self.credit >= 0.0 || self.share >= 1.0 {
            true => Duration::ZERO,
            false => Duration::from_secs_f64(-self.credit / (self.share * cores)).min(PAUSE_MAX),
        }
    }
}

/// The share of the cores to use next.
fn next_share(share: f64, did: Did, share_min: f64) -> f64 {
    if did.others < OTHERS_MIN {
        return 1.0;
    }
    match did.idle > IDLE_MIN {
        // What nobody wanted: half of it at once, for it may be wanted again.
        true => did.ours.max(share.min(did.ours + did.idle)) + (did.idle - IDLE_MIN) / 2.0,
        false => share.min(did.ours) / 2.0,
    }
    .clamp(share_min, 1.0)
}

/// What was done between two looks; nothing where they are too near to each other.
fn did(before: &Sums, after: &Sums) -> Option<Did> {
    let all = after.all - before.all;
    if all <= 0.0 {
        return None;
    }
    let ours = after.ours - before.ours;
    let others = after.programs - before.programs - ours;
    Some(Did { idle: (after.idle - before.idle) / all, ours: ours / all, others: others.max(0.0) / all })
}

/// `/proc/stat` (proc_stat(5)): the cores that we may run on.
fn sums(set: &CpuSet) -> Option<Sums> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let mut sums = read_stat(&text, |core| set.is_set(core))?;
    sums.ours = used();
    Some(sums)
}

fn read_stat(text: &str, is_ours: impl Fn(usize) -> bool) -> Option<Sums> {
    let mut sums = Sums::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let core = words.next().and_then(|word| word.strip_prefix("cpu")).map(str::parse::<usize>);
        if !core.is_some_and(|core| core.is_ok_and(&is_ours)) {
            continue;
        }
        // user nice system idle iowait irq softirq steal; guests are in the first two
        let times: Vec<f64> = words
            .take(8)
            .map(|word| word.parse::<u64>().map(|n| n as f64 / TICKS))
            .collect::<Result<_, _>>()
            .ok()?;
        let [user, nice, system, idle, iowait, ..] = times[..] else { return None };
        sums.cores += 1;
        sums.programs += user + nice + system;
        sums.idle += idle + iowait;
        sums.all += times.iter().sum::<f64>();
    }
    (sums.all > 0.0).then_some(sums)
}

/// Seconds of cores that this process has used.
fn used() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_idles_is_taken_and_what_others_want_is_left() {
        let next = |share, idle, ours, others| next_share(share, Did { idle, ours, others }, SHARE);
        assert_eq!(next(1.0, 0.0, 0.9, 0.1), 1.0, "nobody else is at work");
        let mut share = 1.0;
        for _ in 0..4 {
            share = next(share, 0.02, share / 2.0, 1.0 - share / 2.0);
        }
        assert_eq!(share, SHARE, "others keep all cores busy");
        for _ in 0..12 {
            // They use half of the cores from now on.
            share = next(share, (0.5 - share).max(0.0), share.min(0.5), 0.5);
        }
        assert!((0.4..0.5).contains(&share), "{share}");
    }

    #[test]
    fn what_was_used_is_paid_for_by_waiting_and_no_debt_is_for_ever() {
        let begin = Instant::now();
        let at = |seconds: f64| begin + Duration::from_secs_f64(seconds);
        let sums = Sums::default();
        let mut state = State { at: begin, sums, share: 0.25, credit: 0.0, credit_at: begin, used: 0.0 };
        // Two cores, of which a quarter: half a second of cores in each second.
        assert_eq!(state.pay(at(1.0), 0.4, 2.0), Duration::ZERO);
        assert_eq!(state.pay(at(1.0), 0.52, 2.0).as_millis(), 40);
        assert_eq!(state.pay(at(1.04), 0.52, 2.0), Duration::ZERO);
        assert_eq!(state.pay(at(2.0), 100.0, 2.0), PAUSE_MAX);
        assert_eq!(state.pay(at(3.1), 100.0, 2.0), Duration::ZERO, "at most what a burst was");
        state.share = 1.0;
        assert_eq!(state.pay(at(3.2), 200.0, 2.0), Duration::ZERO, "nobody else wants the cores");
    }

    #[test]
    fn only_our_own_cores_count() {
        let text = "cpu  900 0 900 900 0 0 0 0 0 0\ncpu0 100 20 30 800 50 0 0 0 0 0\ncpu1 9 9 9 9 9 9 9 9 9 9\nintr 5\n";
        let sums = read_stat(text, |core| core == 0).unwrap();
        assert_eq!((sums.programs, sums.idle, sums.all, sums.cores), (1.5, 8.5, 10.0, 1));
        assert!(read_stat("intr 5\n", |_| true).is_none(), "a kernel that tells nothing");
        assert!(StepBack::new(SHARE).is_some());
    }
}
