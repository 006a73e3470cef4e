//! The repository as text: path from the root → contents.
//!
//! Invariant: only text that people write is in it: no build output, no version control, no binary files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Directories that hold nothing people write.
const SKIPPED: [&str; 6] = ["target", ".git", "node_modules", "__pycache__", "book", "golden"];
/// The kinds of files that a rule reads.
const READ: [&str; 4] = ["rs", "md", "toml", "txt"];

/// All files that the rules look at.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository at `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_directory(root, "")?;
        Ok(tree)
    }

    /// A tree made of text, for tests.
    pub fn planted(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether the file or the directory is there.
    pub fn has(&self, path: &str) -> bool {
        let inside = format!("{}/", path.trim_end_matches('/'));
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&inside))
    }

    /// Every path with its text, in order of path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    fn read_directory(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                self.read_directory(&entry.path(), &path)?;
            } else if kind.is_file() {
                self.read_one(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    /// Files of other kinds are known by name alone, so that a link to them is a good link.
    fn read_one(&mut self, file: &Path, path: String) -> io::Result<()> {
        let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_owned()).unwrap_or_default();
        let text = match READ.contains(&extension.as_str()) {
            true => match std::fs::read_to_string(file) {
                Ok(text) => text,
                // Somebody's editor renamed it away while we looked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            },
            false => String::new(),
        };
        self.files.insert(path, text);
        Ok(())
    }
}
