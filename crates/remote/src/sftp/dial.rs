//! From flags and environment to a connection: who logs in with what, and whom to believe.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use model::secret::Secret;

use super::address::Address;
use super::link::Dial;
use super::login::Login;
use super::trust::Trust;
use crate::settings::Settings;

impl Dial {
    /// Who logs in.
    pub(crate) fn user(&self) -> &str {
        &self.login.user
    }

    /// As they say.
    ///
    /// # Errors
    /// Where nobody says who logs in, or a file with host keys cannot be read.
    pub(crate) fn told(address: Address, settings: &Settings) -> io::Result<Self> {
        let told =
            |option: &str, variable: &str| settings.chosen(option).or_else(|| settings.variable(variable));
        let home = settings.variable("HOME").map(PathBuf::from);
        let name = || settings.variable("USER").or_else(|| settings.variable("LOGNAME")).map(str::to_owned);
        let user = address.user.clone().or_else(name);
        let user =
            user.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "no user: write sftp://USER@host/…"))?;
        let login = Login {
            user,
            agent: settings.variable("SSH_AUTH_SOCK").map(PathBuf::from),
            key_file: told("sftp-key", "MAINSTAY_SFTP_KEY").map(PathBuf::from),
            passphrase: settings.variable("MAINSTAY_SFTP_KEY_PASSPHRASE").map(Secret::new),
            home: home.clone(),
        };
        let mut trust = Trust::default();
        if let Some(pins) = told("sftp-host-key", "MAINSTAY_SFTP_HOST_KEY") {
            trust = trust.pinned(pins);
        }
        let own = home.map(|home| home.join(".ssh/known_hosts"));
        let files = match settings.variable("MAINSTAY_SFTP_KNOWN_HOSTS") {
            Some(file) => vec![PathBuf::from(file)],
            None => own.into_iter().chain([PathBuf::from("/etc/ssh/ssh_known_hosts")]).collect(),
        };
        for file in files {
            match std::fs::read(&file) {
                Ok(text) => trust = trust.known(&file.display().to_string(), &String::from_utf8_lossy(&text)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())));
                }
            }
        }
        Ok(Self { address, login, trust })
    }
}
