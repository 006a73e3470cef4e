//! One Rust file, parsed, with what of it is only for tests.
//!
//! Test code is: everything below `tests/`, `benches/`, `examples/` and `fuzz/`; a file reached only by a
//! `#[cfg(test)] mod`; and, inside other files, every item under `#[cfg(test)]` or `#[test]`.

use crate::finding::Finding;
use crate::tree::Tree;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// A parsed file.
pub struct Source {
    /// Path from the root of the repository.
    pub path: String,
    /// The crate's directory name (`cli` for the crate `mainstay`), empty outside `crates/`.
    pub room: String,
    /// The text as it stands.
    pub text: String,
    /// The syntax tree.
    pub ast: syn::File,
    /// All tokens: comments and the inside of literals are not in them.
    pub tokens: TokenStream,
    /// Whether the whole file is test code.
    pub is_test: bool,
    /// Lines of test code in a file that is not test code as a whole.
    pub test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Whether the line belongs to test code.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Whether the file is a build script, which talks to cargo on stdout.
    pub fn is_build_script(&self) -> bool {
        self.path.ends_with("/build.rs")
    }
}

/// Parses every Rust file; what does not parse is a finding.
pub fn parse_all(tree: &Tree) -> (Vec<Source>, Vec<Finding>) {
    let mut sources = Vec::new();
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".rs")) {
        match parse_one(path, text) {
            Ok(source) => sources.push(source),
            Err(error) => {
                let line = error.span().start().line;
                findings.push(Finding::new(
                    path,
                    line,
                    "parses",
                    format!("not Rust: {error}; mend the syntax"),
                ));
            }
        }
    }
    mark_test_files(&mut sources);
    (sources, findings)
}

fn parse_one(path: &str, text: &str) -> syn::Result<Source> {
    let ast = syn::parse_file(text)?;
    let tokens: TokenStream =
        text.parse().map_err(|error: proc_macro2::LexError| syn::Error::new(error.span(), error))?;
    let mut spans = TestSpans::default();
    spans.visit_file(&ast);
    let room = path.strip_prefix("crates/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_test =
        ["tests", "benches", "examples", "fuzz"].iter().any(|name| path.split('/').any(|part| part == *name));
    Ok(Source {
        path: path.to_owned(),
        room: room.to_owned(),
        text: text.to_owned(),
        ast,
        tokens,
        is_test,
        test_lines: spans.lines,
    })
}

/// A file whose `mod` line is under `#[cfg(test)]` is test code as a whole, and so is every file that it names.
fn mark_test_files(sources: &mut [Source]) {
    loop {
        let mut named = BTreeSet::new();
        for source in sources.iter() {
            let modules = file_modules(&source.ast.items).into_iter();
            let tests = modules.filter(|(_, is_test)| *is_test || source.is_test);
            named.extend(tests.flat_map(|(name, _)| module_files(&source.path, &name)));
        }
        let fresh: Vec<_> =
            sources.iter_mut().filter(|source| !source.is_test && named.contains(&source.path)).collect();
        if fresh.is_empty() {
            return;
        }
        fresh.into_iter().for_each(|source| source.is_test = true);
    }
}

/// The modules that live in files of their own, in the order of the list, and whether each is for tests.
pub fn file_modules(items: &[syn::Item]) -> Vec<(String, bool)> {
    let modules = items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() => Some(module),
        _ => None,
    });
    modules.map(|module| (module.ident.to_string(), is_for_tests(&module.attrs))).collect()
}

/// The two places where the file of module `name` may be, when `parent` names it.
pub fn module_files(parent: &str, name: &str) -> [String; 2] {
    let (directory, file) = parent.rsplit_once('/').unwrap_or(("", parent));
    let directory = match file {
        "lib.rs" | "main.rs" | "mod.rs" => directory.to_owned(),
        _ => format!("{directory}/{}", file.trim_end_matches(".rs")),
    };
    [format!("{directory}/{name}.rs"), format!("{directory}/{name}/mod.rs")]
}

/// Whether the attributes say `#[cfg(test)]` or `#[test]` in any form.
pub fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) if list.path.is_ident("cfg") => has_test_word(list.tokens.clone()),
        meta => meta.path().segments.last().is_some_and(|last| last.ident == "test"),
    })
}

/// `test` in a cfg, but not below `not(…)`.
fn has_test_word(tokens: TokenStream) -> bool {
    let mut is_negated = false;
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => {
            is_negated = ident == "not";
            ident == "test"
        }
        TokenTree::Group(group) => !is_negated && has_test_word(group.stream()),
        _ => false,
    })
}

#[derive(Default)]
struct TestSpans {
    lines: Vec<RangeInclusive<usize>>,
}

impl<'ast> Visit<'ast> for TestSpans {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_for_tests(item_attributes(item)) {
            self.lines.push(item.span().start().line..=item.span().end().line);
        } else {
            syn::visit::visit_item(self, item);
        }
    }
}

/// The attributes of an item, whatever it is.
pub fn item_attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Union(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
