//! Retention with a window of seconds, and chains that become full backups.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::program::Ran;
use testkit::world::dice::Dice;

use crate::backups;
use crate::history::History;
use crate::server::Place;

/// What is younger is due, whatever expires.
const WINDOWS_S: [u64; 3] = [3, 10, 30];

/// Begin a command that needs no server.
pub(crate) fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.mainstay_on("host-a");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The same, killed somewhere on its way, if it takes so long.
#[track_caller]
pub(crate) fn kill(place: &Place, arguments: &[&str], dice: &mut Dice) {
    let child = start(place, arguments);
    std::thread::sleep(Duration::from_millis(dice.below(600)));
    backups::kill(&child);
    let ran = Ran::wait(child);
    assert!(matches!(ran.code, None | Some(0)), "{}", ran.stderr);
}

/// Forget and prune; now and then each is killed first.
pub(crate) fn expire(place: &Place, history: &mut History, dice: &mut Dice) {
    let window = *dice.choose(&WINDOWS_S);
    let within = format!("{window}s");
    let forget = ["forget", "--keep-last", "2", "--keep-wal-within", &within];
    let prune = ["prune", "--cooling-off", "0h", "--keep-wal-within", &within];
    for arguments in [&forget[..], &prune[..]] {
        if dice.once_in(3) {
            kill(place, arguments, dice);
        }
        Ran::wait(start(place, arguments)).ok();
    }
    history.expire(Duration::from_secs(window));
    backups::list(place, history, &[]);
}

/// Make a full backup of the newest one, if that is a chain.
pub(crate) fn consolidate(place: &Place, history: &mut History) {
    place.mainstay(&["consolidate", "acme/cluster"]).ok();
    let before: Vec<_> = history.listed().into_iter().map(str::to_owned).collect();
    backups::list(place, history, &before);
}
