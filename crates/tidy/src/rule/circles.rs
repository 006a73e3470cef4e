//! No circles inside a crate: a file lists its modules bottom first, and a module uses only what stands above it.
//!
//! The list is the order of the `mod` lines. Items of the parent file (a type, a function) stand in the same list by
//! their place in the file: what children use stands above their `mod` lines, what uses children stands below.
//! A name brought in by `use` counts where its origin stands.

use crate::finding::Finding;
use crate::module::{Entry, EntryKind, Module, Path, Use, modules_of};
use crate::source::Source;
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

const RULE: &str = "circles";
/// How many re-exports are followed before a name is taken as it stands.
const ALIASES_MAX: usize = 8;

/// Reads every crate below `crates/`.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let by_path: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut findings = Vec::new();
    let mut reached = BTreeSet::new();
    for root in sources.iter().map(|source| source.path.as_str()).filter(|path| is_root(path)) {
        let modules = modules_of(root, &by_path);
        findings.extend(modules.iter().flat_map(|module| wrong_uses(module, &modules)));
        reached.extend(modules.into_iter().map(|module| module.file));
    }
    for source in sources.iter().filter(|source| !source.is_test && !source.room.is_empty()) {
        let is_orphan = source.path.contains("/src/") && !reached.contains(&source.path);
        if is_orphan && tree.has(&source.path) {
            let message =
                "no `mod` line leads here, so nobody compiles it; list it in its parent, or delete it";
            findings.push(Finding::new(&source.path, 1, RULE, message));
        }
    }
    findings
}

fn is_root(path: &str) -> bool {
    let Some((room, file)) = path.strip_prefix("crates/").and_then(|rest| rest.split_once("/src/")) else {
        return false;
    };
    !room.contains('/') && (file == "lib.rs" || file == "main.rs" || file.starts_with("bin/"))
}

fn wrong_uses(module: &Module, modules: &[Module]) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let wrong = module.uses.iter().filter_map(|used| {
        let message = judge(module, used, modules)?;
        seen.insert((used.line, message.clone()))
            .then(|| Finding::new(&module.file, used.line, RULE, message))
    });
    wrong.collect()
}

/// What is wrong with one use, if anything.
fn judge(module: &Module, used: &Use, modules: &[Module]) -> Option<String> {
    let mut target = used.target.clone();
    for _ in 0..ALIASES_MAX {
        let shared = module.path.iter().zip(&target).take_while(|(own, other)| own == other).count();
        let parent = modules.iter().find(|other| other.path == module.path[..shared])?;
        let name = target.get(shared)?;
        let entry = parent.entries.get(name)?;
        if let EntryKind::Alias(origin) = &entry.kind {
            target = follow(origin, &target[shared + 1..]);
            continue;
        }
        let Some(own_name) = module.path.get(shared) else { return judge_own(used, name, entry) };
        let own = parent.entries.get(own_name)?;
        return (entry.position > own.position).then(|| explain(own_name, name, entry, parent));
    }
    None
}

fn follow(origin: &Path, rest: &[String]) -> Path {
    origin.iter().chain(rest).cloned().collect()
}

/// An item that uses a module listed below it in the same file.
fn judge_own(used: &Use, name: &str, entry: &Entry) -> Option<String> {
    let is_wrong =
        entry.kind == EntryKind::Module && used.position.is_some_and(|position| position < entry.position);
    is_wrong.then(|| {
        format!(
            "an item here uses the module `{name}`, listed below it on line {}; put the `mod` line first",
            entry.line
        )
    })
}

fn explain(own: &str, name: &str, entry: &Entry, parent: &Module) -> String {
    let (file, line) = (&parent.file, entry.line);
    match entry.kind {
        EntryKind::Module => format!(
            "`{own}` uses `{name}`, which {file}:{line} lists below it; list `{name}` first, or move what both need into a module above"
        ),
        _ => format!(
            "`{own}` uses `{name}` of its parent, which stands below `mod {own}` ({file}:{line}); give `{name}` a module of its own above, or hand it in"
        ),
    }
}
