//! The rules, one file each. A rule knows no other rule.

pub mod floors;
pub mod circles;
pub mod size;
pub mod names;
pub mod words;
pub mod proof;
pub mod exit_codes;
pub mod links;
