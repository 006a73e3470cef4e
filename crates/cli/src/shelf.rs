//! A place for plain dumps: a directory, here or on a server with SSH, or a prefix in a bucket. What is there is there whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use remote::sftp::{Address, SftpShelf};
use store::limit::Limits;
use store::{Key, Object, StoreError};

use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::unfinished::into_file;

/// The place.
pub(crate) enum Shelf {
    /// On this machine.
    Directory(PathBuf),
    /// In object storage, no faster than the limits say.
    Bucket(Arc<remote::shelf::Shelf>, Arc<Limits>),
    /// On a server with SSH, no faster than the limits say.
    Server(Arc<SftpShelf>, Arc<Limits>),
}

/// A file there.
pub(crate) struct Placed {
    /// Below the place.
    pub(crate) name: String,
    /// When it came, by the clock of the place.
    pub(crate) modified: Timestamp,
}

impl Shelf {
    /// The one at `to`, an absolute path or an address.
    pub(crate) fn open(to: &str, environment: &Environment) -> Result<Self> {
        let wire = environment.wire();
        if let Some(address) = Address::parse(to) {
            let bad = |reason| StoreError::BadUrl { url: to.to_owned(), reason };
            let server = SftpShelf::open(address.map_err(bad)?, &wire.settings(), wire.retry())?;
            return Ok(Self::Server(Arc::new(server), wire.limits()));
        }
        let bucket = remote::shelf::Shelf::open(to, &wire.settings(), wire.retry())?;
        Ok(bucket.map_or_else(
            || Self::Directory(to.into()),
            |bucket| Self::Bucket(Arc::new(bucket), wire.limits()),
        ))
    }

    /// Where a file of it is, as people see it.
    pub(crate) fn address(&self, name: &str) -> String {
        match self {
            Self::Directory(root) => root.join(name).display().to_string(),
            Self::Bucket(bucket, _) => {
                let place = bucket.location();
                format!("{}/{name}", place.split('?').next().unwrap_or_default())
            }
            Self::Server(server, _) => format!("{}/{name}", server.location()),
        }
    }

    /// Whether rules of the bucket delete files here; `None` where nobody knows.
    pub(crate) fn has_lifecycle(&self) -> Option<bool> {
        match self {
            Self::Directory(_) | Self::Server(..) => Some(false),
            Self::Bucket(bucket, _) => bucket.has_lifecycle(),
        }
    }

    /// Make a file of about `length` bytes out of what `fill` writes. It gets its name when that has gone well.
    pub(crate) fn put(
        &self,
        name: &str,
        length: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<u64>,
    ) -> Result<u64> {
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                make_folders(path.parent().unwrap_or(root))?;
                into_file(&path, fill)
            }
            Self::Bucket(bucket, limits) => {
                let key = key(name)?;
                let mut upload = bucket.begin(&key, length)?;
                let bytes = fill(&mut Sending { send: |bytes: &[u8]| upload.write(bytes), limits })?;
                upload.finish()?;
                Ok(bytes)
            }
            Self::Server(server, limits) => {
                let mut upload = server.begin(&key(name)?)?;
                let bytes = fill(&mut Sending { send: |bytes: &[u8]| upload.write(bytes), limits })?;
                upload.finish()?;
                Ok(bytes)
            }
        }
    }

    /// Make a small file.
    pub(crate) fn put_small(&self, name: &str, content: &[u8]) -> Result<()> {
        match self {
            Self::Bucket(bucket, _) => Ok(bucket.put(&key(name)?, content)?),
            Self::Directory(_) | Self::Server(..) => {
                let write = |out: &mut dyn Write| {
                    out.write_all(content).map_err(CliError::io("writing"))?;
                    Ok(content.len() as u64)
                };
                self.put(name, content.len() as u64, write).map(drop)
            }
        }
    }

    /// Every file below `folder`; empty: below the place.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<Placed>> {
        match self {
            Self::Directory(root) => {
                let mut found = vec![];
                let what = format!("looking into {}", root.join(folder).display());
                match files_below(root, Path::new(folder), &mut found) {
                    // Nothing was put there yet.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
                    done => done.map(|()| found).map_err(CliError::io(&what)),
                }
            }
            Self::Bucket(bucket, _) => Ok(placed(bucket.list(folder)?)),
            Self::Server(server, _) => Ok(placed(server.list(folder)?)),
        }
    }

    /// Take a file away; one that is gone is no error.
    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        match self {
            Self::Bucket(bucket, _) => Ok(bucket.delete(&key(name)?)?),
            Self::Server(server, _) => Ok(server.delete(&key(name)?)?),
            Self::Directory(root) => match fs::remove_file(root.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(CliError::io(&format!("deleting {}", root.join(name).display()))(error))
                }
                _ => Ok(()),
            },
        }
    }
}

fn placed(objects: Vec<Object>) -> Vec<Placed> {
    let placed = |object: Object| {
        let modified = Timestamp::try_from(object.modified).ok()?;
        Some(Placed { name: object.key.to_string(), modified })
    };
    objects.into_iter().filter_map(placed).collect()
}

fn key(name: &str) -> Result<Key> {
    name.parse().map_err(|error: store::key::BadKey| CliError::usage(error.to_string()))
}

/// What is missing of a folder, for its owner alone; each is durable before the next.
fn make_folders(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let what = format!("making {}", folder.display());
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(CliError::io(&what)(error)),
        _ => {}
    }
    let above = folder.parent().unwrap_or(folder);
    File::open(above).and_then(|above| above.sync_all()).map_err(CliError::io(&what))
}

fn files_below(root: &Path, folder: &Path, found: &mut Vec<Placed>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files_below(root, &path, found)?;
        } else if let (true, Some(name)) = (kind.is_file(), path.to_str()) {
            let modified = entry.metadata()?.modified()?;
            let modified = Timestamp::try_from(modified).map_err(io::Error::other)?;
            found.push(Placed { name: name.to_owned(), modified });
        }
    }
    Ok(())
}

/// A file on its way, for whoever writes bytes.
struct Sending<'a, S> {
    send: S,
    limits: &'a Limits,
}

impl<S: FnMut(&[u8]) -> std::result::Result<(), StoreError>> Write for Sending<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.limits.wait_to_send(bytes.len());
        (self.send)(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
