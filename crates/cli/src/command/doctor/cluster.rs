//! What a backup of a whole cluster, and its WAL, need of the server: asked, and never changed.

use std::path::{Path, PathBuf};

use ::store::open::local_path;
use config::configuration::{Configuration, Tenant, What};
use engine::EngineError;
use jiff::SignedDuration;
use model::wal_name::{SegmentNo, SegmentSize, WalName};
use pg::backup_mode::VERSION_MIN;
use pg::cluster_state::ClusterState;
use pg::server::Server;
use pg::version::Version;
use repo::Repository;
use repo::wal_object::StoredWal;

use super::Finding;
use crate::arguments::Global;
use crate::database;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::target::Target;

/// What is said of a cluster itself.
const AREA: &str = "cluster";
/// What is said of its log.
const WAL: &str = "wal";

/// The segment that is written, and one that is on its way.
const ON_THEIR_WAY: u64 = 2;

/// A cluster, and what is expected of it.
pub(super) struct Asked<'a> {
    /// What each finding begins with; nothing of the one server that flags name.
    pub(super) subject: String,
    /// It is configured to be backed up as a whole.
    pub(super) is_meant: bool,
    /// Its WAL is promised to be in the repository.
    pub(super) is_promised: bool,
    /// How far that may be behind.
    pub(super) lag_max: Option<SignedDuration>,
    /// Where its backups go.
    pub(super) repository: Option<&'a Repository>,
    /// Where that is, on this machine.
    pub(super) directory: Option<PathBuf>,
}

/// What a cluster and its repository say.
struct Seen<'a> {
    asked: &'a Asked<'a>,
    version: Version,
    state: ClusterState,
    /// What is archived of it; nothing where there is no repository to ask.
    archived: Option<Vec<StoredWal>>,
}

impl Seen<'_> {
    fn segment_size(&self) -> SegmentSize {
        let bytes = self.state.number("wal_segment_size").and_then(|bytes| bytes.try_into().ok());
        bytes.and_then(SegmentSize::new).unwrap_or(SegmentSize::DEFAULT)
    }

    /// The segment that the server writes.
    fn current(&self) -> SegmentNo {
        self.segment_size().segment_of(self.state.lsn)
    }

    /// Whether the repository has the log nearly to where the server is, whoever brings it.
    fn comes_in(&self) -> bool {
        let size = self.segment_size();
        let numbers = self.archived.iter().flatten().filter_map(|stored| match stored.file.name {
            WalName::Segment(name) if name.timeline == self.state.timeline => name.number(size),
            _ => None,
        });
        numbers.max().is_some_and(|newest| newest.0 + ON_THEIR_WAY >= self.current().0)
    }
}

/// What keeps something from being done that is expected is a problem; else it is worth knowing.
fn wrong(is_expected: bool, area: &'static str, error: CliError, lost: &str) -> Finding {
    match is_expected {
        true => Finding::problem(area, error, lost),
        false => Finding::note(area, error.message, &error.hint.unwrap_or_default()),
    }
}

/// How long ago something was, for people.
fn ago(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

mod role;
mod settings;
mod slots;
mod command_text;
mod archiving;
mod room;

/// Look at every cluster that is configured; of `--of` one tenant's alone.
pub(super) fn look_at_configured(
    global: &Global,
    configuration: &Configuration,
    bin_dir: Option<&Path>,
    environment: &Environment,
    face: &Face,
) -> Vec<Finding> {
    let is_asked = |tenant: &&Tenant| global.of.as_ref().is_none_or(|of| *of == tenant.name.as_str());
    let mut findings = vec![];
    for tenant in configuration.tenants.iter().filter(is_asked) {
        let sources = tenant.sources.iter().filter_map(|source| match &source.what.value {
            What::Cluster(address) => Some((source, address.as_str())),
            _ => None,
        });
        let sources: Vec<_> = sources.collect();
        if sources.is_empty() {
            continue;
        }
        let repository = Target::configured(&tenant.repository).open(environment, face);
        let repository = repository.map_err(|error| {
            let error = error.named(tenant.name.as_str());
            findings.push(Finding::problem("repository", error, "its clusters cannot be backed up"));
        });
        for (source, address) in sources {
            let limits = [
                source.wal.as_ref().and_then(|wal| wal.value.max_lag),
                source.rpo.as_ref().map(|rpo| rpo.value),
            ];
            let asked = Asked {
                subject: format!("{}/{}: ", tenant.name, source.name),
                is_meant: true,
                is_promised: source.wal.is_some(),
                lag_max: limits.into_iter().flatten().min(),
                repository: repository.as_deref().ok(),
                directory: local_path(&tenant.repository.url.value).ok(),
            };
            match database::of_source(source, address, bin_dir, environment, face) {
                Ok(server) => findings.extend(look_at(&asked, &server)),
                Err(error) => {
                    let error = error.named(asked.subject.trim_end_matches(": "));
                    findings.push(Finding::problem(AREA, error, "it cannot be backed up"));
                }
            }
        }
    }
    findings
}

/// Look at a cluster.
pub(super) fn look_at(asked: &Asked<'_>, server: &Server) -> Vec<Finding> {
    let mut findings = looked(asked, server).unwrap_or_else(|error| {
        vec![match asked.is_meant {
            true => Finding::problem(AREA, error, "it cannot be backed up"),
            false => {
                Finding::unknown(AREA, error.message, "as a cluster it cannot be looked at by this role")
            }
        }]
    });
    findings.iter_mut().for_each(|finding| finding.message.insert_str(0, &asked.subject));
    findings
}

fn looked(asked: &Asked<'_>, server: &Server) -> Result<Vec<Finding>> {
    let version = server.version();
    if version < VERSION_MIN {
        let message =
            format!("the server is version {version}; clusters are backed up from {VERSION_MIN} on");
        return Err(CliError::new(Kind::Usage, message).hint("back up its databases: `--all-databases`"));
    }
    let state = ClusterState::ask(server)?;
    let archived = asked.repository.map(|repository| repository.list_wal(state.system_id, None));
    let archived = archived.transpose().map_err(EngineError::from)?;
    let seen = Seen { asked, version, state, archived };
    let parts = [
        role::look(&seen),
        settings::look(&seen),
        slots::look(&seen),
        archiving::look(&seen),
        room::look(&seen),
    ];
    Ok(parts.into_iter().flatten().collect())
}
