//! The command line of how to get into a directory on another server.

use std::path::PathBuf;

use clap::Args;

/// They are about `--directory sftp://…` and `ftps://…`; what is said of stores is about stores.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Directory on another server")]
pub(crate) struct FarArguments {
    /// sftp: private key; --sftp-key, the agent and ~/.ssh by default
    #[arg(long, value_name = "FILE", requires = "directory")]
    pub(crate) directory_key: Option<PathBuf>,
    /// sftp: fingerprint of the server's host key; known_hosts by default
    #[arg(long, value_name = "SHA256:…", requires = "directory")]
    pub(crate) directory_host_key: Option<String>,
    /// ftps: file with the password (also: MAINSTAY_FTP_PASSWORD)
    #[arg(long, value_name = "FILE", requires = "directory")]
    pub(crate) directory_password_file: Option<PathBuf>,
    /// ftps: certificates of authorities to believe beside the system's
    #[arg(long, value_name = "FILE", requires = "directory")]
    pub(crate) directory_ca_file: Option<PathBuf>,
    /// ftps: SHA-256 of the server's certificate, which alone is believed then
    #[arg(long, value_name = "sha256:…", requires = "directory")]
    pub(crate) directory_pin: Option<String>,
}
