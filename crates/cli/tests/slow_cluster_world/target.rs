//! Where a restore goes: a point on the way of the cluster, or its end.

use testkit::world::dice::Dice;

use crate::history::{History, Point};

/// What is asked of a restore, and whether it has to come.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The arguments behind `backup restore`.
    pub(crate) arguments: Vec<String>,
    /// The state to be found; nothing where it is any one that was.
    pub(crate) point: Option<Point>,
    /// Whether a refusal is wrong.
    pub(crate) is_due: bool,
}

impl Wanted {
    /// The arguments without what a restore of a table has no use for.
    pub(crate) fn without_action(&self) -> impl Iterator<Item = &String> {
        self.arguments.iter().filter(|word| !PROMOTE.contains(&word.as_str()))
    }

    /// Whether it goes less far than to the end of what is archived.
    pub(crate) fn has_target(&self) -> bool {
        self.arguments.iter().any(|word| word.starts_with("--target"))
    }
}

const PROMOTE: [&str; 2] = ["--target-action", "promote"];

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|word| (*word).to_owned()).collect()
}

/// The end of all that was archived, where `last` was booked.
pub(crate) fn latest(last: &Point) -> Wanted {
    Wanted { arguments: words(&["acme/cluster"]), point: Some(last.clone()), is_due: true }
}

/// A backup and no more.
pub(crate) fn immediate(id: &str) -> Wanted {
    let arguments = words(&[&[id, "--target", "immediate"][..], &PROMOTE].concat());
    Wanted { arguments, point: None, is_due: true }
}

/// A point of the past. `is_archived` says whether the log up to a position is there as that of a timeline.
pub(crate) fn any(history: &History, dice: &mut Dice, is_archived: &dyn Fn(u32, u64) -> bool) -> Wanted {
    // Behind the last one nothing is committed at which a recovery to its time would end.
    let points = history.points.split_last().map_or(&[][..], |(_, points)| points);
    let due: Vec<_> = points.iter().filter(|point| history.is_due(point)).collect();
    // What is not due any more comes back right, or is refused.
    let point = match dice.below(8) {
        0 if !points.is_empty() => dice.choose(points),
        1 if !history.lost.is_empty() => return lost(dice.choose(&history.lost)),
        _ if due.is_empty() => return latest(&history.points[history.points.len() - 1]),
        _ => *dice.choose(&due),
    };
    let is_due = history.is_due(point);
    let newest = history.newest_before(point);
    let (flag, value) = match (dice.below(4), &point.name, newest) {
        (0, ..) => ("--target-time", point.time.clone()),
        (1, Some(name), Some(_)) => ("--target-name", name.clone()),
        (2, _, Some(_)) => ("--target-xid", point.xid.clone()),
        _ => ("--target-lsn", position(point.lsn)),
    };
    // Which backups come to a number or a name, nobody knows before.
    let by_id = matches!(flag, "--target-name" | "--target-xid") || dice.once_in(4);
    let from = newest.filter(|_| by_id).unwrap_or("acme/cluster");
    let mut arguments = words(&[&[from, flag, value.as_str()][..], &PROMOTE].concat());
    if dice.once_in(2) && is_whole(history, point, is_archived) {
        arguments.extend(["--target-timeline".to_owned(), point.timeline.to_string()]);
    }
    Wanted { arguments, point: Some(point.clone()), is_due }
}

/// Whether the next transaction, at which a recovery to this one ends, is archived as of the same timeline.
fn is_whole(history: &History, point: &Point, is_archived: &dyn Fn(u32, u64) -> bool) -> bool {
    let next = history.points.iter().find(|next| next.lsn > point.lsn);
    next.is_some_and(|next| next.timeline == point.timeline && is_archived(next.timeline, next.lsn))
}

/// What only a primary had that died: on its timeline, if anywhere.
fn lost(point: &Point) -> Wanted {
    let (position, timeline) = (position(point.lsn), point.timeline.to_string());
    let target = ["acme/cluster", "--target-lsn", &position, "--target-timeline", &timeline];
    let arguments = words(&[&target[..], &PROMOTE].concat());
    Wanted { arguments, point: Some(point.clone()), is_due: false }
}

pub(crate) fn position(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}
