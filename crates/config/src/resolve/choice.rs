//! One value out of several layers: the source's own, its tenant's defaults, the common ones.

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use model::reference::SecretReference;
use model::retention::Policy;

use crate::configuration::{Export, Far, Hooks, Repository};
use crate::error::{ConfigError, Result};
use crate::file::File;
use crate::hooks::HooksTable;
use crate::keep::Span;
use crate::origin::Given;
use crate::schedule::Schedule;
use crate::section::Section;
use crate::written::Written;

/// What a source runs by where nobody says anything.
const SCHEDULE_USUAL: &str = "manual";

/// A span of time among what is said.
pub(super) type SpanOf = fn(&Section) -> &Option<Written<Span>>;

/// Commands among what is said.
pub(super) type HooksOf = fn(&Section) -> &Option<Written<HooksTable>>;

/// The layers of one source, the strongest first.
pub(super) struct Choice<'a> {
    pub(super) layers: &'a [(&'a File, &'a Section)],
    /// Names the source in words.
    pub(super) path: &'a str,
}

impl Choice<'_> {
    /// The strongest one that is said, and the file that says it.
    fn strongest<T>(&self, pick: impl Fn(&Section) -> &Option<Written<T>>) -> Option<(&File, &Written<T>)> {
        self.layers.iter().find_map(|(file, section)| Some((*file, pick(section).as_ref()?)))
    }

    /// A value as it is.
    pub(super) fn plain<T: Clone>(&self, pick: impl Fn(&Section) -> &Option<Written<T>>) -> Option<Given<T>> {
        self.strongest(pick).map(|(file, written)| file.given(written))
    }

    /// A span of time.
    pub(super) fn span(&self, pick: SpanOf) -> Option<Given<SignedDuration>> {
        self.plain(pick).map(|Given { value: Span(value), origin }| Given { value, origin })
    }

    /// That what `pick` says is wrong, in words.
    pub(super) fn mistake<T>(
        &self,
        pick: impl Fn(&Section) -> &Option<Written<T>>,
        words: &str,
    ) -> Option<ConfigError> {
        let (file, written) = self.strongest(pick)?;
        Some(file.mistake(written, format!("{}: {words}", self.path)))
    }

    /// That `key`, where it is said, is understood and not carried out.
    pub(super) fn waits<T>(
        &self,
        key: &str,
        pick: fn(&Section) -> &Option<Written<T>>,
    ) -> Option<ConfigError> {
        let (file, written) = self.strongest(pick)?;
        Some(file.mistake(written, format!("{}: {key} is not carried out by this version", self.path)))
    }

    /// That `key`, where the source itself says it, is for sources of another kind.
    pub(super) fn is_for_others<T>(
        &self,
        key: &str,
        others: &str,
        pick: fn(&Section) -> &Option<Written<T>>,
    ) -> Option<ConfigError> {
        let (file, section) = self.layers.first()?;
        let written = pick(section).as_ref()?;
        Some(file.mistake(written, format!("{}: {key} is for {others}", self.path)))
    }

    /// The times of drills, where they are said.
    pub(super) fn drill_schedule(&self) -> Option<Result<Schedule>> {
        let (file, written) = self.strongest(|section| &section.drill)?;
        let parsed = Schedule::parse(&written.value.schedule, &TimeZone::UTC);
        Some(parsed.map_err(|error| file.mistake(written, format!("{}: drill: {error}", self.path))))
    }

    /// The same as they are written.
    pub(super) fn drill(&self) -> Option<Given<String>> {
        let (file, written) = self.strongest(|section| &section.drill)?;
        let Given { value, origin } = file.given(written);
        Some(Given { value: value.schedule, origin })
    }

    /// A value that is read further.
    fn read<T, U>(
        &self,
        pick: impl Fn(&Section) -> &Option<Written<T>>,
        read: impl FnOnce(&T) -> std::result::Result<U, String>,
    ) -> Result<Option<Given<U>>>
    where
        T: Clone,
    {
        let Some((file, written)) = self.strongest(pick) else { return Ok(None) };
        let value =
            read(&written.value).map_err(|words| file.mistake(written, format!("{}: {words}", self.path)))?;
        Ok(Some(Given { value, origin: file.given(written).origin }))
    }

    pub(super) fn zone(&self) -> Result<Given<TimeZone>> {
        let unknown =
            |name: &String| TimeZone::get(name).map_err(|_| format!("time_zone {name:?} is unknown"));
        let zone = self.read(|section| &section.time_zone, unknown);
        let zone = zone.map_err(|mistake| mistake.hint("names are like Europe/Berlin (tzdata)"))?;
        Ok(zone.unwrap_or(Given::built_in(TimeZone::UTC)))
    }

    pub(super) fn schedule(&self, zone: &TimeZone) -> Result<Given<Schedule>> {
        let parse = |text: &str| Schedule::parse(text, zone).map_err(|error| error.to_string());
        match self.read(|section| &section.schedule, |text| parse(text))? {
            Some(said) => Ok(said),
            None => parse(SCHEDULE_USUAL)
                .map(Given::built_in)
                .map_err(|words| ConfigError::of_file(&self.layers[0].0.path, words)),
        }
    }

    pub(super) fn retention(&self, zone: &TimeZone) -> Result<Option<Given<Policy>>> {
        let words = |words: String| format!("retention {words}");
        self.read(|section| &section.retention, |keep| keep.policy(zone).map_err(words))
    }

    pub(super) fn password(&self) -> Result<Option<Given<SecretReference>>> {
        let parse = |text: &String| text.parse().map_err(|error| format!("password {error}"));
        self.read(|section| &section.password, parse)
    }

    pub(super) fn export(&self, tenant: &str, zone: &TimeZone) -> Result<Option<Given<Export>>> {
        self.read(|section| &section.export, |table| table.read(tenant, zone))
    }

    pub(super) fn hooks(&self, pick: HooksOf) -> Result<Option<Given<Hooks>>> {
        self.read(pick, |table| table.read())
    }

    pub(super) fn far(&self) -> Far {
        Far {
            key: self.plain(|section| &section.directory_key),
            host_key: self.plain(|section| &section.directory_host_key),
            ca_file: self.plain(|section| &section.directory_ca_file),
            pin: self.plain(|section| &section.directory_pin),
        }
    }

    pub(super) fn copies(&self, first: &Repository) -> Result<Given<Vec<Repository>>> {
        let all = |places: &Vec<_>| places.iter().map(|place| first.further(place)).collect();
        let copies = self.read(|section| &section.copies, all)?;
        Ok(copies.unwrap_or(Given::built_in(vec![])))
    }
}
