//! What was told already, so that an alarm that lasts is told when it begins, now and then, and when it ends.
//!
//! Form: JSON, an object of `name fault` → when it was told. Invariant: a file that is lost or makes no sense makes alarms
//! be told once more, and never once less.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::judge::Alarm;

/// When each alarm that lasts was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<String, Timestamp>);

/// What is to be told now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Alarms that are new, or have lasted for long.
    pub alarms: Vec<Alarm>,
    /// Names of what is well again.
    pub recovered: Vec<String>,
}

fn key(alarm: &Alarm) -> String {
    format!("{} {:?}", alarm.name, alarm.fault)
}

impl Told {
    /// What the file `path` remembers.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    /// Remember it.
    ///
    /// # Errors
    /// Where the file cannot be replaced.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(serde_json::to_string_pretty(&self.0)?.as_bytes())?;
        temporary.persist(path)?;
        Ok(())
    }

    /// What of `alarms` somebody has to hear now; remembered by [`Told::remember`] when it was told.
    pub fn news(&self, alarms: &[Alarm], now: Timestamp, remind: SignedDuration) -> News {
        let is_new = |alarm: &&Alarm| {
            // A time in the future is of a clock that was wrong.
            self.0.get(&key(alarm)).is_none_or(|told| *told > now || now.duration_since(*told) >= remind)
        };
        let mut recovered: Vec<_> = self
            .0
            .keys()
            .filter_map(|known| known.rsplit_once(' '))
            .map(|(name, _)| name.to_owned())
            .filter(|name| !alarms.iter().any(|alarm| alarm.name == *name))
            .collect();
        recovered.dedup();
        News { alarms: alarms.iter().filter(is_new).cloned().collect(), recovered }
    }

    /// The `news` were told; of `alarms`, what is over is forgotten.
    pub fn remember(&mut self, alarms: &[Alarm], news: &News, now: Timestamp) {
        self.0.retain(|known, _| alarms.iter().any(|alarm| key(alarm) == *known));
        self.0.extend(news.alarms.iter().map(|alarm| (key(alarm), now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Fault;

    #[test]
    fn an_alarm_is_told_when_it_begins_now_and_then_and_when_it_ends() {
        let at = |hour: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour);
        let day = SignedDuration::from_hours(24);
        let alarm = Alarm { name: "acme/app".to_owned(), fault: Fault::Late, words: "late".to_owned() };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("told.json");
        let look = |alarms: &[Alarm], hour| {
            let mut told = Told::read(&path);
            let news = told.news(alarms, at(hour), day);
            told.remember(alarms, &news, at(hour));
            told.write(&path).unwrap();
            (news.alarms.len(), news.recovered)
        };
        let one = [alarm];
        assert_eq!(look(&one, 1), (1, vec![]));
        assert_eq!(look(&one, 2), (0, vec![]));
        assert_eq!(look(&one, 25), (1, vec![]));
        assert_eq!(look(&[], 26), (0, vec!["acme/app".to_owned()]));
        assert_eq!(look(&[], 27), (0, vec![]));
        assert_eq!(look(&one, 28), (1, vec![]));
        std::fs::write(&path, "{ half").unwrap();
        assert_eq!(Told::read(&path).news(&one, at(29), day).alarms.len(), 1);
    }
}
