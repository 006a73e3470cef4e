//! The house rules over the real tree.

use std::path::Path;
use tidy::Tree;

#[test]
fn the_house_keeps_its_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let tree = Tree::read(&root).unwrap();
    assert!(tree.has("crates/model/src/lib.rs"), "the tree was not found at {}", root.display());
    let findings = tidy::check(&tree);
    let report: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{} places break a house rule:\n{}\n", findings.len(), report.join("\n"));
}
