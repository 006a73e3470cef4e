//! What can be said of a source, in its own table or as a default.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::export::ExportTable;
use crate::hooks::HooksTable;
use crate::keep::{Keep, Span};
use crate::repository::Place;
use crate::written::Written;

/// A source, or what holds for every source that does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// One database, dumped: its name or postgresql:// address
    pub(crate) database: Option<Written<String>>,
    /// Every database of a server, dumped; new ones join by themselves
    pub(crate) databases: Option<Written<String>>,
    /// A whole cluster with WAL
    pub(crate) cluster: Option<Written<String>>,
    /// A directory: a path, sftp:// or ftps://
    pub(crate) directory: Option<Written<String>>,
    /// What to leave out: names of databases with `*`, or paths in the way of .gitignore
    pub(crate) exclude: Option<Written<Vec<String>>>,
    /// Where the password of the server comes from
    pub(crate) password: Option<Written<String>>,
    /// Five fields of cron, @daily and the like, on-change, or manual
    pub(crate) schedule: Option<Written<String>>,
    /// Whose clocks schedules and retention follow, such as Europe/Berlin; UTC by default
    pub(crate) time_zone: Option<Written<String>>,
    /// Begin up to so much later, each source always by the same time
    pub(crate) jitter: Option<Written<Span>>,
    /// The observer alarms when the newest good backup is older
    pub(crate) max_age: Option<Written<Span>>,
    /// What to keep; everything by default
    pub(crate) retention: Option<Written<Keep>>,
    /// Why this source may run less often, or be kept for less time, than [minimum] says
    pub(crate) below_minimum: Option<Written<String>>,
    /// Further repositories that get a copy of each backup
    pub(crate) copies: Option<Written<Vec<Place>>>,
    /// Plain dumps beside the repository, one after each good backup of a database
    pub(crate) export: Option<Written<ExportTable>>,
    /// Commands around each run
    pub(crate) hooks: Option<Written<HooksTable>>,
    /// Commands around each restore
    pub(crate) restore_hooks: Option<Written<HooksTable>>,
    /// sftp: file with the private key; the agent and ~/.ssh by default
    pub(crate) directory_key: Option<Written<PathBuf>>,
    /// sftp: fingerprint of the server's host key, SHA256:…; known_hosts by default
    pub(crate) directory_host_key: Option<Written<String>>,
    /// ftps: certificates of authorities to believe beside the system's
    pub(crate) directory_ca_file: Option<Written<PathBuf>>,
    /// ftps: SHA-256 of the server's certificate, which alone is believed then
    pub(crate) directory_pin: Option<Written<String>>,
    /// With on-change: how long nothing must have changed before it runs; 10s by default
    pub(crate) settle: Option<Written<Span>>,
    /// Runs at once on one database host
    pub(crate) per_host: Option<Written<usize>>,
    /// Leave owners out of dumps
    pub(crate) no_owner: Option<Written<bool>>,
    /// Leave rights out of dumps
    pub(crate) no_acl: Option<Written<bool>>,
    /// Give up where a table is locked for longer
    pub(crate) lock_wait_timeout: Option<Written<Span>>,
    /// Of a cluster: read KiB a second at most, so that its server feels less of it
    pub(crate) rate_kib_max: Option<Written<u32>>,
    /// Of a cluster: wait for its next checkpoint in place of asking for one at once
    pub(crate) spread_checkpoint: Option<Written<bool>>,
    /// Level of compression
    pub(crate) compression: Option<Written<i32>>,
    /// Who is told
    pub(crate) notify: Option<Written<Vec<String>>>,
    /// Restores that are tried regularly
    pub(crate) drill: Option<Written<Drill>>,
    /// WAL of a cluster, which is archived into the same repository
    pub(crate) wal: Option<Written<Wal>>,
    /// How much data of a cluster may be lost at most: the observer alarms when the newest moment that it can come back to is older
    pub(crate) rpo: Option<Written<Span>>,
    /// How long a restore may take at most
    pub(crate) rto: Option<Written<Span>>,
}

/// A restore that is tried regularly.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drill {
    /// When
    pub(crate) schedule: String,
    /// Queries that must answer true
    #[serde(default)]
    #[expect(dead_code, reason = "drills read it; until they are built its form is checked alone")]
    pub(crate) checks: Vec<String>,
}

/// WAL of a cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wal {
    /// The observer alarms when the newest archived WAL is older
    pub(crate) max_lag: Option<Span>,
}

/// A tenant.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantTable {
    /// Its repository, where it is not a prefix below the common one
    #[serde(default)]
    pub(crate) repository: crate::repository::RepositoryTable,
    /// For every source of this tenant that does not say otherwise
    #[serde(default)]
    pub(crate) defaults: Section,
    /// What it may use
    #[serde(default)]
    pub(crate) limits: TenantLimits,
    /// What is backed up
    #[serde(default)]
    pub(crate) sources: BTreeMap<String, Written<Section>>,
    /// Sources that belong together
    #[serde(default)]
    pub(crate) sets: BTreeMap<String, Written<SetTable>>,
}

/// Sources that are backed up together, and restored together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetTable {
    /// Sources of this tenant, in the order in which they are backed up
    pub(crate) members: Written<Vec<String>>,
    /// When all of them run
    pub(crate) schedule: Option<Written<String>>,
    /// Whose clocks the schedule follows
    pub(crate) time_zone: Option<Written<String>>,
    /// Begin up to so much later
    pub(crate) jitter: Option<Written<Span>>,
    /// The observer alarms when the newest complete set is older
    pub(crate) max_age: Option<Written<Span>>,
    /// Commands around all of them
    pub(crate) hooks: Option<Written<HooksTable>>,
    /// Commands around a restore of the set
    pub(crate) restore_hooks: Option<Written<HooksTable>>,
}

/// What a tenant may use.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantLimits {
    /// Stored bytes: from there on no backup begins
    pub(crate) stored: Option<Written<String>>,
    /// Bytes a second to send, such as 10M
    pub(crate) upload: Option<Written<String>>,
    /// Bytes a second to fetch
    pub(crate) download: Option<Written<String>>,
}

/// The observer.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WatchTable {
    /// How often it looks; 15m by default
    pub(crate) every: Option<Written<Span>>,
    /// An alarm that lasts is told again after so long; 24h by default
    pub(crate) remind: Option<Written<Span>>,
    /// A backup that is smaller than those before it by so many per cent alarms; 50 by default
    pub(crate) shrunk: Option<Written<u8>>,
    /// What was deleted and is not taken away by prune after so long alarms
    pub(crate) prune: Option<Written<Span>>,
    /// A source none of whose backups was verified for so long alarms
    pub(crate) verify: Option<Written<Span>>,
    /// An address that is fetched after each look, so that somebody alarms when the observer itself is dead
    pub(crate) heartbeat: Option<Written<String>>,
    /// Who is told, where a source does not say otherwise
    pub(crate) notify: Option<Written<Vec<String>>>,
    /// Dumps that others make: files
    #[serde(default)]
    pub(crate) dumps: BTreeMap<String, Written<DumpsTable>>,
    /// Backups that pgBackRest makes
    #[serde(default)]
    pub(crate) pgbackrest: BTreeMap<String, Written<StanzaTable>>,
}

/// Dumps in a directory.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DumpsTable {
    /// Their paths, with *
    pub(crate) path: String,
    /// How old the newest one may be
    pub(crate) max_age: Span,
    /// Who is told
    pub(crate) notify: Option<Written<Vec<String>>>,
}

/// A stanza of pgBackRest.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StanzaTable {
    /// Its name
    pub(crate) stanza: String,
    /// How old the newest backup may be
    pub(crate) max_age: Span,
    /// Who is told
    pub(crate) notify: Option<Written<Vec<String>>>,
}

/// Somebody who is told of alarms.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NotifyTable {
    /// By e-mail
    pub(crate) email: Option<Written<EmailTable>>,
    /// By a POST of JSON
    pub(crate) webhook: Option<Written<WebhookTable>>,
}

/// An e-mail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailTable {
    /// To whom
    pub(crate) to: Vec<String>,
    /// From whom
    pub(crate) from: String,
    /// smtps://user@host:465, or smtp://user@host:587, which must offer STARTTLS
    pub(crate) server: String,
    /// Where the user's password comes from
    pub(crate) password: Option<Written<String>>,
    /// File with the authority that vouches for the server; the system's by default
    pub(crate) ca: Option<PathBuf>,
}

/// A POST.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookTable {
    /// Where to: an address, or a reference to one that is a secret
    pub(crate) url: Written<String>,
    /// File with the authority that vouches for the server; the system's by default
    pub(crate) ca: Option<PathBuf>,
}

/// What nobody may fall short of without saying why.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Minimum {
    /// Each source runs at least once in this time
    pub(crate) every: Option<Written<Span>>,
    /// Backups are kept for at least this time
    pub(crate) retention: Option<Written<Span>>,
}

/// What the machine may be used for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Tenants that are backed up at one time; as many as there are cores by default
    pub(crate) tenants: Option<Written<usize>>,
}
