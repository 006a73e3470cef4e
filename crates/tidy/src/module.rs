//! The modules of one crate and the paths that each of them uses.
//!
//! A module's entries (child modules and other items) are kept in the order of its file: that order is the list
//! "bottom first" which the rule on circles reads. Test code is left out: a test may use everything.
//!
//! Invariant: every recorded use is an absolute path below the crate's root; paths into other crates are dropped.

use crate::source::{Source, is_for_tests, item_attributes, module_files};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::Visit;

/// A path below the root of the crate.
pub type Path = Vec<String>;

/// A name that a module's file declares.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the file: 0 is the first item.
    pub position: usize,
    /// The line of its declaration.
    pub line: usize,
    /// Whether it is a module, another item, or another name for something in this crate.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A child module.
    Module,
    /// A function, a type, a constant.
    Item,
    /// A name brought in by `use`.
    Alias(Path),
}

/// One use of a path.
#[derive(Debug)]
pub struct Use {
    /// What is used.
    pub target: Path,
    /// Where.
    pub line: usize,
    /// The place of the item that uses it, none for a `use` line.
    pub position: Option<usize>,
}

/// A module with what it declares and uses.
#[derive(Debug)]
pub struct Module {
    /// The path from the root of the crate; empty for the root itself.
    pub path: Path,
    /// The file in which it stands.
    pub file: String,
    /// What it declares.
    pub entries: BTreeMap<String, Entry>,
    /// What it uses.
    pub uses: Vec<Use>,
}

/// All modules of the crate whose root file is `root`, test modules left out.
pub fn modules_of(root: &str, sources: &BTreeMap<&str, &Source>) -> Vec<Module> {
    let mut modules = Vec::new();
    if let Some(source) = sources.get(root) {
        collect(Vec::new(), root, &source.ast.items, sources, &mut modules);
    }
    modules
}

fn collect(
    path: Path,
    file: &str,
    items: &[syn::Item],
    sources: &BTreeMap<&str, &Source>,
    out: &mut Vec<Module>,
) {
    let entries = entries_of(&path, items);
    let mut reader = UseReader { here: &path, entries: &entries, position: None, uses: Vec::new() };
    for (position, item) in items.iter().enumerate().filter(|(_, item)| !is_for_tests(item_attributes(item)))
    {
        if !matches!(item, syn::Item::Mod(_)) {
            reader.position = (!matches!(item, syn::Item::Use(_))).then_some(position);
            reader.visit_item(item);
        }
    }
    let uses = reader.uses;
    out.push(Module { path: path.clone(), file: file.to_owned(), entries, uses });
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        if is_for_tests(&module.attrs) {
            continue;
        }
        let child: Path = path.iter().cloned().chain([module.ident.to_string()]).collect();
        if let Some((_, inside)) = &module.content {
            collect(child, file, inside, sources, out);
            continue;
        }
        let places = module_files(file, &module.ident.to_string());
        if let Some((place, source)) = places.iter().find_map(|place| sources.get_key_value(place.as_str())) {
            collect(child, place, &source.ast.items, sources, out);
        }
    }
}

fn entries_of(path: &Path, items: &[syn::Item]) -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    for (position, item) in items.iter().enumerate().filter(|(_, item)| !is_for_tests(item_attributes(item)))
    {
        let (ident, kind) = match item {
            syn::Item::Mod(item) => (&item.ident, EntryKind::Module),
            syn::Item::Const(item) => (&item.ident, EntryKind::Item),
            syn::Item::Enum(item) => (&item.ident, EntryKind::Item),
            syn::Item::Fn(item) => (&item.sig.ident, EntryKind::Item),
            syn::Item::Static(item) => (&item.ident, EntryKind::Item),
            syn::Item::Struct(item) => (&item.ident, EntryKind::Item),
            syn::Item::Trait(item) => (&item.ident, EntryKind::Item),
            syn::Item::Type(item) => (&item.ident, EntryKind::Item),
            _ => continue,
        };
        entries.insert(ident.to_string(), Entry { position, line: ident.span().start().line, kind });
    }
    let declared = entries.clone();
    for (position, item) in items.iter().enumerate() {
        let syn::Item::Use(item) = item else { continue };
        for (name, target, line) in leaves(&item.tree) {
            if let Some(target) = absolute(path, &declared, &target) {
                entries.entry(name).or_insert(Entry { position, line, kind: EntryKind::Alias(target) });
            }
        }
    }
    entries
}

/// A name that a `use` brings in, the path it stands for, and its line.
type Leaf = (String, Path, usize);

fn leaves(tree: &syn::UseTree) -> Vec<Leaf> {
    let mut found = Vec::new();
    add_leaves(&Vec::new(), tree, &mut found);
    found
}

fn add_leaves(prefix: &Path, tree: &syn::UseTree, found: &mut Vec<Leaf>) {
    let with = |ident: &syn::Ident| match ident == "self" && !prefix.is_empty() {
        true => prefix.clone(),
        false => prefix.iter().cloned().chain([ident.to_string()]).collect::<Path>(),
    };
    match tree {
        syn::UseTree::Path(path) => add_leaves(&with(&path.ident), &path.tree, found),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| add_leaves(prefix, item, found)),
        syn::UseTree::Name(name) => {
            let path = with(&name.ident);
            found.push((path.last().cloned().unwrap_or_default(), path, name.ident.span().start().line));
        }
        syn::UseTree::Rename(rename) => {
            found.push((rename.rename.to_string(), with(&rename.ident), rename.ident.span().start().line));
        }
        // The star itself has no name; what it is taken from is used.
        syn::UseTree::Glob(glob) => found.push((String::new(), prefix.clone(), glob.span().start().line)),
    }
}

/// The path below the root of the crate, none where it leads into another crate.
fn absolute(here: &Path, entries: &BTreeMap<String, Entry>, path: &[String]) -> Option<Path> {
    let first = path.first()?.as_str();
    let supers = path.iter().take_while(|part| *part == "super").count();
    let is_child = entries.get(first).is_some_and(|entry| entry.kind == EntryKind::Module);
    match first {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some(here.iter().chain(&path[1..]).cloned().collect()),
        "super" if supers <= here.len() => {
            Some(here[..here.len() - supers].iter().chain(&path[supers..]).cloned().collect())
        }
        _ if is_child => Some(here.iter().chain(path).cloned().collect()),
        _ => None,
    }
}

struct UseReader<'a> {
    here: &'a Path,
    entries: &'a BTreeMap<String, Entry>,
    position: Option<usize>,
    uses: Vec<Use>,
}

impl UseReader<'_> {
    fn add(&mut self, path: &[String], line: usize) {
        if let Some(target) = absolute(self.here, self.entries, path) {
            self.uses.push(Use { target, line, position: self.position });
        }
    }

    /// Paths inside a macro's tokens, which have no syntax tree.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Path = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_if_path(&path, line);
                        path.clear();
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.add_if_path(&path, line);
                    path.clear();
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.add_if_path(&path, line);
    }

    fn add_if_path(&mut self, path: &[String], line: usize) {
        if path.len() > 1 {
            self.add(path, line);
        }
    }
}

impl<'ast> Visit<'ast> for UseReader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_for_tests(item_attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        for (_, path, line) in leaves(&item.tree) {
            self.add(&path, line);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Path = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(&parts, path.segments[0].ident.span().start().line);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.add_tokens(call.tokens.clone());
        syn::visit::visit_macro(self, call);
    }

    /// `pub(crate)` and `pub(super)` use nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}
