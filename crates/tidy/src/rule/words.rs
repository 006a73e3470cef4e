//! Code that must not be committed: unfinished places, ignored tests, prints below the face, a file without a head.

use crate::finding::Finding;
use crate::source::Source;
use proc_macro2::{TokenStream, TokenTree};

const RULE: &str = "words";
const UNFINISHED: [&str; 3] = ["todo", "dbg", "unimplemented"];
const PRINTS: [&str; 4] = ["print", "println", "eprint", "eprintln"];
/// The only crate that talks to people.
const FACE: &str = "cli";

/// Looks at the tokens of every file, so that comments and literals do not count.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        if !source.text.starts_with("//!") {
            let message = "begin the file with `//!`: its purpose, its form, its invariant";
            findings.push(Finding::new(&source.path, 1, RULE, message));
        }
        look(source, source.tokens.clone(), &mut findings);
    }
    findings
}

fn look(source: &Source, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let line = token.span().start().line;
        let message = match token {
            TokenTree::Ident(ident) if is_punct(tokens.get(index + 1), '!') => {
                judge_macro(source, &ident.to_string(), line)
            }
            TokenTree::Punct(punct) if punct.as_char() == '#' => judge_attribute(tokens.get(index + 1)),
            TokenTree::Group(group) => {
                look(source, group.stream(), findings);
                None
            }
            _ => None,
        };
        findings.extend(message.map(|message| Finding::new(&source.path, line, RULE, message)));
    }
}

fn judge_macro(source: &Source, name: &str, line: usize) -> Option<String> {
    if UNFINISHED.contains(&name) {
        return Some(format!("`{name}!` is not committed; finish it, or leave the whole thing out"));
    }
    let may_print = source.room == FACE || source.is_test_line(line) || source.is_build_script();
    let is_wrong = PRINTS.contains(&name) && !may_print;
    is_wrong.then(|| {
        format!("`{name}!` outside crates/{FACE}; return it, or send it as an event that the face prints")
    })
}

/// `#[ignore]`, also inside `cfg_attr`.
fn judge_attribute(token: Option<&TokenTree>) -> Option<String> {
    let TokenTree::Group(group) = token? else { return None };
    let mut words = Vec::new();
    idents(group.stream(), &mut words);
    let is_ignore = words.first().is_some_and(|word| word == "ignore")
        || (words.first().is_some_and(|word| word == "cfg_attr")
            && words.iter().any(|word| word == "ignore"));
    is_ignore.then(|| {
        "`#[ignore]` hides a test; make it run (a slow one goes into a test binary named `slow_*`)".to_owned()
    })
}

fn idents(tokens: TokenStream, out: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => out.push(ident.to_string()),
            TokenTree::Group(group) => idents(group.stream(), out),
            _ => {}
        }
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}
