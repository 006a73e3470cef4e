//! Files that are seen whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

use files::partial;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat};

use crate::error::{CliError, Kind, Result};

/// Without a name first: whoever sees `file` sees all of it, and a kill leaves nothing.
pub(crate) fn into_file<E>(file: &Path, export: impl FnOnce(&mut dyn Write) -> Result<u64, E>) -> Result<u64>
where
    CliError: From<E>,
{
    let what = format!("writing {}", file.display());
    if file.exists() {
        return Err(CliError::new(Kind::Refused, format!("{} exists already", file.display())));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut unfinished = Unfinished::begin(folder).map_err(CliError::io(&what))?;
    let bytes = export(unfinished.file())?;
    unfinished.file().sync_all().map_err(CliError::io(&what))?;
    unfinished.take_name(file).map_err(CliError::io(&what))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(CliError::io(&what))?;
    Ok(bytes)
}

/// A file that nobody sees yet.
enum Unfinished {
    /// It has no name, so the system forgets it with us.
    Nameless(File),
    /// Where files cannot be without: its name says whose it is, and the next export removes it if we are killed.
    Named(tempfile::NamedTempFile),
}

impl Unfinished {
    fn begin(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let nameless = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR);
        // It gets its name through `/proc`.
        if let (Ok(file), true) = (nameless, Path::new("/proc/self/fd").exists()) {
            return Ok(Self::Nameless(file.into()));
        }
        for entry in std::fs::read_dir(folder)?.flatten() {
            let modified = || entry.metadata().ok()?.modified().ok();
            if partial::is_abandoned(entry.file_name().as_encoded_bytes(), modified) {
                // It is only litter: where it cannot be removed, it stays.
                std::fs::remove_file(entry.path()).ok();
            }
        }
        let name = partial::name(0);
        tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(folder).map(Self::Named)
    }

    fn file(&mut self) -> &mut File {
        match self {
            Self::Nameless(file) => file,
            Self::Named(file) => file.as_file_mut(),
        }
    }

    /// Fails where somebody has the name already.
    fn take_name(self, name: &Path) -> io::Result<()> {
        match self {
            Self::Nameless(file) => {
                let descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
                Ok(linkat(CWD, descriptor, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
            }
            Self::Named(file) => file.persist_noclobber(name).map(|_| ()).map_err(|error| error.error),
        }
    }
}
