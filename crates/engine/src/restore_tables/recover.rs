//! The cluster, or as much of it as is needed, recovered for a moment in the private place.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::backup::BackupRecord;
use pg::connection::Session;
use pg::control_file::{CONTROL_FILE, ControlFile};
use pg::recovery::AUTO_CONF;
use pg::server::Server;
use pg::shared_catalog::{FILENODE_MAP, FIRST_ROLE, ROLES, file_of, rows};
use pg::throwaway::{RestoredServer, ThrowawayError, WalRequests, give_away};
use repo::index::Index;
use repo::{RepoError, Repository};

use super::feed::{Feed, Guard};
use super::order::TablesOrder;
use super::workplace::Workplace;
use crate::error::{EngineError, Result};
use crate::restore_cluster::{self, ClusterPlan};

/// How often the server is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Everything that is needed to recover.
pub(super) struct Recovering<'a> {
    pub(super) repository: &'a Arc<Repository>,
    pub(super) index: &'a Index,
    pub(super) record: &'a BackupRecord,
    pub(super) order: &'a TablesOrder<'a>,
    pub(super) workplace: &'a Workplace,
}

/// A server that has recovered, and can be asked.
pub(super) struct Recovered<'a> {
    pub(super) server: Server,
    pub(super) session: Session,
    process: RestoredServer,
    plan: ClusterPlan,
    order: &'a TablesOrder<'a>,
}

impl<'a> Recovering<'a> {
    /// Restore the files, and let a server recover them.
    pub(super) fn recover(&self, is_partial: bool) -> Result<Recovered<'a>> {
        let Self { order, workplace, .. } = self;
        let plan = self.restore_files(is_partial)?;
        let data = workplace.data();
        let roles = first_roles(&data);
        let control = fs::read(data.join(CONTROL_FILE)).map_err(EngineError::io("reading pg_control"))?;
        let control =
            ControlFile::parse(&control).map_err(|error| RepoError::damaged(CONTROL_FILE, error))?;
        let process = self.start_and_feed(&data, &control, &plan)?;
        let mut refused = None;
        for role in roles {
            let session = Session::open(process.connection(&role)?)?;
            match Server::open(&order.programs, &session) {
                Ok(server) => {
                    return Ok(Recovered { server, session, process, plan, order: self.order });
                }
                Err(error) => _ = refused.get_or_insert(error),
            }
        }
        let nobody =
            || EngineError::Unsuitable("nobody is known who may ask the recovered cluster".to_owned());
        Err(refused.map_or_else(nobody, EngineError::from))
    }

    /// The files, with none but our own settings, and no way out of the private place.
    fn restore_files(&self, is_partial: bool) -> Result<ClusterPlan> {
        let Self { repository, index, record, order, workplace } = self;
        let wanted = order.cluster(workplace.path(), is_partial);
        let prepared = restore_cluster::prepare(repository, index, record, &wanted)?;
        prepared.verify_places(&wanted)?;
        restore_cluster::restore(repository, index, &prepared, &wanted)?;
        let data = workplace.data();
        let looking = || EngineError::io(format!("looking into {}", workplace.path().display()));
        cut_links(&data).map_err(looking())?;
        let spaces = workplace.spaces();
        if let Some(link) = way_out(&data, &spaces).map_err(looking())? {
            return Err(EngineError::Refused(format!(
                "{} is a link in the backup, and a throw-away server would write where it leads",
                link.display()
            )));
        }
        let recovery = order.recovery(&workplace.run(), is_partial).to_last_record(prepared.plan.last_record);
        let conf = recovery.auto_conf(b"");
        let conf = conf.map_err(|error| EngineError::Unsuitable(error.to_string()))?;
        fs::write(data.join(AUTO_CONF), conf).map_err(EngineError::io(format!("writing {AUTO_CONF}")))?;
        if spaces.exists() {
            give_away(&spaces).map_err(EngineError::io(format!("giving {} away", spaces.display())))?;
        }
        Ok(prepared.plan)
    }

    /// A server that is ready; until it is, it is given its WAL.
    fn start_and_feed(
        &self,
        data: &Path,
        control: &ControlFile,
        plan: &ClusterPlan,
    ) -> Result<RestoredServer> {
        let Self { repository, order, workplace, .. } = self;
        let run = workplace.run();
        order.progress.begin("replaying WAL", order.wal_segments * plan.segment_size.bytes());
        let requests = WalRequests::open(&run).map_err(EngineError::io("making the server's pipes"))?;
        let feed = Feed {
            repository,
            system_id: plan.system,
            size: plan.segment_size,
            data,
            guard: Guard::new(&order.target, plan.stop),
            progress: &order.progress,
            cancel: &order.cancel,
        };
        let bin_dir = order.programs.bin_dir();
        let mut server = RestoredServer::start(bin_dir, data, &run, control, plan.major)?;
        let is_over = AtomicBool::new(false);
        let (ready, fed) = std::thread::scope(|scope| {
            let serving = scope.spawn(|| feed.serve(requests, &is_over));
            let ready = self.wait(&mut server, data, || serving.is_finished());
            is_over.store(true, Ordering::SeqCst);
            let stopped = || Err(EngineError::Unsuitable("the thread that feeds WAL stopped".to_owned()));
            (ready, serving.join().unwrap_or_else(|_| stopped()))
        });
        // Why there was no WAL is the reason; that the server ended for want of it is its consequence.
        fed?;
        ready?;
        Ok(server)
    }

    fn wait(&self, server: &mut RestoredServer, data: &Path, has_stopped: impl Fn() -> bool) -> Result<()> {
        loop {
            self.order.cancel.check()?;
            match server.is_ready(data) {
                Ok(true) => return Ok(()),
                Ok(false) if has_stopped() => {
                    return Err(EngineError::Unsuitable(
                        "the server waits for WAL that nobody gives".to_owned(),
                    ));
                }
                Ok(false) => std::thread::sleep(POLL),
                Err(error) => return Err(self.explained(error)),
            }
        }
    }

    /// What a server says that did not come to its target.
    fn explained(&self, error: ThrowawayError) -> EngineError {
        const NOT_REACHED: &str = "recovery ended before configured recovery target was reached";
        match error {
            ThrowawayError::Ended { words, .. } if words.contains(NOT_REACHED) => {
                let target = &self.order.target;
                EngineError::Refused(format!("the archived WAL ends before the target, {target}"))
            }
            error => error.into(),
        }
    }
}

impl Recovered<'_> {
    /// Whether all that is asked for is there: not where the database was made of one that is zeros, or where recovery found
    /// pages of others' than those missing.
    ///
    /// # Errors
    /// [`EngineError::NoSuch`] where the database was not there at that moment.
    pub(super) fn is_sound(&self) -> Result<bool> {
        let databases = self.server.numbered_databases()?;
        let wanted = databases.iter().find(|database| database.name == self.order.database);
        let Some(wanted) = wanted else {
            let names: Vec<_> = databases.iter().map(|database| database.name.as_str()).collect();
            return Err(EngineError::NoSuch {
                what: format!("database {:?} at that moment", self.order.database),
                near: crate::near::nearest(&self.order.database, &names),
            });
        };
        let is_whole = self.plan.left_out.is_empty();
        let zeros: HashSet<u32> = self.plan.left_out_numbers.iter().copied().collect();
        Ok(is_whole || (self.plan.chosen.contains(&wanted.oid) && !misses_pages(&self.process.log(), &zeros)))
    }
}

/// Whether the log of a server tells of pages that are not what the WAL says, in files that are not zeros.
fn misses_pages(log: &str, zeros: &HashSet<u32>) -> bool {
    let is_missing = |line: &&str| line.contains(" is uninitialized") || line.contains(" does not exist");
    let relation = |line: &str| {
        let path = line.split_once(" of relation ")?.1.split(' ').next()?.to_owned();
        Some(path)
    };
    let is_zeros = |path: &str| {
        let mut parts = path.split('/');
        let number = match parts.next() {
            Some("base") => parts.next(),
            Some("pg_tblspc") => parts.nth(2),
            _ => None,
        };
        number.and_then(|number| number.parse().ok()).is_some_and(|number| zeros.contains(&number))
    };
    let pages = log.lines().filter(|line| line.contains("page ")).filter(is_missing).filter_map(relation);
    pages.into_iter().any(|path| !is_zeros(&path))
}

/// The names that the role which `initdb` made may have.
fn first_roles(data: &Path) -> Vec<String> {
    let read = |name: &str| fs::read(data.join(name)).unwrap_or_default();
    let file = file_of(&read(FILENODE_MAP), ROLES).map(|number| read(&format!("global/{number}")));
    let mut found = rows(&file.unwrap_or_default());
    found.retain(|row| row.oid == FIRST_ROLE);
    found.sort_by_key(|row| !row.is_newest);
    let mut names: Vec<_> = found.into_iter().map(|row| row.name).collect();
    names.push("postgres".to_owned());
    names.dedup();
    names
}

/// Links in a data directory lead to what belongs to the original, like a directory for statistics. Those of tablespaces are
/// made by the restore, and lead to its places.
fn cut_links(data: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
            if entry.file_name().as_encoded_bytes().starts_with(b"pg_") {
                fs::create_dir(entry.path())?;
            }
        }
    }
    Ok(())
}

/// A link that is left below the data directory or its tablespaces, beside those to the tablespaces.
fn way_out(data: &Path, spaces: &Path) -> std::io::Result<Option<PathBuf>> {
    let spaces = std::path::absolute(spaces)?;
    let links = data.join("pg_tblspc");
    let is_ours = |link: &Path| {
        let place = link.file_name().map(|number| spaces.join(number));
        link.parent() == Some(&*links) && fs::read_link(link).ok() == place
    };
    match other_link(data, &is_ours)? {
        None if spaces.exists() => other_link(&spaces, &is_ours),
        found => Ok(found),
    }
}

/// The first link below a directory that is not one of ours.
fn other_link(below: &Path, is_ours: &dyn Fn(&Path) -> bool) -> std::io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(below)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_symlink() && !is_ours(&path) {
            return Ok(Some(path));
        }
        if kind.is_dir()
            && let Some(found) = other_link(&path, is_ours)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_the_private_place() {
        let place = tempfile::tempdir().unwrap();
        let (data, spaces) = (place.path().join("data"), place.path().join("spaces"));
        fs::create_dir_all(data.join("pg_tblspc")).unwrap();
        fs::create_dir_all(data.join("base/5")).unwrap();
        assert_eq!(way_out(&data, &spaces).unwrap(), None);
        fs::create_dir_all(spaces.join("16385/PG_15/5")).unwrap();
        symlink(spaces.join("16385"), data.join("pg_tblspc/16385")).unwrap();
        assert_eq!(way_out(&data, &spaces).unwrap(), None);
        for (link, to) in [
            (data.join("base/5/1259"), PathBuf::from("/etc/passwd")),
            (data.join("pg_tblspc/16386"), PathBuf::from("/srv")),
            (data.join("pg_tblspc/16387"), spaces.join("..")),
            (spaces.join("16385/PG_15/5/1"), spaces.join("16385")),
        ] {
            symlink(to, &link).unwrap();
            assert_eq!(way_out(&data, &spaces).unwrap().as_ref(), Some(&link));
            fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn missing_pages_of_databases_that_are_zeros_are_no_loss_and_all_others_are() {
        let zeros = HashSet::from([16_390]);
        let line = |path: &str| format!("2026 [7] WARNING:  page 4 of relation {path} is uninitialized\n");
        let log = |paths: &[&str]| paths.iter().map(|path| line(path)).collect::<String>();
        assert!(!misses_pages("LOG:  redo starts at 0/2000028\n", &zeros));
        assert!(!misses_pages(
            &log(&["base/16390/1259", "pg_tblspc/16385/PG_15_202209061/16390/16500_vm"]),
            &zeros
        ));
        for path in ["base/16384/1259", "global/1262", "pg_tblspc/16390/PG_15_202209061/16384/7"] {
            assert!(misses_pages(&log(&["base/16390/1259", path]), &zeros), "{path}");
        }
        let gone = "WARNING:  page 7 of relation base/16384/16500 does not exist\n";
        assert!(misses_pages(gone, &zeros));
    }
}
