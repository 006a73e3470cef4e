//! From an address to a directory that was opened for a backup.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use files::exclude::Excludes;
use files::origin::Opened;
use jiff::SignedDuration;
use model::entry::Entry;
use model::secret::Secret;
use store::retry::Retry;
use store::{Refusal, StoreError};

use super::address::Address;
use super::far::{Far, explain};
use super::origin::FarOrigin;
use super::pool::{Dial, Pool};
use super::talk::{Talk, Unsaid};
use super::walk::FarWalk;
use super::{ftp, sftp};
use crate::settings::Settings;
use crate::sftp as ssh;
use crate::trust;

/// Connections at once: below the ten at which OpenSSH begins to refuse strangers.
const CONNECTIONS: usize = 8;
const _: () = assert!(CONNECTIONS < 10);
/// How far clocks of servers may be from ours: nobody asks them, so this is more than a neglected one is off.
const DOUBT: SignedDuration = SignedDuration::from_mins(15);

/// Pauses before a server that is full is asked again at the beginning, in milliseconds: ten seconds in all.
const ADMISSION_PAUSES_MS: [u64; 5] = [200, 800, 2000, 3000, 4000];

/// What is told beside the address.
pub struct Access {
    /// For SFTP `sftp-key` and `sftp-host-key`, for FTP `ca-file` and `pin`; and the environment.
    pub settings: Settings,
    /// For FTP.
    pub password: Option<Secret>,
    /// Who owns what the server names no owner for: user and group.
    pub owner: (u32, u32),
    /// How long to go on when the connection breaks.
    pub retry: Retry,
}

/// Whether `text` names a directory on another server, and is no path.
pub fn is_address(text: &str) -> bool {
    Address::parse(text).is_some()
}

/// What the directory at an address is called: the last part of its path, or else the server.
pub fn source_name(text: &str) -> Option<String> {
    let address = Address::parse(text)?.ok()?;
    let last = address.path().rsplit('/').find(|part| !matches!(*part, "" | "."));
    Some(last.unwrap_or(address.host()).to_owned())
}

/// A first connection, and what it found.
struct Reached {
    dial: Dial,
    first: Box<dyn Talk>,
    /// Who logged in.
    user: String,
    /// The directory of the login.
    home: Vec<u8>,
}

/// Open the directory at `url` for a backup. Waits for no server that does not answer: at the beginning somebody is there
/// to mend it.
///
/// # Errors
/// [`StoreError::BadUrl`] for what is no such address; [`StoreError::Refused`] where the server is not believed or does
/// not let us in; [`StoreError::NotFound`] where there is no such directory; of the network.
pub fn open(url: &str, excludes: Excludes, access: Access) -> Result<Opened, StoreError> {
    let bad = |reason: String| StoreError::BadUrl { url: url.to_owned(), reason };
    let address = Address::parse(url).ok_or_else(|| bad("is no address".into()))?.map_err(bad)?;
    let place = address.to_string();
    let fail = |cause| explain("open", "the directory", &place, cause);
    let unsaid = Unsaid { uid: access.owner.0, gid: access.owner.1 };
    let mut reached = match &address {
        Address::Sftp(address) => reach_sftp(address, &access.settings, unsaid).map_err(fail)?,
        Address::Ftps(address) => {
            let (ca_file, pin) = (access.settings.chosen("ca-file"), access.settings.chosen("pin"));
            let tls = trust::client_config(ca_file.map(Path::new), pin).map_err(bad)?;
            let door = ftp::Door { address: address.clone(), password: access.password, tls };
            let reached = when_admitted(|| reach_ftps(&door, unsaid));
            reached.map_err(fail)?
        }
    };
    let root = whole(&reached.home, address.path());
    let named = String::from_utf8(root.clone())
        .map_err(|_| fail(io::Error::other("the directory of the login has no readable name")))?;
    let entry = root_entry(&mut *reached.first, &root).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => StoreError::NotFound { key: named.clone(), place: place.clone() },
        ErrorKind::NotADirectory => bad("is no directory".into()),
        ErrorKind::PermissionDenied => StoreError::Refused {
            action: "open",
            key: "the directory".into(),
            place: place.clone(),
            why: Refusal::Denied(cause.to_string()),
        },
        _ => fail(cause),
    })?;
    let name = address.clone().settled(&reached.user, &named).to_string();
    let root = if root == b"/" { vec![] } else { root };
    let pool = Pool::new(reached.dial, reached.first, CONNECTIONS);
    let far = Arc::new(Far { pool, retry: access.retry, name, root });
    let walk = FarWalk::new(&far, entry, excludes);
    let origin = FarOrigin { far, path: Path::new(&named).to_path_buf(), doubt: DOUBT, lanes: CONNECTIONS };
    Ok(Opened { walk: Box::new(walk), origin: Arc::new(origin) })
}

fn root_entry(talk: &mut dyn Talk, root: &[u8]) -> io::Result<Entry> {
    let mut entry = talk.root(root)?;
    let last = root.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty());
    entry.name = last.unwrap_or(b"root").to_vec();
    entry.metadata.mode &= 0o7777;
    Ok(entry)
}

/// The path from the server's root on: plain names, each after a slash.
fn whole(home: &[u8], path: &str) -> Vec<u8> {
    let below = if path.starts_with('/') { &b""[..] } else { home };
    let parts = below.split(|byte| *byte == b'/').chain(path.as_bytes().split(|byte| *byte == b'/'));
    let mut whole = vec![];
    for part in parts.filter(|part| !matches!(*part, b"" | b".")) {
        whole.push(b'/');
        whole.extend_from_slice(part);
    }
    if whole.is_empty() { b"/".to_vec() } else { whole }
}

fn reach_sftp(address: &ssh::Address, settings: &Settings, unsaid: Unsaid) -> io::Result<Reached> {
    let dial = ssh::Dial::told(address.clone(), settings)?;
    let user = dial.user().to_owned();
    let (first, home) = sftp::dial(&dial, unsaid)?;
    let dial: Dial = Box::new(move || Ok(sftp::dial(&dial, unsaid)?.0));
    Ok(Reached { dial, first, user, home })
}

/// A server that answers that it is full may still count connections of a run that has just ended.
fn when_admitted<T>(reach: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for pause in ADMISSION_PAUSES_MS {
        match reach() {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            outcome => return outcome,
        }
    }
    reach()
}

fn reach_ftps(door: &ftp::Door, unsaid: Unsaid) -> io::Result<Reached> {
    let (first, home, dialect) = ftp::dial(door, unsaid, None)?;
    let (user, door) = (door.address.user.clone(), door.clone());
    let dial: Dial = Box::new(move || Ok(ftp::dial(&door, unsaid, Some(dialect))?.0));
    Ok(Reached { dial, first, user, home })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_called_by_the_last_part_of_its_path() {
        for (url, name) in [
            ("ftps://backup@files.acme.example/srv", "srv"),
            ("sftp://u@nas//srv/data/", "data"),
            ("ftps://u@h", "h"),
            ("sftp://u@nas//", "nas"),
        ] {
            assert_eq!(source_name(url).as_deref(), Some(name), "{url}");
        }
        assert_eq!(source_name("/srv/data"), None);
        assert_eq!(source_name("ftps://u:secret@h/p"), None);
    }

    #[test]
    fn the_whole_path_is_plain() {
        for (home, path, expected) in [
            ("/home/u", "b/c", "/home/u/b/c"),
            ("/home/u", ".", "/home/u"),
            ("/", ".", "/"),
            ("/", "srv", "/srv"),
            ("/home/u", "/srv//x/./y/", "/srv/x/y"),
            ("/home/u", "/", "/"),
        ] {
            assert_eq!(whole(home.as_bytes(), path), expected.as_bytes(), "{home} {path}");
        }
    }
}
