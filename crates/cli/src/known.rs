//! The repositories that are known here without being named: `local`, and those that `--dest` used from here.
//!
//! Form: `$XDG_STATE_HOME/mainstay/repositories` (else `~/.local/state/…`, mode 0600), an address on each line, the
//! last one used at the end. Invariant: it holds addresses and no secrets, is replaced and never half-written, and
//! losing it loses nothing but the convenience. A line that makes no sense is passed over.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::address::has_password;
use config::configuration::Tenant;
use engine::{EngineError, catalog};
use model::backup::BackupRecord;
use model::name::SourceName;
use model::set_mark::SetMark;
use repo::Repository;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
use crate::target::Target;
use crate::{configured, password, place};

/// Addresses that are remembered; of more, the oldest is forgotten.
const KNOWN_MAX: usize = 100;

/// Bytes of an address at most.
const ADDRESS_LEN_MAX: usize = 4096;

/// Where it is kept, where there is a home.
fn state_file(environment: &Environment) -> Option<PathBuf> {
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("mainstay/repositories"))
}

/// What is remembered, the last one used first.
pub(crate) fn remembered(environment: &Environment) -> Vec<String> {
    let Some(file) = state_file(environment) else { return vec![] };
    let text = fs::read(file).unwrap_or_default();
    let mut known: Vec<String> = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| is_address(line))
        .map(str::to_owned)
        .collect();
    known.reverse();
    known.dedup();
    known
}

/// Remember an address that `--dest` used; only its convenience is lost where that is not possible.
pub(crate) fn remember(url: &str, environment: &Environment, face: &Face) {
    let address = absolute(url);
    if !is_address(&address) {
        return face.note("this address is not remembered: name the repository with -r to see its backups");
    }
    let outcome = change(environment, |known| {
        known.retain(|one| *one != address);
        known.insert(0, address.clone());
        known.truncate(KNOWN_MAX);
    });
    if let Err(error) = outcome {
        face.note(&format!("{address} is not remembered ({error}): name it with -r to see its backups"));
    }
}

/// Forget an address; false where it was not known.
pub(crate) fn forget(url: &str, environment: &Environment) -> Result<bool> {
    let (address, mut was_known) = (absolute(url), false);
    change(environment, |known| {
        let before = known.len();
        known.retain(|one| *one != address && one != url);
        was_known = known.len() < before;
    })
    .map_err(CliError::io("changing the list of known repositories"))?;
    Ok(was_known)
}

/// What the address means from everywhere.
fn absolute(url: &str) -> String {
    if url.contains("://") {
        return url.to_owned();
    }
    let path = fs::canonicalize(url).or_else(|_| std::path::absolute(url));
    path.map_or_else(|_| url.to_owned(), |path| path.to_string_lossy().into_owned())
}

/// One line without control characters, absolute, and without a password in it.
fn is_address(line: &str) -> bool {
    let is_line = !line.is_empty() && line.len() <= ADDRESS_LEN_MAX && !line.contains(char::is_control);
    let is_absolute = Path::new(line).is_absolute() || line.contains("://");
    is_line && is_absolute && !has_password(line) && !line.contains(char::REPLACEMENT_CHARACTER)
}

fn change(environment: &Environment, change: impl FnOnce(&mut Vec<String>)) -> std::io::Result<()> {
    let no_home = || std::io::Error::new(std::io::ErrorKind::NotFound, "there is no home directory");
    let file = state_file(environment).ok_or_else(no_home)?;
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Two at once: the second one reads what the first one wrote.
    let lock = File::open(folder)?;
    lock.lock()?;
    let before = remembered(environment);
    let mut known = before.clone();
    change(&mut known);
    if known == before {
        return Ok(());
    }
    let lines: String = known.iter().rev().flat_map(|address| [address, "\n"]).collect();
    // A temporary file of this crate's is 0600.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(lines.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary.persist(&file)?;
    Ok(())
}

/// The repositories that a command looks into: the one that was named, or all that are known. One that cannot be
/// opened is named and hides no other.
pub(crate) fn open_all(
    global: &Global,
    environment: &Environment,
    face: &Face,
) -> Result<Vec<Arc<Repository>>> {
    open_of(global, None, environment, face)
}

/// The same; where it is about one `tenant` that is configured, without the repositories of all the others: to open a hundred takes
/// its time.
pub(crate) fn open_of(
    global: &Global,
    tenant: Option<&str>,
    environment: &Environment,
    face: &Face,
) -> Result<Vec<Arc<Repository>>> {
    if global.repository.is_some() || global.repository_hot.is_some() {
        return Ok(vec![place::open(global, environment, face)?]);
    }
    let configuration = configured::load_if_any(global)?;
    let all = configuration.iter().flat_map(|configuration| &configuration.tenants);
    let is_configured = tenant.is_some_and(|tenant| all.clone().any(|one| one.name.as_str() == tenant));
    let is_meant = |one: &&Tenant| !is_configured || Some(one.name.as_str()) == tenant;
    let configured: Vec<_> =
        all.clone().filter(is_meant).map(|one| Target::configured(&one.repository)).collect();
    // Those of others are known with passwords of their own, and not with the one that was given.
    let of_others: Vec<_> = all.map(|one| one.repository.url.value.clone()).collect();
    let mut addresses = remembered(environment);
    let local = absolute(&place::local(environment));
    if Path::new(&local).join("config").exists() && !addresses.contains(&local) {
        addresses.insert(0, local);
    }
    addresses.retain(|address| !of_others.contains(address));
    if addresses.is_empty() && configured.is_empty() {
        // Says what is missing.
        return Ok(vec![place::open(global, environment, face)?]);
    }
    let (mut opened, mut failed) = (vec![], vec![]);
    let mut keep = |address: String, tried: Result<_>| match tried {
        Ok(repository) => opened.push(repository),
        Err(error) => failed.push((address, error)),
    };
    for target in configured {
        keep(target.url.clone(), target.at(global).and_then(|target| target.open(environment, face)));
    }
    if !addresses.is_empty() {
        let password = password::current(global, environment, face);
        for address in addresses {
            let tried = password.as_ref().map_err(CliError::again).and_then(|password| {
                place::open_at(&place::source(address.clone(), global)?, password, environment, face)
            });
            keep(address, tried);
        }
    }
    if opened.is_empty() && failed.len() == 1 {
        return Err(failed.remove(0).1);
    }
    for (address, error) in &failed {
        face.warn(&format!("{address} is left out: {}", error.message));
    }
    match opened.is_empty() {
        true => Err(failed.swap_remove(0).1),
        false => Ok(opened),
    }
}

/// The backup whose id begins with `id`, and where it is. Copies of one backup are one: the first place has it.
pub(crate) fn find(
    repositories: &[Arc<Repository>],
    id: &str,
    face: &Face,
) -> Result<(Arc<Repository>, BackupRecord)> {
    choose(repositories, face, id, |records| catalog::choose(records, id))
}

/// The newest backup of a tenant's source that is whole, wherever it is; one whose verification failed only where there is no
/// other. Where several servers of sets have a database that is called so, it is not said which one is meant.
pub(crate) fn find_newest(
    repositories: &[Arc<Repository>],
    tenant: &str,
    source: &str,
    face: &Face,
) -> Result<(Arc<Repository>, BackupRecord)> {
    let is_asked = |record: &BackupRecord| {
        record.tenant.as_str() == tenant && record.source.as_str() == source && !record.incomplete
    };
    let mut members = BTreeSet::new();
    let chosen = choose(repositories, face, "", |records| {
        let found: Vec<_> = records.into_iter().filter(is_asked).collect();
        members = found.iter().filter_map(member_of).map(|member| format!("{tenant}/{member}")).collect();
        let newest = found.into_iter().max_by_key(|record| (record.is_good(), record.created_at));
        newest
            .filter(|_| members.len() < 2)
            .ok_or_else(|| EngineError::NoBackup(format!("{tenant}/{source}")))
    });
    chosen.map_err(|error| match members.len() {
        0 | 1 => error,
        _ => {
            let members: Vec<_> = members.into_iter().collect();
            error.hint(format!(
                "{source} is a database of {}: name one of its backups by its id",
                members.join(" and of ")
            ))
        }
    })
}

/// Of which member of its set a backup is, where that one is several.
fn member_of(record: &BackupRecord) -> Option<SourceName> {
    Some(SetMark::of(record)?.part?.member)
}

fn choose(
    repositories: &[Arc<Repository>],
    face: &Face,
    id: &str,
    choose: impl FnOnce(Vec<BackupRecord>) -> Result<BackupRecord, EngineError>,
) -> Result<(Arc<Repository>, BackupRecord)> {
    let (mut found, mut damage, mut missing) = (vec![], vec![], vec![]);
    for repository in repositories {
        let listing = catalog::list_readable(repository)?;
        damage.extend(listing.damage);
        missing.extend(listing.missing);
        found.extend(listing.records.into_iter().map(|record| (repository, record)));
    }
    let mut different: Vec<BackupRecord> = vec![];
    for (_, record) in &found {
        if !different.iter().any(|known| known.id == record.id) {
            different.push(record.clone());
        }
    }
    let chosen = choose(different).map_err(|error| catalog::explained(error, damage, missing, id))?;
    let mut places = found.into_iter().filter(|(_, record)| record.id == chosen.id);
    let (repository, record) = places.next().ok_or_else(|| EngineError::NoBackup(chosen.id.to_string()))?;
    for (_, copy) in places {
        face.note(&format!(
            "{} is in {} too; this is the one in {}",
            copy.id, copy.location, record.location
        ));
    }
    Ok((Arc::clone(repository), record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_absolute_and_has_no_password() {
        for good in
            ["/srv/backups", "file:///srv", "s3://bucket/prefix", "sftp://user@host/srv", "/with space"]
        {
            assert!(is_address(good), "{good}");
        }
        for bad in ["", "relative", "sftp://user:secret@host/srv", "/line\u{7}", "/srv\u{fffd}"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
