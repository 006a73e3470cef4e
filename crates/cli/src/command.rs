//! From the command line to its verb: one file each.

mod init;
mod copied_wal;
mod sources;
mod backup;
mod repositories;
mod check;
mod key;
mod stats;
mod forget;
mod prune;
mod repair;
mod parity;
mod lock;
mod copy;
mod consolidate;
mod mirror;
mod doctor;
mod demo;
mod configuration;
mod runs;
mod run;
mod status;
mod watch;
mod wal;
mod manifests;
mod generated;
mod every;

use crate::arguments::{Arguments, Backup, Command, Key, Wal};
use crate::environment::Environment;
use crate::error::{CliError, Result};
use crate::face::Face;
pub(crate) use wal::recovery;

/// Whether it must see what the store has, and not what was seen before: what it finds is relied on, or something is
/// given up because of it.
pub(crate) fn examines_the_store(command: &Command) -> bool {
    matches!(
        command,
        Command::Check(_)
            | Command::Repair(_)
            | Command::Backup(Backup::Verify { .. })
            | Command::Key(_)
            | Command::Mirror(_)
            | Command::Watch { .. }
    )
}

/// Whether it fills one buffer after the other, all day. `run` and `serve` are not among them: where one backup follows the other,
/// each with threads of its own, what those of the last one had would stay on their heaps.
pub(crate) fn fills_packs(command: &Command) -> bool {
    matches!(command, Command::Backup(Backup::Create(_)) | Command::Consolidate(_))
}

/// Whether it reads a repository and changes nothing there, so that it may be one as it was.
fn only_reads(command: &Command) -> bool {
    match command {
        Command::Backup(
            Backup::List { .. }
            | Backup::Get { .. }
            | Backup::Verify { .. }
            | Backup::Restore(_)
            | Backup::Export { .. },
        )
        | Command::Check(_)
        | Command::Stats { .. }
        | Command::Key(Key::List)
        | Command::Copy(_) => true,
        Command::Mirror(order) => !order.retire,
        Command::Wal(order) => matches!(order, Wal::Fetch(_) | Wal::Status(_) | Wal::Export(_)),
        _ => false,
    }
}

/// Whether it works on one repository, which flags or the configuration must name.
pub(crate) fn works_on_one_repository(command: &Command) -> bool {
    match command {
        Command::Check(order) => !order.all,
        Command::Prune(order) => !order.all,
        Command::Stats { .. }
        | Command::Forget(_)
        | Command::Repair(_)
        | Command::Parity(_)
        | Command::Lock(_)
        | Command::Consolidate(_)
        | Command::Copy(_) => true,
        Command::Key(order) => !matches!(order, Key::Generate),
        Command::Wal(_) => true,
        Command::Backup(order) => matches!(
            order,
            Backup::Hold { .. } | Backup::Unhold { .. } | Backup::Delete { .. } | Backup::Undelete { .. }
        ),
        _ => false,
    }
}

/// Whether it finds out by itself which repository is meant, since it mostly need not.
pub(crate) fn settles_later(command: &Command) -> bool {
    matches!(command, Command::Wal(Wal::Push(_) | Wal::Fetch(_)))
}

/// Make a tenant that the command's own flag names that of the global ones.
pub(crate) fn name_tenant(arguments: &mut Arguments) {
    if let Command::Wal(order) = &arguments.command {
        arguments.global.of = arguments.global.of.take().or_else(|| order.tenant().map(str::to_owned));
    }
}

/// Carry out what was asked for.
pub(crate) fn run(arguments: Arguments, environment: &Environment, face: &Face) -> Result<()> {
    let Arguments { global, command } = arguments;
    if global.at.is_some() && !only_reads(&command) {
        return Err(CliError::usage(
            "--at reads a repository as it was, and this command writes, or reads none",
        )
        .hint(
            "`mainstay copy --at TIME --to URL` makes a repository of what was there, which can be written",
        ));
    }
    match command {
        Command::Init(order) => init::run(&global, &order, environment, face),
        Command::Run(order) => run::run(&global, &order, environment, face),
        Command::Serve => run::serve(&global, environment, face),
        Command::Watch { once, accept } => match accept {
            Some(tenant) => watch::accept(&global, &tenant, environment, face),
            None => watch::run(&global, once, environment, face),
        },
        Command::Status { names, refresh } => status::run(&global, &names, refresh, environment, face),
        Command::Runs { name, last, restores: true, .. } => {
            runs::restores(name.as_deref(), last, environment, face)
        }
        Command::Runs { name, last, rebuild, .. } => {
            runs::run(&global, name.as_deref(), last, rebuild, environment, face)
        }
        Command::Config(order) => configuration::run(&global, &order, environment, face),
        Command::Backup(Backup::Create(order)) if order.what.source.is_some() => {
            run::run(&global, &run::of_source(&order)?, environment, face)
        }
        Command::Backup(order) => backup::run(&global, order, environment, face),
        Command::Wal(order) => wal::run(&global, order, environment, face),
        Command::Repositories(order) => repositories::run(&order, environment, face),
        Command::Check(order) if order.all => {
            let run = |global: &_, own: &_, face: &_| check::run(global, &order, own, face);
            every::of_all("check", (&global, environment, face), run)
        }
        Command::Check(order) => check::run(&global, &order, environment, face),
        Command::Key(order) => key::run(&global, order, environment, face),
        Command::Manifests(order) => manifests::run(&global, &order, face),
        Command::Demo(order) => demo::run(&order, environment, face),
        Command::Completions { shell } => generated::completions(shell),
        Command::Man { directory } => generated::man(&directory, face),
        Command::Stats { waste } => stats::run(&global, waste, environment, face),
        Command::Forget(order) => forget::run(&global, &order, environment, face),
        Command::Prune(order) if order.all => {
            let run = |global: &_, own: &_, face: &_| prune::run(global, &order, own, face);
            every::of_all("prune", (&global, environment, face), run)
        }
        Command::Prune(order) => prune::run(&global, &order, environment, face),
        Command::Parity(order) => parity::run(&global, &order, environment, face),
        Command::Repair(order) => repair::run(&global, &order, environment, face),
        Command::Lock(order) => lock::run(&global, &order, environment, face),
        Command::Copy(order) => copy::run(&global, &order, environment, face),
        Command::Consolidate(order) => consolidate::run(&global, &order, environment, face),
        Command::Doctor(order) => doctor::run(&global, &order, environment, face),
        Command::Mirror(order) => mirror::run(&global, &order, environment, face),
    }
}
