//! Credentials that are given out for a while: to a pod by a token of its own, to a machine by its metadata service. No server
//! of these is to be had, so one of ours answers as their documents say: the `AssumeRoleWithWebIdentity` of AWS STS, EKS Pod
//! Identity's agent, and the metadata service of EC2, version 2.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::{Timestamp, ToSpan as _};
use remote::Settings;
use store::Store;
use testkit::http::{self, Request, Response};

/// What the bucket was asked with: the access key and the session token.
type Seen = Arc<Mutex<Vec<(String, String)>>>;

/// Credentials number `n`, which end after so many seconds.
fn credentials(n: usize, seconds: i64) -> BTreeMap<&'static str, String> {
    let end = Timestamp::now() + seconds.seconds();
    BTreeMap::from([
        ("AccessKeyId", format!("KEY{n}")),
        ("SecretAccessKey", format!("secret{n}")),
        ("Expiration", end.to_string()),
    ])
}

/// Everything on one port: who gives out, and the bucket, in which nothing lies.
fn serve(seconds: i64) -> (u16, Seen) {
    let seen = Seen::default();
    let (asked, given) = (Arc::clone(&seen), Mutex::new(0));
    let next = move || {
        let mut given = given.lock().unwrap();
        *given += 1;
        *given
    };
    let answer = move |request: &Request| {
        let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
        let json = |n: usize| {
            let mut all = credentials(n, seconds);
            all.insert("Token", format!("session{n}"));
            let fields: Vec<_> = all.iter().map(|(name, value)| format!("{name:?}:{value:?}")).collect();
            Response::of(200, format!("{{{}}}", fields.join(",")))
        };
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/sts") => {
                let query = |name: &str| request.query.get(name).cloned().unwrap_or_default();
                assert_eq!(query("Action"), "AssumeRoleWithWebIdentity");
                assert_eq!(query("RoleArn"), "arn:aws:iam::1:role/backup");
                assert_eq!(query("WebIdentityToken"), "token-of-the-pod");
                let n = next();
                let fields = credentials(n, seconds).into_iter();
                let fields: String =
                    fields.map(|(name, value)| format!("<{name}>{value}</{name}>")).collect();
                let all =
                    format!("<Credentials>{fields}<SessionToken>session{n}</SessionToken></Credentials>");
                let result = "AssumeRoleWithWebIdentityResult";
                Response::of(
                    200,
                    format!("<AssumeRoleResponse><{result}>{all}</{result}></AssumeRoleResponse>"),
                )
            }
            ("GET", "/pod") if header("authorization") == "token-of-the-pod" => json(next()),
            ("PUT", "/latest/api/token") => Response::of(200, "token-of-the-machine"),
            ("GET", path) if path.starts_with("/latest/") => {
                assert_eq!(header("x-aws-ec2-metadata-token"), "token-of-the-machine");
                match path.trim_start_matches("/latest/meta-data/iam/security-credentials/") {
                    "" => Response::of(200, "backup"),
                    "backup" => json(next()),
                    _ => Response::error(404, "NoSuchKey"),
                }
            }
            ("GET", "/acme" | "/acme/") => {
                let authorization = header("authorization");
                let key = authorization.split_once("Credential=").map(|(_, rest)| rest.split('/').next());
                let key = key.flatten().unwrap_or_default().to_owned();
                asked.lock().unwrap().push((key, header("x-amz-security-token")));
                Response::of(200, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
            }
            (method, path) => panic!("{method} {path}"),
        }
    };
    (http::start(answer), seen)
}

/// List the bucket twice; with what it was asked.
fn listed_twice(port: u16, seen: &Seen, variables: &[(&str, String)]) -> Vec<(String, String)> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let url = format!("s3://acme/p?endpoint=http://127.0.0.1:{port}&path-style=true");
    let store: Box<dyn Store> = remote::open(&url, &Settings::new(variables)).unwrap();
    for _ in 0..2 {
        assert!(store.list("data").unwrap().is_empty());
        // Who has just been given some does not ask again for a tenth of a second.
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    seen.lock().unwrap().clone()
}

fn token_file(folder: &Path) -> String {
    let path = folder.join("token");
    std::fs::write(&path, "token-of-the-pod").unwrap();
    path.to_str().unwrap().to_owned()
}

/// Each way: its variables, given the port and the file with the pod's token.
fn ways(port: u16, token: &str) -> [Vec<(&'static str, String)>; 3] {
    let here = |path: &str| format!("http://127.0.0.1:{port}{path}");
    [
        vec![
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_owned()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/backup".to_owned()),
            ("AWS_ENDPOINT_URL_STS", here("/sts")),
        ],
        vec![
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", here("/pod")),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token.to_owned()),
        ],
        vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", here(""))],
    ]
}

#[test]
fn pods_and_machines_use_what_they_are_given_and_ask_again_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let token = token_file(folder.path());
    for way in 0..3 {
        let given = |n: usize| (format!("KEY{n}"), format!("session{n}"));
        // Good for an hour: asked for once.
        let (port, seen) = serve(3600);
        let asked = listed_twice(port, &seen, &ways(port, &token)[way]);
        assert_eq!(asked, [given(1), given(1)], "{way}");
        // About to end: asked for again, and the new ones are used.
        let (port, seen) = serve(60);
        let asked = listed_twice(port, &seen, &ways(port, &token)[way]);
        assert_eq!(asked, [given(1), given(2)], "{way}");
    }
}
