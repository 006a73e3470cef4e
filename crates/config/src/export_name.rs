//! What exported dumps are called: a template such as `{database}/{database}-{date}-{clock}.dump`, filled for one backup and
//! read back from a name.
//!
//! Invariants: two backups of one source that began in different seconds have different names; no name leaves its place;
//! it ends in `.dump`. Times are UTC: clocks that are put back would name two dumps alike.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use model::backup::BackupRecord;
use model::name::SourceName;

/// What every exported dump ends in.
const END: &str = ".dump";
/// What stands behind the same name for what is told of it.
const SIDECAR_END: &str = ".meta.json";
/// Placeholders, and what each stands for.
const PLACEHOLDERS: [(&str, Part); 7] = [
    ("tenant", Part::Tenant),
    ("source", Part::Source),
    ("database", Part::Database),
    ("id", Part::Id),
    ("time", Part::Time),
    ("date", Part::Date),
    ("clock", Part::Clock),
];

/// A template that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportName {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Tenant,
    Source,
    /// As a name of files: databases may be called anything.
    Database,
    Id,
    /// `20261120T144005Z`
    Time,
    /// `20261120`
    Date,
    /// `144005`
    Clock,
}

impl ExportName {
    /// Read a template.
    ///
    /// # Errors
    /// In words, where it has unknown parts, may name two dumps alike, or leaves its place.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with(END) {
            return Err(format!("name {text:?} does not end in {END}"));
        }
        let parts = parts(text)?;
        let has = |part: &Part| parts.contains(part);
        if !(has(&Part::Id) || has(&Part::Time) || has(&Part::Date) && has(&Part::Clock)) {
            return Err(format!(
                "name {text:?} would be the same for every dump: it needs {{id}}, {{time}}, or {{date}} and {{clock}}"
            ));
        }
        if !(has(&Part::Id) || has(&Part::Source) || has(&Part::Database)) {
            return Err(format!(
                "name {text:?} would be the same for two sources: it needs {{id}}, {{source}} or {{database}}"
            ));
        }
        let is_plain =
            |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', '\n']);
        if !text.split('/').all(is_plain) || text.contains("..") {
            return Err(format!("name {text:?} is no plain path below the place"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The name of this backup's dump.
    pub fn fill(&self, record: &BackupRecord) -> String {
        self.parts.iter().map(|part| part.text(record)).collect()
    }

    /// What is told of the dump called `name` stands here.
    pub fn sidecar(name: &str) -> String {
        format!("{}{SIDECAR_END}", name.strip_suffix(END).unwrap_or(name))
    }

    /// The folder of every dump of the source of `record`, empty for the place itself. A folder may bear a time.
    pub fn folder(&self, record: &BackupRecord) -> String {
        let fixed = self.parts.iter().take_while(|part| !part.is_of_one());
        let start: String = fixed.map(|part| part.text(record)).collect();
        start.rsplit_once('/').map(|(folder, _)| folder.to_owned()).unwrap_or_default()
    }

    /// When the dump called `name` was made, where it is one of the same source as `record`.
    pub fn time_in(&self, name: &str, record: &BackupRecord) -> Option<Timestamp> {
        let (mut rest, mut date, mut clock) = (name, None, None);
        for part in &self.parts {
            let before = match part {
                Part::Id => format!("{}-{}-", record.tenant, record.source),
                Part::Time | Part::Date | Part::Clock => String::new(),
                fixed => fixed.text(record),
            };
            rest = rest.strip_prefix(before.as_str())?;
            if matches!(part, Part::Id | Part::Time | Part::Date) {
                date = Some(digits(&mut rest, 8)?);
            }
            if matches!(part, Part::Id | Part::Time) {
                rest = rest.strip_prefix('T')?;
            }
            if matches!(part, Part::Id | Part::Time | Part::Clock) {
                clock = Some(digits(&mut rest, 6)?);
            }
            if matches!(part, Part::Id | Part::Time) {
                rest = rest.strip_prefix('Z')?;
            }
            if *part == Part::Id {
                rest = without_number(rest);
            }
        }
        let time = DateTime::strptime("%Y%m%d%H%M%S", format!("{}{}", date?, clock?)).ok()?;
        rest.is_empty().then(|| time.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())).flatten()
    }
}

impl fmt::Display for ExportName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Part {
    /// Whether it differs from backup to backup.
    fn is_of_one(&self) -> bool {
        matches!(self, Self::Id | Self::Time | Self::Date | Self::Clock)
    }

    fn text(&self, record: &BackupRecord) -> String {
        let time = |form: &str| record.created_at.strftime(form).to_string();
        match self {
            Self::Literal(text) => text.clone(),
            Self::Tenant => record.tenant.to_string(),
            Self::Source => record.source.to_string(),
            Self::Database => SourceName::derived_from(&record.database).to_string(),
            Self::Id => record.id.to_string(),
            Self::Time => time("%Y%m%dT%H%M%SZ"),
            Self::Date => time("%Y%m%d"),
            Self::Clock => time("%H%M%S"),
        }
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = vec![];
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) =
            behind.split_once('}').ok_or_else(|| format!("name {text:?} has a {{ without its }}"))?;
        let known = PLACEHOLDERS.iter().find(|(known, _)| *known == name);
        let names = || PLACEHOLDERS.map(|(known, _)| format!("{{{known}}}")).join(", ");
        let (_, part) = known.ok_or_else(|| format!("name has {{{name}}}; known are {}", names()))?;
        parts.extend((!before.is_empty()).then(|| Part::Literal(before.to_owned())));
        parts.push(part.clone());
        rest = after;
    }
    parts.extend((!rest.is_empty()).then(|| Part::Literal(rest.to_owned())));
    Ok(parts)
}

/// Takes so many digits off the front.
fn digits<'a>(rest: &mut &'a str, count: usize) -> Option<&'a str> {
    let (found, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    found.bytes().all(|byte| byte.is_ascii_digit()).then_some(found)
}

/// An id may have `-2` behind its time, for the second one of a second.
fn without_number(rest: &str) -> &str {
    match rest.strip_prefix('-') {
        Some(behind) if behind.starts_with(|c: char| c.is_ascii_digit()) => {
            behind.trim_start_matches(|c: char| c.is_ascii_digit())
        }
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BackupRecord {
        serde_json::from_value(serde_json::json!({
            "id": "acme-app-20261120T144005Z", "tenant": "acme", "source": "app", "kind": "dump",
            "database": "app", "createdAt": "2026-11-20T14:40:05Z", "sizeBytes": "1", "storedBytes": "1",
            "engine": "postgres",
        }))
        .unwrap()
    }

    #[test]
    fn names_are_those_of_the_originals_and_are_read_back() {
        let cases = [
            ("{database}/{database}-{date}-{clock}.dump", "app/app-20261120-144005.dump", "app"),
            ("{id}.dump", "acme-app-20261120T144005Z.dump", ""),
            ("certctl-{database}-{time}.dump", "certctl-app-20261120T144005Z.dump", ""),
            ("{tenant}/{date}/{source}-{clock}.dump", "acme/20261120/app-144005.dump", "acme"),
        ];
        for (template, expected, folder) in cases {
            let name = ExportName::parse(template).unwrap();
            assert_eq!(name.fill(&record()), expected);
            assert_eq!(name.folder(&record()), folder, "{template}");
            assert_eq!(name.time_in(expected, &record()), Some(record().created_at), "{template}");
            let later = expected.replace("144005", "154005");
            assert_eq!(name.time_in(&later, &record()).unwrap(), "2026-11-20T15:40:05Z".parse().unwrap());
        }
        assert_eq!(ExportName::sidecar("a/b.dump"), "a/b.meta.json");
        let id = ExportName::parse("{id}.dump").unwrap();
        assert!(id.time_in("acme-app-20261120T144005Z-2.dump", &record()).is_some());
    }

    #[test]
    fn a_name_of_another_source_or_by_hand_is_nobodys() {
        let name = ExportName::parse("{database}-{date}-{clock}.dump").unwrap();
        for other in [
            "shop-20261120-144005.dump",
            "app-20261120-144005.dump.part",
            "app-20261120-144005",
            "app-20261320-144005.dump",
            "app-2026112x-144005.dump",
            "app-before-the-migration.dump",
            "app-",
            "äpp-20261120-144005.dump",
        ] {
            assert_eq!(name.time_in(other, &record()), None, "{other}");
        }
        let id = ExportName::parse("{id}.dump").unwrap();
        for other in ["acme-app-two-20261120T144005Z.dump", "acme-app-20261120T144005Z-x.dump"] {
            assert_eq!(id.time_in(other, &record()), None, "{other}");
        }
    }

    #[test]
    fn templates_that_name_two_dumps_alike_or_leave_their_place_are_refused() {
        for (template, words) in [
            ("{source}.dump", "every dump"),
            ("{source}-{date}.dump", "every dump"),
            ("{time}.dump", "two sources"),
            ("{source}-{time}", "does not end"),
            ("../{id}.dump", "no plain path"),
            ("/srv/{id}.dump", "no plain path"),
            ("a//{id}.dump", "no plain path"),
            (".hidden-{id}.dump", "no plain path"),
            ("{ident}.dump", "{ident}; known are {tenant}"),
            ("{id.dump", "without its"),
        ] {
            let error = ExportName::parse(template).unwrap_err();
            assert!(error.contains(words), "{template}: {error}");
        }
    }
}
