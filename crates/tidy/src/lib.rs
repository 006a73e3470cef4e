//! The house rules, kept by a machine.
//!
//! A [`Tree`] is the repository as text (read from disk, or planted by a test). [`check`] runs every rule over it
//! and returns what is broken; each [`Finding`] says file, line, rule and what to do. `tests/house.rs` runs it over
//! the real tree, so the rules are an ordinary test.
//!
//! Invariant: a rule reads the tree and returns findings, and changes nothing.

pub mod finding;
pub mod tree;
pub mod source;
pub mod module;
pub mod rule;

pub use finding::Finding;
pub use tree::Tree;

/// Runs every rule and returns the findings ordered by file and line.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let (sources, mut findings) = source::parse_all(tree);
    findings.extend(rule::floors::check(tree));
    findings.extend(rule::circles::check(tree, &sources));
    findings.extend(rule::size::check(tree, &sources));
    findings.extend(rule::names::check(tree, &sources));
    findings.extend(rule::words::check(&sources));
    findings.extend(rule::proof::check(tree, &sources));
    findings.extend(rule::exit_codes::check(tree, &sources));
    findings.extend(rule::links::check(tree));
    findings.sort();
    findings
}
