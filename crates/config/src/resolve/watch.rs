//! What the observer looks at and whom it tells.

use std::collections::BTreeMap;

use super::findings::Findings;
use crate::address::{NO_PASSWORDS, has_password};
use crate::configuration::{Address, Email, Foreign, ForeignPlace, Receiver, Tenant, Watch, Webhook};
use crate::error::ConfigError;
use crate::file::File;
use crate::origin::Origin;
use crate::section::{NotifyTable, WatchTable};
use crate::written::Written;

impl Findings {
    /// The observer; it is described in one file.
    pub(super) fn watch(&mut self, files: &[File]) -> Watch {
        let mut said = files.iter().filter_map(|file| Some((file, file.tables.watch.as_ref()?)));
        let Some((file, written)) = said.next() else { return Watch::default() };
        if let Some((file, second)) = said.next() {
            self.mistakes.push(file.mistake(second, "[watch] is in two files"));
        }
        let WatchTable { every, remind, shrunk, prune, verify, heartbeat, notify, dumps, pgbackrest } =
            &written.value;
        let usual = Watch::default();
        let notify = notify.as_ref().map(|names| names.value.clone()).unwrap_or_default();
        let told = |own: &Option<Written<Vec<String>>>| {
            own.as_ref().map_or_else(|| notify.clone(), |names| names.value.clone())
        };
        let files_of = dumps.iter().map(|(name, written)| Foreign {
            name: format!("dumps/{name}"),
            place: ForeignPlace::Files(written.value.path.clone()),
            max_age: written.value.max_age.0,
            notify: told(&written.value.notify),
            origin: file.given(written).origin,
        });
        let stanzas = pgbackrest.iter().map(|(name, written)| Foreign {
            name: format!("pgbackrest/{name}"),
            place: ForeignPlace::PgBackRest(written.value.stanza.clone()),
            max_age: written.value.max_age.0,
            notify: told(&written.value.notify),
            origin: file.given(written).origin,
        });
        if let Some(percent) = shrunk.as_ref().filter(|percent| percent.value > 100) {
            self.mistakes.push(file.mistake(percent, "watch: shrunk goes from 0 to 100 per cent"));
        }
        let heartbeat = heartbeat.as_ref().and_then(|written| self.address(file, written, "watch.heartbeat"));
        Watch {
            every: every.as_ref().map_or(usual.every, |span| span.value.0),
            remind: remind.as_ref().map_or(usual.remind, |span| span.value.0),
            shrunk_percent: shrunk.as_ref().map_or(usual.shrunk_percent, |percent| percent.value),
            prune: prune.as_ref().map(|span| span.value.0),
            verify: verify.as_ref().map(|span| span.value.0),
            heartbeat,
            foreign: files_of.chain(stanzas).collect(),
            notify,
            origins: origins(file, &written.value),
        }
    }

    /// Everybody who can be told.
    pub(super) fn receivers(&mut self, files: &[File]) -> Vec<Receiver> {
        let all = files.iter().flat_map(|file| file.tables.notify.iter().map(move |one| (file, one)));
        all.filter_map(|(file, (name, written))| self.receiver(file, name, written)).collect()
    }

    fn receiver(&mut self, file: &File, name: &str, written: &Written<NotifyTable>) -> Option<Receiver> {
        let NotifyTable { email, webhook } = &written.value;
        if email.is_none() && webhook.is_none() {
            let mistake = file.mistake(written, format!("notify.{name}: nothing says how"));
            self.mistakes.push(mistake.hint("write email = { … } or webhook = { … }"));
        }
        let email = email.as_ref().map(|written| {
            let table = &written.value;
            let is_known = table.server.starts_with("smtps://") || table.server.starts_with("smtp://");
            if !is_known || table.to.is_empty() {
                let message =
                    format!("notify.{name}.email needs to = [\"…\"] and a server, smtps:// or smtp://");
                self.mistakes.push(file.mistake(written, message));
            }
            if has_password(&table.server) {
                let message = format!("notify.{name}.email: {NO_PASSWORDS}");
                self.mistakes.push(file.mistake(written, message).hint("say it in password = \"file:…\""));
            }
            let parse = |text: &Written<String>| {
                let wrong = |error| file.mistake(text, format!("notify.{name}.email.password {error}"));
                text.value.parse().map_err(wrong)
            };
            let password = table.password.as_ref().and_then(|text| self.noted(parse(text)));
            let (to, from, server, ca) = (&table.to, &table.from, &table.server, &table.ca);
            Email { to: to.clone(), from: from.clone(), server: server.clone(), password, ca: ca.clone() }
        });
        let webhook = webhook.as_ref().and_then(|written| {
            let url = self.address(file, &written.value.url, &format!("notify.{name}.webhook.url"))?;
            Some(Webhook { url, ca: written.value.ca.clone() })
        });
        Some(Receiver { name: name.to_owned(), email, webhook, origin: file.given(written).origin })
    }

    fn address(&mut self, file: &File, written: &Written<String>, key: &str) -> Option<Address> {
        let text = &written.value;
        if text.starts_with("https://") || text.starts_with("http://") {
            return Some(Address::Plain(text.clone()));
        }
        let wrong =
            |error| -> ConfigError { file.mistake(written, format!("{key} is no address and {error}")) };
        self.noted(text.parse().map_err(wrong)).map(Address::Secret)
    }

    /// Whoever is to be told is there.
    pub(super) fn find_receivers(
        &mut self,
        files: &[File],
        tenants: &[Tenant],
        watch: &Watch,
        known: &[Receiver],
    ) {
        let of_sources =
            tenants.iter().flat_map(|tenant| &tenant.sources).flat_map(|source| &source.notify.value);
        let named = of_sources.chain(&watch.notify).chain(watch.foreign.iter().flat_map(|one| &one.notify));
        for name in named {
            let message = format!("notify: nobody is called {name}");
            let is_known = known.iter().any(|receiver| receiver.name == *name);
            if !is_known && !self.mistakes.iter().any(|mistake| mistake.message == message) {
                let hint = format!("[notify.{name}] says who that is");
                self.mistakes.push(ConfigError::of_file(&files[0].path, message).hint(hint));
            }
        }
    }
}

/// Where each key was said.
fn origins(file: &File, table: &WatchTable) -> BTreeMap<&'static str, Origin> {
    fn of<T: Clone>(file: &File, written: &Option<Written<T>>) -> Option<Origin> {
        Some(file.given(written.as_ref()?).origin)
    }
    let said = [
        ("every", of(file, &table.every)),
        ("remind", of(file, &table.remind)),
        ("shrunk", of(file, &table.shrunk)),
        ("prune", of(file, &table.prune)),
        ("verify", of(file, &table.verify)),
        ("heartbeat", of(file, &table.heartbeat)),
        ("notify", of(file, &table.notify)),
    ];
    said.into_iter().filter_map(|(key, origin)| Some((key, origin?))).collect()
}
