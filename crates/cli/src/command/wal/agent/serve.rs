//! `mainstay wal agent`: the process itself.
//!
//! Invariants: one listens in a place at a time, by a lock that goes with its process; it ends when it had nothing to do for
//! a minute, and also after a failure: the next one starts with what is true then, credentials above all.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::cancel::CancelToken;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::client::is_ours;
use super::desk::Desk;
use super::message::{Answer, BEAT, Request, line, read};
use crate::arguments::{Agent, Global};
use crate::command::wal::work::Archive;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{interrupt, place};

/// How long it stays without work.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long one that connected may take to say what it wants.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How long one that ends may hold the place.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Who is served now, when somebody last was, and how it ends.
struct Traffic<'a> {
    socket: &'a Path,
    served: AtomicUsize,
    last: Mutex<Instant>,
    has_failed: AtomicBool,
    /// Wakes who waits for connections.
    bell: UnixStream,
}

pub(crate) fn run(global: &Global, order: &Agent, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch_patiently()?;
    // A server that goes down ends its children, and we are none.
    rustix::process::setsid().ok();
    let lock = lock(&order.socket)?;
    let listener = listen(&order.socket)?;
    let open = || Ok(Archive::new(place::open(global, environment, face)?));
    let desk = Desk::new(&open);
    let (bell, rung) = UnixStream::pair().map_err(CliError::io("making a pair of sockets"))?;
    let traffic = Traffic {
        socket: &order.socket,
        bell,
        served: AtomicUsize::new(0),
        last: Mutex::new(Instant::now()),
        has_failed: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        desk.employ(scope);
        scope.spawn(|| desk.archive().is_err());
        let end = accept(&listener, &rung, &traffic, &cancel, |stream| {
            scope.spawn(|| traffic.serve(&desk, stream));
        });
        // From here on the next one may listen, while the last answers are given.
        if !traffic.has_failed.load(Ordering::SeqCst) {
            fs::remove_file(&order.socket).ok();
        }
        drop((listener, lock));
        traffic.wait_for_answers();
        desk.close();
        end
    })
}

fn lock(socket: &Path) -> Result<File> {
    let path = socket.with_extension("lock");
    let what = format!("locking {}", path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(CliError::io(&what))?;
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    while file.try_lock().is_err() {
        if Instant::now() > deadline {
            return Err(CliError::new(Kind::Refused, format!("an agent listens at {}", socket.display())));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(file)
}

fn listen(socket: &Path) -> Result<UnixListener> {
    // Whoever left it is dead: we have its lock.
    fs::remove_file(socket).ok();
    let what = format!("listening at {}", socket.display());
    let listener = UnixListener::bind(socket).map_err(CliError::io(&what))?;
    listener.set_nonblocking(true).map_err(CliError::io(&what))?;
    Ok(listener)
}

/// Hand over who connects, until there is a reason to end.
fn accept(
    listener: &UnixListener,
    rung: &UnixStream,
    traffic: &Traffic<'_>,
    cancel: &CancelToken,
    serve: impl Fn(UnixStream),
) -> Result<()> {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    while !cancel.is_cancelled() && !traffic.is_over() {
        // Interrupted or not, what matters is asked next.
        let mut waited =
            [listener.as_fd(), rung.as_fd()].map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN));
        poll(&mut waited, Some(&second)).ok();
        if let Ok((stream, _)) = listener.accept()
            && is_ours(&stream)
            && stream.set_nonblocking(false).is_ok()
        {
            traffic.begin();
            serve(stream);
        }
    }
    Ok(())
}

impl Traffic<'_> {
    fn begin(&self) {
        self.served.fetch_add(1, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        let idle = self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        let is_idle = self.served.load(Ordering::SeqCst) == 0 && idle > IDLE_MAX;
        is_idle || self.has_failed.load(Ordering::SeqCst)
    }

    /// Nobody else comes here; who asks next finds nobody, and starts another one.
    fn give_up(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        fs::remove_file(self.socket).ok();
        (&self.bell).write_all(b"!").ok();
    }

    /// Those who asked get their answers; who does not get one soon asks the next agent.
    fn wait_for_answers(&self) {
        let deadline = Instant::now() + REQUEST_MAX;
        while self.served.load(Ordering::SeqCst) > 0 && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn serve(&self, desk: &Desk<'_>, stream: UnixStream) {
        // Who went away meanwhile needs no answer.
        self.talk(desk, stream).ok();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.served.fetch_sub(1, Ordering::SeqCst);
    }

    fn talk(&self, desk: &Desk<'_>, mut stream: UnixStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(REQUEST_MAX))?;
        stream.set_write_timeout(Some(BEAT))?;
        let Some(request) = read::<Request>(&mut BufReader::new(stream.try_clone()?))? else { return Ok(()) };
        let working = line(&Answer::Working);
        let answer = desk.answer(request, || stream.write_all(&working).is_ok());
        if let Some(answer) = answer {
            if matches!(&answer, Answer::Failed(failure) if desk.is_shut() || !failure.is_refusal()) {
                self.give_up();
            }
            stream.write_all(&line(&answer))?;
        }
        Ok(())
    }
}
