//! The command line of which PostgreSQL server is meant.

use std::path::PathBuf;

use clap::Args;

/// Where a PostgreSQL server is; the environment (`PG*`) fills in what is missing.
#[derive(Args, Clone, Default)]
pub(crate) struct ServerArgs {
    /// Host or socket directory
    #[arg(long, value_name = "HOST")]
    pub(crate) db_host: Option<String>,
    /// Port
    #[arg(long, value_name = "PORT")]
    pub(crate) db_port: Option<u16>,
    /// User
    #[arg(long, value_name = "USER")]
    pub(crate) db_user: Option<String>,
    /// File with the user's password
    #[arg(long, value_name = "FILE")]
    pub(crate) db_password_file: Option<PathBuf>,
    /// Directory of the PostgreSQL client programs to use
    #[arg(long, value_name = "DIR", env = "MAINSTAY_PG_BIN_DIR")]
    pub(crate) pg_bin_dir: Option<PathBuf>,
}
