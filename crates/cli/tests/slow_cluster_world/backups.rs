//! Backups of every kind, undisturbed and not: what ends with success is listed and comes back, what does not says so.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::program::Ran;
use testkit::site::id_of;
use testkit::world::dice::Dice;

use crate::history::{History, lsn};
use crate::pair::Pair;
use crate::server::{Place, Server};

/// A backup to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) of_primary: bool,
    pub(crate) via: &'static str,
    pub(crate) full: bool,
}

impl Kind {
    pub(crate) const LOCAL: Self = Self { of_primary: true, via: "local", full: false };
    pub(crate) const FULL: Self = Self { of_primary: true, via: "local", full: true };
    pub(crate) const STREAM: Self = Self { of_primary: true, via: "stream", full: false };

    pub(crate) fn of_standby(dice: &mut Dice) -> Self {
        Self { of_primary: false, via: *dice.choose::<&str>(&["local", "stream"]), full: dice.once_in(3) }
    }

    pub(crate) fn any(dice: &mut Dice) -> Self {
        let of_primary = !dice.once_in(3);
        Self { of_primary, via: *dice.choose::<&str>(&["local", "local", "stream"]), full: dice.once_in(4) }
    }
}

/// A backup of `server`, which is on the machine `host`; not yet begun.
pub(crate) fn command(place: &Place, server: &Server<'_>, host: &str, kind: Kind) -> Command {
    let mut command = place.mainstay_on(host);
    command.env("PGHOST", server.socket_folder()).env("PGUSER", "postgres");
    command.args(["backup", "create", "acme", "--cluster", "--via", kind.via]);
    if kind.full {
        command.arg("--full");
    }
    command
}

/// Begin a backup.
pub(crate) fn begin(place: &Place, pair: &Pair<'_>, kind: Kind) -> Child {
    begin_with(place, pair, kind, &[])
}

/// The same with more flags.
pub(crate) fn begin_with(place: &Place, pair: &Pair<'_>, kind: Kind, more: &[&str]) -> Child {
    let server = if kind.of_primary { pair.primary() } else { pair.standby() };
    let mut command = command(place, server, pair.host(kind.of_primary), kind);
    command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A backup that nothing disturbs; its id.
#[track_caller]
pub(crate) fn take(place: &Place, pair: &Pair<'_>, kind: Kind) -> String {
    take_with(place, pair, kind, &[])
}

/// The same with more flags.
#[track_caller]
pub(crate) fn take_with(place: &Place, pair: &Pair<'_>, kind: Kind, more: &[&str]) -> String {
    let mut ran = Ran::wait(begin_with(place, pair, kind, more));
    if !kind.of_primary && ran.stderr.contains("went over from timeline") {
        ran.exits(1);
        pair.settle();
        ran = Ran::wait(begin_with(place, pair, kind, more));
    }
    id_of(&ran.ok())
}

/// The end of one that was disturbed: its id, or that it failed and said so.
#[track_caller]
pub(crate) fn end(child: Child, was_killed: bool) -> Option<String> {
    let ran = Ran::wait(child);
    match ran.code {
        Some(0) => Some(id_of(&ran)),
        None if was_killed => None,
        Some(1) => {
            assert!(ran.stderr.contains("error"), "it failed and did not say why: {}", ran.stderr);
            assert!(!ran.stderr.contains("backup ok"), "{}", ran.stderr);
            None
        }
        code => panic!("exit code {code:?}:\n{}", ran.stderr),
    }
}

/// Kill a program as nothing can be prepared for.
pub(crate) fn kill(child: &Child) {
    kill_process(Pid::from_child(child), Signal::KILL).ok();
}

/// A moment in the life of a backup.
pub(crate) fn moment(dice: &mut Dice) -> Duration {
    Duration::from_millis(dice.below(1500))
}

/// Look what the repository has. What was acknowledged is there.
#[track_caller]
pub(crate) fn list(place: &Place, history: &mut History, acknowledged: &[String]) {
    let listed = place.mainstay(&["--json", "backup", "list"]).ok();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    history.backups.values_mut().for_each(|known| known.is_listed = false);
    for record in listed["records"].as_array().unwrap() {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        assert!(record["incomplete"] != true, "{record}");
        history.found(&text("id"), text("timeline").parse().unwrap(), lsn(&text("stopLsn")));
    }
    let there = history.listed();
    for id in acknowledged {
        assert!(there.contains(&id.as_str()), "{id} was acknowledged and is not there: {there:?}");
    }
}
