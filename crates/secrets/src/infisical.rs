//! `infisical:PROJECT/ENVIRONMENT/PATH#NAME`: universal auth, and the secrets API v4 (v3 is deprecated).

use std::time::Duration;

use model::secret::Secret;
use serde::{Deserialize, Serialize};
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::error::Variable;
use crate::http::{Answer, Client, Patience, Question, escaped};
use crate::keeper_error::KeeperError;
use crate::token::{Holder, Outcome, Token, Tokens};

/// Infisical's own service; others keep theirs at `INFISICAL_API_URL`.
const ADDRESS: &str = "https://app.infisical.com";
const NAMES: &str = "INFISICAL_CLIENT_ID, INFISICAL_CLIENT_SECRET";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Login<'a> {
    client_id: &'a str,
    client_secret: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    access_token: Zeroizing<String>,
    /// Seconds; 0 where it does not end.
    expires_in: u64,
}

#[derive(Deserialize)]
struct Read {
    secret: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    secret_value: Zeroizing<String>,
    /// Who may know of a secret without seeing it gets a placeholder as its value.
    #[serde(default)]
    secret_value_hidden: bool,
}

/// The value of the secret `name` at `place`.
pub(crate) fn read(
    place: &str,
    name: &str,
    variable: &Variable<'_>,
    tokens: &Tokens,
    patience: Patience,
) -> Result<Zeroizing<String>, KeeperError> {
    let path = path(place, name)?;
    let address = variable("INFISICAL_API_URL");
    let address = address.as_ref().map_or(ADDRESS, Secret::expose).trim_end_matches('/');
    // Its own program wants the address with /api, its documentation names it without.
    let address = address.strip_suffix("/api").unwrap_or(address);
    let id = variable("INFISICAL_CLIENT_ID").ok_or(KeeperError::Unset("INFISICAL_CLIENT_ID"))?;
    let secret = variable("INFISICAL_CLIENT_SECRET").ok_or(KeeperError::Unset("INFISICAL_CLIENT_SECRET"))?;
    let client = Client::new(address, "INFISICAL_API_URL", None, patience)?;
    let holder = Holder::of(&["infisical", address, id.expose(), secret.expose()]);
    tokens.with(holder, &|| login(&client, &id, &secret), &|token| {
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        let headers = [("Authorization", &bearer)];
        let question = Question { method: Method::GET, path: path.clone(), headers: &headers, body: None };
        found(&client, &client.ask(&question)?)
    })
}

/// What is asked for, escaped.
fn path(place: &str, name: &str) -> Result<String, KeeperError> {
    let mut parts = place.splitn(3, '/');
    let (project, environment) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if project.is_empty() || environment.is_empty() {
        return Err(KeeperError::Place("infisical:PROJECT/ENVIRONMENT/PATH#NAME"));
    }
    let folder = format!("/{}", parts.next().unwrap_or_default().trim_matches('/'));
    Ok(format!(
        "/api/v4/secrets/{}?projectId={}&environment={}&secretPath={}&type=shared&viewSecretValue=true",
        escaped(name),
        escaped(project),
        escaped(environment),
        escaped(&folder),
    ))
}

fn login(client: &Client, id: &Secret, secret: &Secret) -> Result<Token, KeeperError> {
    let body = Login { client_id: id.expose(), client_secret: secret.expose() };
    let body = Zeroizing::new(serde_json::to_vec(&body).unwrap_or_default());
    let path = "/api/v1/auth/universal-auth/login".to_owned();
    let answer = client.ask(&Question { method: Method::POST, path, headers: &[], body: Some(body) })?;
    match answer.status {
        200 => {
            let given: LoggedIn = serde_json::from_slice(&answer.body)
                .map_err(|_| client.nonsense(&answer, "no access token"))?;
            let holds_for = Duration::from_secs(given.expires_in);
            Ok(Token { secret: Secret::new(given.access_token.as_str()), holds_for })
        }
        400 | 401 | 403 | 404 => Err(KeeperError::Credentials {
            host: client.host.clone(),
            names: NAMES.to_owned(),
            status: answer.status,
        }),
        _ => Err(client.nonsense(&answer, "no login")),
    }
}

fn found(client: &Client, answer: &Answer) -> Result<Outcome<Zeroizing<String>>, KeeperError> {
    let hidden =
        || KeeperError::Forbidden("its identity needs \"read value\" on secrets of this path".to_owned());
    match answer.status {
        200 => {
            let read: Read =
                serde_json::from_slice(&answer.body).map_err(|_| client.nonsense(answer, "no secret"))?;
            if read.secret.secret_value_hidden {
                Err(hidden())
            } else {
                Ok(Outcome::Done(read.secret.secret_value))
            }
        }
        401 => Ok(Outcome::Denied(KeeperError::Credentials {
            host: client.host.clone(),
            names: NAMES.to_owned(),
            status: answer.status,
        })),
        403 => Err(hidden()),
        404 => Err(KeeperError::NotFound(
            ": no such project, environment, path or name, or not for this identity",
        )),
        _ => Err(client.nonsense(answer, "no secret")),
    }
}
