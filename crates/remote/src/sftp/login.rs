//! Proving to the server who we are: with a key from the agent or from a file. Passwords are not sent.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::secret::Secret;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, decode_secret_key};

/// Files in `~/.ssh` that are tried, as ssh does.
const KEY_FILES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// Who logs in, and with what.
#[derive(Clone, Default)]
pub(crate) struct Login {
    /// The name on the server.
    pub user: String,
    /// The socket of the agent.
    pub agent: Option<PathBuf>,
    /// The one key file to use; then neither the agent nor another file is asked.
    pub key_file: Option<PathBuf>,
    /// The home directory, for the usual key files.
    pub home: Option<PathBuf>,
    /// What opens an encrypted key file.
    pub passphrase: Option<Secret>,
}

impl Login {
    /// Log in.
    ///
    /// # Errors
    /// `PermissionDenied` with what was tried; other kinds where the connection breaks.
    pub(super) async fn log_in<H: Handler>(&self, ssh: &mut Handle<H>) -> io::Result<()> {
        let mut tried = vec![];
        if let Some(file) = &self.key_file {
            if self.with_file(ssh, file, &mut tried).await? {
                return Ok(());
            }
        } else {
            if self.with_agent(ssh, &mut tried).await? {
                return Ok(());
            }
            let folder = self.home.as_ref().map(|home| home.join(".ssh"));
            for file in folder.iter().flat_map(|folder| KEY_FILES.map(|name| folder.join(name))) {
                if file.exists() && self.with_file(ssh, &file, &mut tried).await? {
                    return Ok(());
                }
            }
        }
        let tried = if tried.is_empty() { "no key was found".to_owned() } else { tried.join("; ") };
        Err(io::Error::new(ErrorKind::PermissionDenied, format!("nobody lets {} in: {tried}", self.user)))
    }

    async fn with_agent<H: Handler>(&self, ssh: &mut Handle<H>, tried: &mut Vec<String>) -> io::Result<bool> {
        let Some(socket) = &self.agent else { return Ok(false) };
        let keys = async {
            let mut agent = AgentClient::connect_uds(socket).await?;
            let keys = agent.request_identities().await?;
            Ok::<_, russh::keys::Error>((agent, keys))
        };
        let (mut agent, keys) = match keys.await {
            Ok(both) => both,
            Err(error) => {
                tried.push(format!("the agent does not answer: {error}"));
                return Ok(false);
            }
        };
        for identity in keys {
            let AgentIdentity::PublicKey { key, comment } = identity else { continue };
            let hash = rsa_hash(ssh, &key).await?;
            match ssh.authenticate_publickey_with(&self.user, key, hash, &mut agent).await {
                Ok(AuthResult::Success) => return Ok(true),
                Ok(AuthResult::Failure { remaining_methods, .. }) if remaining_methods.is_empty() => {
                    return Err(broken_off());
                }
                Ok(AuthResult::Failure { .. }) => tried.push(format!("{comment} from the agent is refused")),
                Err(error) => tried.push(format!("{comment} from the agent: {error}")),
            }
        }
        Ok(false)
    }

    async fn with_file<H: Handler>(
        &self,
        ssh: &mut Handle<H>,
        file: &Path,
        tried: &mut Vec<String>,
    ) -> io::Result<bool> {
        let name = file.display();
        let text = std::fs::read_to_string(file).map(Secret::new);
        let key = text.map_err(|error| error.to_string()).and_then(|text| {
            decode_secret_key(text.expose(), self.passphrase.as_ref().map(Secret::expose))
                .map_err(|error| error.to_string())
        });
        let key = match key {
            Ok(key) => Arc::new(key),
            Err(error) => {
                tried.push(format!("{name}: {error}"));
                return Ok(false);
            }
        };
        let hash = rsa_hash(ssh, key.public_key()).await?;
        let key = PrivateKeyWithHashAlg::new(key, hash);
        match ssh.authenticate_publickey(&self.user, key).await.map_err(io::Error::other)? {
            AuthResult::Success => Ok(true),
            AuthResult::Failure { remaining_methods, .. } if remaining_methods.is_empty() => {
                Err(broken_off())
            }
            AuthResult::Failure { .. } => {
                tried.push(format!("{name} is refused"));
                Ok(false)
            }
        }
    }
}

/// russh tells a connection that ended during the login as a refusal that leaves no method; a server that refuses
/// always names what it would take. Only the second is final.
fn broken_off() -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, "the connection ended during the login")
}

/// The hash for signatures of an RSA key that the server takes; never SHA-1.
async fn rsa_hash<H: Handler>(ssh: &Handle<H>, key: &PublicKey) -> io::Result<Option<HashAlg>> {
    if !key.algorithm().is_rsa() {
        return Ok(None);
    }
    let asked = ssh.best_supported_rsa_hash().await.map_err(io::Error::other)?;
    Ok(Some(asked.flatten().unwrap_or(HashAlg::Sha256)))
}
