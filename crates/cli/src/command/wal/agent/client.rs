//! Asking the agent: started where none listens, believed when it answers, and left alone when it is silent.

use std::io::{self, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};

use super::message::{Answer, BEAT, Request, line, read};
use super::room::{Room, room};
use crate::arguments::Global;
use crate::environment::Environment;

/// How long it is waited for at least, so that one that was just started can answer.
pub(in crate::command::wal) const ANSWER_MIN: Duration = Duration::from_secs(2);
/// How long an agent that is alive is never silent.
const SILENCE_MAX: Duration = BEAT.saturating_mul(8);
/// How long one may take to listen.
const START_MAX: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(3);

/// What came of asking.
pub(in crate::command::wal) enum Answered {
    /// It answered.
    With(Answer),
    /// There is none, or it is stuck: do without.
    Nobody,
    /// It is still at work.
    TooLate,
}

/// Ask the agent, and wait for its answer at most so long.
pub(in crate::command::wal) fn ask(
    global: &Global,
    request: &Request,
    wait_max: Duration,
    environment: &Environment,
) -> Answered {
    let Some(room) = room(global, environment) else { return Answered::Nobody };
    let deadline = Instant::now() + wait_max;
    // One that ends just now takes the question with it; the next one is asked once more.
    for _ in 0..2 {
        let Some(stream) = reach(&room, environment) else { return Answered::Nobody };
        match talk(stream, request, deadline) {
            Ok(answered) => return answered,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(_) => {}
        }
    }
    Answered::Nobody
}

/// Whether a process is there.
pub(in crate::command::wal) fn is_alive(process: u32) -> bool {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

fn reach(room: &Room, environment: &Environment) -> Option<UnixStream> {
    if let Ok(stream) = UnixStream::connect(&room.socket) {
        return Some(stream);
    }
    start(room, environment).ok()?;
    let deadline = Instant::now() + START_MAX;
    while Instant::now() < deadline {
        if let Ok(stream) = UnixStream::connect(&room.socket) {
            return Some(stream);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    None
}

/// Start one that outlives us. It gets our environment, secrets too, and hides them at its start as we did.
fn start(room: &Room, environment: &Environment) -> io::Result<()> {
    let mut agent = Command::new(&room.program);
    agent.args(&room.arguments).args(["wal", "agent"]).arg(&room.socket);
    agent.env_clear().envs(environment.variables());
    // A server that goes down waits for whoever has its log open.
    agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    agent.spawn().map(drop)
}

fn talk(mut stream: UnixStream, request: &Request, deadline: Instant) -> io::Result<Answered> {
    if !is_ours(&stream) {
        return Ok(Answered::Nobody);
    }
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.write_all(&line(request))?;
    let mut lines = BufReader::new(stream);
    loop {
        match read(&mut lines)? {
            None => return Err(ErrorKind::UnexpectedEof.into()),
            Some(Answer::Working) if Instant::now() > deadline => return Ok(Answered::TooLate),
            Some(Answer::Working) => {}
            Some(answer) => return Ok(Answered::With(answer)),
        }
    }
}

/// Whether the other end is a process of our own user.
pub(super) fn is_ours(stream: &UnixStream) -> bool {
    let ours = rustix::process::geteuid();
    rustix::net::sockopt::socket_peercred(stream).is_ok_and(|other| other.uid == ours)
}
