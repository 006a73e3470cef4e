//! Every exit code that the face can give is documented, and only one file knows them.
//!
//! The codes are the numbers in `crates/cli/src/error.rs`: discriminants of enums, constants and functions whose name
//! says `exit` or `code`, and `ExitCode::from(…)`. The page is `docs/reference/exit-codes.md`: a table whose first
//! column is the code. A number in `ExitCode::from(…)` or `exit(…)` in any other file is a finding.

use crate::finding::Finding;
use crate::source::{Source, is_for_tests, item_attributes};
use crate::tree::Tree;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::collections::BTreeMap;
use syn::visit::Visit;

const RULE: &str = "exit-codes";
/// The file that alone knows exit codes.
pub const FILE: &str = "crates/cli/src/error.rs";
/// The page that explains them.
pub const PAGE: &str = "docs/reference/exit-codes.md";
/// A larger number is no exit code.
const CODE_MAX: i64 = 255;

/// Compares the codes in the code with the page, both ways.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<_> =
        sources.iter().filter(|source| source.path != FILE && !source.is_test).flat_map(strays).collect();
    let documented = documented(tree.text(PAGE).unwrap_or_default());
    let Some(source) = sources.iter().find(|source| source.path == FILE) else { return findings };
    let mut codes = Codes::default();
    codes.visit_file(&source.ast);
    if codes.found.is_empty() {
        findings.push(Finding::new(FILE, 1, RULE, "no exit codes found here; keep them here, as an enum with numbers or a function named `exit_code`"));
    }
    for (code, line) in &codes.found {
        if !documented.contains_key(code) {
            findings.push(Finding::new(FILE, *line, RULE, format!("exit code {code} is not in the table of {PAGE}; scripts rely on the list there, add a row or use a code of the list")));
        }
    }
    for (code, line) in documented.iter().filter(|(code, _)| **code != 0) {
        if !codes.found.contains_key(code) && !codes.found.is_empty() && !is_marked_not_yet(tree, *line) {
            findings.push(Finding::new(
                PAGE,
                *line,
                RULE,
                format!("no error ends with exit code {code}; say `not yet` in the row, or delete it"),
            ));
        }
    }
    findings
}

fn is_marked_not_yet(tree: &Tree, line: usize) -> bool {
    tree.text(PAGE).and_then(|page| page.lines().nth(line - 1)).is_some_and(|row| row.contains("not yet"))
}

/// Code → line of the page.
fn documented(page: &str) -> BTreeMap<i64, usize> {
    let rows = page.lines().enumerate().filter_map(|(index, line)| {
        let cell = line.trim().strip_prefix('|')?.split('|').next()?.trim().trim_matches('`');
        Some((cell.parse().ok()?, index + 1))
    });
    rows.collect()
}

fn strays(source: &Source) -> Vec<Finding> {
    let mut found = BTreeMap::new();
    exit_calls(source.tokens.clone(), &mut found);
    let wrong = found.into_iter().filter(|(_, line)| !source.is_test_line(*line));
    wrong.map(|(code, line)| Finding::new(&source.path, line, RULE, format!("exit code {code} is chosen here; only {FILE} chooses them: return an error of the right kind"))).collect()
}

#[derive(Default)]
struct Codes {
    found: BTreeMap<i64, usize>,
}

impl Codes {
    fn add_numbers(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Literal(literal) => self.add(&literal),
                TokenTree::Group(group) => self.add_numbers(group.stream()),
                _ => {}
            }
        }
    }

    fn add(&mut self, literal: &proc_macro2::Literal) {
        if let Some(code) = number(literal) {
            self.found.entry(code).or_insert(literal.span().start().line);
        }
    }
}

fn number(literal: &proc_macro2::Literal) -> Option<i64> {
    let digits = literal.to_string();
    let digits = digits.trim_end_matches("i32").trim_end_matches("u8");
    digits.parse().ok().filter(|code| *code <= CODE_MAX)
}

fn is_about_codes(name: &syn::Ident) -> bool {
    let name = name.to_string().to_lowercase();
    name.contains("exit") || name.contains("code")
}

impl<'ast> Visit<'ast> for Codes {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        if let Some((_, value)) = &variant.discriminant {
            self.add_numbers(value.to_token_stream());
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        if is_about_codes(&item.ident) {
            self.add_numbers(item.expr.to_token_stream());
        }
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        if is_about_codes(&item.ident) {
            self.add_numbers(item.expr.to_token_stream());
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        match is_about_codes(&function.sig.ident) {
            true => self.add_numbers(function.block.to_token_stream()),
            false => exit_calls(function.block.to_token_stream(), &mut self.found),
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        match is_about_codes(&function.sig.ident) {
            true => self.add_numbers(function.block.to_token_stream()),
            false => exit_calls(function.block.to_token_stream(), &mut self.found),
        }
    }
}

/// `ExitCode::from(3)`, `exit(3)`.
fn exit_calls(tokens: TokenStream, found: &mut BTreeMap<i64, usize>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        exit_calls(group.stream(), found);
        let is_exit = match &tokens[..index] {
            [
                ..,
                TokenTree::Ident(kind),
                TokenTree::Punct(_),
                TokenTree::Punct(_),
                TokenTree::Ident(name),
            ] if name == "from" => kind == "ExitCode",
            [.., TokenTree::Ident(name)] => name == "exit",
            _ => false,
        };
        let only: Vec<_> = group.stream().into_iter().collect();
        if let ([TokenTree::Literal(literal)], true) = (&only[..], is_exit) {
            found.extend(number(literal).map(|code| (code, literal.span().start().line)));
        }
    }
}
