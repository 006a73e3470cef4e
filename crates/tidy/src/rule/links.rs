//! A link in the documents leads to a file that exists, and the book's list names every page.

use crate::finding::Finding;
use crate::tree::Tree;

const RULE: &str = "links";
const SUMMARY: &str = "docs/SUMMARY.md";

/// Follows every relative link of every Markdown file.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            if !tree.has(&resolve(path, target)) {
                findings.push(Finding::new(
                    path,
                    line,
                    RULE,
                    format!("`{target}` leads nowhere; correct or remove the link"),
                ));
            }
        }
        let is_page = path.starts_with("docs/") && path != SUMMARY;
        let name = path.trim_start_matches("docs/");
        if is_page && tree.text(SUMMARY).is_some_and(|summary| !summary.contains(&format!("({name})"))) {
            findings.push(Finding::new(
                path,
                1,
                RULE,
                format!("the page is not in the book; add `[…]({name})` to {SUMMARY}"),
            ));
        }
    }
    findings
}

/// Relative links outside code, with their lines and without their anchors.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let targets = targets.map(|target| target.split('#').next().unwrap_or_default());
        let is_relative = |target: &&str| !target.is_empty() && !target.contains(':');
        found.extend(targets.filter(is_relative).filter(|_| !is_code).map(|target| (index + 1, target)));
    }
    found
}

fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
