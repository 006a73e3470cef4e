//! `mainstay wal push`: archive one file. Success means that it is durable; the agent may have stored it before.

use std::path::Path;

use engine::archive_wal::LocalWal;
use repo::threads::cores;
use serde_json::json;

use super::agent::client::{self, Answered};
use super::agent::message::{Answer, PushJob, Request, WORK_MAX};
use super::work::{Archive, Pushed};
use super::{token, whose};
use crate::arguments::{Global, Push};
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{configured, interrupt, place};

pub(super) fn run(global: &Global, order: &Push, environment: &Environment, face: &Face) -> Result<()> {
    // A signal would make PostgreSQL start its archiver anew, and count no failure (pitfall 2).
    interrupt::end_with(Kind::Failed as i32)?;
    let path = std::path::absolute(&order.path).map_err(CliError::io("looking for the file"))?;
    let system_id = whose::of_file(&path)?;
    let wal = LocalWal::at(&path, system_id).map_err(CliError::from)?;
    let claim =
        token::claim(order.owner_file.as_deref(), &whose::data_directory(&path), system_id, environment)?;
    let job = PushJob { path: path.clone(), system_id, claim: claim.clone(), takes_over: order.take_over };
    let answered = match order.place.no_agent {
        true => Answered::Nobody,
        false => client::ask(global, &Request::Push(job), WORK_MAX, environment),
    };
    let pushed = match answered {
        Answered::With(Answer::Pushed(pushed)) => pushed,
        Answered::With(Answer::Failed(failure)) => return Err(failure.into()),
        Answered::With(_) | Answered::Nobody | Answered::TooLate => {
            let mut global = global.clone();
            let own = configured::settled(&mut global, environment, face)?;
            let repository = place::open(&global, own.as_ref().unwrap_or(environment), face)?;
            Archive::new(repository).push(&wal, &claim, order.take_over, cores())?
        }
    };
    show(&pushed, &path, face);
    Ok(())
}

fn show(pushed: &Pushed, path: &Path, face: &Face) {
    pushed.notes.iter().for_each(|note| face.note(note));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    face.result(&json!({ "name": name, "outcome": pushed.outcome, "notes": pushed.notes }), String::new);
}
