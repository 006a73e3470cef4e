//! `mainstay watch`: the observer. It looks into every configured repository and at others' backups, tells whom it may
//! concern, and gives a sign of life of its own.

mod set;
mod log;
mod maintenance;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::watch::judge::{Alarm, Backup, Expected, Fault, judge};
use ::watch::notify::ping;
use ::watch::{files, pgbackrest};
use config::configuration::{Configuration, ForeignPlace, Source, Tenant, Watch, What};
use engine::catalog;
use jiff::Timestamp;
use model::backup::BackupRecord;
use model::cancel::CancelToken;
use model::name::SourceName;
use serde_json::json;

use super::sources::{self, delay_of, is_of};
use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::target::Target;
use crate::{configured, interrupt};
use log::judge_log;
use maintenance::{Pins, judge_care, unknown};
use set::judge_set;
use tell::{Telling, reaches_somebody};

/// Where it is kept which repositories and keys were seen.
const PINS: &str = "watch-keys.json";
/// How often the signals are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(global: &Global, once: bool, environment: &Environment, face: &Face) -> Result<()> {
    let cancel = interrupt::watch()?;
    let (mut configuration, mut own) = configured::read_again(global, environment, face).1?;
    let look = |configuration: &Configuration, own: &Environment, mistake: Option<&str>| {
        Watching { environment: own, face }.look(configuration, mistake)
    };
    if once {
        return look(&configuration, &own, None).end();
    }
    loop {
        look(&configuration, &own, None);
        // The configuration is read anew each time; a mistake in it must not silence the observer.
        loop {
            if !wait(configuration.watch.every.unsigned_abs().max(Duration::from_secs(1)), &cancel) {
                return Ok(());
            }
            match configured::read_again(global, environment, face).1 {
                Ok(read) => {
                    (configuration, own) = read;
                    break;
                }
                Err(error) => drop(look(&configuration, &own, Some(&error.message))),
            }
        }
    }
}

/// `watch --accept`: the repository and the keys of a tenant are right as they are.
pub(crate) fn accept(global: &Global, name: &str, environment: &Environment, face: &Face) -> Result<()> {
    let configuration = configured::required(global)?;
    let tenant = configured::tenant(&configuration, name)?;
    let repository = Target::configured(&tenant.repository).open(environment, face)?;
    let file = sources::file(environment)?.with_file_name(PINS);
    let mut pins = Pins::read(&file);
    pins.accept(name, &repository)?;
    pins.write(&file).map_err(CliError::io(&format!("writing {}", file.display())))?;
    face.note(&format!("the repository of {name} and its keys are the right ones from now on"));
    Ok(())
}

/// False where it was told to stop meanwhile.
fn wait(span: Duration, cancel: &CancelToken) -> bool {
    let until = std::time::Instant::now() + span;
    while std::time::Instant::now() < until {
        if cancel.is_cancelled() {
            return false;
        }
        std::thread::sleep(LOOK_EVERY.min(span));
    }
    !cancel.is_cancelled()
}

/// What one look found.
struct Found {
    alarms: Vec<Alarm>,
    /// Whom nobody could tell, and why.
    untold: Vec<String>,
}

impl Found {
    /// Alarms are exit 7; an alarm that reached nobody is worse.
    fn end(self) -> Result<()> {
        if let Some(first) = self.untold.into_iter().next() {
            return Err(CliError::new(Kind::Failed, first).hint("the alarms are shown above"));
        }
        match self.alarms.len() {
            0 => Ok(()),
            count => Err(CliError::new(Kind::Late, format!("{count} alarms"))),
        }
    }
}

struct Watching<'a> {
    environment: &'a Environment,
    face: &'a Face,
}

impl Watching<'_> {
    /// Look, tell, and give a sign of life. What `mistake` is in the configuration, which stays as it was, is an alarm, too.
    fn look(&self, configuration: &Configuration, mistake: Option<&str>) -> Found {
        let now = Timestamp::now();
        let mut seen = self.everything(configuration, now);
        seen.extend(mistake.map(|words| {
            let words = format!("it cannot be read, and what was in it before is looked at: {words}");
            let alarm = Alarm { name: "configuration".to_owned(), fault: Fault::Unreadable, words };
            (vec![alarm], told_of(&configuration.watch, configuration.receivers.iter().map(|one| &one.name)))
        }));
        let alarms: Vec<_> = seen.iter().flat_map(|(alarms, _)| alarms.clone()).collect();
        self.show(&alarms);
        let telling = Telling { environment: self.environment, face: self.face };
        let untold = telling.tell(configuration, &seen, now);
        // Whoever waits for the sign is to hear of it where nobody else could be told. Where somebody was, he knows who was not.
        let is_heard = reaches_somebody(&configuration.receivers, &seen, &untold);
        // Where nobody is told of a mistake, that the sign stays away is what tells of it.
        let is_heard = is_heard && (mistake.is_none() || !configuration.receivers.is_empty());
        let untold = untold.into_iter().map(|untold| untold.words).collect();
        if let Some(address) = configuration.watch.heartbeat.as_ref().filter(|_| is_heard) {
            let alive = telling.address(address).and_then(|url| Ok(ping(&url)?));
            if let Err(error) = alive {
                self.face.warn(&format!("the sign of life was not taken: {}", error.message));
            }
        }
        Found { alarms, untold }
    }

    /// Of everything that is expected the alarms, and who is told of them.
    fn everything(&self, configuration: &Configuration, now: Timestamp) -> Vec<(Vec<Alarm>, Vec<String>)> {
        let watch = &configuration.watch;
        let told = |own: &Vec<String>| if own.is_empty() { watch.notify.clone() } else { own.clone() };
        let mut seen = vec![];
        let file = sources::file(self.environment).map(|file| file.with_file_name(PINS)).ok();
        let mut pins = file.as_deref().map(Pins::read).unwrap_or_default();
        for tenant in &configuration.tenants {
            let opened = Target::configured(&tenant.repository).open(self.environment, self.face);
            let records = opened.and_then(|repository| {
                let records = catalog::list_readable(&repository)?.records;
                Ok((repository, records))
            });
            if let Ok((repository, records)) = &records {
                let care = judge_care(tenant, watch, repository, records, now);
                let care = care.unwrap_or_else(|error| vec![unknown(tenant, &error)]);
                let keys = pins
                    .judge(tenant.name.as_str(), repository)
                    .unwrap_or_else(|error| Some(unknown(tenant, &error)));
                let of_all = tenant.sources.iter().flat_map(|source| &source.notify.value);
                seen.push((care.into_iter().chain(keys).collect(), told_of(watch, of_all)));
                for set in &tenant.sets {
                    let alarms = judge_set(tenant, set, (repository, records), watch.shrunk_percent, now);
                    let members = tenant.sources.iter().filter(|source| set.members.contains(&source.name));
                    seen.push((alarms, told_of(watch, members.flat_map(|source| &source.notify.value))));
                }
            }
            for source in &tenant.sources {
                let expected = expected(tenant, source, watch.shrunk_percent);
                let alarms = match &records {
                    Ok((repository, records)) => {
                        let of_backups = judge_source(&expected, tenant, source, records, now);
                        [of_backups, judge_log(tenant, source, (repository, records), now)].concat()
                    }
                    Err(error) => vec![unreadable(&expected.name, &error.message)],
                };
                seen.push((alarms, told(&source.notify.value)));
            }
        }
        if let Some(error) = file.and_then(|file| pins.write(&file).err()) {
            self.face.warn(&format!("it is not remembered which keys were seen: {error}"));
        }
        for foreign in &watch.foreign {
            let backups = match &foreign.place {
                ForeignPlace::Files(pattern) => files::look(pattern),
                ForeignPlace::PgBackRest(stanza) => pgbackrest::look(stanza),
            };
            let expected = Expected {
                name: foreign.name.clone(),
                max_age: Some(foreign.max_age),
                schedule: None,
                shrunk_percent: watch.shrunk_percent,
            };
            let alarms = match backups {
                Ok(backups) => judge(&expected, &backups, now),
                Err(words) => vec![unreadable(&foreign.name, &words)],
            };
            seen.push((alarms, told(&foreign.notify)));
        }
        seen
    }

    fn show(&self, alarms: &[Alarm]) {
        alarms.iter().for_each(|alarm| self.face.status(&format!("alarm {alarm}")));
        self.face.result(&json!({ "alarms": alarms }), || match alarms {
            [] => "all is well".to_owned(),
            _ => String::new(),
        });
    }
}

/// Who is told of what concerns several: whom `[watch]` names, or else each whom it `concerns`.
fn told_of<'a>(watch: &Watch, concerns: impl Iterator<Item = &'a String>) -> Vec<String> {
    if !watch.notify.is_empty() {
        return watch.notify.clone();
    }
    let names: BTreeSet<_> = concerns.cloned().collect();
    names.into_iter().collect()
}

fn unreadable(name: &str, words: &str) -> Alarm {
    Alarm { name: name.to_owned(), fault: Fault::Unreadable, words: format!("nobody can look: {words}") }
}

fn expected(tenant: &Tenant, source: &Source, shrunk_percent: u8) -> Expected {
    let delay = delay_of(tenant, source);
    Expected {
        name: format!("{}/{}", tenant.name, source.name),
        max_age: source.max_age.as_ref().map(|age| age.value),
        schedule: source.schedule.value.cron().map(|cron| (cron.clone(), delay)),
        shrunk_percent,
    }
}

/// What is wrong with a source; of all databases of a server, with each database for itself: one that is fine must not
/// hide another.
fn judge_source(
    expected: &Expected,
    tenant: &Tenant,
    source: &Source,
    records: &[BackupRecord],
    now: Timestamp,
) -> Vec<Alarm> {
    let mut by_name: BTreeMap<String, Vec<Backup>> = BTreeMap::new();
    for record in records.iter().filter(|record| is_of(tenant, source, record)) {
        let name = match &source.what.value {
            // It may have had another name, before another source was called so.
            What::Databases(_) => {
                format!("{}/{}", expected.name, SourceName::derived_from(&record.database))
            }
            _ if record.source == source.name => expected.name.clone(),
            _ => format!("{}/{}", expected.name, record.source),
        };
        by_name.entry(name).or_default().push(backup(record));
    }
    if by_name.is_empty() {
        return judge(expected, &[], now);
    }
    let judged = by_name.into_iter().map(|(name, backups)| {
        let expected = Expected { name, ..expected.clone() };
        judge(&expected, &backups, now)
    });
    judged.flatten().collect()
}

fn backup(record: &BackupRecord) -> Backup {
    Backup { time: record.created_at, size: record.size_bytes, is_good: record.is_good() }
}

#[cfg(test)]
mod tests {
    use config::file::File;
    use config::resolve::resolve;

    use super::super::sources::chosen;
    use super::*;

    /// A member of a set begins when its set does, and is expected then.
    #[test]
    fn a_source_is_expected_when_it_is_due() {
        let text = "[repository]\nurl = \"/r\"\n[defaults]\njitter = \"2h\"\nschedule = \"@daily\"\n\
                    [tenants.acme.sources.app]\ndatabase = \"app\"\n[tenants.acme.sources.etc]\ndirectory = \"/etc\"\n\
                    [tenants.acme.sources.alone]\ndirectory = \"/srv\"\n[tenants.acme.sets.portal]\nmembers = [\"app\", \"etc\"]\n";
        let file = File::parse(std::path::Path::new("mainstay.toml"), text.to_owned()).unwrap();
        let configuration = resolve(&[file]).unwrap();
        let mut delays = vec![];
        for one in chosen(&configuration, &[]).unwrap() {
            let (_, delay) = expected(one.tenant, one.source, 50).schedule.unwrap();
            assert_eq!(delay, one.delay(), "{}", one.name());
            delays.push((one.source.name.to_string(), delay));
        }
        delays.sort();
        let [(_, alone), (_, app), (_, etc)] = &delays[..] else { panic!("{delays:?}") };
        assert!(app == etc && alone != app, "{delays:?}");
    }
}
