//! Flags of every command about what lies behind a wire: how fast, how patient, with how much memory and which key.

use std::path::PathBuf;

use clap::Args;
use repo::budget::Budget;
use store::limit::Gate;

use crate::rate::{Rate, gate, memory, rate};

/// They are shown apart from the others.
#[derive(Args, Clone)]
#[command(next_help_heading = "Wire")]
pub(crate) struct WireArguments {
    /// Send at most so much a second: KiB, or with a unit, like 10M
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_upload: Option<Rate>,
    /// Fetch at most so much a second
    #[arg(long, global = true, value_name = "RATE", value_parser = rate)]
    pub(crate) limit_download: Option<Rate>,
    /// Have at most so many requests to stores under way; by default as many as the kind of store is worth
    #[arg(long, global = true, value_name = "N", value_parser = gate)]
    pub(crate) max_requests: Option<Gate>,
    /// Memory for packs on their way and ranges being read, as in 256M, or low; by default 128M and more for more than
    /// two cores, at most half of the cgroup's limit
    #[arg(long, global = true, value_name = "SIZE", value_parser = memory, env = "MAINSTAY_MEMORY")]
    pub(crate) memory: Option<Budget>,
    /// Seconds to go on trying when a store does not answer; 0 gives up at once
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 900, env = "MAINSTAY_RETRY_FOR")]
    pub(crate) retry_for: u64,
    /// Where files of repositories behind a wire are remembered; ~/.cache/mainstay by default
    #[arg(long, global = true, value_name = "DIR", env = "MAINSTAY_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Remember no stored files
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Private key for sftp:// (also: MAINSTAY_SFTP_KEY); the agent and ~/.ssh by default
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) sftp_key: Option<PathBuf>,
    /// Fingerprint of the server's host key (also: MAINSTAY_SFTP_HOST_KEY); known_hosts by default
    #[arg(long, global = true, value_name = "SHA256:…")]
    pub(crate) sftp_host_key: Option<String>,
}

/// Where a backup goes, when not into the repository of the global flags.
#[derive(Args, Clone, Default)]
pub(crate) struct Destination {
    /// local, s3, gcs, or any address that --repository takes; several times: the first that can be opened gets the
    /// backup, the others copies of it and of what they missed
    #[arg(long, value_name = "PLACE")]
    pub(crate) dest: Vec<String>,
    /// File with the password of the place of the --dest in the same position; the usual password for the rest
    #[arg(long, value_name = "FILE")]
    pub(crate) dest_password_file: Vec<PathBuf>,
    /// The hot part of the --dest in the same position, where its packs are cold; `none` where there is none
    #[arg(long, value_name = "URL")]
    pub(crate) dest_hot: Vec<String>,
    /// With --dest s3: the bucket, with or without a prefix and s3://
    #[arg(long, value_name = "BUCKET")]
    pub(crate) s3_bucket: Option<String>,
    /// With --dest gcs: the bucket, as gs://bucket/prefix
    #[arg(long, value_name = "BUCKET")]
    pub(crate) gcs_bucket: Option<String>,
}
