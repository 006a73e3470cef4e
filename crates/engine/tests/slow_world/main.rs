//! Many writers, prune, forget, delete, copy and a writer like stock restic in one repository, one call to the store
//! at a time, in an order, with faults, crashes, sleeps and wrong clocks that a seed decides.
//!
//! `MAINSTAY_TEST_SEED=N` runs one seed and prints what happened; `MAINSTAY_TEST_SEEDS=N` runs so many, from
//! `MAINSTAY_TEST_FIRST=N` on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a seed that fails must be told")]

mod bug;
mod actors;
mod judge;
mod director;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bug::Bug;
use director::Theatre;

/// Seeds of a normal run; `make nightly` asks for more.
const SEEDS: u64 = 300;
/// Seeds after which a planted bug must have been caught.
const SEEDS_FOR_A_BUG: u64 = 4_000;

/// A world looks at all threads of its process, so there is one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_order_of_calls_loses_what_was_acknowledged_pitfall_20() {
    let _alone = alone();
    let mut theatre = Theatre::open();
    if let Some(seed) = number("MAINSTAY_TEST_SEED") {
        let outcome = theatre.play(seed, None);
        theatre.trace().iter().for_each(|line| eprintln!("{line}"));
        outcome.unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let (mut acknowledged, mut failed) = (0, 0);
    let first = number("MAINSTAY_TEST_FIRST").unwrap_or(0);
    for seed in (first..).take(number("MAINSTAY_TEST_SEEDS").unwrap_or(SEEDS) as usize) {
        match theatre.play(seed, None) {
            Ok(backups) => acknowledged += backups,
            Err(what) => {
                eprintln!("MAINSTAY_TEST_SEED={seed} replays it: {what}");
                failed += 1;
            }
        }
    }
    eprintln!("{acknowledged} backups were acknowledged");
    assert!(acknowledged > 0 && failed == 0, "{failed} worlds went wrong");
}

#[test]
fn one_seed_makes_the_same_choices_again() {
    let _alone = alone();
    let mut theatre = Theatre::open();
    let (mut all, mut alike) = (0, 0);
    for seed in 0..10 {
        let mut trace = || {
            theatre.play(seed, None).unwrap();
            theatre.trace().to_vec()
        };
        let (first, second) = (trace(), trace());
        let same = first.iter().zip(&second).take_while(|(one, other)| one == other).count();
        eprintln!("seed {seed}: {same} of {} steps are the same", first.len());
        all += first.len();
        alike += same;
    }
    // Not all: where things are taken in the order of their names, which are random, likes change places.
    assert!(alike * 2 > all, "{alike} of {all}");
}

#[test]
fn every_planted_bug_is_caught() {
    let _alone = alone();
    let mut theatre = Theatre::open();
    for bug in Bug::ALL {
        let caught = (0..SEEDS_FOR_A_BUG).find_map(|seed| Some((seed, theatre.play(seed, Some(bug)).err()?)));
        let (seed, what) = caught.unwrap_or_else(|| panic!("{bug:?} was not caught"));
        eprintln!("{bug:?}: seed {seed}: {}", what.lines().next().unwrap_or_default());
    }
}
