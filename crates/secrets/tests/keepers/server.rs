//! A small HTTP server that answers as it is told: it stands in for keepers of which no program can be had here.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Status and body, and a header where one is needed.
pub(crate) struct Reply(pub(crate) u16, pub(crate) String, pub(crate) Option<(&'static str, String)>);

impl Reply {
    pub(crate) fn json(status: u16, body: impl Into<String>) -> Option<Self> {
        Some(Self(status, body.into(), None))
    }
}

type Answering = dyn FnMut(&Asked) -> Option<Reply> + Send;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// In the clear. `answer` gives `None` to say nothing and hang up.
    pub(crate) fn plain(answer: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Self {
        Self::start(None, Box::new(answer))
    }

    /// Over TLS, with the certificate of `tls/server.pem`.
    pub(crate) fn secure(answer: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Self {
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::start(Some(Arc::new(config)), Box::new(answer))
    }

    fn start(tls: Option<Arc<rustls::ServerConfig>>, mut answer: Box<Answering>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, stopped) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
        let (log, stop) = (asked.clone(), stopped.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                // Who hangs up is no reason to stop.
                if let Ok(stream) = stream {
                    serve(stream, tls.clone(), &log, &mut answer).ok();
                }
            }
        });
        Self { address, asked, stopped, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked until now, method and path without its query.
    pub(crate) fn log(&self) -> Vec<String> {
        let words =
            |one: &Asked| format!("{} {}", one.method, one.path.split('?').next().unwrap_or_default());
        self.asked.lock().unwrap().iter().map(words).collect()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.log().iter().filter(|line| line.contains(part)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    log: &Mutex<Vec<Asked>>,
    answer: &mut Answering,
) -> std::io::Result<()> {
    match tls {
        None => converse(stream, log, answer),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
            converse(rustls::StreamOwned::new(connection, stream), log, answer)
        }
    }
}

fn converse(
    mut stream: impl Read + Write,
    log: &Mutex<Vec<Asked>>,
    answer: &mut Answering,
) -> std::io::Result<()> {
    let asked = read(&mut stream)?;
    log.lock().unwrap().push(asked.clone());
    if let Some(Reply(status, body, header)) = answer(&asked) {
        let header = header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n");
        write!(stream, "{head}{header}Content-Length: {}\r\n\r\n{body}", body.len())?;
    }
    stream.flush()
}

fn read(stream: &mut (impl Read + Write)) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = vec![];
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut asked = Asked { method, path, headers, body: String::new() };
    let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    reader.take(length).read_to_string(&mut asked.body)?;
    Ok(asked)
}
