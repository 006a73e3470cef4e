//! A world in which several programs use one store at one time, and a seed decides everything that is left to chance:
//! who goes on, what fails, when somebody ends, sleeps or has the wrong time.
//!
//! **What a seed decides**: the order of all calls to the store, the faults, the time of the store and of every actor,
//! the contents. **What it does not**: random names. Objects are sealed under random numbers, so their names differ
//! between two runs; calls are told apart by what they are about and how old the object is, but where the production
//! code itself goes through a folder in the order of names, two runs may take like things in another order.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Keep the calling thread, and all that it starts from now on, on one core: production code that asks how many there
/// are then works with one thread, and a world has fewer threads to wait for.
///
/// # Panics
/// Where the system refuses.
pub fn stay_on_one_core() {
    let all = rustix::thread::sched_getaffinity(None).expect("the cores of this thread");
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[std::process::id() as usize % cores.len()]);
    sched_setaffinity(None, &one).expect("a thread may stay where it is");
}

pub mod dice;
pub mod quiet;
pub mod objects;
pub mod stage;
