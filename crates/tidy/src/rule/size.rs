//! Size: a file without its tests has at most 400 lines (aim for 200), a function at most 70 (aim for 12).
//!
//! Exceptions stand in one list with the present size and a reason. The number may only shrink: an entry that is
//! larger than the truth is as wrong as one that is smaller, and one that is no longer needed goes.

use crate::finding::Finding;
use crate::source::Source;
use crate::tree::Tree;
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::Visit;

const RULE: &str = "size";
/// Lines of a file, its tests not counted.
pub const FILE_LINES_MAX: usize = 400;
/// Lines of a function from `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Where the exceptions stand: `path | lines | reason`, or `path::function | lines | reason`.
pub const EXCEPTIONS: &str = "crates/tidy/exceptions.txt";

/// Measures every file and function outside tests.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Finding> {
    let (mut exceptions, mut findings) = read_exceptions(tree.text(EXCEPTIONS).unwrap_or_default());
    for source in sources.iter().filter(|source| !source.is_test) {
        for measured in measure(source) {
            let exception = exceptions.remove(&measured.key);
            findings.extend(judge(source, &measured, exception));
        }
    }
    for (key, exception) in exceptions {
        let message = format!("`{key}` is not there any more; delete this line");
        findings.push(Finding::new(EXCEPTIONS, exception.line, RULE, message));
    }
    findings
}

struct Exception {
    line: usize,
    size: usize,
}

struct Measured {
    key: String,
    what: &'static str,
    line: usize,
    size: usize,
    limit: usize,
}

fn judge(source: &Source, measured: &Measured, exception: Option<Exception>) -> Option<Finding> {
    let Measured { key, what, line, size, limit } = measured;
    let at_exception = |line, message| Some(Finding::new(EXCEPTIONS, line, RULE, message));
    match exception {
        None if size <= limit => None,
        None => Some(Finding::new(
            &source.path,
            *line,
            RULE,
            format!(
                "this {what} has {size} lines, the limit is {limit}; move a fragment without branches out and keep the branches together (or, with a reason, add `{key} | {size} | why` to {EXCEPTIONS})"
            ),
        )),
        Some(old) if size <= limit => at_exception(
            old.line,
            format!("`{key}` has {size} lines and keeps the limit of {limit}; delete this line"),
        ),
        Some(old) if *size > old.size => Some(Finding::new(
            &source.path,
            *line,
            RULE,
            format!(
                "this {what} grew from {} to {size} lines; an exception may only shrink: make it smaller",
                old.size
            ),
        )),
        Some(old) if *size < old.size => {
            at_exception(old.line, format!("`{key}` shrank to {size} lines; write {size} here"))
        }
        Some(_) => None,
    }
}

fn read_exceptions(text: &str) -> (BTreeMap<String, Exception>, Vec<Finding>) {
    let mut exceptions = BTreeMap::new();
    let mut findings = Vec::new();
    for (index, line) in
        text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let fields: Vec<_> = line.split('|').map(str::trim).collect();
        match fields[..] {
            [key, size, reason] if size.parse::<usize>().is_ok() && reason.len() >= 10 => {
                let size = size.parse().unwrap_or_default();
                exceptions.insert(key.to_owned(), Exception { line: index + 1, size });
            }
            _ => {
                let message = "write `path | lines | reason` (a reason of at least ten letters)";
                findings.push(Finding::new(EXCEPTIONS, index + 1, RULE, message));
            }
        }
    }
    (exceptions, findings)
}

fn measure(source: &Source) -> Vec<Measured> {
    let size = (1..=source.text.lines().count()).filter(|line| !source.is_test_line(*line)).count();
    let file = Measured { key: source.path.clone(), what: "file", line: 1, size, limit: FILE_LINES_MAX };
    let mut functions = Functions { source, measured: vec![file] };
    functions.visit_file(&source.ast);
    functions.measured
}

struct Functions<'a> {
    source: &'a Source,
    measured: Vec<Measured>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let line = signature.span().start().line;
        if self.source.is_test_line(line) {
            return;
        }
        let size = block.span().end().line + 1 - line;
        let key = format!("{}::{}", self.source.path, signature.ident);
        // Two functions of one name in one file share an entry: the larger one counts.
        match self.measured.iter_mut().find(|other| other.key == key) {
            Some(other) if other.size >= size => {}
            Some(other) => (other.size, other.line) = (size, line),
            None => {
                self.measured.push(Measured { key, what: "function", line, size, limit: FUNCTION_LINES_MAX })
            }
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}
