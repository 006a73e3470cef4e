//! Reading a configuration and what it includes.

use std::path::{Path, PathBuf};

use crate::error::{ConfigError, Result};
use crate::file::File;

/// Where a configuration is looked for, when none is named.
pub const USUAL_PLACES: [&str; 2] = ["mainstay.toml", "/etc/mainstay/mainstay.toml"];
/// Files that include others, one inside the other, at most: more are a circle.
const DEPTH_MAX: usize = 8;

/// The file `path`, and behind it those that it includes, in the order of their names.
///
/// # Errors
/// The first mistake in one of them; files that cannot be read.
pub fn load(path: &Path) -> Result<Vec<File>> {
    let mut files = vec![];
    read(path, 0, &mut files)?;
    Ok(files)
}

/// The files that [`load`] would read, as far as they can be read.
pub fn files_of(path: &Path) -> Vec<PathBuf> {
    match load(path) {
        Ok(files) => files.into_iter().map(|file| file.path).collect(),
        Err(mistake) if mistake.file != path => vec![path.to_owned(), mistake.file],
        Err(_) => vec![path.to_owned()],
    }
}

fn read(path: &Path, depth: usize, files: &mut Vec<File>) -> Result<()> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::of_file(path, error.to_string()))?;
    let file = File::parse(path, text)?;
    let included: Vec<_> = file
        .tables
        .include
        .iter()
        .map(|pattern| matching(path, &pattern.value).map_err(|words| file.mistake(pattern, words)))
        .collect::<Result<_>>()?;
    if depth >= DEPTH_MAX && !included.is_empty() {
        return Err(ConfigError::of_file(path, "files include each other in a circle"));
    }
    files.push(file);
    included.iter().flatten().try_for_each(|path| read(path, depth + 1, files))
}

/// Files that a pattern names, in the order of their names. A name without `*` must be there.
fn matching(file: &Path, pattern: &str) -> std::result::Result<Vec<PathBuf>, String> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let folder = glob::Pattern::escape(&folder.to_string_lossy());
    let whole = Path::new(&folder).join(pattern);
    let found =
        glob::glob(&whole.to_string_lossy()).map_err(|error| format!("include {pattern:?}: {error}"))?;
    let mut paths = found.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    paths.sort();
    if paths.is_empty() && !pattern.contains(['*', '?', '[']) {
        return Err(format!("included file {pattern} does not exist"));
    }
    Ok(paths)
}
