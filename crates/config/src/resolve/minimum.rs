//! What no source may fall short of: how often it runs, and for how long its backups are kept.

use jiff::SignedDuration;
use model::span::show_span;

use super::findings::Findings;
use crate::configuration::{Minimum, Source, Tenant};
use crate::error::ConfigError;
use crate::file::File;
use crate::keep::Span;
use crate::origin::{Given, Origin};
use crate::section;
use crate::written::Written;

/// Clocks that are put forward or back make a day longer by so much.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);

/// Whether the first is stricter than the second.
type Stricter = fn(&SignedDuration, &SignedDuration) -> bool;

/// The strictest of what the files say.
pub(super) fn minimum(files: &[File]) -> Minimum {
    let strictest = |pick: fn(&section::Minimum) -> &Option<Written<Span>>, is_stricter: Stricter| {
        let said = files.iter().filter_map(|file| Some(file.given(pick(&file.tables.minimum).as_ref()?)));
        let spans = said.map(|Given { value: Span(value), origin }| Given { value, origin });
        spans.reduce(|one, other| if is_stricter(&other.value, &one.value) { other } else { one })
    };
    Minimum {
        every: strictest(|minimum| &minimum.every, SignedDuration::lt),
        retention: strictest(|minimum| &minimum.retention, SignedDuration::gt),
    }
}

impl Findings {
    /// A mistake for each source that runs too rarely, or whose backups go too early, and does not say why.
    pub(super) fn judge_by_minimum(&mut self, files: &[File], minimum: &Minimum, tenants: &[Tenant]) {
        let every = minimum.every.as_ref().map(|given| given.value);
        let retention = minimum.retention.as_ref().map(|given| given.value);
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
    let reach = source.reach(&policy.value);
    (reach < asked).then(|| {
        let words =
            format!("backups are kept for {}, and [minimum] asks for {}", show_span(reach), show_span(asked));
        (words, policy.origin.clone())
    })
}
