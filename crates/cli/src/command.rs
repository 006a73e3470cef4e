//! From the command line to its verb: one file each.

mod init;
mod backup;
mod repositories;
mod check;
mod key;
mod stats;
mod forget;
mod prune;
mod repair;
mod parity;
mod copy;
mod mirror;
mod doctor;
mod demo;
mod generated;

use crate::arguments::{Arguments, Command};
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;

/// Whether it must see what the store has, and not what was seen before.
pub(crate) fn examines_the_store(command: &Command) -> bool {
    matches!(command, Command::Check(_) | Command::Repair(_))
}

/// Carry out what was asked for.
pub(crate) fn run(arguments: Arguments, environment: &Environment, face: &Face) -> Result<()> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Init(order) => init::run(&global, &order, environment, face),
        Command::Backup(order) => backup::run(&global, order, environment, face),
        Command::Repositories(order) => repositories::run(&order, environment, face),
        Command::Check(order) => check::run(&global, &order, environment, face),
        Command::Key(order) => key::run(&global, order, environment, face),
        Command::Demo(order) => demo::run(&order, environment, face),
        Command::Completions { shell } => generated::completions(shell),
        Command::Man { directory } => generated::man(&directory, face),
        Command::Stats { waste } => stats::run(&global, waste, environment, face),
        Command::Forget(order) => forget::run(&global, &order, environment, face),
        Command::Prune(order) => prune::run(&global, &order, environment, face),
        Command::Parity(order) => parity::run(&global, &order, environment, face),
        Command::Repair(order) => repair::run(&global, &order, environment, face),
        Command::Copy(order) => copy::run(&global, &order, environment, face),
        Command::Doctor(order) => doctor::run(&global, &order, environment, face),
        Command::Mirror(order) => mirror::run(&global, &order, environment, face),
    }
}
