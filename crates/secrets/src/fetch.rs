//! From a reference to the secret.

use std::path::{Path, PathBuf};

use model::reference::{Keeper, SecretReference};
use model::secret::Secret;
use zeroize::Zeroizing;

use crate::error::{SecretError, Variable};
use crate::http::Patience;
use crate::token::Tokens;
use crate::{account, command, file, infisical, kubernetes, pgbackrest, sops, vault};

/// Where secrets are fetched, with the tokens that keepers gave: a process that lives long has one for its life.
pub struct Secrets {
    tokens: Tokens,
    patience: Patience,
    account: PathBuf,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            patience: Patience::default(),
            account: PathBuf::from(account::FOLDER),
        }
    }
}

impl Secrets {
    /// One that waits otherwise than usual.
    pub fn patient(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// The same with a service account of Kubernetes, `token` and `ca.crt`, in another folder than the kubelet's.
    #[must_use]
    pub fn with_account(mut self, folder: PathBuf) -> Self {
        self.account = folder;
        self
    }

    /// The secret that `reference` means, as it is now; `variable` looks into the environment.
    ///
    /// # Errors
    /// [`SecretError`], also for an empty one: an empty password would be a guess.
    pub fn fetch(&self, reference: &SecretReference, variable: &Variable<'_>) -> Result<Secret, SecretError> {
        let text = match reference {
            SecretReference::Environment(name) => {
                return variable(name).ok_or_else(|| SecretError::Unset(name.clone()));
            }
            SecretReference::File(path) => first_line(&file::read(path)?),
            SecretReference::Command(command) => first_line(&command::read(command, variable)?),
            SecretReference::Kept { keeper, path, key } => {
                // Whole, as a key of several lines is; what an editor put at its end is not a part of it.
                Secret::new(
                    self.kept(reference, *keeper, path, key, variable)?.trim_end_matches(['\r', '\n']),
                )
            }
        };
        if text.expose().is_empty() { Err(SecretError::Empty(reference.clone())) } else { Ok(text) }
    }

    fn kept(
        &self,
        reference: &SecretReference,
        keeper: Keeper,
        path: &str,
        key: &str,
        variable: &Variable<'_>,
    ) -> Result<Zeroizing<String>, SecretError> {
        let asked = match keeper {
            Keeper::Sops => return sops::read(Path::new(path), key, variable),
            Keeper::PgBackRest => return pgbackrest::read(Path::new(path), key),
            Keeper::Infisical => infisical::read(path, key, variable, &self.tokens, self.patience),
            Keeper::Vault => vault::read(path, key, variable, &self.account, &self.tokens, self.patience),
            Keeper::Kubernetes => kubernetes::read(path, key, variable, &self.account, self.patience),
        };
        asked.map_err(|cause| SecretError::Keeper { place: reference.clone(), cause: Box::new(cause) })
    }
}

/// The secret that `reference` means, for who asks but once.
///
/// # Errors
/// Those of [`Secrets::fetch`].
pub fn fetch(reference: &SecretReference, variable: &Variable<'_>) -> Result<Secret, SecretError> {
    Secrets::default().fetch(reference, variable)
}

fn first_line(text: &str) -> Secret {
    Secret::new(text.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn get(text: &str) -> Result<Secret, SecretError> {
        fetch(&text.parse().unwrap(), &|name| (name == "SET").then(|| Secret::new("from-variable")))
    }

    #[test]
    fn each_place_gives_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "from-file\nnot this\n").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(get("${SET}").unwrap().expose(), "from-variable");
        assert_eq!(get(&format!("file:{}", path.display())).unwrap().expose(), "from-file");
        assert_eq!(get("command:printf 'from-command\\nmore'").unwrap().expose(), "from-command");
        // Changed: the next one who asks gets the new one.
        std::fs::write(&path, "changed\n").unwrap();
        assert_eq!(get(&format!("file:{}", path.display())).unwrap().expose(), "changed");
    }

    #[test]
    fn a_command_is_given_what_opens_keepers() {
        let reference = "command:printf %s \"$VAULT_TOKEN\"".parse().unwrap();
        let variable = |name: &str| (name == "VAULT_TOKEN").then(|| Secret::new("hvs.1"));
        assert_eq!(fetch(&reference, &variable).unwrap().expose(), "hvs.1");
    }

    #[test]
    fn what_cannot_be_had_is_named_and_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "hunter2").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let exposed = get(&format!("file:{}", path.display())).unwrap_err().to_string();
        assert!(exposed.contains("mode 644") && exposed.contains("secret") && !exposed.contains("hunter2"));
        let failed = get("command:echo hunter2; echo no such entry >&2; exit 3").unwrap_err().to_string();
        assert!(
            failed.contains("no such entry") && failed.contains('3') && !failed.contains("hunter2"),
            "{failed}"
        );
        assert!(matches!(get("${UNSET}"), Err(SecretError::Unset(_))));
        assert!(matches!(get("command:true"), Err(SecretError::Empty(_))));
        assert!(matches!(get("file:/nonexistent/x"), Err(SecretError::Unreadable { .. })));
    }
}
