//! A small Google Cloud Storage of our own: the part of the published XML API that a store needs, for want of an
//! emulator that has it (`x-goog-if-generation-match`, ranges, paged listings, bearer tokens).
//!
//! It follows <https://cloud.google.com/storage/docs/xml-api/reference-headers>; what the real service does beyond that
//! page is not proved by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::{self, Request, Response};

/// The one bucket that there is.
pub const BUCKET: &str = "acme";
/// The token that opens it.
pub const TOKEN: &str = "canary-gcs-token";
/// Objects on one page, as in the service.
const PAGE_MAX: usize = 1000;
/// When every object was made: nobody asks for more than that there is a time.
const MADE_XML: &str = "2026-01-02T03:04:05.000Z";
const MADE_HTTP: &str = "Fri, 02 Jan 2026 03:04:05 GMT";

type Objects = Arc<Mutex<BTreeMap<String, (u64, Vec<u8>)>>>;

/// A running service; its thread ends with the process.
pub struct Gcs {
    port: u16,
    objects: Objects,
}

impl Gcs {
    /// Start it.
    ///
    /// # Panics
    /// Where there is no free port.
    pub fn start() -> Self {
        let objects = Objects::default();
        let kept = objects.clone();
        Self { port: http::start(move |request| answer(request, &kept)), objects }
    }

    /// The names of all objects, sorted.
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The address of a place in it, as `-r` takes it.
    pub fn url(&self, prefix: &str) -> String {
        format!("gs://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{}", self.port)
    }
}

fn answer(request: &Request, objects: &Objects) -> Response {
    if request.headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Response::error(401, "AuthenticationRequired");
    }
    let path = request.path.trim_start_matches('/');
    let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return Response::error(404, "NoSuchBucket");
    }
    let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    match (request.method.as_str(), name) {
        ("GET", "") => list(request, &objects),
        ("PUT", _) => {
            let generation = objects.get(name).map_or(0, |(generation, _)| *generation);
            let wanted = request.headers.get("x-goog-if-generation-match");
            if wanted.is_some_and(|wanted| *wanted != generation.to_string()) {
                return Response::error(412, "PreconditionFailed");
            }
            objects.insert(name.to_owned(), (generation + 1, request.body.clone()));
            Response::of(200, "").with("ETag", "\"e\"").with("x-goog-generation", generation + 1)
        }
        ("GET" | "HEAD", _) => objects
            .get(name)
            .map_or_else(|| Response::error(404, "NoSuchKey"), |(_, content)| part(request, content)),
        ("DELETE", _) => match objects.remove(name) {
            Some(_) => Response::of(204, ""),
            None => Response::error(404, "NoSuchKey"),
        },
        _ => Response::error(405, "MethodNotAllowed"),
    }
}

fn part(request: &Request, content: &[u8]) -> Response {
    let stamped = |response: Response| response.with("ETag", "\"e\"").with("Last-Modified", MADE_HTTP);
    let range = request.headers.get("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().unwrap_or(usize::MAX)))
    });
    match range {
        None => stamped(Response::of(200, content)),
        Some((first, _)) if first >= content.len() => Response::error(416, "InvalidRange"),
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            let response = Response::of(206, &content[first..=last]);
            stamped(response).with("Content-Range", format!("bytes {first}-{last}/{}", content.len()))
        }
    }
}

/// A name in XML.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn list(request: &Request, objects: &BTreeMap<String, (u64, Vec<u8>)>) -> Response {
    let prefix = request.query.get("prefix").map_or("", String::as_str);
    let after = request.query.get("continuation-token").map_or("", String::as_str);
    let found: Vec<_> =
        objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after).collect();
    let mut body = String::from("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>");
    for (name, (_, content)) in found.iter().take(PAGE_MAX) {
        body += &format!(
            "<Contents><Key>{}</Key><LastModified>{MADE_XML}</LastModified><ETag>\"e\"</ETag><Size>{}</Size></Contents>",
            escaped(name),
            content.len()
        );
    }
    let is_cut = found.len() > PAGE_MAX;
    body += &format!("<IsTruncated>{is_cut}</IsTruncated>");
    if is_cut {
        body += &format!("<NextContinuationToken>{}</NextContinuationToken>", escaped(found[PAGE_MAX - 1].0));
    }
    Response::of(200, body + "</ListBucketResult>")
}
