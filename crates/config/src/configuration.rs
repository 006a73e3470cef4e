//! What holds for each tenant and source, every value with the place where it was said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use model::name::{SourceName, TenantName};
use model::reference::SecretReference;
use model::retention::Policy;

use crate::error::ConfigError;
pub use crate::export::{Export, ExportRetention};
pub use crate::hooks::{Hook, Hooks};
use crate::origin::{Given, Origin};
use crate::schedule::Schedule;

/// All that is configured.
#[derive(Clone, Debug, Default)]
pub struct Configuration {
    /// In the order of their names.
    pub tenants: Vec<Tenant>,
    /// Tenants that are backed up at one time, where it is said.
    pub tenants_max: Option<Given<usize>>,
    /// What `[repository]` says, for commands that name no tenant.
    pub common: RepositoryDefaults,
    /// What no source may fall short of.
    pub minimum: Minimum,
    /// What the observer looks at, beside the sources.
    pub watch: Watch,
    /// Who can be told of alarms.
    pub receivers: Vec<Receiver>,
    /// What is no mistake and should not stay so.
    pub warnings: Vec<ConfigError>,
}

/// What no source may fall short of without saying why.
#[derive(Clone, Debug, Default)]
pub struct Minimum {
    /// How often it runs at least.
    pub every: Option<Given<SignedDuration>>,
    /// For how long its backups are kept at least.
    pub retention: Option<Given<SignedDuration>>,
}

/// An owner of backups.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: TenantName,
    /// Where its backups go.
    pub repository: Repository,
    /// Bytes a second to send and to fetch, as written.
    pub upload: Option<Given<String>>,
    /// The same for fetching.
    pub download: Option<Given<String>>,
    /// Stored bytes from which on no backup begins, as written.
    pub stored_max: Option<Given<String>>,
    /// In the order of their names.
    pub sources: Vec<Source>,
    /// In the order of their names.
    pub sets: Vec<SourceSet>,
}

impl Tenant {
    /// The set that a source belongs to, if any.
    pub fn set_of(&self, source: &SourceName) -> Option<&SourceSet> {
        self.sets.iter().find(|set| set.members.contains(source))
    }
}

/// Sources that are backed up and restored together.
#[derive(Clone, Debug)]
pub struct SourceSet {
    /// Its name; no source of the tenant has the same.
    pub name: SourceName,
    /// In the order in which they are backed up.
    pub members: Vec<SourceName>,
    /// Where they are named.
    pub origin: Origin,
    /// How old its newest complete run may be.
    pub max_age: Option<Given<SignedDuration>>,
    /// Around a run of all of them.
    pub hooks: Hooks,
    /// Around a restore of all of them.
    pub restore_hooks: Hooks,
}

/// What is backed up.
#[derive(Clone, Debug)]
pub enum What {
    /// One database by name or address.
    Database(String),
    /// Every database of a server.
    Databases(String),
    /// A cluster with its WAL.
    Cluster(String),
    /// A directory by path or address.
    Directory(String),
}

/// What is promised of a cluster's WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalPromise {
    /// How long ago the newest of it may have been archived.
    pub max_lag: Option<SignedDuration>,
}

/// A source with everything that holds for it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name.
    pub name: SourceName,
    /// What it is.
    pub what: Given<What>,
    /// What is left out of it.
    pub exclude: Given<Vec<String>>,
    /// The server's password.
    pub password: Option<Given<SecretReference>>,
    /// When it runs.
    pub schedule: Given<Schedule>,
    /// Whose clocks.
    pub time_zone: Given<TimeZone>,
    /// By how much it may begin later.
    pub jitter: Given<SignedDuration>,
    /// How old its newest good backup may be.
    pub max_age: Option<Given<SignedDuration>>,
    /// That its WAL is archived in the same repository; of clusters alone.
    pub wal: Option<Given<WalPromise>>,
    /// How old the newest moment may be that it can come back to; of clusters alone.
    pub rpo: Option<Given<SignedDuration>>,
    /// What is kept of it; none keeps everything.
    pub retention: Option<Given<Policy>>,
    /// Why it may fall short of the minimum.
    pub below_minimum: Option<Given<String>>,
    /// Further repositories.
    pub copies: Given<Vec<Repository>>,
    /// Plain dumps beside the repository.
    pub export: Option<Given<Export>>,
    /// Commands around each run.
    pub hooks: Option<Given<Hooks>>,
    /// Commands around each restore.
    pub restore_hooks: Option<Given<Hooks>>,
    /// How to get into a directory of another server.
    pub far: Far,
    /// With on-change: how long nothing must have changed.
    pub settle: Given<SignedDuration>,
    /// Runs at once on its host.
    pub per_host: Option<Given<usize>>,
    /// Leave owners out.
    pub no_owner: Given<bool>,
    /// Leave rights out.
    pub no_acl: Given<bool>,
    /// How long to wait for a locked table.
    pub lock_wait_timeout: Option<Given<SignedDuration>>,
    /// KiB of a cluster a second at most.
    pub rate_kib_max: Option<Given<u32>>,
    /// A cluster's next checkpoint is waited for.
    pub spread_checkpoint: Given<bool>,
    /// Level of compression.
    pub compression: Option<Given<i32>>,
    /// Who is told.
    pub notify: Given<Vec<String>>,
    /// When a restore would be tried; not carried out yet.
    pub drill: Option<Given<String>>,
    /// How long a restore may take; not looked at yet.
    pub rto: Option<Given<SignedDuration>>,
}

impl Source {
    /// How far back its backups reach at least under a policy; of a cluster also its WAL.
    pub fn reach(&self, policy: &Policy) -> SignedDuration {
        let interval = self.schedule.value.cron().map_or(SignedDuration::ZERO, |cron| cron.gaps().0);
        // Of a cluster each moment of its window comes back, whatever backups there are.
        let is_cluster = matches!(self.what.value, What::Cluster(_));
        let window = policy.keep_wal_within.filter(|_| is_cluster).unwrap_or_default();
        policy.reach(interval).max(window)
    }
}

/// How to get into a directory of another server.
#[derive(Clone, Debug, Default)]
pub struct Far {
    /// The private key.
    pub key: Option<Given<PathBuf>>,
    /// The fingerprint of the server's host key.
    pub host_key: Option<Given<String>>,
    /// Authorities to believe.
    pub ca_file: Option<Given<PathBuf>>,
    /// The SHA-256 of the server's certificate.
    pub pin: Option<Given<String>>,
}

/// What is said about all repositories together.
#[derive(Clone, Debug, Default)]
pub struct RepositoryDefaults {
    /// Where they are.
    pub url: Option<Given<String>>,
    /// Their hot parts.
    pub hot: Option<Given<String>>,
    /// What opens them; `{tenant}` is not yet replaced.
    pub password: Option<Given<String>>,
    /// What stores ask for.
    pub credentials: BTreeMap<String, Given<SecretReference>>,
}

/// One repository.
#[derive(Clone, Debug)]
pub struct Repository {
    /// Where it is.
    pub url: Given<String>,
    /// Its hot part, where its packs are cold.
    pub hot: Option<Given<String>>,
    /// What opens it; none leaves it to the environment.
    pub password: Option<Given<SecretReference>>,
    /// What its store asks for.
    pub credentials: BTreeMap<String, Given<SecretReference>>,
}

/// The observer.
#[derive(Clone, Debug)]
pub struct Watch {
    /// How often it looks.
    pub every: SignedDuration,
    /// After how long a lasting alarm is told again.
    pub remind: SignedDuration,
    /// By how many per cent a backup may be smaller than those before it.
    pub shrunk_percent: u8,
    /// How long what was deleted may wait for prune.
    pub prune: Option<SignedDuration>,
    /// How old the newest verification of a source may be.
    pub verify: Option<SignedDuration>,
    /// What is fetched after each look.
    pub heartbeat: Option<Address>,
    /// Who is told where a source does not say otherwise.
    pub notify: Vec<String>,
    /// What others make.
    pub foreign: Vec<Foreign>,
    /// Where each key was said; the others are built in.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            every: SignedDuration::from_mins(15),
            remind: SignedDuration::from_hours(24),
            shrunk_percent: 50,
            prune: None,
            verify: None,
            heartbeat: None,
            notify: vec![],
            foreign: vec![],
            origins: BTreeMap::new(),
        }
    }
}

/// Backups that somebody else makes.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// What they are called here.
    pub name: String,
    /// Where they are.
    pub place: ForeignPlace,
    /// How old the newest may be.
    pub max_age: SignedDuration,
    /// Who is told.
    pub notify: Vec<String>,
    /// Where it was said.
    pub origin: Origin,
}

/// Where others' backups are.
#[derive(Clone, Debug)]
pub enum ForeignPlace {
    /// Files whose paths fit this pattern.
    Files(String),
    /// A stanza of pgBackRest.
    PgBackRest(String),
}

/// An address on the web, or where it comes from.
#[derive(Clone, Debug)]
pub enum Address {
    /// As it is.
    Plain(String),
    /// It is a secret.
    Secret(SecretReference),
}

/// Somebody who is told of alarms.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// As sources name them.
    pub name: String,
    /// By e-mail.
    pub email: Option<Email>,
    /// By a POST.
    pub webhook: Option<Webhook>,
    /// Where it was said.
    pub origin: Origin,
}

/// How an e-mail is sent.
#[derive(Clone, Debug)]
pub struct Email {
    /// To whom.
    pub to: Vec<String>,
    /// From whom.
    pub from: String,
    /// `smtps://user@host:465` or `smtp://user@host:587`.
    pub server: String,
    /// The user's password.
    pub password: Option<SecretReference>,
    /// The authority that vouches for the server.
    pub ca: Option<PathBuf>,
}

/// How a POST is sent.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: Address,
    /// The authority that vouches for the server.
    pub ca: Option<PathBuf>,
}
