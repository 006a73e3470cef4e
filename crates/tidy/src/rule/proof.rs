//! Every claim of a proof names a test that exists.
//!
//! `docs/reference/requirements.md` holds tables `| id | what | proof |`. A proof is `not yet`, or names of tests in
//! backticks (`name`, `crate::name` or any longer tail of the test's path), after which ` · not yet: …` may say what
//! is still missing. Every id of the lists must stand there once; a pitfall's test carries its number.

use crate::finding::Finding;
use crate::source::Source;
use crate::tree::Tree;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeMap;

const RULE: &str = "proof";
/// The page that is checked.
pub const PAGE: &str = "docs/reference/requirements.md";
/// Prefix and how many: `C1` … `C28`.
const LISTS: [(&str, usize); 7] =
    [("C", 28), ("N", 15), ("H", 10), ("T", 19), ("U", 18), ("threat-", 16), ("pitfall-", 30)];
const NOT_YET: &str = "not yet";

/// Compares the page with the tests in the tree.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let Some(page) = tree.text(PAGE) else {
        return vec![Finding::new(PAGE, 1, RULE, "the page of requirements is missing; write it")];
    };
    let tests: Vec<String> = sources.iter().flat_map(tests_of).collect();
    let mut findings = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, line) in page.lines().enumerate() {
        let Some((id, proof)) = row(line) else { continue };
        if let Some(first) = seen.insert(id, index + 1) {
            findings.push(Finding::new(
                PAGE,
                index + 1,
                RULE,
                format!("`{id}` stands already on line {first}; keep one"),
            ));
        }
        findings.extend(
            judge(id, proof, &tests).into_iter().map(|message| Finding::new(PAGE, index + 1, RULE, message)),
        );
    }
    for id in
        LISTS.iter().flat_map(|(prefix, count)| (1..=*count).map(move |number| format!("{prefix}{number}")))
    {
        if !seen.contains_key(id.as_str()) {
            findings.push(Finding::new(
                PAGE,
                1,
                RULE,
                format!("`{id}` has no row; add `| {id} | what | not yet |`"),
            ));
        }
    }
    findings
}

/// Id and proof of a row of one of the lists; other tables are not looked at.
fn row(line: &str) -> Option<(&str, &str)> {
    let cells: Vec<_> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
    let (id, proof) = (*cells.first()?, *cells.last()?);
    let is_listed = |(prefix, _): &(&str, usize)| {
        id.strip_prefix(prefix).is_some_and(|number| number.parse::<usize>().is_ok())
    };
    LISTS.iter().any(is_listed).then_some((id, proof))
}

fn judge(id: &str, proof: &str, tests: &[String]) -> Vec<String> {
    let (claimed, _) = proof.split_once(NOT_YET).unwrap_or((proof, ""));
    let pieces: Vec<_> = claimed.split('`').collect();
    let names: Vec<_> = pieces.iter().skip(1).step_by(2).copied().collect();
    let is_plain =
        pieces.iter().step_by(2).all(|between| between.chars().all(|letter| " ,·;".contains(letter)));
    if !is_plain || (names.is_empty() && !proof.starts_with(NOT_YET)) {
        return vec![format!(
            "`{id}`: a proof is `not yet` or names of tests in backticks, then ` · not yet: what is missing`"
        )];
    }
    let missing = names.iter().filter(|name| !tests.iter().any(|test| is_tail(test, name)));
    let mut messages: Vec<_> =
        missing.map(|name| format!("`{id}` claims the test `{name}`, which is not in the tree; write it, correct the name, or say `not yet`")).collect();
    if let Some(number) = id.strip_prefix("pitfall-").and_then(|number| number.parse::<usize>().ok()) {
        let mark = format!("pitfall_{number:02}");
        if !names.is_empty() && !names.iter().any(|name| name.contains(&mark)) {
            messages.push(format!("`{id}`: its test carries its number; call one of them `{mark}_…`"));
        }
    }
    messages
}

fn is_tail(test: &str, name: &str) -> bool {
    test.strip_suffix(name).is_some_and(|head| head.is_empty() || head.ends_with("::"))
}

/// The full names of the tests in a file, as `crate::module::test`.
fn tests_of(source: &Source) -> Vec<String> {
    let mut tests = Vec::new();
    find_tests(&module_name(&source.path), source.tokens.clone(), &mut tests);
    tests
}

/// `crates/pg/src/dump/toc.rs` → `pg::dump::toc`, `crates/cli/tests/slow_kill.rs` → `cli::slow_kill`.
fn module_name(path: &str) -> String {
    let parts = path.trim_end_matches(".rs").split('/');
    let parts = parts.filter(|part| !["crates", "src", "tests", "lib", "main", "mod"].contains(part));
    parts.collect::<Vec<_>>().join("::")
}

/// Functions under an attribute that says `test`, also inside `mod` and inside macros such as `proptest!`.
fn find_tests(module: &str, tokens: TokenStream, tests: &mut Vec<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut is_marked = false;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "fn" => {
                if let Some(TokenTree::Ident(name)) = tokens.get(index + 1).filter(|_| is_marked) {
                    tests.push(format!("{module}::{name}"));
                }
                is_marked = false;
            }
            TokenTree::Group(group) => match tokens[..index].last() {
                Some(TokenTree::Punct(punct)) if punct.as_char() == '#' => {
                    is_marked |= says_test(group.stream())
                }
                Some(TokenTree::Ident(name)) if is_mod_name(&tokens[..index]) => {
                    find_tests(&format!("{module}::{name}"), group.stream(), tests);
                }
                _ => find_tests(module, group.stream(), tests),
            },
            _ => {}
        }
    }
}

fn is_mod_name(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Ident(keyword), TokenTree::Ident(_)] if keyword == "mod")
}

/// `test`, `tokio::test`, `test_case(…)`, but not `cfg(test)`.
fn says_test(attribute: TokenStream) -> bool {
    let idents = attribute.into_iter().filter_map(|token| match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    let words: Vec<_> = idents.collect();
    words.iter().any(|word| word == "test" || word == "test_case")
        && words.first().is_none_or(|word| word != "cfg")
}
