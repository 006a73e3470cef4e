//! A wire that a test holds in its hand: a TCP proxy on this machine that can be cut, made slow, and mended.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const BLOCK_LEN: usize = 64 << 10;

/// What is done to all connections.
#[derive(Default)]
struct Wire {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    delay_micros: AtomicU64,
    bytes_per_second: AtomicU64,
    bytes: AtomicU64,
    alive: Mutex<Vec<TcpStream>>,
}

/// A proxy to one port; gone with its value.
pub struct Proxy {
    wire: Arc<Wire>,
    port: u16,
    listening: Option<thread::JoinHandle<()>>,
}

impl Proxy {
    /// To `target` on 127.0.0.1, without delay or limit.
    ///
    /// # Panics
    /// Where there is no free port.
    pub fn start(target: u16) -> Self {
        Self::start_at(0, target)
    }

    /// The same at a port that was another one's before: between the two, connections are refused.
    ///
    /// # Panics
    /// Where somebody listens there.
    pub fn start_at(port: u16, target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let wire = Arc::new(Wire::default());
        let shared = wire.clone();
        let listening = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A cut wire takes connections and drops them, as a server does that is being restarted.
                if shared.is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) {
                    join(client, server, &shared).ok();
                }
            }
        });
        Self { wire, port, listening: Some(listening) }
    }

    /// Its own port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cut every connection now, and each new one at once.
    pub fn cut(&self) {
        self.wire.is_cut.store(true, Ordering::SeqCst);
        self.wire.drop_all();
    }

    /// Let new connections through again.
    pub fn mend(&self) {
        self.wire.is_cut.store(false, Ordering::SeqCst);
    }

    /// Hold every byte back for `delay` in each direction: half of a round trip.
    pub fn delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.wire.delay_micros.store(micros, Ordering::SeqCst);
    }

    /// Let through at most this much per second, each connection and direction for itself; 0: all.
    pub fn throttle(&self, bytes_per_second: u64) {
        self.wire.bytes_per_second.store(bytes_per_second, Ordering::SeqCst);
    }

    /// Bytes that went through so far, both directions.
    pub fn bytes(&self) -> u64 {
        self.wire.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.wire.is_over.store(true, Ordering::SeqCst);
        self.wire.drop_all();
        // The listener waits for a connection to see that it is over.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok();
        if let Some(listening) = self.listening.take() {
            listening.join().ok();
        }
    }
}

impl Wire {
    fn drop_all(&self) {
        for stream in self.alive.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn join(client: TcpStream, server: TcpStream, wire: &Arc<Wire>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut alive = wire.alive.lock().unwrap_or_else(PoisonError::into_inner);
    alive.extend([client.try_clone()?, server.try_clone()?]);
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(64);
        let (reading, writing) = (wire.clone(), wire.clone());
        thread::spawn(move || take(from, &sender, &reading));
        thread::spawn(move || give(to, &receiver, &writing));
    }
    Ok(())
}

fn take(mut from: TcpStream, sender: &mpsc::SyncSender<(Instant, Vec<u8>)>, wire: &Wire) {
    let mut block = vec![0; BLOCK_LEN];
    while let Ok(len @ 1..) = from.read(&mut block) {
        let due = Instant::now() + Duration::from_micros(wire.delay_micros.load(Ordering::SeqCst));
        if sender.send((due, block[..len].to_vec())).is_err() {
            break;
        }
    }
}

fn give(mut to: TcpStream, receiver: &mpsc::Receiver<(Instant, Vec<u8>)>, wire: &Wire) {
    while let Ok((due, block)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let limit = wire.bytes_per_second.load(Ordering::SeqCst);
        if let Some(micros) = (block.len() as u64 * 1_000_000).checked_div(limit) {
            thread::sleep(Duration::from_micros(micros));
        }
        if to.write_all(&block).is_err() {
            return;
        }
        wire.bytes.fetch_add(block.len() as u64, Ordering::SeqCst);
    }
    to.shutdown(Shutdown::Write).ok();
}
