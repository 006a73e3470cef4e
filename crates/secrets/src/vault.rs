//! `vault:PATH#key`: version 2 of the key-value engine of HashiCorp Vault or OpenBao.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::account;
use crate::error::Variable;
use crate::http::{Answer, Client, Patience, Question, escaped};
use crate::keeper_error::KeeperError;
use crate::token::{Holder, Outcome, Token, Tokens};

/// How we say who we are.
enum Credentials {
    /// A token that somebody else renews.
    Token(Secret),
    AppRole {
        role: Secret,
        secret: Secret,
    },
    Kubernetes {
        role: Secret,
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct AppRoleLogin<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct KubernetesLogin<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Zeroizing<String>,
    /// Seconds; 0 where it does not end.
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    data: Version<'a>,
}

#[derive(Deserialize)]
struct Version<'a> {
    /// Null where this version was deleted.
    #[serde(borrow)]
    data: Option<HashMap<String, &'a RawValue>>,
}

/// The value `key` of the secret at `place`; `account` is the folder of our service account, if we are in a pod.
pub(crate) fn read(
    place: &str,
    key: &str,
    variable: &Variable<'_>,
    account: &Path,
    tokens: &Tokens,
    patience: Patience,
) -> Result<Zeroizing<String>, KeeperError> {
    let path = path(place)?;
    let address = variable("VAULT_ADDR").ok_or(KeeperError::Unset("VAULT_ADDR"))?;
    let authorities = variable("VAULT_CACERT").map(|path| PathBuf::from(path.expose()));
    let namespace = variable("VAULT_NAMESPACE");
    let client = Client::new(address.expose(), "VAULT_ADDR", authorities.as_deref(), patience)?;
    let ask = |token: &Secret| {
        let mut headers = vec![("X-Vault-Token", token)];
        headers.extend(namespace.as_ref().map(|namespace| ("X-Vault-Namespace", namespace)));
        let question = Question { method: Method::GET, path: path.clone(), headers: &headers, body: None };
        found(&client, &client.ask(&question)?, key)
    };
    let credentials = Credentials::from(variable, account)?;
    if let Credentials::Token(token) = &credentials {
        return match ask(token)? {
            Outcome::Done(value) => Ok(value),
            Outcome::Denied(error) => Err(error),
        };
    }
    let holder = credentials.holder(address.expose(), namespace.as_ref());
    tokens.with(holder, &|| credentials.login(&client, namespace.as_ref()), &ask)
}

/// Where the secret is read: behind `data/` in its engine, which is the first part of the path unless `data/` says it.
fn path(place: &str) -> Result<String, KeeperError> {
    let bad = KeeperError::Place("vault:ENGINE/PATH#key");
    let mut parts: Vec<_> = place.trim_matches('/').split('/').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty() || *part == "." || *part == "..") {
        return Err(bad);
    }
    if !parts[1..parts.len() - 1].contains(&"data") {
        parts.insert(1, "data");
    }
    Ok(format!("/v1/{}", parts.into_iter().map(escaped).collect::<Vec<_>>().join("/")))
}

impl Credentials {
    fn from(variable: &Variable<'_>, account: &Path) -> Result<Self, KeeperError> {
        if let Some(token) = variable("VAULT_TOKEN") {
            return Ok(Self::Token(token));
        }
        if let Some(role) = variable("VAULT_ROLE_ID") {
            let secret = variable("VAULT_SECRET_ID").ok_or(KeeperError::Unset("VAULT_SECRET_ID"))?;
            return Ok(Self::AppRole { role, secret });
        }
        let needed =
            KeeperError::Unset("none of VAULT_TOKEN, VAULT_ROLE_ID (with VAULT_SECRET_ID), VAULT_K8S_ROLE");
        let role = variable("VAULT_K8S_ROLE").ok_or(needed)?;
        Ok(Self::Kubernetes { role, file: account.join("token") })
    }

    /// The variables, or the file, that they are in.
    fn names(&self) -> String {
        match self {
            Self::Token(_) => "VAULT_TOKEN".to_owned(),
            Self::AppRole { .. } => "VAULT_ROLE_ID, VAULT_SECRET_ID".to_owned(),
            Self::Kubernetes { file, .. } => format!("VAULT_K8S_ROLE, {}", file.display()),
        }
    }

    fn holder(&self, address: &str, namespace: Option<&Secret>) -> Holder {
        let namespace = namespace.map_or("", Secret::expose);
        match self {
            Self::Token(token) => Holder::of(&["vault", address, namespace, "token", token.expose()]),
            Self::AppRole { role, secret } => {
                Holder::of(&["vault", address, namespace, "approle", role.expose(), secret.expose()])
            }
            // The kubelet replaces the account's token all the time: it stays the same account.
            Self::Kubernetes { role, file } => {
                let file = file.to_string_lossy();
                Holder::of(&["vault", address, namespace, "kubernetes", role.expose(), &file])
            }
        }
    }

    fn login(&self, client: &Client, namespace: Option<&Secret>) -> Result<Token, KeeperError> {
        let (method, body) = match self {
            Self::Token(token) => return Ok(Token { secret: token.clone(), holds_for: Duration::ZERO }),
            Self::AppRole { role, secret } => {
                let login = AppRoleLogin { role_id: role.expose(), secret_id: secret.expose() };
                ("approle", serde_json::to_vec(&login))
            }
            Self::Kubernetes { role, file } => {
                let jwt = account::token(file)?;
                (
                    "kubernetes",
                    serde_json::to_vec(&KubernetesLogin { role: role.expose(), jwt: jwt.expose() }),
                )
            }
        };
        let headers: Vec<_> =
            namespace.map(|namespace| ("X-Vault-Namespace", namespace)).into_iter().collect();
        let answer = client.ask(&Question {
            method: Method::POST,
            path: format!("/v1/auth/{method}/login"),
            headers: &headers,
            body: Some(Zeroizing::new(body.unwrap_or_default())),
        })?;
        match answer.status {
            200 => {
                let given: LoggedIn =
                    serde_json::from_slice(&answer.body).map_err(|_| client.nonsense(&answer, "no token"))?;
                let holds_for = Duration::from_secs(given.auth.lease_duration);
                Ok(Token { secret: Secret::new(given.auth.client_token.as_str()), holds_for })
            }
            status @ (400 | 401 | 403 | 404) => {
                Err(KeeperError::Credentials { host: client.host.clone(), names: self.names(), status })
            }
            _ => Err(client.nonsense(&answer, "no login")),
        }
    }
}

fn found(client: &Client, answer: &Answer, key: &str) -> Result<Outcome<Zeroizing<String>>, KeeperError> {
    match answer.status {
        200 => value(client, answer, key).map(Outcome::Done),
        // Vault says 403 for a token that ended as well as for a path that its policies do not allow.
        403 => Ok(Outcome::Denied(KeeperError::Forbidden(
            "its token needs a policy with \"read\" on this path, with data/ behind the engine".to_owned(),
        ))),
        404 => Err(KeeperError::NotFound(": no such path, or its last version is deleted")),
        _ => Err(client.nonsense(answer, "no secret")),
    }
}

fn value(client: &Client, answer: &Answer, key: &str) -> Result<Zeroizing<String>, KeeperError> {
    let read: Read<'_> = serde_json::from_slice(&answer.body)
        .map_err(|_| client.nonsense(answer, "no secret of version 2 of the key-value engine"))?;
    let values = read.data.data.ok_or(KeeperError::NotFound(": its last version is deleted"))?;
    let raw = values.get(key).ok_or(KeeperError::NoKey)?.get();
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map_err(|_| KeeperError::NotText),
        Some(b'{' | b'[' | b'n') | None => Err(KeeperError::NotText),
        Some(_) => Ok(Zeroizing::new(raw.to_owned())),
    }
}
