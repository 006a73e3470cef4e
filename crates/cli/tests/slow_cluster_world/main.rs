//! A cluster of a primary and a standby that work, crash, change places and come back, are backed up in every way and
//! restored to every kind of point, as a whole or one table of it, from one repository or the other; what comes back is
//! compared with what was written.
//!
//! The first world is of the PostgreSQL that is found first, or of `MAINSTAY_TEST_MAJOR`; later ones of all others in turn.
//! `MAINSTAY_TEST_ROUNDS=N` plays so many rounds, a few in each world; `MAINSTAY_TEST_SEED=N` is the seed of the first
//! world. `MAINSTAY_TEST_KEEP=1` leaves the directory of a world that went wrong. A seed decides what is done and what it
//! is done to; how far programs are when they are killed is up to the machine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stderr, reason = "a seed that fails must be told")]

#[path = "../slow_wal/place.rs"]
mod place;
#[path = "../slow_wal/server.rs"]
mod server;
mod history;
mod ledger;
mod load;
mod receiver;
mod pair;
mod scenario;
mod backups;
mod expiry;
mod target;
mod second;
mod judge;
mod told;
mod world;
mod scenes;
mod astray;

use scenario::Scenario;
use testkit::postgres::{installed, of_major};
use testkit::sshd::Sshd;
use testkit::world::dice::Dice;
use world::World;

/// Rounds of a normal run; `make nightly` asks for more.
const ROUNDS: u64 = 5;
/// This one archives both ways, its servers can be rewound, and it has a tablespace and a second repository.
const SEED: u64 = 4;
/// Rounds of one world at most: its timelines, chains and databases grow.
const ROUNDS_OF_A_WORLD: u64 = 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn c21_whatever_happens_to_a_cluster_each_backup_comes_back_to_each_point() {
    let mut left = number("MAINSTAY_TEST_ROUNDS").unwrap_or(ROUNDS);
    let mut seed = number("MAINSTAY_TEST_SEED").unwrap_or(SEED);
    let own = || installed().into_iter().next();
    let first = number("MAINSTAY_TEST_MAJOR").map_or_else(own, |major| of_major(major as u32));
    let first = first.expect("PostgreSQL is installed");
    let others: Vec<_> = (13..=18).filter_map(of_major).filter(|other| *other != first).collect();
    let mut programs = std::iter::once(first).chain(others).cycle();
    while left > 0 {
        let rounds = left.min(ROUNDS_OF_A_WORLD);
        let mut dice = Dice::new(seed);
        let scenario = Scenario::of(seed, &mut dice);
        let store = scenario.is_afar.then(Sshd::start);
        let place = server::Place::behind(programs.next().unwrap(), store.as_ref());
        let told = World::open(&place, store.as_ref(), scenario, (seed, dice)).play(rounds);
        eprintln!("seed {seed}: {rounds} rounds, {told}");
        (left, seed) = (left - rounds, seed + 1);
    }
}
