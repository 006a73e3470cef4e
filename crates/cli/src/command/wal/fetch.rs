//! `mainstay wal fetch`: put one archived file where a server that recovers wants it.
//!
//! Invariant: "there is none" is said only where the repository itself is there to say so. Everything else is tried again
//! until a deadline, and then told in a way that PostgreSQL cannot take for that (`recovery`).

use std::path::Path;
use std::time::{Duration, Instant};

use engine::fetch_wal::{Durability, Loader, deliver, sweep, write_beside};
use repo::threads::cores;
use repo::wal_object::WalFile;

use super::agent::client::{self, Answered};
use super::agent::message::{Answer, FetchJob, Request};
use super::recovery::Recovery;
use super::whose;
use super::work::Archive;
use crate::arguments::{Fetch, Global};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, place};

/// Pauses between tries grow up to this.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_FIRST: Duration = Duration::from_millis(200);

/// What one try found.
enum Found {
    Delivered,
    Absent,
}

pub(super) fn run(global: &Global, order: &Fetch, environment: &Environment, face: &Face) -> Result<()> {
    let recovery = Recovery::of(&whose::data_directory(&order.path));
    let to = std::path::absolute(&order.path).map_err(CliError::io("looking for the place"));
    let found = to.and_then(|to| patiently(global, order, &to, environment, face));
    match found.map_err(|error| recovery.error(error))? {
        Found::Delivered => Ok(()),
        Found::Absent => Err(CliError::new(Kind::Failed, format!("{} is not archived", order.name))),
    }
}

fn patiently(
    global: &Global,
    order: &Fetch,
    to: &Path,
    environment: &Environment,
    face: &Face,
) -> Result<Found> {
    let deadline = Instant::now() + order.timeout;
    let mut pause = PAUSE_FIRST;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let error = match attempt(global, order, to, left, environment, face) {
            Err(error) => error,
            found => return found,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(error);
        }
        face.note(&format!("{}; trying again", error.message));
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn attempt(
    global: &Global,
    order: &Fetch,
    to: &Path,
    left: Duration,
    environment: &Environment,
    face: &Face,
) -> Result<Found> {
    let system_id = order.system_id.or_else(|| whose::of_place(to));
    if let (Some(system_id), false) = (system_id, order.place.no_agent) {
        let job = FetchJob { file: order.name.to_string(), system_id, to: to.to_owned() };
        let wait = left.max(client::ANSWER_MIN);
        // A signal ends us as one does: PostgreSQL sent it, and knows why.
        match client::ask(global, &Request::Fetch(job), wait, environment) {
            Answered::With(Answer::Delivered) => return Ok(Found::Delivered),
            Answered::With(Answer::Absent) => return Ok(Found::Absent),
            Answered::With(Answer::Failed(failure)) => return Err(failure.into()),
            Answered::TooLate => {
                return Err(CliError::new(Kind::Failed, format!("{} did not come in time", order.name)));
            }
            Answered::With(_) | Answered::Nobody => {}
        }
    }
    let mut global = global.clone();
    let own = configured::settled(&mut global, environment, face)?;
    let environment = own.as_ref().unwrap_or(environment);
    let hasty = environment.with([], face, |wire| wire.retry_for = wire.retry_for.min(left.as_secs()));
    let repository = place::open(&global, &hasty, face)?;
    let system_id = whose::only(&repository, system_id)?;
    let file = WalFile { system_id, name: order.name.clone() };
    let mut loader = Loader::default();
    let archive = Archive::new(repository);
    let Some(content) = archive.load(&mut loader, &file, cores())? else { return Ok(Found::Absent) };
    let folder = to.parent().unwrap_or(Path::new("/"));
    sweep(folder, client::is_alive);
    deliver(write_beside(folder, content, Durability::of(to))?, to)?;
    Ok(Found::Delivered)
}
