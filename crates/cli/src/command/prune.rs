//! `mainstay prune`: mark what nothing needs, and delete what was marked long enough ago.

mod older;

use std::collections::HashMap;

use engine::expire_wal::{ExpireOptions, ExpiredWal, expire_wal_alone};
use jiff::{SignedDuration, Timestamp};
use model::progress::Progress;
use model::size::ByteSize;
use repo::Repository;
use repo::prune::{PruneOptions, PruneReport, prune};
use serde_json::json;

use crate::arguments::{Global, Prune};
use crate::command::check::percent;
use crate::command::forget::duration;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::progress_line::ProgressLine;
use crate::{configured, interrupt, place};
use older::Older;

pub(crate) fn run(global: &Global, order: &Prune, environment: &Environment, face: &Face) -> Result<()> {
    let options = PruneOptions {
        cooling_off: duration(&order.cooling_off)?,
        unused_percent_max: if order.max_unused.starts_with('0') { 0 } else { percent(&order.max_unused)? },
        dry_run: order.dry_run,
        wait: duration(&order.wait)?.unsigned_abs(),
    };
    let cancel = interrupt::watch()?;
    let repository = place::open(global, environment, face)?;
    let url = place::address(global, environment)?;
    let windows = Windows::of(global, order, &repository, &url)?;
    let progress = Progress::new();
    let line = ProgressLine::start(face, &progress);
    let identity = place::identity(environment);
    let mut report = prune(&repository, &options, &identity, Timestamp::now(), &progress, &cancel)?;
    // What a base backup that can come back would need goes when that one is gone.
    let now = Timestamp::now();
    let until = now - options.cooling_off;
    let window = |tenant: &str, source: &str| windows.of_source(tenant, source);
    let expire = ExpireOptions { until, window: &window, now, dry_run: order.dry_run };
    // Ages say nothing under a wrong clock, and beside somebody at work nobody knows what will be needed.
    let is_sure = !report.is_clock_wrong && report.in_use_by.is_none();
    let (wal, kept_by) = match is_sure {
        true => expire_wal_alone(&repository, &expire, (&identity, options.wait), &cancel)?,
        false => Default::default(),
    };
    if let Some(holder) = kept_by {
        face.note(&format!("WAL stays for now: {holder} is at work; a later prune goes on"));
        report = report.by(holder);
    }
    // What is done is done, whoever may look at it afterwards.
    let older =
        older::look(&url, &report.gone_packs, environment, &progress, &cancel).unwrap_or_else(|error| {
            face.note(&format!("what stays as older versions cannot be seen: {}", error.message));
            None
        });
    drop(line);
    let versions = older.as_ref().map(Older::to_json);
    let document =
        json!({ "report": report, "wal": wal, "olderVersions": versions, "dryRun": order.dry_run });
    face.result(&document, || {
        let mut lines = describe(&report, order.dry_run);
        let mood = if order.dry_run { "would be " } else { "" };
        lines.extend((wal.files + wal.kept > 0).then(|| {
            let ExpiredWal { files, bytes, kept } = &wal;
            format!("WAL       {files} files {mood}removed ({}); {kept} stay", ByteSize(*bytes))
        }));
        lines.extend(older.as_ref().map(Older::describe));
        lines.push(report.next_step.clone());
        lines.join("\n")
    });
    Ok(())
}

/// How long each moment of a cluster can be come back to.
enum Windows {
    /// As was said for this run.
    Said(SignedDuration),
    /// As the configuration says of a tenant's source in this repository; of others nothing is known, and their WAL stays.
    Configured(HashMap<(String, String), SignedDuration>),
}

impl Windows {
    fn of(global: &Global, order: &Prune, repository: &Repository, url: &str) -> Result<Self> {
        if let Some(window) = &order.keep_wal_within {
            return Ok(Self::Said(duration(window)?));
        }
        let mut windows = HashMap::new();
        // A configuration that has nothing to do with it must not keep packs from being pruned.
        if repository.list_wal_clusters()?.is_empty() {
            return Ok(Self::Configured(windows));
        }
        for tenant in configured::load_if_any(global)?.iter().flat_map(|all| &all.tenants) {
            for source in &tenant.sources {
                // What is said of one repository is not said of another, such as a mirror that keeps more.
                let is_meant = tenant.repository.url.value == url
                    || source.copies.value.iter().any(|copy| copy.url.value == url);
                let retention = source.retention.as_ref().filter(|_| is_meant);
                let window = retention.and_then(|policy| policy.value.keep_wal_within);
                let name = (tenant.name.to_string(), source.name.to_string());
                windows.extend(window.map(|window| (name, window)));
            }
        }
        Ok(Self::Configured(windows))
    }

    fn of_source(&self, tenant: &str, source: &str) -> Option<SignedDuration> {
        match self {
            Self::Said(window) => Some(*window),
            Self::Configured(windows) => windows.get(&(tenant.to_owned(), source.to_owned())).copied(),
        }
    }
}

fn describe(report: &PruneReport, dry_run: bool) -> Vec<String> {
    let mood = if dry_run { "would be " } else { "" };
    let mut lines = vec![
        format!(
            "marked    {} packs {mood}marked; {} wait ({})",
            report.marked,
            report.waiting,
            ByteSize(report.waiting_bytes)
        ),
        format!(
            "removed   {} packs {mood}removed ({})",
            report.removed_packs,
            ByteSize(report.removed_bytes)
        ),
        format!(
            "repacked  {} packs {mood}repacked ({})",
            report.repacked_packs,
            ByteSize(report.repacked_bytes)
        ),
        format!("freed     {}; {} stay", ByteSize(report.freed_bytes), ByteSize(report.kept_bytes)),
    ];
    if report.merged_index_files > 0 {
        lines.push(format!("index     {} files {mood}written anew", report.merged_index_files));
    }
    lines.extend(report.in_use_by.iter().map(|holder| format!("waiting   for {holder}")));
    lines
}
