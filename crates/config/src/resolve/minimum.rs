//! What no source may fall short of: how often it runs, and for how long its backups are kept.

use jiff::SignedDuration;
use model::span::show_span;

use super::findings::Findings;
use crate::configuration::{Source, Tenant, What};
use crate::error::ConfigError;
use crate::file::File;
use crate::origin::Origin;
use crate::section::Minimum;

/// Clocks that are put forward or back make a day longer by so much.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);

impl Findings {
    /// A mistake for each source that runs too rarely, or whose backups go too early, and does not say why.
    pub(super) fn judge_by_minimum(&mut self, files: &[File], tenants: &[Tenant]) {
        let minimum = |pick: fn(&Minimum) -> Option<SignedDuration>| {
            files.iter().filter_map(|file| pick(&file.tables.minimum)).max()
        };
        let every = minimum(|minimum| minimum.every.map(|span| span.0));
        let retention = minimum(|minimum| minimum.retention.map(|span| span.0));
        for tenant in tenants {
            for source in tenant.sources.iter().filter(|source| source.below_minimum.is_none()) {
                let words = too_rare(source, every).or_else(|| too_short(source, retention));
                let Some((words, origin)) = words else { continue };
                let message = format!("tenants.{}.sources.{}: {words}", tenant.name, source.name);
                let (file, line) = match origin {
                    Origin::File { path, line } => (path, Some(line)),
                    _ => (files[0].path.clone(), None),
                };
                let hint = "change it, or say why in below_minimum = \"…\"".to_owned();
                self.mistakes.push(ConfigError { file, line, message, hint: Some(hint) });
            }
        }
    }
}

fn too_rare(source: &Source, every: Option<SignedDuration>) -> Option<(String, Origin)> {
    let every = every?;
    let origin = source.schedule.origin.clone();
    let least = format!("[minimum] asks for a run every {}", show_span(every));
    match source.schedule.value.cron().map(|cron| cron.gaps().1) {
        None => Some((format!("it runs when somebody says so, and {least}"), origin)),
        Some(gap) if gap > every + CLOCKS => {
            Some((format!("up to {} lie between two runs, and {least}", show_span(gap)), origin))
        }
        Some(_) => None,
    }
}

fn too_short(source: &Source, retention: Option<SignedDuration>) -> Option<(String, Origin)> {
    let (asked, policy) = (retention?, source.retention.as_ref()?);
    let interval = source.schedule.value.cron().map_or(SignedDuration::ZERO, |cron| cron.gaps().0);
    // Of a cluster each moment of its window comes back, whatever backups there are.
    let is_cluster = matches!(source.what.value, What::Cluster(_));
    let window = policy.value.keep_wal_within.filter(|_| is_cluster).unwrap_or_default();
    let reach = policy.value.reach(interval).max(window);
    (reach < asked).then(|| {
        let words =
            format!("backups are kept for {}, and [minimum] asks for {}", show_span(reach), show_span(asked));
        (words, policy.origin.clone())
    })
}
