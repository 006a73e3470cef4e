//! Keepers that are asked over the network. **The servers here are fakes**: they answer as the documentation of Infisical,
//! Vault and Kubernetes says; none of the real ones can be had where these tests run.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;
mod infisical;
mod vault;
mod kubernetes;

use std::time::Duration;

use model::secret::Secret;
use secrets::fetch::Secrets;
use secrets::{KeeperError, Patience, SecretError};

/// Waits for a machine that is busy.
fn calm() -> Secrets {
    Secrets::default()
}

/// Waits no longer than a test of what never comes.
fn hasty() -> Secrets {
    Secrets::patient(Patience { answer: Duration::from_secs(1), together: Duration::from_millis(2500) })
}

/// What `secrets` say to `reference` in this environment.
fn get(secrets: &Secrets, reference: &str, environment: &[(&str, &str)]) -> Result<String, SecretError> {
    let variable =
        |name: &str| environment.iter().find(|(set, _)| *set == name).map(|(_, value)| Secret::new(*value));
    secrets.fetch(&reference.parse().unwrap(), &variable).map(|secret| secret.expose().to_owned())
}

fn cause(result: Result<String, SecretError>) -> KeeperError {
    match result {
        Err(SecretError::Keeper { cause, .. }) => *cause,
        other => panic!("no keeper's error: {:?}", other.map(|_| "a secret")),
    }
}
