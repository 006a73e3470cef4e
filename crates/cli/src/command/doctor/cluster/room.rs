//! Whether the user that the server runs as may write into a repository on this machine: what root made there is closed to him.
//!
//! By owner, group and mode, as far as they tell.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use files::owner::Owners;
use pg::which_cluster;

use super::command_text::{ArchivedBy, archived_by};
use super::{Seen, WAL};
use crate::command::doctor::Finding;
use crate::error::{CliError, Kind};

const READ: u32 = 4;
const WRITE_INTO: u32 = 3;
const PASS: u32 = 1;

/// Whom the server runs as.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl User {
    fn may(self, about: &Metadata, what: u32) -> bool {
        let shift = match (about.uid() == self.uid, about.gid() == self.gid) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        self.uid == 0 || (about.mode() >> shift) & what == what
    }
}

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let by = archived_by(seen.state.setting("archive_library"), seen.state.setting("archive_command"));
    // What `wal receive` brings needs no right of the server's user.
    let is_needed = by == ArchivedBy::Us || (seen.asked.is_promised && !seen.comes_in());
    let Some(directory) = seen.asked.directory.as_deref().filter(|_| is_needed) else { return vec![] };
    closed(seen, directory).into_iter().collect()
}

fn closed(seen: &Seen<'_>, directory: &Path) -> Option<Finding> {
    let data = Path::new(seen.state.data_directory.as_deref()?);
    // Another server's, under the same path on another machine, says nothing.
    let is_it = which_cluster::system_id(data).is_ok_and(|found| found == seen.state.system_id);
    let about = fs::metadata(data).ok().filter(|_| is_it)?;
    let user = User { uid: about.uid(), gid: about.gid() };
    let (path, owner) = first_closed(directory, seen, user)?;
    let owners = Owners::read(Path::new("/etc")).unwrap_or_default();
    let name = |uid: u32| match owners.user(uid) {
        "" => uid.to_string(),
        name => name.to_owned(),
    };
    let (server, owner, repository) = (name(user.uid), name(owner), directory.display());
    let message = format!(
        "{} belongs to {owner} and is closed to {server}, whom the server runs as: it archives nothing there",
        path.display()
    );
    let error = CliError::new(Kind::Usage, message).hint(format!(
        "chown -R {server} {repository}, and run mainstay as {server} on this machine from now on"
    ));
    Some(Finding::problem(WAL, error, "no WAL comes into the repository by archive_command"))
}

/// The first path that has to be open to `user` and is not, and its owner.
fn first_closed(directory: &Path, seen: &Seen<'_>, user: User) -> Option<(PathBuf, u32)> {
    let above = directory.ancestors().skip(1).map(|path| (path.to_owned(), PASS));
    let below = |path: &Path| {
        let listed = fs::read_dir(path).into_iter().flatten().flatten();
        listed.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let system_id = seen.state.system_id;
    let folders = ["wal".to_owned(), format!("wal/{system_id}"), "x".to_owned(), "x/owner".to_owned()];
    let folders = folders.map(|name| directory.join(name));
    let timelines = below(&folders[1]);
    let written = std::iter::once(directory.to_owned()).chain(folders).chain(timelines);
    let keys = directory.join("keys");
    let files = below(&keys).into_iter().chain([directory.join("config")]).map(|path| (path, READ));
    let read = std::iter::once((keys, READ | PASS)).chain(files);
    let mut asked = above.chain(written.map(|path| (path, WRITE_INTO))).chain(read);
    asked.find_map(|(path, what)| {
        // What is not there is made by whoever needs it.
        let about = fs::metadata(&path).ok()?;
        (!user.may(&about, what)).then(|| (path, about.uid()))
    })
}
