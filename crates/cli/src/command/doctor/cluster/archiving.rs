//! Whether the log of a cluster comes into the repository, and soon enough.
//!
//! A command of somebody else is named and never changed. What the server says is compared with what the repository has.

use jiff::SignedDuration;
use model::span::show_span;
use model::wal_name::{SegmentNo, WalName};
use pg::cluster_state::ArchiverState;

use super::command_text::{ArchivedBy, archived_by, shown};
use super::{ON_THEIR_WAY, Seen, WAL, ago, wrong};
use crate::command::doctor::Finding;
use crate::error::{CliError, Kind};

/// A burst of writing, or an archiver that falls behind.
const MANY: u64 = 16;
/// A segment takes its time.
const USUAL_S: i64 = 60;
const LOST: &str = "what was written since the last base backup";
const HOW: &str = "archive_command = 'mainstay wal push %p' (docs: how-to/archive-wal)";

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let mode = seen.state.setting("archive_mode");
    let is_on = mode == "always" || (mode == "on" && !seen.state.is_standby);
    let mut findings = match is_on {
        true => by_the_server(seen),
        false => vec![by_nobody(seen)],
    };
    if is_on || seen.comes_in() {
        findings.extend(timeout(seen));
    }
    findings
}

/// Whether the repository has this file.
fn has(seen: &Seen<'_>, name: &str) -> Option<bool> {
    let name: WalName = name.parse().ok()?;
    Some(seen.archived.as_ref()?.iter().any(|stored| stored.file.name == name))
}

fn by_nobody(seen: &Seen<'_>) -> Finding {
    if seen.comes_in() && seen.state.receivers == 0 {
        let message = "the repository has it nearly up to here, archive_mode is off, and nobody receives from this server";
        let todo = format!("start `mainstay wal receive` again, or set archive_mode = on and {HOW}");
        return Finding::warning(WAL, message, LOST, &todo);
    }
    if seen.comes_in() {
        return Finding::ok(WAL, "it comes into the repository, and not by the server's archiver");
    }
    if seen.state.is_standby && seen.state.setting("archive_mode") == "on" {
        let todo = "have its primary looked at; with archive_mode = always a standby archives too";
        return Finding::note(WAL, "this is a standby, which archives nothing", todo);
    }
    let message = "archive_mode is off: the cluster comes back as a base backup has it, and to no later time";
    let error = CliError::new(Kind::Usage, message)
        .hint(format!("ALTER SYSTEM SET archive_mode = on, start the server anew, and set {HOW}"));
    wrong(seen.asked.is_promised, WAL, error, LOST)
}

fn by_the_server(seen: &Seen<'_>) -> Vec<Finding> {
    let state = &seen.state;
    let who = archived_by(state.setting("archive_library"), state.setting("archive_command"));
    let mut findings = vec![named(seen, who)];
    if who != ArchivedBy::Nobody {
        findings.push(archiver(seen, &state.archiver));
    }
    findings.extend(there(seen, who));
    findings
}

/// Who archives.
fn named(seen: &Seen<'_>, who: ArchivedBy<'_>) -> Finding {
    let is_promised = seen.asked.is_promised;
    let bad = |message: String, todo: &str, lost: &str| {
        wrong(is_promised, WAL, CliError::new(Kind::Usage, message).hint(todo), lost)
    };
    let anothers = |message: String, todo: &str| {
        let last = seen.state.archiver.last_archived.as_deref();
        match last.and_then(|last| has(seen, last)) {
            Some(true) => Finding::ok(WAL, format!("{message}; what it archives is in the repository")),
            _ => bad(format!("{message}; it is left as it is"), todo, LOST),
        }
    };
    match who {
        ArchivedBy::Us => Finding::ok(WAL, "archive_command hands it to mainstay"),
        ArchivedBy::Nobody => Finding::warning(
            WAL,
            "archive_mode is on, and archive_command is empty",
            "WAL stays in pg_wal until its disk is full, and then the server stops",
            &format!("set {HOW}, or turn archive_mode off"),
        ),
        ArchivedBy::Discarded(command) => bad(
            format!("archive_command = '{command}' throws WAL away"),
            &format!("set {HOW}, and take a base backup: what was thrown away is a gap"),
            LOST,
        ),
        ArchivedBy::Library(library) => anothers(
            format!("archive_library = '{library}' archives it, and no archive_command"),
            &format!(
                "to have it here, set archive_library = '' and {HOW}, or `mainstay wal receive` beside it"
            ),
        ),
        ArchivedBy::Another(command) => anothers(
            format!("archive_command is another's: '{}'", shown(command)),
            "to have it here too, call `mainstay wal push` in a script after that command, or receive it beside: \
             `mainstay wal receive`",
        ),
    }
}

/// What the archiver did.
fn archiver(seen: &Seen<'_>, state: &ArchiverState) -> Finding {
    let last = match (&state.last_archived, state.archived_s_ago) {
        (Some(last), Some(seconds)) => format!("{last} was archived last, {} ago", ago(seconds)),
        _ => "nothing was archived since its statistics began".to_owned(),
    };
    if state.is_failing {
        let failed = state.last_failed.as_deref().unwrap_or("a segment");
        let age = ago(state.failed_s_ago.unwrap_or_default());
        let message = format!(
            "the archiver fails: {failed} failed {age} ago, {} failures so far; {last}",
            state.failures
        );
        let error = CliError::new(Kind::Failed, message)
            .hint("the server's log has the command's own words; run it by hand, as the server's user");
        return Finding::problem(
            WAL,
            error,
            "WAL stays in pg_wal until its disk is full; what is there is in no archive",
        );
    }
    let size = seen.segment_size();
    let archived = state.last_archived.as_deref().and_then(|name| match name.parse().ok()? {
        WalName::Segment(name) | WalName::Partial(name) | WalName::Backup(name, _) => name.number(size),
        WalName::History(_) => None,
    });
    let waiting = archived.map_or(0, |SegmentNo(archived)| seen.current().0.saturating_sub(archived + 1));
    if waiting >= ON_THEIR_WAY && state.archived_s_ago > Some(USUAL_S) {
        let error = CliError::new(Kind::Late, format!("{waiting} segments wait for the archiver; {last}"))
            .hint("does the command hang? is it slower than the server writes?");
        return Finding::problem(WAL, error, "what waits is in no archive");
    }
    if waiting >= MANY {
        return Finding::warning(
            WAL,
            format!("{waiting} segments wait for the archiver, which is at work; {last}"),
            "what waits is in no archive: so much the older is what the cluster can come back to",
            "where it does not catch up, the store or the way to it is slower than the server writes",
        );
    }
    match state.last_archived {
        None if !seen.comes_in() => Finding::unknown(WAL, last, "SELECT pg_switch_wal(), and ask again"),
        _ => Finding::ok(WAL, last),
    }
}

/// Whether what the server takes for archived is in the repository.
fn there(seen: &Seen<'_>, who: ArchivedBy<'_>) -> Option<Finding> {
    let last = seen.state.archiver.last_archived.as_deref().filter(|_| who == ArchivedBy::Us)?;
    Some(match has(seen, last)? {
        true => Finding::ok(WAL, format!("{last} is in the repository")),
        false => {
            let message = format!("the server takes {last} for archived, and the repository has it not");
            let error = CliError::new(Kind::Late, message)
                .hint("does archive_command name this repository? was it changed since? take a base backup when it does");
            wrong(seen.asked.is_meant, WAL, error, LOST)
        }
    })
}

/// A segment that is not full is archived when its time is over.
fn timeout(seen: &Seen<'_>) -> Option<Finding> {
    let seconds = seen.state.number("archive_timeout").unwrap_or_default();
    let now = match seconds {
        0 => "archive_timeout is not set".to_owned(),
        seconds => format!("archive_timeout is {seconds} s"),
    };
    let todo = |seconds: i64| format!("ALTER SYSTEM SET archive_timeout = '{seconds}s', and reload");
    match seen.asked.lag_max {
        Some(max) if seconds == 0 || SignedDuration::from_secs(seconds) >= max => Some(Finding::warning(
            WAL,
            format!("{now}, and WAL is to be archived within {}", show_span(max)),
            "a server that writes little fills a segment late: until then that is in no archive, and `mainstay watch` alarms",
            &todo((max.as_secs() / 5).max(1)),
        )),
        None if seconds == 0 => {
            Some(Finding::note(WAL, format!("{now}: a segment is archived when it is full"), &todo(USUAL_S)))
        }
        _ => None,
    }
}
