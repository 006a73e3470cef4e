//! A second repository, which `copy` and backups into both fill: what comes back from there is what comes back from the first.

use testkit::program::Ran;
use testkit::world::dice::Dice;

use crate::expiry;
use crate::server::Place;
use crate::target::Wanted;

/// One that is made.
pub(crate) struct Second {
    address: String,
    /// Whether anything was copied.
    is_filled: bool,
}

impl Second {
    pub(crate) fn make(place: &Place) -> Self {
        let address = place.path().join("second").display().to_string();
        place.mainstay(&["-r", &address, "init", "--no-recovery-key"]).ok();
        Self { address, is_filled: false }
    }

    /// What makes a backup one of both.
    pub(crate) fn beside_the_first<'a>(&'a self, place: &'a Place) -> [&'a str; 4] {
        ["--dest", place.address(), "--dest", &self.address]
    }

    /// Bring what is new there; now and then it is killed first.
    fn fill(&mut self, place: &Place, dice: &mut Dice) {
        let copy = ["copy", "--to", &self.address];
        if dice.once_in(3) {
            expiry::kill(place, &copy, dice);
        }
        Ran::wait(expiry::start(place, &copy)).ok();
        self.is_filled = true;
    }

    /// The same restore from here. What was copied longer ago comes back right, or is refused.
    pub(crate) fn instead(&mut self, place: &Place, wanted: Wanted, dice: &mut Dice) -> Wanted {
        let is_stale = self.is_filled && wanted.has_target() && dice.once_in(4);
        if !is_stale {
            self.fill(place, dice);
        }
        let is_due = wanted.is_due && !is_stale;
        let here = ["-r".to_owned(), self.address.clone()];
        let arguments = wanted.arguments.into_iter().chain(here).collect();
        Wanted { arguments, is_due, point: wanted.point }
    }

    /// mainstay finds nothing wrong.
    #[track_caller]
    pub(crate) fn assert_sound(&self, place: &Place) {
        place.mainstay(&["-r", &self.address, "check", "--read-data"]).ok();
    }
}
