//! What prune will do: a pure decision from who needs which packs, which are marked, and the time.
//!
//! Invariants: nothing goes that was not marked for the whole cooling-off time, except that small packs are merged,
//! which loses no blob; nothing goes that a live or cooling snapshot needs; a clock that is behind a mark decides
//! nothing.

use jiff::{SignedDuration, Timestamp};
use model::digest::Digest;

use crate::blob::BlobKind;
use crate::budget::PACK_LEN;
use crate::marks::Marks;
use crate::prune::usage::PackUse;

/// Packs below this are merged.
const SMALL_LEN: u64 = PACK_LEN as u64 / 4;
/// This many small packs of one kind are worth merging, however small they are.
const SMALL_COUNT: usize = 32;

/// What the decision depends on beside the packs.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Now.
    pub now: Timestamp,
    /// How long a mark must stand.
    pub cooling_off: SignedDuration,
    /// Waste that may stay, in percent of the repository.
    pub unused_percent_max: u8,
    /// Whether somebody else is at work, whose packs are in no index yet.
    pub others_at_work: bool,
    /// Whether packs of data are too cold to be read: they stay until nothing in them is needed.
    pub cold_packs: bool,
}

impl Terms {
    /// Whether needed blobs of `pack` can move to another one.
    fn may_repack(&self, pack: &PackUse) -> bool {
        // What is left in a damaged one is moved by a repair, which knows what it does.
        !pack.is_broken && (!self.cold_packs || pack.kind == Some(BlobKind::Tree))
    }
}

/// The decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every mark from now on.
    pub marks: Marks,
    /// How many of them are new.
    pub marked: usize,
    /// Packs that go, since nobody needs anything of them.
    pub remove: Vec<Digest>,
    /// Packs whose needed blobs move to new packs.
    pub repack: Vec<Digest>,
    /// Marked packs that stay for now.
    pub waiting: Vec<Digest>,
    /// When the first of those has waited long enough.
    pub due_next: Option<Timestamp>,
    /// The clock is behind a mark, so nothing is done.
    pub is_clock_wrong: bool,
}

impl Plan {
    /// Whether any pack goes.
    pub fn removes_packs(&self) -> bool {
        !self.remove.is_empty() || !self.repack.is_empty()
    }

    /// What comes after this plan, in words.
    pub fn next_step(&self, now: Timestamp) -> String {
        match self.due_next {
            _ if self.is_clock_wrong => {
                format!(
                    "set the clock: it says {now:.0}, and the store or an earlier run disagrees; nothing was done"
                )
            }
            Some(due) if due > now => format!("run prune again after {due:.0}"),
            Some(_) => "run prune again when the deleted backups can no longer come back".to_owned(),
            None => "nothing is left to do".to_owned(),
        }
    }
}

/// Decide about every pack.
pub fn plan_prune(packs: &[PackUse], known: &Marks, terms: &Terms) -> Plan {
    if known.values().any(|since| *since > terms.now) {
        return Plan { marks: known.clone(), is_clock_wrong: true, ..Plan::default() };
    }
    let mut plan = Plan::default();
    for pack in candidates(packs, known, terms) {
        let since = known.get(&pack.id).copied().unwrap_or_else(|| {
            plan.marked += 1;
            terms.now
        });
        plan.marks.insert(pack.id, since);
        let is_due = terms.now.duration_since(since) >= terms.cooling_off;
        match () {
            () if is_due && pack.used_by_roots == 0 => plan.remove.push(pack.id),
            () if is_due && is_worth_repacking(pack) => plan.repack.push(pack.id),
            () => {
                plan.waiting.push(pack.id);
                let due = since.checked_add(terms.cooling_off).unwrap_or(Timestamp::MAX);
                plan.due_next = Some(plan.due_next.map_or(due, |earlier| earlier.min(due)));
            }
        }
    }
    for kind in BlobKind::ALL {
        if !terms.cold_packs || kind == BlobKind::Tree {
            plan.repack.extend(small_packs(packs, &plan.marks, kind));
        }
    }
    plan
}

/// A pack of which live snapshots need a part: repack it once, when most of its waste is waste to cooling ones too.
fn is_worth_repacking(pack: &PackUse) -> bool {
    pack.used_by_live > 0 && pack.unused_by_roots() > 0 && pack.unused_by_roots() * 2 >= pack.unused_by_live()
}

/// What deserves a mark: packs that no live snapshot needs, and as many of the wasteful ones as the limit asks for.
fn candidates<'a>(packs: &'a [PackUse], known: &Marks, terms: &Terms) -> Vec<&'a PackUse> {
    // Packs of a backup under way are in no index either.
    let may_mark =
        |pack: &&PackUse| pack.kind.is_some() || !terms.others_at_work || known.contains_key(&pack.id);
    let unneeded = packs.iter().filter(|pack| pack.used_by_live == 0).filter(may_mark);
    let is_wasteful =
        |pack: &&PackUse| pack.used_by_live > 0 && pack.unused_by_live() > 0 && terms.may_repack(pack);
    let mut wasteful: Vec<_> = packs.iter().filter(is_wasteful).collect();
    let share = |pack: &PackUse| u128::from(pack.unused_by_live()) * 1_000_000 / u128::from(pack.len);
    // Marked ones stay chosen: a choice that moved would let no mark grow old.
    wasteful.sort_by_key(|pack| (!known.contains_key(&pack.id), std::cmp::Reverse(share(pack)), pack.id));
    let used: u64 = packs.iter().map(|pack| pack.used_by_live).sum();
    let limit = unused_max(used, terms.unused_percent_max);
    let mut unused: u64 = wasteful.iter().map(|pack| pack.unused_by_live()).sum();
    let mut chosen: Vec<_> = unneeded.collect();
    for pack in wasteful {
        if known.contains_key(&pack.id) || unused > limit {
            unused -= pack.unused_by_live();
            chosen.push(pack);
        }
    }
    chosen
}

/// Waste that may stay beside `used` bytes, so that it makes up `percent` of both together at most.
fn unused_max(used: u64, percent: u8) -> u64 {
    match percent {
        0..100 => (u128::from(used) * u128::from(percent) / u128::from(100 - percent)) as u64,
        _ => u64::MAX,
    }
}

/// Small packs without waste, if merging them pays. They need no mark: every blob of theirs stays.
fn small_packs(packs: &[PackUse], marks: &Marks, kind: BlobKind) -> Vec<Digest> {
    let is_small = |pack: &&PackUse| {
        pack.kind == Some(kind)
            && pack.size < SMALL_LEN
            && pack.unused_by_roots() == 0
            && !pack.is_broken
            && !marks.contains_key(&pack.id)
    };
    let small: Vec<_> = packs.iter().filter(is_small).collect();
    let len: u64 = small.iter().map(|pack| pack.len).sum();
    let pays = small.len() >= SMALL_COUNT || len >= PACK_LEN as u64;
    if pays { small.iter().map(|pack| pack.id).collect() } else { vec![] }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    fn id(n: u8) -> Digest {
        Digest([n; 32])
    }

    /// A pack of 8 MiB with two shares in percent.
    fn pack(n: u8, used_by_live: u64, used_by_roots: u64) -> PackUse {
        let len = 8 << 20;
        PackUse {
            id: id(n),
            size: len + 100,
            kind: Some(BlobKind::Data),
            len,
            used_by_live: len / 100 * used_by_live,
            used_by_roots: if used_by_roots == 100 { len } else { len / 100 * used_by_roots },
            is_broken: false,
        }
    }

    fn full(n: u8) -> PackUse {
        PackUse { used_by_live: 8 << 20, ..pack(n, 0, 100) }
    }

    fn unindexed(n: u8) -> PackUse {
        let (len, used_by_live, used_by_roots) = (0, 0, 0);
        PackUse { id: id(n), size: 9, kind: None, len, used_by_live, used_by_roots, is_broken: false }
    }

    fn terms(hour: i64) -> Terms {
        Terms {
            now: at(hour),
            cooling_off: SignedDuration::from_hours(72),
            unused_percent_max: 5,
            others_at_work: false,
            cold_packs: false,
        }
    }

    fn marks(known: &[(u8, i64)]) -> Marks {
        known.iter().map(|(n, hour)| (id(*n), at(*hour))).collect()
    }

    /// Numbers of the packs that are marked, removed, repacked.
    fn decided(packs: &[PackUse], known: &[(u8, i64)], terms: &Terms) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let plan = plan_prune(packs, &marks(known), terms);
        let numbers = |ids: &mut dyn Iterator<Item = &Digest>| {
            let mut numbers: Vec<_> = ids.map(|id| id.0[0]).collect();
            numbers.sort_unstable();
            numbers
        };
        (numbers(&mut plan.marks.keys()), numbers(&mut plan.remove.iter()), numbers(&mut plan.repack.iter()))
    }

    #[test]
    fn the_table() {
        // packs, marks (pack, hour), hour; marked, removed, repacked
        type Row = (&'static str, Vec<PackUse>, Vec<(u8, i64)>, i64, [Vec<u8>; 3]);
        let table: Vec<Row> = vec![
            ("nothing to do", vec![full(1)], vec![], 100, [vec![], vec![], vec![]]),
            ("unneeded: marked first", vec![pack(1, 0, 0)], vec![], 100, [vec![1], vec![], vec![]]),
            ("not yet due", vec![pack(1, 0, 0)], vec![(1, 100)], 171, [vec![1], vec![], vec![]]),
            ("due", vec![pack(1, 0, 0)], vec![(1, 100)], 172, [vec![1], vec![1], vec![]]),
            ("due, but cooling", vec![pack(1, 0, 30)], vec![(1, 100)], 999, [vec![1], vec![], vec![]]),
            ("needed again", vec![full(1)], vec![(1, 100)], 999, [vec![], vec![], vec![]]),
            ("gone already", vec![full(2)], vec![(1, 100)], 999, [vec![], vec![], vec![]]),
            ("in no index", vec![unindexed(1)], vec![(1, 100)], 172, [vec![1], vec![1], vec![]]),
            ("in no index, new", vec![unindexed(1)], vec![], 172, [vec![1], vec![], vec![]]),
            ("waste above the limit", vec![pack(1, 50, 50)], vec![(1, 0)], 72, [vec![1], vec![], vec![1]]),
            ("waste, mostly cooling", vec![pack(1, 50, 90)], vec![(1, 0)], 72, [vec![1], vec![], vec![]]),
            ("waste, half cooling", vec![pack(1, 50, 75)], vec![(1, 0)], 72, [vec![1], vec![], vec![1]]),
            ("a little waste", vec![pack(1, 96, 96)], vec![], 72, [vec![], vec![], vec![]]),
            ("a chosen one stays", vec![pack(1, 96, 96)], vec![(1, 9)], 72, [vec![1], vec![], vec![]]),
            (
                "the worst first, and only as many as needed",
                vec![pack(1, 97, 97), pack(2, 40, 40), pack(3, 97, 97)],
                vec![],
                72,
                [vec![2], vec![], vec![]],
            ),
        ];
        for (name, packs, known, hour, [marked, removed, repacked]) in table {
            assert_eq!(decided(&packs, &known, &terms(hour)), (marked, removed, repacked), "{name}");
        }
    }

    #[test]
    fn no_cooling_off_does_both_steps_at_once() {
        let terms = Terms { cooling_off: SignedDuration::ZERO, ..terms(9) };
        assert_eq!(decided(&[pack(1, 0, 0), pack(2, 30, 30)], &[], &terms), (vec![1, 2], vec![1], vec![2]));
    }

    #[test]
    fn a_clock_behind_a_mark_decides_nothing() {
        let plan = plan_prune(&[pack(1, 0, 0), pack(2, 0, 0)], &marks(&[(1, 0), (2, 500)]), &terms(400));
        assert!(plan.is_clock_wrong && !plan.removes_packs() && plan.marked == 0);
        assert_eq!(plan.marks, marks(&[(1, 0), (2, 500)]));
    }

    #[test]
    fn packs_of_a_backup_under_way_are_not_marked() {
        let terms = Terms { others_at_work: true, ..terms(9) };
        assert_eq!(decided(&[unindexed(1), unindexed(2)], &[(2, 0)], &terms).0, [2]);
    }

    #[test]
    fn marks_keep_their_first_time_and_tell_when_the_next_is_due() {
        let plan = plan_prune(&[pack(1, 0, 0), pack(2, 0, 0)], &marks(&[(1, 24)]), &terms(48));
        assert_eq!(plan.marks, marks(&[(1, 24), (2, 48)]));
        assert_eq!((plan.marked, plan.waiting.len()), (1, 2));
        assert_eq!(plan.due_next, Some(at(24) + SignedDuration::from_secs(3 * DAY)));
    }

    #[test]
    fn small_packs_are_merged_when_it_pays_and_without_marks() {
        let small = |n: u8, kind, len| PackUse {
            kind: Some(kind),
            size: len,
            len,
            used_by_live: len,
            used_by_roots: len,
            is_broken: false,
            ..full(n)
        };
        let data = |count: u8, len| (0..count).map(|n| small(n, BlobKind::Data, len)).collect::<Vec<_>>();
        assert_eq!(decided(&data(31, 1000), &[], &terms(9)).2.len(), 0);
        assert_eq!(decided(&data(32, 1000), &[], &terms(9)), (vec![], vec![], (0..32).collect()));
        assert_eq!(decided(&data(6, 3 << 20), &[], &terms(9)).2.len(), 6);
        assert_eq!(decided(&data(40, 8 << 20), &[], &terms(9)).2.len(), 0);
        let mut both = data(20, 1000);
        both.extend((20..40).map(|n| small(n, BlobKind::Tree, 1000)));
        assert_eq!(decided(&both, &[], &terms(9)).2.len(), 0);
    }

    #[test]
    fn cold_packs_stay_until_nothing_in_them_is_needed() {
        let cold = |hour| Terms { cold_packs: true, unused_percent_max: 0, ..terms(hour) };
        let wasteful = [pack(1, 10, 10), pack(2, 10, 10)];
        assert_eq!(decided(&wasteful, &[(1, 0), (2, 0)], &cold(80)), (vec![], vec![], vec![]));
        assert_eq!(decided(&[pack(1, 0, 0), full(2)], &[(1, 0)], &cold(80)), (vec![1], vec![1], vec![]));
        // What cooling snapshots need waits for them, and is not moved either.
        assert_eq!(decided(&[pack(1, 0, 10), full(2)], &[(1, 0)], &cold(80)), (vec![1], vec![], vec![]));
        let small = |n, kind| PackUse {
            kind: Some(kind),
            size: 9,
            len: 9,
            used_by_live: 9,
            used_by_roots: 9,
            is_broken: false,
            ..pack(n, 0, 0)
        };
        let data: Vec<_> = (0..40).map(|n| small(n, BlobKind::Data)).collect();
        assert_eq!(decided(&data, &[], &cold(9)).2.len(), 0);
        let trees: Vec<_> = (0..40).map(|n| small(n, BlobKind::Tree)).collect();
        assert_eq!(decided(&trees, &[], &cold(9)).2.len(), 40);
        let tree = PackUse { kind: Some(BlobKind::Tree), ..pack(1, 10, 10) };
        assert_eq!(decided(&[tree], &[(1, 0)], &cold(80)).2, [1]);
    }

    #[test]
    fn the_limit_is_a_share_of_what_stays() {
        assert_eq!((unused_max(95, 5), unused_max(95, 0), unused_max(1, 100)), (5, 0, u64::MAX));
    }
}
