//! Azure Blob by Azurite, Microsoft's emulator.

use std::process::Command;

use crate::program::Program;
use crate::service::{Service, answers, free_port, made};

/// The account that Azurite is made with.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its published key: no secret.
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running Azurite.
pub struct Azurite {
    service: Service,
}

impl Azurite {
    /// Start it, in memory.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let port = free_port();
        let mut command = Command::new(made("azurite"));
        command.args([
            "--silent",
            "--skipApiVersionCheck",
            "--inMemoryPersistence",
            "--blobHost",
            "127.0.0.1",
        ]);
        command.args(["--blobPort", &port.to_string()]).current_dir(directory.path());
        Self { service: Service::start(command, directory, port, || answers(port)) }
    }

    /// Make a container. Our stores make none, so rclone does it, which speaks Azure too.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn make_container(&self, container: &str) {
        let rclone = Program::new(made("rclone"))
            .with("HOME", self.service.path())
            .with("RCLONE_AZUREBLOB_ACCOUNT", ACCOUNT)
            .with("RCLONE_AZUREBLOB_KEY", ACCOUNT_KEY)
            .with("RCLONE_AZUREBLOB_ENDPOINT", self.endpoint());
        rclone.run(&["mkdir", &format!(":azureblob:{container}")]).ok();
    }

    /// Where the account answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.service.port())
    }

    /// The address of a place in it, as `-r` takes it.
    pub fn url(&self, container: &str, prefix: &str) -> String {
        format!("az://{container}/{prefix}?account={ACCOUNT}&endpoint={}", self.endpoint())
    }
}
