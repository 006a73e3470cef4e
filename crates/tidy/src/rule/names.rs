//! Names that say nothing are not used for files, modules and types, alone or as the last word of a name.

use crate::finding::Finding;
use crate::source::Source;
use crate::tree::Tree;
use syn::visit::Visit;

const RULE: &str = "names";
const BANNED: [&str; 10] =
    ["util", "helper", "common", "misc", "manager", "processor", "info", "data", "base", "impl"];

/// Looks at every file name, module and type.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.files().filter(|(path, _)| path.starts_with("crates/")) {
        for part in path.split('/') {
            let stem = part.split('.').next().unwrap_or_default();
            findings.extend(banned_word(stem).map(|word| finding(path, 1, "file or directory", stem, &word)));
        }
    }
    for source in sources {
        let mut names = Names { source, findings: Vec::new() };
        names.visit_file(&source.ast);
        findings.append(&mut names.findings);
    }
    findings
}

fn finding(path: &str, line: usize, what: &str, name: &str, word: &str) -> Finding {
    let message = format!(
        "the {what} `{name}` is called by a word that says nothing (`{word}`); name it after what it holds or does (docs/glossary.md has the words)"
    );
    Finding::new(path, line, RULE, message)
}

/// The banned word that ends the name, in snake_case, kebab-case or CamelCase, singular or plural.
fn banned_word(name: &str) -> Option<String> {
    let start = name.rfind(['_', '-']).map_or(0, |index| index + 1);
    let last = &name[start..];
    let start =
        last.char_indices().rev().find(|(_, letter)| letter.is_uppercase()).map_or(0, |(index, _)| index);
    let word = last[start..].to_lowercase();
    let singular = word.strip_suffix('s').unwrap_or(&word);
    BANNED.iter().find(|banned| **banned == word || **banned == singular).map(|banned| (*banned).to_owned())
}

struct Names<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl Names<'_> {
    fn look(&mut self, what: &str, ident: &syn::Ident) {
        let name = ident.to_string();
        if let Some(word) = banned_word(&name) {
            self.findings.push(finding(&self.source.path, ident.span().start().line, what, &name, &word));
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.look("module", &item.ident);
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.look("type", &item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.look("type", &item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.look("type", &item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.look("type", &item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.look("type", &item.ident);
        syn::visit::visit_item_trait(self, item);
    }
}
