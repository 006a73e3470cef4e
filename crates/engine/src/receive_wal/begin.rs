//! From where to ask for WAL, so that there is no gap behind what is kept already.
//!
//! The spool knows best: it is written in order and emptied in order. Where it is empty, the server's slot says what it
//! kept for us, then the archive what it has. A slot that begins behind the archive's end means a gap.

use model::lsn::{Lsn, Timeline};
use model::wal_name::{SegmentName, SegmentNo, SegmentSize, WalName};

use super::AT_ONCE;

/// What is known before anything streams.
pub(crate) struct Known<'a> {
    /// Names in the spool.
    pub(crate) spooled: &'a [WalName],
    /// Names in the archive; nothing where nobody had to ask.
    pub(crate) archived: &'a [WalName],
    /// With which segment the newest timeline in there begins, where that came from another one.
    pub(crate) first: Option<SegmentNo>,
    /// What the slot keeps.
    pub(crate) slot: Option<(Lsn, Timeline)>,
    /// Where the server is.
    pub(crate) server: (Lsn, Timeline),
    pub(crate) size: SegmentSize,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begin {
    pub(crate) timeline: Timeline,
    pub(crate) segment: SegmentNo,
    /// The last segment that is archived before, where it is not the one just before.
    pub(crate) gap_after: Option<SegmentName>,
}

/// Decide it.
pub(crate) fn begin(known: &Known<'_>) -> Begin {
    let size = known.size;
    let at = |timeline, segment| Begin { timeline, segment, gap_after: None };
    if let Some((timeline, segment)) = end_of(known.spooled, size) {
        return at(timeline, segment);
    }
    let archived = end_of(known.archived, size).map(|end| without_holes(known, end));
    match (known.slot, archived) {
        (Some((lsn, timeline)), Some((_, next))) if size.segment_of(lsn) > next => {
            let last = SegmentNo(next.0.saturating_sub(1));
            let gap_after = archived.map(|(timeline, _)| SegmentName::new(timeline, last, size));
            Begin { gap_after, ..at(timeline, size.segment_of(lsn)) }
        }
        (Some((lsn, timeline)), _) => at(timeline, size.segment_of(lsn)),
        (None, Some((timeline, next))) => at(timeline, next),
        (None, None) => at(known.server.1, size.segment_of(known.server.0)),
    }
}

/// The first segment that is not whole, on the latest timeline.
fn end_of(names: &[WalName], size: SegmentSize) -> Option<(Timeline, SegmentNo)> {
    let next = names.iter().filter_map(|name| match name {
        WalName::Segment(name) => Some((name.timeline, SegmentNo(name.number(size)?.0 + 1))),
        WalName::Partial(name) => Some((name.timeline, name.number(size)?)),
        _ => None,
    });
    next.max()
}

/// Several segments go into the archive at one time. Where the machine was lost meanwhile with its spool, the last ones have
/// a hole: the end is before it.
fn without_holes(known: &Known<'_>, (timeline, end): (Timeline, SegmentNo)) -> (Timeline, SegmentNo) {
    let name = |number: u64| WalName::Segment(SegmentName::new(timeline, SegmentNo(number), known.size));
    let has = |number: u64| known.archived.contains(&name(number));
    let first = end.0.saturating_sub(AT_ONCE as u64);
    // Where nothing of this timeline comes before it was never archived, or is pruned; but where the one before is there, of
    // the timeline that this one left, it is this one's beginning that is missing.
    let follows = |number: u64| (0..number).rev().take(AT_ONCE).any(has) || begins(known, timeline, number);
    let hole = (first..end.0).find(|number| !has(*number) && follows(*number));
    (timeline, hole.map_or(end, SegmentNo))
}

/// Whether the timeline begins with this segment, and the one before is archived, of an earlier timeline.
fn begins(known: &Known<'_>, timeline: Timeline, number: u64) -> bool {
    known.first == Some(SegmentNo(number))
        && known.archived.iter().any(|name| match name {
            WalName::Segment(name) => {
                name.timeline < timeline
                    && name.number(known.size).is_some_and(|before| before.0 + 1 == number)
            }
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<WalName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn judged(spooled: &[&str], archived: &[&str], slot: Option<(u64, u32)>) -> (u32, u64, Option<String>) {
        let known = Known {
            spooled: &names(spooled),
            archived: &names(archived),
            first: None,
            slot: slot.map(|(segment, timeline)| (Lsn(segment << 24 | 0x28), Timeline(timeline))),
            server: (Lsn(9 << 24 | 0x28), Timeline(3)),
            size: SegmentSize::DEFAULT,
        };
        let found = begin(&known);
        (found.timeline.0, found.segment.0, found.gap_after.map(|name| name.to_string()))
    }

    #[test]
    fn it_goes_on_where_the_spool_ends() {
        let (one, two) = ("000000010000000000000004", "000000010000000000000005.partial");
        assert_eq!(judged(&[one, two], &[], Some((2, 1))), (1, 5, None));
        assert_eq!(judged(&[one], &[], Some((5, 1))), (1, 5, None));
        assert_eq!(
            judged(&["00000002.history", one, "000000020000000000000004.partial"], &[], None),
            (2, 4, None)
        );
    }

    #[test]
    fn with_an_empty_spool_the_slot_knows_and_then_the_archive() {
        let four = "000000010000000000000004";
        assert_eq!(judged(&[], &[], Some((2, 1))), (1, 2, None));
        assert_eq!(judged(&[], &[four], Some((5, 1))), (1, 5, None));
        assert_eq!(judged(&[], &[four], None), (1, 5, None));
        assert_eq!(judged(&[], &["00000002.history"], None), (3, 9, None));
    }

    #[test]
    fn a_hole_among_the_last_segments_of_the_archive_is_its_end() {
        let (two, three, four) =
            ("000000010000000000000002", "000000010000000000000003", "000000010000000000000004");
        assert_eq!(judged(&[], &[two, four], None), (1, 3, None));
        assert_eq!(judged(&[], &[two, four], Some((5, 1))), (1, 5, Some(two.into())));
        assert_eq!(judged(&[], &[two, three, four], Some((5, 1))), (1, 5, None));
        assert_eq!(judged(&[], &[four], Some((5, 1))), (1, 5, None), "it begins there");
    }

    #[test]
    fn a_missing_first_segment_of_a_timeline_is_a_hole() {
        let judged = |archived: &[&str], first: u64| {
            let known = Known {
                spooled: &[],
                archived: &names(archived),
                first: Some(SegmentNo(first)),
                slot: None,
                server: (Lsn(9 << 24), Timeline(2)),
                size: SegmentSize::DEFAULT,
            };
            let found = begin(&known);
            (found.timeline.0, found.segment.0)
        };
        let (four, six) = ("000000010000000000000004", "000000020000000000000006");
        assert_eq!(judged(&[four, six], 5), (2, 5));
        assert_eq!(judged(&[four, six], 6), (2, 7), "it begins with that one");
        assert_eq!(judged(&[six], 5), (2, 7), "the archive was begun with it, or what was before is pruned");
        assert_eq!(judged(&[four, "0000000200000000000000A0"], 5), (2, 161), "as after an accepted gap");
    }

    #[test]
    fn a_slot_behind_the_end_of_the_archive_is_a_gap() {
        assert_eq!(
            judged(&[], &["000000010000000000000004"], Some((6, 1))),
            (1, 6, Some("000000010000000000000004".into()))
        );
    }
}
