//! `mainstay`, the face for people: arguments in, one verb carried out, words or one JSON document out.

mod error;
mod rate;
mod batch;
mod heap;
mod wire_arguments;
mod warm_arguments;
mod arguments;
mod face;
mod around;
mod wire;
mod environment;
mod dotenv;
mod original;
mod progress_line;
mod unfinished;
mod shelf;
mod interrupt;
mod password;
mod habits;
mod pair;
mod place;
mod target;
mod configured;
mod locks;
mod warm;
mod database;
mod known;
mod table;
mod command;

use std::process::ExitCode;

use clap::Parser;
use repo::budget::Budget;

use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::error::CliError;
use crate::face::Face;

fn main() -> ExitCode {
    let environment = Environment::take();
    let arguments = environment.take_passwords_out(std::env::args_os());
    environment::harden();
    batch::begin();
    // What goes wrong before the command itself begins, and what must not look like an answer.
    let recovery = command::recovery::asked_by(&arguments);
    let mut arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return recovery.map_or_else(|| face::show_usage(&error), |it| it.usage(&error)),
    };
    let is_tight = arguments.global.wire.memory.is_some_and(Budget::is_tight);
    if is_tight || !command::fills_packs(&arguments.command) {
        heap::give_back_at_once();
    }
    let face = Face::new(&arguments.global);
    command::name_tenant(&mut arguments);
    // What a recovering server must not take for an answer is not settled before its command.
    let of_recovery = |error: CliError| match recovery {
        Some(recovery) => recovery.error(error),
        None => error,
    };
    let environment = configured::complete(environment, &mut arguments.global).and_then(|environment| {
        let may_remember = !command::examines_the_store(&arguments.command);
        environment.lay_wire(&arguments.global.wire, may_remember, face.clone());
        if command::settles_later(&arguments.command) {
            return Ok(environment);
        }
        let works_on_one = command::works_on_one_repository(&arguments.command);
        configured::settle(&mut arguments.global, environment, works_on_one, &face)
    });
    let environment = match environment {
        Ok(environment) => environment,
        Err(error) => return face.show_error(&of_recovery(error)),
    };
    let run = || command::run(arguments, &environment, &face);
    let end = match &recovery {
        None => run(),
        Some(recovery) => recovery.unwinding(run),
    };
    match end {
        Ok(()) => face.end(),
        Err(error) => face.show_error(&error),
    }
}
