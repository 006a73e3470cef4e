//! Where a secret comes from, as a configuration says it: never the secret itself.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A place that a secret is read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretReference {
    /// `${NAME}`: a variable of the environment.
    Environment(String),
    /// `file:PATH`: the first line of a file.
    File(PathBuf),
    /// `command:…`: the first line that a shell command prints.
    Command(String),
    /// `infisical:…`, `sops:FILE#key`, `vault:PATH#key`, `kubernetes:NAMESPACE/SECRET#key`, `pgbackrest:FILE#key`: a keeper
    /// of secrets.
    Kept {
        /// Which one.
        keeper: Keeper,
        /// Where in it.
        path: String,
        /// Which of its values there.
        key: String,
    },
}

/// Whoever keeps secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keeper {
    /// Infisical, `infisical:PROJECT/ENVIRONMENT/PATH#NAME`.
    Infisical,
    /// A file encrypted by SOPS.
    Sops,
    /// HashiCorp Vault or OpenBao, version 2 of its key-value engine.
    Vault,
    /// A Secret of Kubernetes.
    Kubernetes,
    /// The section `[global]` of a file of pgBackRest, `pgbackrest:FILE#repo2-s3-key`.
    PgBackRest,
}

impl Keeper {
    const ALL: [Self; 5] = [Self::Infisical, Self::Sops, Self::Vault, Self::Kubernetes, Self::PgBackRest];

    /// What stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Infisical => "infisical",
            Self::Sops => "sops",
            Self::Vault => "vault",
            Self::Kubernetes => "kubernetes",
            Self::PgBackRest => "pgbackrest",
        }
    }
}

/// Why a text is no reference. The text itself is not shown: it may be the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReference {
    /// No form of a reference.
    #[error(
        "is no reference to a secret: write ${{NAME}}, file:PATH, command:…, or infisical:, sops:, vault:, kubernetes:, pgbackrest:"
    )]
    NoReference,
    /// A form, with something missing.
    #[error("{0}: needs {1}")]
    Incomplete(&'static str, &'static str),
}

impl FromStr for SecretReference {
    type Err = BadReference;

    fn from_str(text: &str) -> Result<Self, BadReference> {
        if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            return is_name
                .then(|| Self::Environment(name.to_owned()))
                .ok_or(BadReference::Incomplete("${}", "the name of a variable"));
        }
        let (form, rest) = text.split_once(':').ok_or(BadReference::NoReference)?;
        match form {
            "file" if rest.is_empty() => Err(BadReference::Incomplete("file", "a path")),
            "file" => Ok(Self::File(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            "command" if rest.trim().is_empty() => Err(BadReference::Incomplete("command", "a command")),
            "command" => Ok(Self::Command(rest.trim().to_owned())),
            _ => {
                let keeper = Keeper::ALL.into_iter().find(|keeper| keeper.as_str() == form);
                let keeper = keeper.ok_or(BadReference::NoReference)?;
                match rest.rsplit_once('#').filter(|(path, key)| !path.is_empty() && !key.is_empty()) {
                    Some((path, key)) => {
                        Ok(Self::Kept { keeper, path: path.to_owned(), key: key.to_owned() })
                    }
                    None => {
                        Err(BadReference::Incomplete(keeper.as_str(), "a place and a key, as in PLACE#key"))
                    }
                }
            }
        }
    }
}

impl fmt::Display for SecretReference {
    /// As it is written. A command may hold a secret of its own, and is left out.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(out, "${{{name}}}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Command(_) => out.write_str("command:…"),
            Self::Kept { keeper, path, key } => write!(out, "{}:{path}#{key}", keeper.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown() {
        let texts = [
            "${MAINSTAY_PASSWORD}",
            "file:/run/secrets/acme",
            "infisical:proj/prod/db#PASSWORD",
            "sops:secrets.yaml#stringData.KEY",
            "vault:secret/acme#password",
            "kubernetes:default/acme#password",
            "pgbackrest:/etc/pgbackrest/conf.d/s3.conf#repo2-s3-key",
        ];
        for text in texts {
            assert_eq!(text.parse::<SecretReference>().unwrap().to_string(), text);
        }
        let command: SecretReference = "command: pass show acme".parse().unwrap();
        assert_eq!(command, SecretReference::Command("pass show acme".to_owned()));
        assert_eq!(command.to_string(), "command:…");
    }

    #[test]
    fn a_secret_itself_is_no_reference_and_is_not_shown() {
        for text in [
            "hunter2hunter2",
            "pg:hunter2hunter2",
            "${}",
            "${A B}",
            "file:",
            "vault:hunter2hunter2",
            "sops:#hunter2",
            "",
        ] {
            let words = text.parse::<SecretReference>().unwrap_err().to_string();
            assert!(!words.contains("hunter2"), "{words}");
        }
    }
}
