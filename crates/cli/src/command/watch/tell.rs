//! Telling: each receiver, by each way that leads to it.
//!
//! Invariant: every way is tried, whatever becomes of the others, and remembers for itself what was told by it. So what one does
//! not take is told by it at the next look, and by no other once more.

use std::path::PathBuf;

use ::watch::judge::{Alarm, Fault};
use ::watch::message::Message;
use ::watch::notify::{Login, NotifyError, post, send};
use ::watch::told::{News, Told};
use config::configuration::{Address, Configuration, Email, Receiver, Webhook};
use jiff::{SignedDuration, Timestamp};

use super::super::sources;
use crate::environment::Environment;
use crate::error::{CliError, Kind, Result};
use crate::face::Face;
use crate::{password, place};

/// Where it is kept what was told.
const FILE: &str = "watch.json";

pub(super) struct Telling<'a> {
    pub(super) environment: &'a Environment,
    pub(super) face: &'a Face,
}

/// One way to a receiver.
struct Way<'a> {
    receiver: &'a str,
    kind: &'static str,
    /// The receiver's name, and where several ways lead to it also which one.
    name: String,
    by: By<'a>,
}

enum By<'a> {
    Email(&'a Email),
    Webhook(&'a Webhook),
}

/// A way by which somebody could not be told.
pub(super) struct Untold {
    receiver: String,
    way: String,
    pub(super) words: String,
}

impl Untold {
    fn alarm(&self) -> Alarm {
        Alarm { name: format!("notify/{}", self.way), fault: Fault::Untold, words: self.words.clone() }
    }
}

impl Telling<'_> {
    /// Tell each receiver what concerns it of what was `seen`, alarms and who hears of them; returns by which ways somebody could not
    /// be told, and why. Those are tried again at the next look, and by the others it is told that they failed.
    pub(super) fn tell(
        &self,
        configuration: &Configuration,
        seen: &[(Vec<Alarm>, Vec<String>)],
        now: Timestamp,
    ) -> Vec<Untold> {
        let remind = configuration.watch.remind;
        let ways: Vec<_> = configuration.receivers.iter().flat_map(ways).collect();
        let mut untold = vec![];
        for way in &ways {
            let theirs = seen.iter().filter(|(_, names)| names.iter().any(|name| name == way.receiver));
            let alarms: Vec<_> = theirs.flat_map(|(alarms, _)| alarms.clone()).collect();
            untold.extend(self.tell_news(way, &alarms, "json", now, remind));
        }
        let of_untold: Vec<_> = untold.iter().map(Untold::alarm).collect();
        for way in &ways {
            if untold.iter().all(|one| one.way != way.name) {
                // A memory of its own: what it holds comes and goes with others' mail servers.
                untold.extend(self.tell_news(way, &of_untold, "untold.json", now, remind));
            }
        }
        untold
    }

    /// Tell by `way` what is new of `alarms`, as its memory has it, in a file whose name ends so.
    fn tell_news(
        &self,
        way: &Way<'_>,
        alarms: &[Alarm],
        ending: &str,
        now: Timestamp,
        remind: SignedDuration,
    ) -> Option<Untold> {
        let file = self.memory(way, ending);
        let mut told = file.as_deref().map(Told::read).unwrap_or_default();
        let news = told.news(alarms, now, remind);
        if news != News::default()
            && let Err(error) = self.tell_one(way, &news)
        {
            let words = format!("{} was not told: {}", way.name, error.message);
            self.face.warn(&words);
            return Some(Untold { receiver: way.receiver.to_owned(), way: way.name.clone(), words });
        }
        told.remember(alarms, &news, now);
        if let Some(error) = file.and_then(|file| told.write(&file).err()) {
            self.face.warn(&format!("it is not remembered that {} was told: {error}", way.name));
        }
        None
    }

    fn memory(&self, way: &Way<'_>, ending: &str) -> Option<PathBuf> {
        // Names of receivers may have anything in them, and no two share a file.
        let receiver = way.receiver.replace('%', "%25").replace('.', "%2E").replace('/', "%2F");
        let file = sources::file(self.environment).ok()?.with_file_name(FILE);
        Some(file.with_extension(format!("{receiver}.{}.{ending}", way.kind)))
    }

    fn tell_one(&self, way: &Way<'_>, news: &News) -> Result<()> {
        let message = Message::of(news, &place::identity(self.environment).hostname);
        match way.by {
            By::Email(email) => {
                let secret = email.password.as_ref().map(|one| password::referenced(one, self.environment));
                let secret = secret.transpose()?;
                let login =
                    Login { server: &email.server, password: secret.as_ref(), ca: email.ca.as_deref() };
                Ok(send(&login, &email.from, &email.to, &message)?)
            }
            By::Webhook(webhook) => Ok(post(&self.address(&webhook.url)?, webhook.ca.as_deref(), &message)?),
        }
    }

    pub(super) fn address(&self, address: &Address) -> Result<String> {
        match address {
            Address::Plain(url) => Ok(url.clone()),
            Address::Secret(reference) => {
                Ok(password::referenced(reference, self.environment)?.expose().to_owned())
            }
        }
    }
}

fn ways(receiver: &Receiver) -> impl Iterator<Item = Way<'_>> {
    let is_only = receiver.email.is_none() || receiver.webhook.is_none();
    let way = move |kind, by| {
        let name = &receiver.name;
        let own = if is_only { name.clone() } else { format!("{name}/{kind}") };
        Way { receiver: name, kind, name: own, by }
    };
    let email = receiver.email.as_ref().map(|email| way("email", By::Email(email)));
    let webhook = receiver.webhook.as_ref().map(|webhook| way("webhook", By::Webhook(webhook)));
    email.into_iter().chain(webhook)
}

/// Whether of all that there was to tell somebody heard: of each alarm one of its receivers, and one of all.
pub(super) fn reaches_somebody(
    receivers: &[Receiver],
    seen: &[(Vec<Alarm>, Vec<String>)],
    untold: &[Untold],
) -> bool {
    let is_told = |receiver: &Receiver| {
        let failed = untold.iter().filter(|one| one.receiver == receiver.name).count();
        failed < ways(receiver).count()
    };
    let told: Vec<_> = receivers.iter().filter(|one| is_told(one)).map(|one| &one.name).collect();
    let of_alarms = seen.iter().filter(|(alarms, names)| !alarms.is_empty() && !names.is_empty());
    let is_heard = of_alarms.into_iter().all(|(_, names)| names.iter().any(|name| told.contains(&name)));
    is_heard && (untold.is_empty() || !told.is_empty())
}

impl From<NotifyError> for CliError {
    fn from(error: NotifyError) -> Self {
        Self::new(Kind::Failed, error.to_string())
    }
}
