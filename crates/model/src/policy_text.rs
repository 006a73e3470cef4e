//! A policy in the words of the configuration.

use std::fmt;

use jiff::SignedDuration;

use crate::retention::{Every, Policy, Tier};
use crate::span::show_span;

impl fmt::Display for Every {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours(hours) => write!(out, "{hours}h"),
            Self::Day => out.write_str("1d"),
            Self::Week => out.write_str("1w"),
            Self::Month => out.write_str("1m"),
            Self::Year => out.write_str("1y"),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tiers.is_empty() {
            let tiers: Vec<_> = self.tiers.iter().map(tier).collect();
            return write!(out, "[{}]", tiers.join(", "));
        }
        let last = self.keep_last.map(|keep| format!("keep_last = {keep}"));
        let span = |name: &str, span: Option<SignedDuration>| {
            span.map(|span| format!("{name} = \"{}\"", show_span(span)))
        };
        let within = span("keep_within", self.keep_within);
        let window = span("keep_wal_within", self.keep_wal_within);
        let slots = self.calendar.iter().map(|(every, keep)| match every {
            Every::Hours(1) => format!("keep_hourly = {keep}"),
            Every::Day => format!("keep_daily = {keep}"),
            Every::Week => format!("keep_weekly = {keep}"),
            Every::Month => format!("keep_monthly = {keep}"),
            Every::Year => format!("keep_yearly = {keep}"),
            Every::Hours(hours) => format!("every {hours} hours = {keep}"),
        });
        let parts: Vec<_> = last.into_iter().chain(within).chain(slots).chain(window).collect();
        write!(out, "{{ {} }}", parts.join(", "))
    }
}

fn tier(tier: &Tier) -> String {
    let younger = tier.younger_than.map(|span| format!("younger_than = \"{}\", ", show_span(span)));
    let every = tier.every.map(|every| format!("every = \"{every}\", "));
    format!("{{ {}{}keep = {} }}", younger.unwrap_or_default(), every.unwrap_or_default(), tier.keep)
}
