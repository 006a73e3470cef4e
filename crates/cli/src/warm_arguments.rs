//! Flags of commands that read packs, which may be cold.

use clap::{Args, ValueEnum};
use store::archive::{Speed, Terms};

/// Flags of what reads packs.
#[derive(Args, Clone)]
#[command(next_help_heading = "Cold packs")]
pub(crate) struct WarmUpArguments {
    /// Ask for the packs that are cold, and stop: run this again when they are warm
    #[arg(long)]
    pub(crate) warm_up_only: bool,
    /// Days that packs stay readable which were asked for
    #[arg(long, value_name = "DAYS", default_value_t = Terms::default().days, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub(crate) warm_up_days: u32,
    /// How fast they are to come, by the store's own names; the faster, the dearer
    #[arg(long, value_name = "SPEED", value_enum, default_value = "standard")]
    pub(crate) warm_up_speed: WarmUpSpeed,
}

/// The names of [`Speed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WarmUpSpeed {
    /// In half a day to two, for least
    Bulk,
    /// In hours
    Standard,
    /// In minutes; not out of DEEP_ARCHIVE
    Expedited,
}

impl WarmUpArguments {
    /// What to ask an archive for.
    pub(crate) fn terms(&self) -> Terms {
        let speed = match self.warm_up_speed {
            WarmUpSpeed::Bulk => Speed::Bulk,
            WarmUpSpeed::Standard => Speed::Standard,
            WarmUpSpeed::Expedited => Speed::Expedited,
        };
        Terms { days: self.warm_up_days, speed }
    }
}
