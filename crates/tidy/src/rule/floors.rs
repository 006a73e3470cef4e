//! Floors: a crate imports only from floors strictly below its own.
//!
//! The table is the one of ARCHITECTURE.md. It is read against `[dependencies]` and `[build-dependencies]`; in
//! `[dev-dependencies]` the floors hold too, but the crates that stand beside the house may be used.

use crate::finding::Finding;
use crate::tree::Tree;

const RULE: &str = "floors";

/// Every crate by its directory. A new crate joins here, with a reason in ARCHITECTURE.md.
const FLOORS: [(&str, usize); 14] = [
    ("model", 0),
    ("store", 1),
    ("files", 1),
    ("pg", 1),
    ("config", 1),
    ("secrets", 1),
    ("api", 1),
    ("repo", 2),
    ("remote", 2),
    ("engine", 3),
    ("daemon", 4),
    ("watch", 4),
    ("mainstay", 5),
    ("cli", 5),
];

/// Crates beside the house: nobody ships them, and they may use everything.
const BESIDE: [&str; 2] = ["testkit", "tidy"];

/// Reads every manifest below `crates/`.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let manifests: Vec<_> =
        tree.files().filter_map(|(path, text)| Some((path, crate_of(path)?, text))).collect();
    let known = |name: &str| manifests.iter().any(|(_, room, _)| *room == name);
    let mut findings = Vec::new();
    for (path, room, text) in &manifests {
        if floor(room).is_none() && !BESIDE.contains(room) {
            let message = format!(
                "crate `{room}` stands on no floor; give it one in crates/tidy/src/rule/floors.rs and say in ARCHITECTURE.md which order it keeps or which heavy dependency it keeps away"
            );
            findings.push(Finding::new(path, 1, RULE, message));
        }
        for import in imports(text).into_iter().filter(|import| known(&import.name)) {
            findings
                .extend(judge(room, &import).map(|message| Finding::new(path, import.line, RULE, message)));
        }
    }
    findings
}

/// What is wrong with `room` using `import`, if anything.
fn judge(room: &str, import: &Import) -> Option<String> {
    let name = &import.name;
    if BESIDE.contains(&room) || (import.is_dev && BESIDE.contains(&name.as_str())) {
        return None;
    }
    if BESIDE.contains(&name.as_str()) {
        return Some(format!("`{room}` ships `{name}`, which is for tests; move it to [dev-dependencies]"));
    }
    let (own, below) = (floor(room)?, floor(name)?);
    let direction = match below.cmp(&own) {
        std::cmp::Ordering::Less => return None,
        std::cmp::Ordering::Equal => "its neighbour",
        std::cmp::Ordering::Greater => "above it",
    };
    Some(format!(
        "`{room}` (floor {own}) imports `{name}` (floor {below}), {direction}; move what both need to a floor below, or let a crate above join the two"
    ))
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn crate_of(manifest: &str) -> Option<&str> {
    manifest.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").filter(|room| !room.contains('/'))
}

struct Import {
    name: String,
    line: usize,
    is_dev: bool,
}

/// The crates that a manifest names, whatever the form: `a.workspace = true`, `a = { … }`, `[dependencies.a]`.
fn imports(manifest: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut section = "";
    for (index, line) in manifest.lines().map(str::trim).enumerate() {
        let line_number = index + 1;
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            if let Some((kind, name)) =
                section.rsplit_once('.').filter(|(kind, _)| kind.ends_with("dependencies"))
            {
                imports.push(Import {
                    name: name.to_owned(),
                    line: line_number,
                    is_dev: kind.ends_with("dev-dependencies"),
                });
            }
        } else if section.ends_with("dependencies") && !line.starts_with('#') && line.contains('=') {
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
            let name = renamed(line).unwrap_or(key).to_owned();
            imports.push(Import { name, line: line_number, is_dev: section.ends_with("dev-dependencies") });
        }
    }
    imports
}

/// The real name behind `b = { package = "a" }`.
fn renamed(line: &str) -> Option<&str> {
    line.split_once("package")?.1.split('"').nth(1)
}
