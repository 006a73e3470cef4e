//! `mainstay`, the face for people: arguments in, one verb carried out, words or one JSON document out.

mod error;
mod rate;
mod batch;
mod wire_arguments;
mod arguments;
mod face;
mod wire;
mod environment;
mod progress_line;
mod interrupt;
mod password;
mod habits;
mod place;
mod database;
mod known;
mod table;
mod command;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::face::Face;

fn main() -> ExitCode {
    let environment = Environment::take();
    let arguments = environment.take_passwords_out(std::env::args_os());
    environment::harden();
    batch::begin();
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return face::show_usage(&error),
    };
    let face = Face::new(&arguments.global);
    let may_remember = !command::examines_the_store(&arguments.command);
    environment.lay_wire(&arguments.global.wire, may_remember, face);
    match command::run(arguments, &environment, &face) {
        Ok(()) => face.end(),
        Err(error) => face.show_error(&error),
    }
}
