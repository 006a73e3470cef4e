//! What is promised of a cluster: that its WAL is archived, how far the archive may be behind, and what may be lost at most.

use jiff::SignedDuration;
use model::span::show_span;

use super::choice::Choice;
use super::findings::Findings;
use crate::configuration::{WalPromise, What};
use crate::origin::Given;

/// What holds of one source; of others than clusters nothing.
#[derive(Default)]
pub(super) struct Promised {
    pub(super) wal: Option<Given<WalPromise>>,
    pub(super) rpo: Option<Given<SignedDuration>>,
}

impl Findings {
    /// What is promised of a source, and what of it can never be kept.
    pub(super) fn promised(&mut self, choice: &Choice<'_>, what: Option<&What>) -> Promised {
        if !matches!(what, Some(What::Cluster(_))) {
            // As a default it is meant for the clusters among the sources.
            let others = [
                choice.is_for_others("wal", "clusters", |section| &section.wal),
                choice.is_for_others("rpo", "clusters; of others max_age says it", |section| &section.rpo),
            ];
            self.warnings.extend(others.into_iter().flatten());
            return Promised::default();
        }
        let wal = choice.plain(|section| &section.wal).map(|Given { value, origin }| Given {
            value: WalPromise { max_lag: value.max_lag.map(|span| span.0) },
            origin,
        });
        let rpo = choice.span(|section| &section.rpo);
        let max_lag = wal.as_ref().and_then(|wal| wal.value.max_lag);
        if max_lag.is_some_and(|max| max.is_zero()) {
            let mistake = choice.mistake(|section| &section.wal, "wal.max_lag = \"0s\" is never kept");
            let hint = "max_lag = \"5m\" with archive_timeout = 60 on the server is usual";
            self.mistakes.extend(mistake.map(|mistake| mistake.hint(hint)));
        }
        if rpo.as_ref().is_some_and(|rpo| rpo.value.is_zero()) {
            let mistake = choice.mistake(|section| &section.rpo, "rpo = \"0s\" cannot be seen from outside");
            let hint = "`mainstay wal receive` as a synchronous standby loses nothing; write by how much it may be missed, such \
                        as 5m";
            self.mistakes.extend(mistake.map(|mistake| mistake.hint(hint)));
        }
        if let (Some(lag), Some(rpo)) = (max_lag, &rpo)
            && lag > rpo.value
        {
            let words = format!(
                "wal.max_lag = {:?} lets the archive be further behind than rpo = {:?} allows",
                show_span(lag),
                show_span(rpo.value)
            );
            self.warnings.extend(choice.mistake(|section| &section.wal, &words));
        }
        Promised { wal, rpo }
    }
}
