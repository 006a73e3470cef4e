//! What can go wrong with files, and with which.
//!
//! Every error names its path. What a caller must tell apart (vanished, changed, in the way) has its own variant.

use std::io;
use std::path::{Path, PathBuf};

use crate::relative::PathError;

/// Something about files went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was listed, then it was gone.
    #[error("{} vanished while it was backed up", path.display())]
    Vanished {
        /// What vanished.
        path: PathBuf,
    },
    /// Another file now stands under the name.
    #[error("{} was replaced by something else meanwhile", path.display())]
    Replaced {
        /// The name.
        path: PathBuf,
    },
    /// The root of a walk is a symbolic link; with a slash at the end it would be followed.
    #[error("{} is a symbolic link to {}", path.display(), target.display())]
    RootIsSymlink {
        /// The root as given.
        path: PathBuf,
        /// Where the link points.
        target: PathBuf,
    },
    /// The server cannot be reached any more, or does not let us in any more: nothing else of it can be read either.
    #[error("{place} is lost")]
    Lost {
        /// Address of the directory.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// What was read of a file does not fit to what is there now: it is to be read from its beginning.
    #[error("{} is another one after the connection was lost", path.display())]
    BeginAgain {
        /// The file.
        path: PathBuf,
    },
    /// A path could leave its root.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A symbolic link or a file stands where a directory is needed.
    #[error("something that is not a directory is in the way to {}", path.display())]
    InTheWay {
        /// The path that could not be reached.
        path: PathBuf,
    },
    /// Something is there already and was not to be replaced.
    #[error("{} exists", path.display())]
    Exists {
        /// What exists.
        path: PathBuf,
    },
    /// The thing there is of another kind than asked for.
    #[error("{} is of another kind", path.display())]
    OtherKind {
        /// What it is about.
        path: PathBuf,
    },
    /// The file has other names, so writing into it would change those as well.
    #[error("{} has other hard links", path.display())]
    Linked {
        /// The file.
        path: PathBuf,
    },
    /// Only a privileged user may make this (devices).
    #[error("no permission to create the device {}", path.display())]
    DeviceNotPermitted {
        /// The device.
        path: PathBuf,
    },
    /// A local socket, which is never restored.
    #[error("{} is a socket, which cannot be restored", path.display())]
    SocketNotRestored {
        /// The socket.
        path: PathBuf,
    },
    /// A write would go past the size that was announced.
    #[error("write of {len} bytes at {offset} is past the end of {}", path.display())]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where the write begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

impl Error {
    /// A refusal of the kernel, or of a server: `action` is a verb.
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.as_ref().to_path_buf(), source: source.into() }
    }

    /// Like [`Error::io`] for something that was listed: if it is not there any more, it vanished.
    pub(crate) fn listed(action: &'static str, path: impl AsRef<Path>, source: rustix::io::Errno) -> Self {
        match source {
            rustix::io::Errno::NOENT => Error::Vanished { path: path.as_ref().to_path_buf() },
            _ => Error::io(action, path, source),
        }
    }

    /// Whether everything that follows would fail in the same way.
    pub fn is_lost(&self) -> bool {
        matches!(self, Error::Lost { .. })
    }

    /// What the kernel said, where it said something.
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}
