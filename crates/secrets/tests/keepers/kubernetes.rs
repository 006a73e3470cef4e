//! A fake of the API server of Kubernetes: Secrets of one namespace, over TLS, for one service account.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use secrets::KeeperError;
use secrets::fetch::Secrets;

use crate::server::{Asked, Reply, Server};
use crate::{calm, cause, get};

const TLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keepers/tls");

/// The account's token that the server knows, and the Secret's value in base64.
type World = Arc<Mutex<(String, String)>>;

fn start() -> (Server, World) {
    // "hunter2\n", as `--from-file` makes it.
    let world: World = Arc::new(Mutex::new(("account-1".to_owned(), "aHVudGVyMgo=".to_owned())));
    let inside = world.clone();
    let server = Server::secure(move |asked| {
        let (token, value) = &*inside.lock().unwrap();
        answer(token, value, asked)
    });
    (server, world)
}

fn answer(token: &str, value: &str, asked: &Asked) -> Option<Reply> {
    let status = |code: u16, reason: &str| {
        Reply::json(
            code,
            format!(r#"{{"kind":"Status","status":"Failure","reason":"{reason}","code":{code}}}"#),
        )
    };
    if asked.header("authorization") != Some(&format!("Bearer {token}")) {
        return status(401, "Unauthorized");
    }
    match asked.path.as_str() {
        "/api/v1/namespaces/db/secrets/acme" => Reply::json(
            200,
            format!(
                r#"{{"kind":"Secret","apiVersion":"v1","metadata":{{"name":"acme"}},"data":{{"password":"{value}","bytes":"//8=","bad":"?"}},"type":"Opaque"}}"#
            ),
        ),
        "/api/v1/namespaces/db/secrets/empty" => {
            Reply::json(200, r#"{"kind":"Secret","metadata":{"name":"empty"}}"#)
        }
        path if path.starts_with("/api/v1/namespaces/db/") => status(404, "NotFound"),
        _ => status(403, "Forbidden"),
    }
}

fn account(folder: &Path, token: &str) -> Secrets {
    fs::write(folder.join("token"), token).unwrap();
    fs::copy(format!("{TLS}/ca.pem"), folder.join("ca.crt")).unwrap();
    calm().with_account(folder.to_owned())
}

fn ask(secrets: &Secrets, server: &Server, reference: &str) -> Result<String, secrets::SecretError> {
    let port = server.address.port().to_string();
    let environment = [("KUBERNETES_SERVICE_HOST", "127.0.0.1"), ("KUBERNETES_SERVICE_PORT", port.as_str())];
    get(secrets, reference, &environment)
}

#[test]
fn a_secret_of_kubernetes_is_read_when_needed_with_the_token_of_now() {
    let (server, world) = start();
    let folder = tempfile::tempdir().unwrap();
    let secrets = account(folder.path(), "account-1");
    assert_eq!(ask(&secrets, &server, "kubernetes:db/acme#password").unwrap(), "hunter2");
    // Both the Secret and our own token were replaced meanwhile: no restart.
    *world.lock().unwrap() = ("account-2".to_owned(), "Y2hhbmdlZA==".to_owned());
    let refused = cause(ask(&secrets, &server, "kubernetes:db/acme#password"));
    assert!(matches!(refused, KeeperError::Credentials { status: 401, .. }), "{refused}");
    fs::write(folder.path().join("token"), "account-2\n").unwrap();
    assert_eq!(ask(&secrets, &server, "kubernetes:db/acme#password").unwrap(), "changed");
}

#[test]
fn what_kubernetes_does_not_give_is_said_with_the_role_that_is_needed() {
    let (server, _world) = start();
    let folder = tempfile::tempdir().unwrap();
    let secrets = account(folder.path(), "account-1");
    let ask = |reference: &str| cause(ask(&secrets, &server, reference));
    let forbidden = ask("kubernetes:other/acme#password").to_string();
    for word in ["Role in namespace other", "get", "secrets", "[acme]", "RoleBinding"] {
        assert!(forbidden.contains(word), "{forbidden}");
    }
    assert!(matches!(ask("kubernetes:db/none#password"), KeeperError::NotFound(_)));
    assert!(matches!(ask("kubernetes:db/acme#none"), KeeperError::NoKey));
    assert!(matches!(ask("kubernetes:db/empty#none"), KeeperError::NoKey));
    assert!(matches!(ask("kubernetes:db/acme#bytes"), KeeperError::NotText));
    assert!(matches!(ask("kubernetes:db/acme#bad"), KeeperError::Answer { .. }));
    for place in ["db", "db/../../pods", "db/acme?x=1", "db/Acme", "../acme"] {
        assert!(matches!(ask(&format!("kubernetes:{place}#password")), KeeperError::Place(_)), "{place}");
    }
    let outside = cause(get(&secrets, "kubernetes:db/acme#password", &[]));
    assert!(matches!(outside, KeeperError::Unset(_)), "{outside}");
}

#[test]
fn an_api_server_of_another_authority_is_told_no_token() {
    let (server, _world) = start();
    let folder = tempfile::tempdir().unwrap();
    let secrets = account(folder.path(), "account-1");
    fs::copy(format!("{TLS}/other.pem"), folder.path().join("ca.crt")).unwrap();
    let refused = cause(ask(&secrets, &server, "kubernetes:db/acme#password"));
    assert!(matches!(refused, KeeperError::Unreachable { tries: 1, .. }), "{refused}");
    assert_eq!(server.log(), [""; 0]);
}
