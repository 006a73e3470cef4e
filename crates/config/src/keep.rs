//! Retention as it is written: a table of `keep_…`, or a list of tiers by age.

use std::fmt;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use model::retention::{Every, Policy, Tier};
use model::span::parse_span;
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A span such as `12h`; a string in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) SignedDuration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            D::Error::custom(format!("{text:?} is no span of time: write it like 90s, 15min, 12h, 30d or 2w"))
        };
        parse_span(&text).map(Self).ok_or_else(wrong)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A span of time: a whole number and one of s, m, min, h, d, w, y",
            "type": "string",
            "pattern": "^[0-9]+ *(s|m|min|h|d|w|y)$",
        })
    }
}

/// What to keep.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Keep {
    Slots(Slots),
    Tiers(Vec<TierTable>),
    /// The bucket's own rules say it: of exports alone
    Lifecycle(Lifecycle),
}

/// The word for it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Lifecycle {
    Lifecycle,
}

/// So many of each stretch of the calendar; what any of them keeps stays.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Slots {
    /// This many newest ones
    keep_last: Option<usize>,
    /// All that are younger
    keep_within: Option<Span>,
    /// Of clusters: every moment that is younger can be come back to
    keep_wal_within: Option<Span>,
    /// The newest of each of so many hours
    keep_hourly: Option<usize>,
    /// The newest of each of so many days
    keep_daily: Option<usize>,
    /// The newest of each of so many weeks
    keep_weekly: Option<usize>,
    /// The newest of each of so many months
    keep_monthly: Option<usize>,
    /// The newest of each of so many years
    keep_yearly: Option<usize>,
}

/// Some of an age; the youngest tier stands first.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TierTable {
    /// Where the tier ends; the last one may have no end
    younger_than: Option<Span>,
    /// The newest of each slot of this length: a divisor of a day in hours, 1d, 1w, 1m (a month) or 1y; without it each counts
    every: Option<String>,
    /// So many at most
    keep: usize,
}

impl Keep {
    /// As a policy.
    ///
    /// # Errors
    /// In words, where it makes no sense.
    pub(crate) fn policy(&self, zone: &TimeZone) -> Result<Policy, String> {
        let policy = match self {
            Self::Slots(slots) => slots.policy(),
            Self::Tiers(tiers) => Policy { tiers: tier_list(tiers)?, ..Policy::default() },
            Self::Lifecycle(_) => {
                return Err(
                    "= \"lifecycle\" is for exports: rules of a bucket that delete objects would destroy a \
                            repository"
                        .to_owned(),
                );
            }
        };
        if policy.is_empty() {
            return Err("says nothing: leave it out to keep everything".to_owned());
        }
        if policy.keeps_nothing() {
            return Err("keeps nothing but the newest backup: leave it out to keep everything".to_owned());
        }
        Ok(Policy { zone: Some(zone.clone()), ..policy })
    }
}

impl Slots {
    fn policy(&self) -> Policy {
        let slots = [
            (Every::Hours(1), self.keep_hourly),
            (Every::Day, self.keep_daily),
            (Every::Week, self.keep_weekly),
            (Every::Month, self.keep_monthly),
            (Every::Year, self.keep_yearly),
        ];
        Policy {
            keep_last: self.keep_last,
            keep_within: self.keep_within.map(|span| span.0),
            keep_wal_within: self.keep_wal_within.map(|span| span.0),
            calendar: slots.into_iter().filter_map(|(every, keep)| Some((every, keep?))).collect(),
            ..Policy::default()
        }
    }
}

fn tier_list(tables: &[TierTable]) -> Result<Vec<Tier>, String> {
    let mut from = SignedDuration::ZERO;
    let mut tiers = vec![];
    for (position, table) in tables.iter().enumerate() {
        let younger_than = table.younger_than.map(|span| span.0);
        match younger_than {
            Some(until) if until <= from => return Err("tiers go from the youngest to the oldest".to_owned()),
            None if position + 1 < tables.len() => {
                return Err("only the last tier may leave younger_than out".to_owned());
            }
            until => from = until.unwrap_or(SignedDuration::MAX),
        }
        let every = table.every.as_deref().map(every).transpose()?;
        tiers.push(Tier { younger_than, every, keep: table.keep });
    }
    Ok(tiers)
}

fn every(text: &str) -> Result<Every, String> {
    let hours = || text.strip_suffix('h')?.parse().ok().and_then(Every::hours);
    let known = match text {
        "1d" => Some(Every::Day),
        "1w" => Some(Every::Week),
        "1m" => Some(Every::Month),
        "1y" => Some(Every::Year),
        _ => hours(),
    };
    known.ok_or_else(|| format!("every = {text:?}: known are 1h, 2h, 3h, 4h, 6h, 8h, 12h, 1d, 1w, 1m and 1y"))
}

/// Read by what stands there, so that a mistake inside has its own words and line.
impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Keep;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a table such as { keep_daily = 30 }, or a list of tiers")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keep, A::Error> {
                Slots::deserialize(MapAccessDeserializer::new(map)).map(Keep::Slots)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Keep, E> {
                match text {
                    "lifecycle" => Ok(Keep::Lifecycle(Lifecycle::Lifecycle)),
                    _ => Err(E::custom(format!(
                        "retention {text:?} is none: write a table, tiers, or \"lifecycle\""
                    ))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Keep, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Keep::Tiers)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
