//! A file under a name of its own, which goes with it unless it is given its lasting name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a killed process left behind is removed by a later one after this time.
const LEFT_BEHIND: Duration = Duration::from_hours(24);
const PREFIX: &str = "unfinished-";

/// A name that is removed when nobody gave the file its lasting one.
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A new file in `folder`, private.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(folder: &Path) -> io::Result<(Self, File)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let path = folder.join(format!("{PREFIX}{}", hex::encode(random)));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        clear(folder, &file).ok();
        Ok((Self { path }, file))
    }

    /// Give the file its lasting name, in place of whatever has it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Already gone where it was kept.
        fs::remove_file(&self.path).ok();
    }
}

/// Remove what is much older than `new`, by the clock of the file system.
fn clear(folder: &Path, new: &File) -> io::Result<()> {
    let now = new.metadata()?.modified()?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_unfinished = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let modified = entry.metadata()?.modified()?;
        if is_unfinished && now.duration_since(modified).is_ok_and(|age| age > LEFT_BEHIND) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
