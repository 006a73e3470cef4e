//! Tenants and schedules: which sources are due, in which order they run, and what became of each run.
//!
//! [`timetable`] decides and knows no clock: whoever drives it says what time it is. [`history`] remembers; [`hook`] runs the
//! commands around a run; [`change`] sees what changes in directories. None of them opens a repository: the face does, and
//! carries runs out.

pub mod timetable;
pub mod history;
mod learned;
pub mod set_history;
pub mod hook;
pub mod restore_history;
pub mod change;
