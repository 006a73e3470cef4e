//! What a world is like, as its seed says.

use testkit::world::dice::Dice;

use crate::pair::{Archiving, Pages};

/// What does not change in a world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) archiving: Archiving,
    pub(crate) pages: Pages,
    /// Whether a part of the history is in a tablespace.
    pub(crate) has_shelf: bool,
    /// Whether there is a second repository.
    pub(crate) has_second: bool,
    /// Whether the first one is behind SFTP.
    pub(crate) is_afar: bool,
}

impl Scenario {
    /// That of a seed; `dice` goes on with the world.
    pub(crate) fn of(seed: u64, dice: &mut Dice) -> Self {
        let archiving = [Archiving::Both, Archiving::Push, Archiving::Receive, Archiving::Push];
        Self {
            archiving: archiving[(seed % 4) as usize],
            pages: *dice.choose(&[Pages::Checksums, Pages::LoggedHints, Pages::Plain]),
            has_shelf: !dice.once_in(3),
            has_second: dice.once_in(3),
            is_afar: dice.once_in(4),
        }
    }
}
