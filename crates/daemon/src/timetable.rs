//! Which runs begin when.
//!
//! Form: entries (one for each source that has a schedule), and of each the next time at which it is due. A tenant's
//! sources that are due together are one batch, carried out one after the other; so runs of one tenant never overlap.
//! Whatever of a tenant is due while its batch runs is **skipped, not queued**: the next time is the next time. A batch
//! that waits for a free place has not begun, and is joined. What was missed while nobody looked comes once.
//!
//! Invariants: of one tenant at most one batch is out; not more batches are out than there are places; each due time
//! is started, skipped, or coalesced with a later one of the same source, and never two of these.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use config::schedule::Cron;
use jiff::{SignedDuration, Timestamp};

/// A source that runs by a schedule.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Number of its tenant, from 0.
    pub tenant: usize,
    /// When it is due; none where only [`Timetable::trigger`] makes it so.
    pub cron: Option<Cron>,
    /// How much later it begins.
    pub delay: SignedDuration,
    /// The last time for which it ran, whatever became of it; none makes it due at once.
    pub last: Option<Timestamp>,
}

/// A run of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Number of the entry.
    pub entry: usize,
    /// The time for which it runs.
    pub slot: Timestamp,
}

/// Runs of one tenant, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose.
    pub tenant: usize,
    /// In the order in which they became due.
    pub jobs: Vec<Job>,
}

/// A run that does not take place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip {
    /// What would have run.
    pub job: Job,
    /// Since when the tenant's batch is out.
    pub running_since: Timestamp,
}

#[derive(Clone, Debug, Default)]
enum Tenant {
    #[default]
    Idle,
    /// Waits for a place.
    Waiting(Vec<Job>),
    Running(Timestamp),
}

/// What is due, waits and runs.
#[derive(Debug)]
pub struct Timetable {
    entries: Vec<Entry>,
    clocks: Clocks,
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
    tenants: Vec<Tenant>,
    waiting: VecDeque<usize>,
    places: usize,
    running: usize,
}

impl Timetable {
    /// Of these entries; `places` batches are out at one time.
    pub fn new(entries: Vec<Entry>, places: usize, now: Timestamp) -> Self {
        let tenants = entries.iter().map(|entry| entry.tenant + 1).max().unwrap_or_default();
        let mut clocks = Clocks::of(&entries);
        let due = (0..entries.len())
            .filter_map(|number| {
                Some(Reverse((first(&entries[number], clocks.of_entry(number), now)?, number)))
            })
            .collect();
        Self {
            due,
            clocks,
            tenants: vec![Tenant::default(); tenants],
            waiting: VecDeque::new(),
            places: places.max(1),
            running: 0,
            entries,
        }
    }

    /// One of other `entries`, from `now` on: what is out stays out, and what waits goes on waiting. `same` says which of them
    /// one of ours is; a tenant has the number that it had.
    #[must_use]
    pub fn replaced(
        &self,
        mut entries: Vec<Entry>,
        places: usize,
        same: impl Fn(usize) -> Option<usize>,
        now: Timestamp,
    ) -> Self {
        for (number, entry) in self.entries.iter().enumerate() {
            if let Some(new) = same(number) {
                // What was handed out need not have begun, and would be due once more.
                entries[new].last = entries[new].last.max(entry.last);
            }
        }
        let mut table = Self::new(entries, places, now);
        let known = table.tenants.len().max(self.tenants.len());
        table.tenants.resize(known, Tenant::Idle);
        for (number, tenant) in self.tenants.iter().enumerate() {
            if let Tenant::Running(since) = tenant {
                table.tenants[number] = Tenant::Running(*since);
                table.running += 1;
            }
        }
        for tenant in &self.waiting {
            let Tenant::Waiting(jobs) = &self.tenants[*tenant] else { continue };
            for job in jobs {
                // Nothing of a tenant that waits is out, so nothing is skipped.
                if let Some(entry) = same(job.entry) {
                    table.ask_for(Job { entry, slot: job.slot });
                }
            }
        }
        table
    }

    /// Everything that is due by `now` waits for a place, or is skipped. In the order of their times.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Skip> {
        let mut skipped = vec![];
        while let Some(Reverse((time, number))) =
            self.due.peek().copied().filter(|Reverse((time, _))| *time <= now)
        {
            self.due.pop();
            let slot = self.latest(number, time, now);
            self.entries[number].last = Some(slot);
            skipped.extend(self.ask_for(Job { entry: number, slot }));
        }
        skipped
    }

    /// A source is due for a reason of its own: it changed, or somebody asked.
    pub fn trigger(&mut self, entry: usize, now: Timestamp) -> Option<Skip> {
        self.ask_for(Job { entry, slot: now })
    }

    /// The next batch, where one waits and a place is free.
    pub fn start(&mut self, now: Timestamp) -> Option<Batch> {
        if self.running >= self.places {
            return None;
        }
        let tenant = self.waiting.pop_front()?;
        self.running += 1;
        match std::mem::replace(&mut self.tenants[tenant], Tenant::Running(now)) {
            Tenant::Waiting(jobs) => Some(Batch { tenant, jobs }),
            // Only those who wait are in the queue.
            Tenant::Idle | Tenant::Running(_) => None,
        }
    }

    /// A tenant's batch is back.
    pub fn finished(&mut self, tenant: usize) {
        if matches!(self.tenants[tenant], Tenant::Running(_)) {
            self.tenants[tenant] = Tenant::Idle;
            self.running -= 1;
        }
    }

    /// When something is due next.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((time, _))| *time)
    }

    /// Whether a batch is out.
    pub fn is_running(&self) -> bool {
        self.running > 0
    }

    /// Whether nothing waits and nothing runs.
    pub fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }

    /// The last time of the entry that is not after `now`, and the one behind it becomes due.
    fn latest(&mut self, number: usize, mut time: Timestamp, now: Timestamp) -> Timestamp {
        let delay = self.entries[number].delay;
        let mut clock = self.clocks.of_entry(number);
        let mut slot = time.checked_sub(delay).unwrap_or(time);
        loop {
            let Some(next) = clock.as_deref_mut().and_then(|clock| clock.next_after(slot)) else {
                return slot;
            };
            time = next.saturating_add(delay).unwrap_or(Timestamp::MAX);
            if time > now {
                self.due.push(Reverse((time, number)));
                return slot;
            }
            slot = next;
        }
    }

    fn ask_for(&mut self, job: Job) -> Option<Skip> {
        let tenant = self.entries[job.entry].tenant;
        match &mut self.tenants[tenant] {
            Tenant::Running(since) => return Some(Skip { job, running_since: *since }),
            Tenant::Waiting(jobs) => match jobs.iter_mut().find(|waiting| waiting.entry == job.entry) {
                Some(waiting) => waiting.slot = job.slot,
                None => jobs.push(job),
            },
            idle @ Tenant::Idle => {
                *idle = Tenant::Waiting(vec![job]);
                self.waiting.push_back(tenant);
            }
        }
        None
    }
}

/// When an entry is due for the first time: at once where it never ran or missed a time.
fn first(entry: &Entry, clock: Option<&mut Clock>, now: Timestamp) -> Option<Timestamp> {
    let clock = clock?;
    match entry.last {
        None => Some(now),
        // A last time in the future is of a clock that was wrong, and must not keep it from running.
        Some(last) => clock.next_after(last.min(now))?.checked_add(entry.delay).ok(),
    }
}

/// The schedules of all entries, each once: thousands of sources have the same one, and ask it the same.
#[derive(Debug)]
struct Clocks {
    all: Vec<Clock>,
    of_entries: Vec<Option<usize>>,
}

#[derive(Debug)]
struct Clock {
    cron: Cron,
    /// The last question and its answer.
    answered: Option<(Timestamp, Option<Timestamp>)>,
}

impl Clocks {
    fn of(entries: &[Entry]) -> Self {
        let (mut all, mut known) = (vec![], HashMap::new());
        let number = |entry: &Entry| {
            let cron = entry.cron.as_ref()?;
            Some(*known.entry(cron.name()).or_insert_with(|| {
                all.push(Clock { cron: cron.clone(), answered: None });
                all.len() - 1
            }))
        };
        let of_entries = entries.iter().map(number).collect();
        Self { all, of_entries }
    }

    fn of_entry(&mut self, number: usize) -> Option<&mut Clock> {
        self.all.get_mut(self.of_entries[number]?)
    }
}

impl Clock {
    fn next_after(&mut self, time: Timestamp) -> Option<Timestamp> {
        match self.answered {
            Some((asked, answer)) if asked == time => answer,
            _ => {
                let answer = self.cron.next_after(time);
                self.answered = Some((time, answer));
                answer
            }
        }
    }
}

/// By how much the source `name` begins later, of at most `jitter`: always by the same, another for another name.
pub fn delay(name: &str, jitter: SignedDuration) -> SignedDuration {
    // FNV-1a, 64 bit: spreads, and nothing secret depends on it.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let seconds = u64::try_from(jitter.as_secs()).unwrap_or_default();
    let part = (u128::from(hash ^ (hash >> 29)) * u128::from(seconds + 1)) >> 64;
    SignedDuration::from_secs(i64::try_from(part).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use config::schedule::Schedule;
    use jiff::tz::TimeZone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    fn cron(text: &str) -> Option<Cron> {
        Schedule::parse(text, &TimeZone::UTC).unwrap().cron().cloned()
    }

    fn entry(tenant: usize, text: &str, last: Option<Timestamp>) -> Entry {
        Entry { tenant, cron: cron(text), delay: SignedDuration::ZERO, last }
    }

    /// The diagram: the run of 8 takes two hours and a bit; that of 9 is skipped, and that of 10 too would be, had it not
    /// ended; other customers are not touched.
    #[test]
    fn u4_an_overlapping_run_is_skipped_not_queued_and_the_next_one_runs() {
        let mut table = Timetable::new(
            vec![
                entry(0, "0 8-10 * * *", Some(at("21T07:00:00"))),
                entry(1, "0 9 * * *", Some(at("21T07:00:00"))),
            ],
            2,
            at("21T07:30:00"),
        );
        assert_eq!(table.next_at(), Some(at("21T08:00:00")));
        assert_eq!(table.tick(at("21T08:00:00")), []);
        let first = table.start(at("21T08:00:00")).unwrap();
        assert_eq!(first.jobs, [Job { entry: 0, slot: at("21T08:00:00") }]);
        let skipped = table.tick(at("21T09:00:00"));
        let job = Job { entry: 0, slot: at("21T09:00:00") };
        assert_eq!(skipped, [Skip { job, running_since: at("21T08:00:00") }]);
        // In parallel with the other customer.
        assert_eq!(table.start(at("21T09:00:00")).unwrap().tenant, 1);
        table.finished(1);
        table.finished(0);
        // Not queued: nothing runs until ten.
        assert_eq!(table.start(at("21T09:30:00")), None);
        assert_eq!(table.tick(at("21T10:00:00")), []);
        assert_eq!(table.start(at("21T10:00:00")).unwrap().jobs, [Job { entry: 0, slot: at("21T10:00:00") }]);
    }

    #[test]
    fn what_was_missed_while_down_comes_once() {
        let last = Some(at("18T03:00:00"));
        let mut table = Timetable::new(vec![entry(0, "@hourly", last)], 1, at("21T12:34:00"));
        assert_eq!(table.tick(at("21T12:34:00")), []);
        assert_eq!(table.start(at("21T12:34:00")).unwrap().jobs, [Job { entry: 0, slot: at("21T12:00:00") }]);
        table.finished(0);
        assert_eq!(table.next_at(), Some(at("21T13:00:00")));
        // A new source is due at once, one that only runs by hand never.
        let mut new =
            Timetable::new(vec![entry(0, "@weekly", None), entry(1, "manual", None)], 1, at("21T12:34:00"));
        new.tick(at("21T12:34:00"));
        assert_eq!(new.start(at("21T12:34:00")).unwrap().tenant, 0);
        assert_eq!(new.next_at(), Some(at("22T00:00:00")));
        // A clock that was wrong does not stop it for ever.
        let wrong = Timetable::new(vec![entry(0, "@hourly", Some(at("30T00:00:00")))], 1, at("21T12:34:00"));
        assert_eq!(wrong.next_at(), Some(at("21T13:00:00")));
    }

    #[test]
    fn sources_of_a_tenant_that_are_due_together_run_one_after_the_other() {
        let last = Some(at("21T00:00:00"));
        let mut table = Timetable::new(
            vec![entry(0, "@hourly", last), entry(0, "@hourly", last), entry(1, "@hourly", last)],
            1,
            at("21T00:30:00"),
        );
        table.tick(at("21T01:00:00"));
        let batch = table.start(at("21T01:00:00")).unwrap();
        assert_eq!(batch.jobs.iter().map(|job| job.entry).collect::<Vec<_>>(), [0, 1]);
        // The other tenant waits for the one place, and its next time is the one that counts.
        assert_eq!(table.start(at("21T01:00:00")), None);
        assert_eq!(table.tick(at("21T02:00:00")).len(), 2);
        table.finished(0);
        assert_eq!(table.start(at("21T02:10:00")).unwrap().jobs, [Job { entry: 2, slot: at("21T02:00:00") }]);
    }

    /// A configuration that changes while a run is out: whoever runs goes on, alone of his tenant; whoever waits, waits; nothing
    /// that was handed out is due again; and one that is new is due at once.
    #[test]
    fn a_replaced_table_goes_on_where_the_one_before_it_was() {
        let last = Some(at("21T00:00:00"));
        let old = [(0, "@hourly"), (0, "@hourly"), (1, "@hourly"), (2, "@hourly")];
        let old: Vec<_> = old.iter().map(|(tenant, text)| entry(*tenant, text, last)).collect();
        let mut table = Timetable::new(old.clone(), 1, at("21T00:30:00"));
        table.tick(at("21T01:00:00"));
        assert_eq!(table.start(at("21T01:00:00")).unwrap().tenant, 0);
        // Tenant 2 is gone, the second source of tenant 0 too; tenant 3 is new. The history knows of no run since.
        let new = vec![old[2].clone(), old[0].clone(), entry(3, "@daily", None)];
        let same = |number: usize| [Some(1), None, Some(0), None][number];
        let mut table = table.replaced(new, 1, same, at("21T01:10:00"));
        assert_eq!(table.tick(at("21T01:10:00")), [], "what was handed out is due no more");
        assert_eq!(table.start(at("21T01:10:00")), None, "the one place is taken");
        let job = Job { entry: 1, slot: at("21T02:00:00") };
        assert_eq!(table.tick(at("21T02:00:00")), [Skip { job, running_since: at("21T01:00:00") }]);
        table.finished(0);
        let mut next = || {
            let batch = table.start(at("21T02:10:00")).unwrap();
            table.finished(batch.tenant);
            batch
        };
        assert_eq!(next().jobs, [Job { entry: 0, slot: at("21T02:00:00") }]);
        assert_eq!(next().jobs, [Job { entry: 2, slot: at("21T01:10:00") }]);
        assert!(table.is_idle());
    }

    #[test]
    fn jitter_spreads_sources_and_stays_the_same() {
        let hour = SignedDuration::from_hours(1);
        let delays: Vec<_> = (0..1000).map(|number| delay(&format!("tenant-{number}/app"), hour)).collect();
        assert!(delays.iter().all(|delay| (SignedDuration::ZERO..=hour).contains(delay)));
        let early = delays.iter().filter(|delay| **delay < hour / 2).count();
        assert!((400..600).contains(&early), "{early}");
        assert_eq!(delay("a/b", hour), delay("a/b", hour));
        assert_eq!(delay("a/b", SignedDuration::ZERO), SignedDuration::ZERO);
        let late =
            Entry { delay: SignedDuration::from_mins(7), ..entry(0, "@hourly", Some(at("21T00:00:00"))) };
        let mut table = Timetable::new(vec![late], 1, at("21T00:30:00"));
        assert_eq!(table.next_at(), Some(at("21T01:07:00")));
        table.tick(at("21T01:07:00"));
        assert_eq!(table.start(at("21T01:07:00")).unwrap().jobs[0].slot, at("21T01:00:00"));
        assert_eq!(table.next_at(), Some(at("21T02:07:00")));
    }

    /// Thirty virtual days of ten thousand sources, a thousand tenants, runs that take as long as dice say: every hour of
    /// every source is run or skipped, none twice, and never two of one tenant at one time.
    #[test]
    fn ten_thousand_sources_for_thirty_days_lose_no_run_and_double_none() {
        let (start, end) = (at("01T00:30:00"), "2026-12-01T00:30:00Z".parse::<Timestamp>().unwrap());
        let entries: Vec<_> = (0..10_000)
            .map(|number| Entry {
                delay: delay(&number.to_string(), SignedDuration::from_mins(20)),
                ..entry(number / 10, "@hourly", Some(start))
            })
            .collect();
        let mut table = Timetable::new(entries, 64, start);
        let (mut ends, mut out) = (BinaryHeap::new(), HashMap::new());
        let mut seen: BTreeMap<usize, (Timestamp, u32)> = BTreeMap::new();
        let (mut ran, mut skipped, mut dice) = (0u32, 0u32, 7u64);
        let mut once = |job: &Job| {
            let (last, count) = seen.entry(job.entry).or_insert((start, 0));
            assert!(job.slot > *last, "{job:?} after {last}");
            (*last, *count) = (job.slot, *count + 1);
        };
        while let Some(now) = table
            .next_at()
            .into_iter()
            .chain(ends.peek().map(|Reverse((time, _))| *time))
            .min()
            .filter(|now| *now < end)
        {
            while let Some(Reverse((_, tenant))) =
                ends.peek().copied().filter(|Reverse((time, _))| *time <= now)
            {
                ends.pop();
                out.remove(&tenant);
                table.finished(tenant);
            }
            let skips = table.tick(now);
            skips.iter().for_each(|skip| once(&skip.job));
            skipped += skips.len() as u32;
            while let Some(batch) = table.start(now) {
                assert_eq!(out.insert(batch.tenant, now), None);
                batch.jobs.iter().for_each(&mut once);
                ran += batch.jobs.len() as u32;
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let seconds = (dice >> 33) % 200;
                ends.push(Reverse((now + SignedDuration::from_secs(seconds as i64), batch.tenant)));
            }
            assert!(out.len() <= 64);
        }
        // Those of the last minutes may still wait.
        let hours = 24 * 30 * 10_000;
        let coalesced = hours - ran - skipped;
        assert!(ran > hours / 2 && coalesced < hours / 100, "{ran} ran, {skipped} were skipped, of {hours}");
    }
}
