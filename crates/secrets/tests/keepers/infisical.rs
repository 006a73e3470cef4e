//! A fake of Infisical: universal auth, and `/api/v4/secrets/NAME`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrets::KeeperError;

use crate::server::{Asked, Reply, Server};
use crate::{calm, cause, get, hasty};

const REFERENCE: &str = "infisical:proj-1/prod/db/app#PASSWORD";
const LOGIN: &str = "/api/v1/auth/universal-auth/login";

/// What the fake holds, and how it is.
struct World {
    value: String,
    /// The number of the token that holds; older ones are refused.
    token: usize,
    expires_in: u64,
    /// Answers that are this status, before it is well again.
    down: Vec<u16>,
}

fn start(world: World) -> (Server, Arc<Mutex<World>>) {
    let world = Arc::new(Mutex::new(world));
    let inside = world.clone();
    let server = Server::plain(move |asked| answer(&mut inside.lock().unwrap(), asked));
    (server, world)
}

fn well() -> World {
    World { value: "hunter2".to_owned(), token: 0, expires_in: 7200, down: vec![] }
}

fn answer(world: &mut World, asked: &Asked) -> Option<Reply> {
    if let Some(status) = world.down.pop() {
        return Reply::json(status, "{\"message\":\"hunter2\"}");
    }
    if (asked.method.as_str(), asked.path.as_str()) == ("POST", LOGIN) {
        if asked.body != r#"{"clientId":"id-1","clientSecret":"s3cret"}"# {
            return Reply::json(
                401,
                r#"{"statusCode":401,"message":"Invalid credentials","error":"Unauthorized"}"#,
            );
        }
        world.token += 1;
        let (token, expires_in) = (world.token, world.expires_in);
        return Reply::json(
            200,
            format!(
                r#"{{"accessToken":"token-{token}","expiresIn":{expires_in},"accessTokenMaxTTL":7200,"tokenType":"Bearer"}}"#
            ),
        );
    }
    if asked.header("authorization") != Some(&format!("Bearer token-{}", world.token)) {
        return Reply::json(401, r#"{"statusCode":401,"message":"Token expired","error":"TokenError"}"#);
    }
    let (path, query) = asked.path.split_once('?').unwrap();
    let known = "projectId=proj-1&environment=prod&secretPath=%2Fdb%2Fapp&type=shared&viewSecretValue=true";
    if query != known {
        return Reply::json(403, r#"{"statusCode":403,"error":"PermissionDenied"}"#);
    }
    match path {
        "/api/v4/secrets/PASSWORD" | "/api/v4/secrets/HIDDEN" => Reply::json(
            200,
            format!(
                r#"{{"secret":{{"id":"1","secretKey":"PASSWORD","secretValue":"{}","secretValueHidden":{},"type":"shared"}}}}"#,
                world.value,
                path.ends_with("HIDDEN"),
            ),
        ),
        _ => Reply::json(404, r#"{"statusCode":404,"message":"Secret not found","error":"NotFound"}"#),
    }
}

fn environment(server: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("INFISICAL_API_URL", format!("{}/api", server.url())),
        ("INFISICAL_CLIENT_ID", "id-1".to_owned()),
        ("INFISICAL_CLIENT_SECRET", "s3cret".to_owned()),
    ]
}

fn borrowed<'a>(environment: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    environment.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn u6_secrets_of_infisical_are_read_when_needed_with_one_login() {
    let (server, world) = start(well());
    let environment = environment(&server);
    let environment = borrowed(&environment);
    let secrets = calm();
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "hunter2");
    // Changed there: the next one who asks gets the new one, without a restart.
    world.lock().unwrap().value = "changed".to_owned();
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "changed");
    assert_eq!(server.count(LOGIN), 1);
    // A token that was revoked is replaced.
    world.lock().unwrap().token += 1;
    assert_eq!(get(&secrets, REFERENCE, &environment).unwrap(), "changed");
    assert_eq!(server.count(LOGIN), 2);
}

#[test]
fn u6_a_token_is_renewed_before_it_ends() {
    let (server, _world) = start(World { expires_in: 1, ..well() });
    let environment = environment(&server);
    let environment = borrowed(&environment);
    let secrets = calm();
    get(&secrets, REFERENCE, &environment).unwrap();
    // Within the margin of its end: it would still hold, and is not used any more.
    std::thread::sleep(Duration::from_millis(760));
    get(&secrets, REFERENCE, &environment).unwrap();
    assert_eq!(server.count(LOGIN), 2);
}

#[test]
fn u6_what_infisical_does_not_give_is_said_without_its_words() {
    let (server, _world) = start(well());
    let mut environment = environment(&server);
    let secrets = calm();
    let ask = |reference: &str| cause(get(&secrets, reference, &borrowed(&environment)));
    assert!(matches!(ask("infisical:proj-1/prod/db/app#NONE"), KeeperError::NotFound(_)));
    assert!(matches!(ask("infisical:proj-1/dev/db/app#PASSWORD"), KeeperError::Forbidden(_)));
    // Who may not see a value is given a placeholder: it must never become a password.
    assert!(matches!(ask("infisical:proj-1/prod/db/app#HIDDEN"), KeeperError::Forbidden(_)));
    assert!(matches!(ask("infisical:proj-1#PASSWORD"), KeeperError::Place(_)));
    environment[2].1 = "wrong-s3cret".to_owned();
    let refused = get(&secrets, REFERENCE, &borrowed(&environment)).unwrap_err().to_string();
    assert!(refused.contains("INFISICAL_CLIENT_SECRET") && !refused.contains("wrong-s3cret"), "{refused}");
    environment.pop();
    let unset = cause(get(&secrets, REFERENCE, &borrowed(&environment)));
    assert!(matches!(unset, KeeperError::Unset("INFISICAL_CLIENT_SECRET")));
}

#[test]
fn u6_a_short_outage_is_waited_for_and_a_long_one_is_an_error_without_a_cache() {
    let (server, world) = start(World { down: vec![503], ..well() });
    let environment = environment(&server);
    let environment = borrowed(&environment);
    assert_eq!(get(&calm(), REFERENCE, &environment).unwrap(), "hunter2");
    // It was read a moment ago, and is nowhere kept.
    world.lock().unwrap().down = vec![503; 100];
    let down = get(&hasty(), REFERENCE, &environment).unwrap_err();
    let words = down.to_string();
    assert!(words.contains("503") && words.contains("127.0.0.1") && !words.contains("hunter2"), "{words}");
    assert!(matches!(cause(Err(down)), KeeperError::Outage { status: 503, tries: 2.., .. }));
}

#[test]
fn u6_silence_broken_connections_and_nonsense_are_errors_in_time() {
    let state = Arc::new(AtomicUsize::new(0));
    let inside = state.clone();
    let server = Server::plain(move |_| match inside.load(Ordering::SeqCst) {
        0 => {
            // Later than anybody waits.
            std::thread::sleep(Duration::from_millis(1200));
            None
        }
        1 => None,
        2 => Reply::json(200, "<html>hunter2</html>"),
        3 => Reply::json(200, "x".repeat(3 << 20)),
        _ => Some(Reply(302, String::new(), Some(("Location", "http://127.0.0.1:1/hunter2".to_owned())))),
    });
    let environment = environment(&server);
    let environment = borrowed(&environment);
    for number in 0..5 {
        state.store(number, Ordering::SeqCst);
        let cause = cause(get(&hasty(), REFERENCE, &environment));
        let expected = match number {
            2 | 4 => matches!(cause, KeeperError::Answer { .. }),
            _ => matches!(cause, KeeperError::Unreachable { .. }),
        };
        assert!(expected && !cause.to_string().contains("hunter2"), "{number}: {cause}");
    }
}

#[test]
fn u6_no_secret_goes_over_the_network_in_the_clear() {
    for address in ["http://infisical.example.org", "ftp://127.0.0.1", "https://me:pw@host", "infisical", ""]
    {
        let environment = [
            ("INFISICAL_API_URL", address),
            ("INFISICAL_CLIENT_ID", "id-1"),
            ("INFISICAL_CLIENT_SECRET", "s3cret"),
        ];
        let cause = cause(get(&hasty(), REFERENCE, &environment));
        assert!(matches!(cause, KeeperError::Address("INFISICAL_API_URL")), "{address}: {cause}");
    }
}
