//! A small Google Cloud Storage of our own: the part of the published XML API that a store needs, for want of an
//! emulator that has it (`x-goog-if-generation-match`, ranges, paged listings, bearer tokens).
//!
//! It follows <https://cloud.google.com/storage/docs/xml-api/reference-headers>; what the real service does beyond that
//! page is not proved by it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

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
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let objects = Objects::default();
        let kept = objects.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let objects = kept.clone();
                thread::spawn(move || serve(stream, &objects));
            }
        });
        Self { port, objects }
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

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Response {
    fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: vec![], body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::of(
            status,
            format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>fake</Message></Error>"),
        )
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

fn serve(stream: TcpStream, objects: &Objects) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    let mut writer = stream;
    while let Some(request) = receive(&mut reader) {
        let response = answer(&request, objects);
        let mut head =
            format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", response.status, response.body.len());
        for (name, value) in &response.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let body = if request.method == "HEAD" { &[][..] } else { &response.body };
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(body)).is_err() {
            return;
        }
    }
}

fn receive(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let len = headers.get("content-length").map_or(Some(0), |len| len.parse().ok())?;
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), decoded(value)));
    let query = query.split('&').filter_map(pair).collect();
    Some(Request { method, path: decoded(path), query, headers, body })
}

fn decoded(text: &str) -> String {
    let mut bytes = vec![];
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            plain => plain,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
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

fn list(request: &Request, objects: &BTreeMap<String, (u64, Vec<u8>)>) -> Response {
    let prefix = request.query.get("prefix").map_or("", String::as_str);
    let after = request.query.get("continuation-token").map_or("", String::as_str);
    let found: Vec<_> =
        objects.iter().filter(|(name, _)| name.starts_with(prefix) && name.as_str() > after).collect();
    let mut body = String::from("<?xml version='1.0' encoding='UTF-8'?><ListBucketResult>");
    for (name, (_, content)) in found.iter().take(PAGE_MAX) {
        body += &format!(
            "<Contents><Key>{name}</Key><LastModified>{MADE_XML}</LastModified><ETag>\"e\"</ETag><Size>{}</Size></Contents>",
            content.len()
        );
    }
    let is_cut = found.len() > PAGE_MAX;
    body += &format!("<IsTruncated>{is_cut}</IsTruncated>");
    if is_cut {
        body += &format!("<NextContinuationToken>{}</NextContinuationToken>", found[PAGE_MAX - 1].0);
    }
    Response::of(200, body + "</ListBucketResult>")
}
