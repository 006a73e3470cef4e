//! `mainstay status`: of each configured source its last good backup, how old it is, and when it runs next.

mod set;

use std::collections::BTreeMap;

use daemon::history::{History, Outcome, Run};
use jiff::{SignedDuration, Timestamp};
use model::size::ByteSize;
use model::span::show_span;
use serde_json::{Value, json};

use super::sources::{self, Configured, Unlearned};
use crate::arguments::Global;
use crate::configured;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::table::table;
use set::SetState;

/// Good backups whose sizes make the trend.
const TREND_OF: usize = 8;

/// What is known of a source.
struct State {
    name: String,
    good: Option<Run>,
    last: Option<Run>,
    next: Option<Timestamp>,
    max_age: Option<SignedDuration>,
    /// Sizes of the last good backups, the newest first.
    sizes: Vec<u64>,
}

pub(crate) fn run(
    global: &Global,
    names: &[String],
    refresh: bool,
    environment: &Environment,
    face: &Face,
) -> Result<()> {
    let configuration = configured::required(global)?;
    let chosen = sources::chosen(&configuration, names)?;
    let now = Timestamp::now();
    let known = |history: &History| -> Result<(Vec<State>, Vec<SetState>)> {
        let states = chosen.iter().map(|one| State::of(one, history, now)).collect::<Result<Vec<_>>>()?;
        Ok((states, set::states(&chosen, history, now)?))
    };
    let (mut history, (mut states, mut sets)) = sources::remembered(&chosen, environment, face, known)?;
    // Another machine, or somebody by hand, may have made what was not made here.
    let late_sets: Vec<_> = sets.iter().filter(|set| set.is_late).map(|set| set.tenant.clone()).collect();
    let is_doubtful = |(one, state): &(&Configured<'_>, &State)| {
        refresh || state.is_doubtful(now) || late_sets.iter().any(|name| name == one.tenant.name.as_str())
    };
    let doubtful = chosen.iter().zip(&states).filter(is_doubtful).map(|(one, _)| (one.number, one.tenant));
    let doubtful: BTreeMap<_, _> = doubtful.collect();
    for tenant in doubtful.values() {
        let learned = sources::learn(tenant, &mut history, environment, face);
        if let Err(Unlearned::Unreadable(error) | Unlearned::Forgotten(error)) = learned {
            face.warn(&format!("of {} this is what this machine remembers: {}", tenant.name, error.message));
        }
    }
    if !doubtful.is_empty() {
        (states, sets) = known(&history)?;
    }
    face.result(
        &json!({
            "sources": states.iter().map(|state| state.value(now)).collect::<Vec<_>>(),
            "sets": sets.iter().map(SetState::value).collect::<Vec<_>>(),
        }),
        || {
            let header = ["SOURCE", "LAST-GOOD", "RPO-NOW", "NEXT", "LAST-RUN", "SIZE", "TREND", "STATE"];
            let rows = std::iter::once(header.map(str::to_owned).to_vec());
            let rows =
                rows.chain(states.iter().map(|state| state.row(now))).chain(sets.iter().map(SetState::row));
            table(&rows.collect::<Vec<_>>())
        },
    );
    let late = states.iter().filter(|state| state.is_late(now)).map(|state| &*state.name);
    let late: Vec<_> = late.chain(sets.iter().filter(|set| set.is_late).map(|set| &*set.name)).collect();
    match late.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(Kind::Late, format!("no backup in time of {}", late.join(", ")))
            .hint("`mainstay runs` shows what became of each run")),
    }
}

impl State {
    fn of(one: &Configured<'_>, history: &History, now: Timestamp) -> Result<Self> {
        let (tenant, source) = one.parts();
        let goods = history.newest(tenant, source, &Outcome::GOOD, TREND_OF)?;
        let last = history.newest(tenant, source, &Outcome::ALL, 1)?.into_iter().next();
        let slot = last.as_ref().map_or(now, |run| run.slot);
        let cron = one.source.schedule.value.cron();
        let next = cron.and_then(|cron| cron.next_after(slot.min(now))?.checked_add(one.delay()).ok());
        Ok(Self {
            name: one.name(),
            sizes: goods.iter().map(|run| run.size).collect(),
            good: goods.into_iter().next(),
            last,
            next,
            max_age: one.source.max_age.as_ref().map(|age| age.value),
        })
    }

    /// How much would be lost now.
    fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        // What the run saw is what was there when it began.
        self.good.as_ref().map(|good| now.duration_since(good.began))
    }

    fn is_late(&self, now: Timestamp) -> bool {
        self.max_age.is_some_and(|max| self.age(now).is_none_or(|age| age > max))
    }

    /// Whether this machine may not know of the newest backup: it is late, or somebody else was at it when we would have been.
    fn is_doubtful(&self, now: Timestamp) -> bool {
        self.is_late(now) || self.last.as_ref().is_some_and(|last| last.outcome == Outcome::Skipped)
    }

    fn state(&self, now: Timestamp) -> &'static str {
        match self.last.as_ref().map(|last| last.outcome) {
            _ if self.is_late(now) => "late",
            None => "never-run",
            Some(outcome) => outcome.as_str(),
        }
    }

    /// By how many per cent the newest good backup is larger than those before it were.
    fn trend(&self) -> Option<i64> {
        let (newest, before) = self.sizes.split_first()?;
        let mean = before.iter().sum::<u64>().checked_div(before.len() as u64).filter(|mean| *mean > 0)?;
        let percent = (i128::from(*newest) - i128::from(mean)) * 100 / i128::from(mean);
        i64::try_from(percent).ok()
    }

    fn row(&self, now: Timestamp) -> Vec<String> {
        let time = |time: Option<Timestamp>| time.map(|time| format!("{time:.0}")).unwrap_or_default();
        let size = self.sizes.first().map(|bytes| ByteSize(*bytes).to_string().replace(' ', ""));
        vec![
            self.name.clone(),
            time(self.good.as_ref().map(|good| good.began)),
            self.age(now).map(rough).unwrap_or_default(),
            time(self.next),
            time(self.last.as_ref().map(|last| last.began)),
            size.unwrap_or_default(),
            self.trend().map(|percent| format!("{percent:+}%")).unwrap_or_default(),
            self.state(now).to_owned(),
        ]
    }

    fn value(&self, now: Timestamp) -> Value {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
        json!({
            "name": self.name,
            "lastGood": time(self.good.as_ref().map(|good| good.began)),
            "lastGoodId": self.good.as_ref().map(|good| good.backup.as_str()).unwrap_or_default(),
            "rpoSeconds": self.age(now).map(|age| age.as_secs().to_string()).unwrap_or_default(),
            "next": time(self.next),
            "lastRun": time(self.last.as_ref().map(|last| last.began)),
            "lastOutcome": self.last.as_ref().map(|last| last.outcome.as_str()).unwrap_or_default(),
            "lastReason": self.last.as_ref().map(|last| last.reason.as_str()).unwrap_or_default(),
            "sizeBytes": self.sizes.first().copied().unwrap_or_default().to_string(),
            "trendPercent": self.trend().map(|percent| percent.to_string()).unwrap_or_default(),
            "state": self.state(now),
        })
    }
}

/// A span in its two largest units' worth of precision: minutes below a day, hours above.
fn rough(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let step = match seconds {
        0..120 => 1,
        120..7200 => 60,
        _ => 3600,
    };
    show_span(SignedDuration::from_secs(seconds / step * step))
}
