//! The command line of where a restored cluster recovers to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine::restore_cluster::TablespaceMove;
use jiff::Timestamp;
use model::lsn::Lsn;
use model::recovery_target::{RecoveryTarget, RestorePoint, TargetAction, TargetTimeline, Xid};

use crate::rate::moment;

/// Of a cluster: up to where it recovers, and what it does then.
#[derive(Args, Clone)]
pub(crate) struct RecoveryArguments {
    /// Of a cluster: recover to this time, like 2026-11-21T03:00:00Z; without a target, to the end of the archived WAL
    #[arg(long, value_name = "TIME", value_parser = moment, group = "point")]
    target_time: Option<Timestamp>,
    /// … to this position in the WAL
    #[arg(long, value_name = "LSN", group = "point")]
    target_lsn: Option<Lsn>,
    /// … to the end of this transaction
    #[arg(long, value_name = "XID", group = "point")]
    target_xid: Option<Xid>,
    /// … to this restore point
    #[arg(long, value_name = "NAME", group = "point")]
    target_name: Option<RestorePoint>,
    /// … no further than to the end of the backup itself
    #[arg(long, value_name = "WHERE", group = "point")]
    target: Option<Whole>,
    /// Stop just before the target, and not behind it
    #[arg(long, requires = "point", conflicts_with_all = ["target", "target_name"])]
    target_exclusive: bool,
    /// The history to follow: latest, current, or the number of a timeline
    #[arg(long, value_name = "TIMELINE", default_value = "latest")]
    pub(crate) target_timeline: TargetTimeline,
    /// At the target: pause, promote or shutdown
    #[arg(long, value_name = "ACTION", default_value = "pause")]
    pub(crate) target_action: TargetAction,
    /// Of a cluster: archive as the original did; only where that one never comes back
    #[arg(long)]
    pub(crate) continue_archiving: bool,
    /// Of a cluster: make it a standby
    #[arg(long)]
    pub(crate) standby: bool,
    /// Of a cluster: put a tablespace, named by its place or its number, somewhere else
    #[arg(long, value_name = "OLD=NEW", value_parser = tablespace)]
    pub(crate) tablespace: Vec<TablespaceMove>,
}

/// What `--target` takes.
#[derive(Clone, Copy, ValueEnum)]
enum Whole {
    Immediate,
}

impl RecoveryArguments {
    /// Nothing was said.
    pub(crate) fn none() -> Self {
        Self {
            target_time: None,
            target_lsn: None,
            target_xid: None,
            target_name: None,
            target: None,
            target_exclusive: false,
            target_timeline: TargetTimeline::default(),
            target_action: TargetAction::default(),
            continue_archiving: false,
            standby: false,
            tablespace: vec![],
        }
    }

    /// The same; where no target was said, to the end of the backup itself, and no further.
    pub(crate) fn or_immediate(mut self) -> Self {
        if self.point() == RecoveryTarget::Latest && !self.standby {
            self.target = Some(Whole::Immediate);
        }
        self
    }

    /// Where recovery ends.
    pub(crate) fn point(&self) -> RecoveryTarget {
        let Self { target_time, target_lsn, target_xid, target_name, target, .. } = self;
        None.or_else(|| target_time.map(RecoveryTarget::Time))
            .or_else(|| target_lsn.map(RecoveryTarget::Lsn))
            .or_else(|| target_xid.map(RecoveryTarget::Xid))
            .or_else(|| target_name.clone().map(RecoveryTarget::Name))
            .or_else(|| target.map(|Whole::Immediate| RecoveryTarget::Immediate))
            .unwrap_or(RecoveryTarget::Latest)
    }

    /// Whether the target itself is part of it.
    pub(crate) fn inclusive(&self) -> bool {
        !self.target_exclusive
    }

    /// Whether anything was said of the place of a cluster, or of what it does there.
    pub(crate) fn is_of_a_place(&self) -> bool {
        self.target_action != TargetAction::default()
            || self.continue_archiving
            || self.standby
            || !self.tablespace.is_empty()
    }

    /// Whether anything was said that only a cluster knows.
    pub(crate) fn is_given(&self) -> bool {
        self.point() != RecoveryTarget::Latest
            || self.target_timeline != TargetTimeline::default()
            || self.is_of_a_place()
    }
}

fn tablespace(text: &str) -> Result<TablespaceMove, String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && to.starts_with('/') => {
            Ok(TablespaceMove { from: PathBuf::from(from), to: PathBuf::from(to) })
        }
        _ => Err("write OLD=NEW: where it was (or its number), and an absolute path".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tablespace_goes_from_a_place_or_number_to_a_path() {
        let moved = tablespace("/srv/fast=/mnt/a=b").unwrap();
        assert_eq!((moved.from, moved.to), ("/srv/fast".into(), "/mnt/a=b".into()));
        assert!(tablespace("16385=/mnt").is_ok());
        for text in ["", "/srv", "=/mnt", "/srv=mnt", "/srv="] {
            assert!(tablespace(text).is_err(), "{text:?}");
        }
    }
}
