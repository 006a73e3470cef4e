//! Settings that a backup depends on, or would be better with.

use super::{AREA, Seen, wrong};
use crate::command::doctor::Finding;
use crate::error::{CliError, Kind};

/// From here on a server can summarise its WAL.
const SUMMARIES: u32 = 17;

pub(super) fn look(seen: &Seen<'_>) -> Vec<Finding> {
    let is_off = |name: &str| seen.state.setting(name) == "off";
    let mut findings = vec![];
    if seen.state.setting("wal_level") == "minimal" {
        let error = CliError::new(
            Kind::Usage,
            "wal_level is minimal: no cluster is backed up while it runs, and no WAL kept",
        )
        .hint("ALTER SYSTEM SET wal_level = 'replica', and start the server anew");
        findings.push(wrong(seen.asked.is_meant, AREA, error, "the cluster cannot be backed up"));
    }
    if seen.version.major() >= SUMMARIES && is_off("summarize_wal") {
        findings.push(Finding::note(
            AREA,
            "summarize_wal is off: increments look at files to know what changed",
            "ALTER SYSTEM SET summarize_wal = on, and reload: then the server knows it",
        ));
    }
    if is_off("full_page_writes") {
        findings.push(Finding::note(
            AREA,
            "full_page_writes is off: a page that a crash tore stays so, and no standby can be backed up",
            "turn it on, unless the file system writes pages whole",
        ));
    }
    if is_off("data_checksums") {
        findings.push(Finding::note(
            AREA,
            "pages have no checksums: what the disk damages is backed up unseen",
            "pg_checksums --enable, while the server is stopped",
        ));
    }
    findings
}
