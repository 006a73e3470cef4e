//! A fake of Vault: AppRole and Kubernetes logins, tokens that end, version 2 of the key-value engine, over TLS.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use secrets::KeeperError;

use crate::server::{Asked, Reply, Server};
use crate::{calm, cause, get, hasty};

const REFERENCE: &str = "vault:secret/acme/db#password";
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keepers/tls/ca.pem");
const OTHER_AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keepers/tls/other.pem");

struct World {
    value: String,
    token: usize,
    lease: u64,
    sealed: bool,
}

fn start() -> (Server, Arc<Mutex<World>>) {
    let world = World { value: "hunter2".to_owned(), token: 0, lease: 3600, sealed: false };
    let world = Arc::new(Mutex::new(world));
    let inside = world.clone();
    let server = Server::secure(move |asked| answer(&mut inside.lock().unwrap(), asked));
    (server, world)
}

fn answer(world: &mut World, asked: &Asked) -> Option<Reply> {
    let denied = || Reply::json(403, r#"{"errors":["permission denied"]}"#);
    if world.sealed {
        return Reply::json(503, r#"{"errors":["Vault is sealed"]}"#);
    }
    if asked.header("x-vault-namespace") != Some("team") {
        return Reply::json(404, r#"{"errors":["no handler for route"]}"#);
    }
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/v1/auth/approle/login") => {
            if asked.body != r#"{"role_id":"role-1","secret_id":"s3cret"}"# {
                return Reply::json(400, r#"{"errors":["invalid role or secret ID"]}"#);
            }
        }
        ("POST", "/v1/auth/kubernetes/login") => {
            if asked.body != r#"{"role":"backup","jwt":"account-token"}"# {
                return denied();
            }
        }
        ("GET", path) => {
            let token = asked.header("x-vault-token");
            if token != Some("static") && token != Some(&format!("hvs.{}", world.token)) {
                return denied();
            }
            return match path {
                "/v1/secret/data/acme/db" => Reply::json(
                    200,
                    format!(
                        r#"{{"lease_id":"","data":{{"data":{{"password":"{}","port":5432,"list":[]}},"metadata":{{"version":3}}}}}}"#,
                        world.value
                    ),
                ),
                "/v1/secret/data/deleted" => Reply::json(
                    404,
                    r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z","version":1}}}"#,
                ),
                "/v1/secret/data/none" => Reply::json(404, r#"{"errors":[]}"#),
                _ => denied(),
            };
        }
        _ => return denied(),
    }
    world.token += 1;
    let (token, lease) = (world.token, world.lease);
    Reply::json(
        200,
        format!(r#"{{"auth":{{"client_token":"hvs.{token}","lease_duration":{lease},"renewable":true}}}}"#),
    )
}

fn environment(server: &Server, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("VAULT_ADDR", format!("https://{}", server.address)),
        ("VAULT_CACERT", AUTHORITY.to_owned()),
        ("VAULT_NAMESPACE", "team".to_owned()),
    ];
    all.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    all
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

const APPROLE: [(&str, &str); 2] = [("VAULT_ROLE_ID", "role-1"), ("VAULT_SECRET_ID", "s3cret")];

#[test]
fn vault_by_approle_is_read_when_needed_and_a_lost_token_is_replaced_once() {
    let (server, world) = start();
    let environment = environment(&server, &APPROLE);
    let environment = borrowed(&environment);
    let secrets = calm();
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "hunter2");
    assert_eq!(get(&secrets, "vault:secret/data/acme/db#port", &environment).unwrap(), "5432");
    world.lock().unwrap().value = "changed".to_owned();
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "changed");
    assert_eq!(server.count("login"), 1);
    // Revoked: 403, one new login, done.
    world.lock().unwrap().token += 1;
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "changed");
    assert_eq!(server.count("login"), 2);
    // Not allowed: one new login, for it looks the same, and then an error.
    let denied = cause(get(&secrets, "vault:secret/other#password", &environment));
    assert!(matches!(denied, KeeperError::Forbidden(_)) && denied.to_string().contains("policy"), "{denied}");
    assert_eq!(server.count("login"), 3);
}

#[test]
fn vault_by_a_lease_that_ended_logs_in_again() {
    let (server, world) = start();
    world.lock().unwrap().lease = 1;
    let environment = environment(&server, &APPROLE);
    let secrets = calm();
    get(&secrets, REFERENCE, &borrowed(&environment)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(760));
    get(&secrets, REFERENCE, &borrowed(&environment)).unwrap();
    assert_eq!(server.count("login"), 2);
}

#[test]
fn vault_by_a_token_or_as_a_pod() {
    let (server, _world) = start();
    let with_token = environment(&server, &[("VAULT_TOKEN", "static")]);
    assert_eq!(get(&calm(), REFERENCE, &borrowed(&with_token)).unwrap(), "hunter2");
    let folder = tempfile::tempdir().unwrap();
    let as_pod = environment(&server, &[("VAULT_K8S_ROLE", "backup")]);
    let secrets = calm().with_account(folder.path().to_owned());
    let missing = cause(get(&secrets, REFERENCE, &borrowed(&as_pod)));
    assert!(matches!(missing, KeeperError::Account { .. }), "{missing}");
    std::fs::write(folder.path().join("token"), "account-token\n").unwrap();
    assert_eq!(get(&secrets, REFERENCE, &borrowed(&as_pod)).unwrap(), "hunter2");
    assert_eq!(server.log().iter().filter(|line| line.contains("auth/kubernetes/login")).count(), 1);
}

#[test]
fn vault_says_what_is_missing_and_never_what_is_there() {
    let (server, world) = start();
    let environment_with = |more: &[(&'static str, &str)]| environment(&server, more);
    let environment = environment_with(&APPROLE);
    let secrets = calm();
    let ask = |reference: &str| cause(get(&secrets, reference, &borrowed(&environment)));
    assert!(matches!(ask("vault:secret/none#password"), KeeperError::NotFound(_)));
    assert!(matches!(ask("vault:secret/deleted#password"), KeeperError::NotFound(_)));
    assert_eq!(server.count("login"), 1);
    assert!(matches!(ask("vault:secret/acme/db#none"), KeeperError::NoKey));
    assert!(matches!(ask("vault:secret/acme/db#list"), KeeperError::NotText));
    assert!(matches!(ask("vault:secret/../sys#x"), KeeperError::Place(_)));
    assert!(matches!(ask("vault:secret#x"), KeeperError::Place(_)));
    let wrong = environment_with(&[("VAULT_ROLE_ID", "role-1"), ("VAULT_SECRET_ID", "wr0ng")]);
    let refused = get(&secrets, REFERENCE, &borrowed(&wrong)).unwrap_err().to_string();
    assert!(refused.contains("VAULT_SECRET_ID") && !refused.contains("wr0ng"), "{refused}");
    assert!(matches!(
        cause(get(&secrets, REFERENCE, &borrowed(&environment_with(&[])))),
        KeeperError::Unset(_)
    ));
    world.lock().unwrap().sealed = true;
    let sealed = cause(get(&hasty(), REFERENCE, &borrowed(&environment)));
    assert!(
        matches!(sealed, KeeperError::Outage { status: 503, .. }) && sealed.to_string().contains("sealed")
    );
}

#[test]
fn vault_with_a_certificate_of_another_authority_is_told_nothing() {
    let (server, _world) = start();
    let mut environment = environment(&server, &APPROLE);
    environment[1].1 = OTHER_AUTHORITY.to_owned();
    let refused = cause(get(&calm(), REFERENCE, &borrowed(&environment)));
    assert!(matches!(refused, KeeperError::Unreachable { tries: 1, .. }), "{refused}");
    // The system's authorities do not know it either.
    environment.remove(1);
    let refused = cause(get(&calm(), REFERENCE, &borrowed(&environment)));
    assert!(matches!(refused, KeeperError::Unreachable { tries: 1, .. }), "{refused}");
    assert_eq!(server.log(), [""; 0]);
    let missing = PathBuf::from("/nonexistent/ca.pem");
    environment.push(("VAULT_CACERT", missing.display().to_string()));
    let refused = cause(get(&calm(), REFERENCE, &borrowed(&environment)));
    assert!(matches!(refused, KeeperError::Authorities { .. }), "{refused}");
}
