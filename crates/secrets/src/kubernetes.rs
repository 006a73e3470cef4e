//! `kubernetes:NAMESPACE/SECRET#key`: a Secret, read through the API of the cluster that we run in.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::secret::Secret;
use serde::Deserialize;
use ureq::http::Method;
use zeroize::Zeroizing;

use crate::account;
use crate::error::Variable;
use crate::http::{Answer, Client, Patience, Question};
use crate::keeper_error::KeeperError;

#[derive(Deserialize)]
struct Read {
    /// Base64; there is none in a Secret without values.
    #[serde(default)]
    data: HashMap<String, Zeroizing<String>>,
}

/// The value `key` of the Secret at `place`; `account` is the folder of our service account.
pub(crate) fn read(
    place: &str,
    key: &str,
    variable: &Variable<'_>,
    account: &Path,
    patience: Patience,
) -> Result<Zeroizing<String>, KeeperError> {
    let bad = KeeperError::Place("kubernetes:NAMESPACE/SECRET#key");
    let (namespace, name) =
        place.split_once('/').filter(|(space, name)| is_name(space) && is_name(name)).ok_or(bad)?;
    let outside = "KUBERNETES_SERVICE_HOST, which every pod of a cluster has,";
    let host = variable("KUBERNETES_SERVICE_HOST").ok_or(KeeperError::Unset(outside))?;
    let port = variable("KUBERNETES_SERVICE_PORT");
    let port = port.as_ref().map_or("443", Secret::expose);
    let bare = host.expose();
    let address = if bare.contains(':') {
        format!("https://[{bare}]:{port}")
    } else {
        format!("https://{bare}:{port}")
    };
    let authorities: PathBuf = account.join("ca.crt");
    let client = Client::new(&address, "KUBERNETES_SERVICE_HOST", Some(&authorities), patience)?;
    // Read anew for each question: the kubelet replaces it long before it ends.
    let file = account.join("token");
    let bearer = Secret::new(format!("Bearer {}", account::token(&file)?.expose()));
    let answer = client.ask(&Question {
        method: Method::GET,
        path: format!("/api/v1/namespaces/{namespace}/secrets/{name}"),
        headers: &[("Authorization", &bearer)],
        body: None,
    })?;
    match answer.status {
        200 => value(&client, &answer, key),
        401 => Err(KeeperError::Credentials {
            host: client.host.clone(),
            names: file.display().to_string(),
            status: answer.status,
        }),
        403 => Err(KeeperError::Forbidden(format!(
            "the service account needs a Role in namespace {namespace} with the verb get on secrets, \
             resourceNames [{name}], and a RoleBinding"
        ))),
        404 => Err(KeeperError::NotFound(": no Secret of this name in this namespace")),
        _ => Err(client.nonsense(&answer, "no Secret")),
    }
}

/// What a name of Kubernetes may be, so that nothing else of its API is ever asked.
fn is_name(name: &str) -> bool {
    let is_part =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && !name.starts_with('.') && name.bytes().all(is_part)
}

fn value(client: &Client, answer: &Answer, key: &str) -> Result<Zeroizing<String>, KeeperError> {
    let read: Read =
        serde_json::from_slice(&answer.body).map_err(|_| client.nonsense(answer, "no Secret"))?;
    let coded = read.data.get(key).ok_or(KeeperError::NoKey)?;
    let bytes = STANDARD
        .decode(coded.as_bytes())
        .map_err(|_| client.nonsense(answer, "a value that is no base64"))?;
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        KeeperError::NotText
    })
}
