//! What holds, value by value, for people and scripts. Secrets are not in it: references alone are, what may be one in an
//! address is left out, and of commands the program alone is shown.

use std::path::Path;

use jiff::SignedDuration;
use model::reference::SecretReference;
use model::span::show_span;
use serde::Serialize;

use crate::address::{place_on_the_web, without_password};
use crate::configuration::{
    Address, Configuration, Export, ExportRetention, Far, Foreign, ForeignPlace, Hooks, Minimum, Receiver,
    Repository, RepositoryDefaults, Source, SourceSet, Tenant, Watch, What,
};
use crate::origin::{Given, Origin};
use crate::schedule::Schedule;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its key from the root on, such as `tenants.acme.sources.app.schedule`.
    pub key: String,
    /// What holds, as it could be written.
    pub value: String,
    /// Where it was said.
    pub origin: String,
}

/// Every value that holds.
pub fn lines(configuration: &Configuration) -> Vec<Line> {
    let mut lines = Lines { found: vec![], prefix: String::new() };
    lines.common(&configuration.common);
    lines.optional("limits.tenants", configuration.tenants_max.as_ref(), usize::to_string);
    lines.minimum(&configuration.minimum);
    lines.watch(&configuration.watch);
    configuration.receivers.iter().for_each(|receiver| lines.receiver(receiver));
    configuration.tenants.iter().for_each(|tenant| lines.tenant(tenant));
    lines.found
}

/// Put what a variable of the environment says in the place of what the files say.
pub fn overridden(lines: &mut Vec<Line>, key: &str, value: &str, variable: &'static str) {
    let line = Line {
        key: key.to_owned(),
        value: quoted(&without_password(value)),
        origin: Origin::Environment(variable).to_string(),
    };
    if let Some(known) = lines.iter_mut().find(|known| known.key == key) {
        *known = line;
        return;
    }
    let table = key.rsplit_once('.').map_or("", |(table, _)| table);
    let is_beside = |known: &Line| known.key.rsplit_once('.').is_some_and(|(other, _)| other == table);
    let position = lines.iter().rposition(is_beside).map_or(0, |last| last + 1);
    lines.insert(position, line);
}

/// Say of each repository for which no file names a password which variable opens it.
pub fn opened_by(lines: &mut Vec<Line>, variable: &'static str) {
    let is_of_tenant = |key: &str| key.starts_with("tenants.");
    let tables =
        lines.iter().filter_map(|line| line.key.strip_suffix(".url").filter(|key| is_of_tenant(key)));
    let silent = |table: &&str| {
        let password = format!("{table}.password");
        !lines.iter().any(|line| line.key == password)
    };
    let silent: Vec<_> = tables.filter(silent).map(str::to_owned).collect();
    for table in silent {
        overridden(lines, &format!("{table}.password"), &format!("${{{variable}}}"), variable);
    }
}

struct Lines {
    found: Vec<Line>,
    prefix: String,
}

impl Lines {
    fn line(&mut self, key: &str, value: String, origin: &Origin) {
        let key = format!("{}{key}", self.prefix);
        self.found.push(Line { key, value, origin: origin.to_string() });
    }

    fn given<T>(&mut self, key: &str, given: &Given<T>, show: impl FnOnce(&T) -> String) {
        self.line(key, show(&given.value), &given.origin);
    }

    fn optional<T>(&mut self, key: &str, given: Option<&Given<T>>, show: impl FnOnce(&T) -> String) {
        if let Some(given) = given {
            self.given(key, given, show);
        }
    }

    fn common(&mut self, common: &RepositoryDefaults) {
        self.optional("repository.url", common.url.as_ref(), address);
        self.optional("repository.hot", common.hot.as_ref(), address);
        self.optional("repository.password", common.password.as_ref(), reference);
        for (name, given) in &common.credentials {
            self.given(&format!("repository.credentials.{name}"), given, quoted);
        }
    }

    fn minimum(&mut self, minimum: &Minimum) {
        self.optional("minimum.every", minimum.every.as_ref(), span);
        self.optional("minimum.retention", minimum.retention.as_ref(), span);
    }

    fn watch(&mut self, watch: &Watch) {
        let mut line = |key: &str, value: String| {
            let origin = watch.origins.get(key).unwrap_or(&Origin::BuiltIn);
            self.line(&format!("watch.{key}"), value, origin);
        };
        line("every", span(&watch.every));
        line("remind", span(&watch.remind));
        line("shrunk", watch.shrunk_percent.to_string());
        watch.prune.iter().for_each(|max| line("prune", span(max)));
        watch.verify.iter().for_each(|max| line("verify", span(max)));
        watch.heartbeat.iter().for_each(|to| line("heartbeat", on_the_web(to)));
        if !watch.notify.is_empty() {
            line("notify", list(&watch.notify));
        }
        watch.foreign.iter().for_each(|foreign| self.foreign(foreign));
    }

    fn foreign(&mut self, foreign: &Foreign) {
        let key = |key: &str| format!("watch.{}.{key}", foreign.name.replacen('/', ".", 1));
        let place = match &foreign.place {
            ForeignPlace::Files(pattern) => ("path", pattern),
            ForeignPlace::PgBackRest(stanza) => ("stanza", stanza),
        };
        self.line(&key(place.0), quoted(place.1), &foreign.origin);
        self.line(&key("max_age"), span(&foreign.max_age), &foreign.origin);
        if !foreign.notify.is_empty() {
            self.line(&key("notify"), list(&foreign.notify), &foreign.origin);
        }
    }

    fn receiver(&mut self, receiver: &Receiver) {
        let key = |key: &str| format!("notify.{}.{key}", receiver.name);
        let origin = &receiver.origin;
        if let Some(email) = &receiver.email {
            self.line(&key("email.to"), list(&email.to), origin);
            self.line(&key("email.from"), quoted(&email.from), origin);
            self.line(&key("email.server"), quoted(&without_password(&email.server)), origin);
            email.password.iter().for_each(|from| self.line(&key("email.password"), quoted(from), origin));
            email.ca.iter().for_each(|path| self.line(&key("email.ca"), file(path), origin));
        }
        if let Some(webhook) = &receiver.webhook {
            self.line(&key("webhook.url"), on_the_web(&webhook.url), origin);
            webhook.ca.iter().for_each(|path| self.line(&key("webhook.ca"), file(path), origin));
        }
    }

    fn tenant(&mut self, tenant: &Tenant) {
        self.prefix = format!("tenants.{}.", tenant.name);
        self.repository("repository", &tenant.repository);
        self.optional("limits.stored", tenant.stored_max.as_ref(), quoted);
        self.optional("limits.upload", tenant.upload.as_ref(), quoted);
        self.optional("limits.download", tenant.download.as_ref(), quoted);
        for source in &tenant.sources {
            self.prefix = format!("tenants.{}.sources.{}.", tenant.name, source.name);
            self.source(source);
        }
        for set in &tenant.sets {
            self.prefix = format!("tenants.{}.sets.{}.", tenant.name, set.name);
            self.set(set);
        }
        self.prefix.clear();
    }

    fn repository(&mut self, key: &str, repository: &Repository) {
        self.given(&format!("{key}.url"), &repository.url, address);
        self.optional(&format!("{key}.hot"), repository.hot.as_ref(), address);
        self.optional(&format!("{key}.password"), repository.password.as_ref(), quoted);
        for (name, given) in &repository.credentials {
            self.given(&format!("{key}.credentials.{name}"), given, quoted);
        }
    }

    fn set(&mut self, set: &SourceSet) {
        let origin = &set.origin;
        self.line("members", list(&set.members.iter().map(ToString::to_string).collect()), origin);
        self.optional("max_age", set.max_age.as_ref(), span);
        self.hooks("hooks", &set.hooks, origin);
        self.hooks("restore_hooks", &set.restore_hooks, origin);
    }

    fn hooks(&mut self, key: &str, hooks: &Hooks, origin: &Origin) {
        let stages = [("before", &hooks.before), ("after", &hooks.after), ("on_failure", &hooks.on_failure)];
        for (stage, commands) in stages.into_iter().filter(|(_, commands)| !commands.is_empty()) {
            let shown = commands.iter().map(|hook| program(&hook.command)).collect();
            self.line(&format!("{key}.{stage}"), list(&shown), origin);
        }
    }

    fn export(&mut self, export: &Export, origin: &Origin) {
        self.line("export.to", quoted(&without_password(&export.to)), origin);
        self.line("export.name", quoted(&export.name), origin);
        self.line("export.sidecar", export.has_sidecar.to_string(), origin);
        let retention = match &export.retention {
            ExportRetention::All => "keep everything".to_owned(),
            ExportRetention::Ours(policy) => policy.to_string(),
            ExportRetention::Lifecycle => "\"lifecycle\"".to_owned(),
        };
        self.line("export.retention", retention, origin);
        for (name, reference) in &export.credentials {
            self.line(&format!("export.credentials.{name}"), quoted(reference), origin);
        }
    }

    fn far(&mut self, far: &Far) {
        self.optional("directory_key", far.key.as_ref(), file);
        self.optional("directory_host_key", far.host_key.as_ref(), quoted);
        self.optional("directory_ca_file", far.ca_file.as_ref(), file);
        self.optional("directory_pin", far.pin.as_ref(), quoted);
    }

    fn source(&mut self, source: &Source) {
        let (kind, what) = match &source.what.value {
            What::Database(text) => ("database", text),
            What::Databases(text) => ("databases", text),
            What::Cluster(text) => ("cluster", text),
            What::Directory(text) => ("directory", text),
        };
        self.line(kind, quoted(&without_password(what)), &source.what.origin);
        if !source.exclude.value.is_empty() {
            self.given("exclude", &source.exclude, list);
        }
        self.optional("password", source.password.as_ref(), quoted);
        self.given("schedule", &source.schedule, quoted);
        self.given("time_zone", &source.time_zone, |zone| quoted(&zone.iana_name().unwrap_or("UTC")));
        self.given("jitter", &source.jitter, span);
        self.optional("max_age", source.max_age.as_ref(), span);
        if let Some(Given { value, origin }) = &source.wal {
            match value.max_lag {
                Some(max) => self.line("wal.max_lag", span(&max), origin),
                None => self.line("wal", "{}".to_owned(), origin),
            }
        }
        self.optional("rpo", source.rpo.as_ref(), span);
        self.optional("rto", source.rto.as_ref(), span);
        self.optional("drill.schedule", source.drill.as_ref(), quoted);
        match &source.retention {
            Some(retention) => self.given("retention", retention, ToString::to_string),
            None => self.line("retention", "keep everything".to_owned(), &Origin::BuiltIn),
        }
        self.optional("below_minimum", source.below_minimum.as_ref(), quoted);
        for (number, copy) in source.copies.value.iter().enumerate() {
            self.repository(&format!("copies.{number}"), copy);
        }
        if let Some(Given { value, origin }) = &source.export {
            self.export(value, origin);
        }
        if let Some(Given { value, origin }) = &source.hooks {
            self.hooks("hooks", value, origin);
        }
        if let Some(Given { value, origin }) = &source.restore_hooks {
            self.hooks("restore_hooks", value, origin);
        }
        self.far(&source.far);
        if matches!(source.schedule.value, Schedule::OnChange(_)) {
            self.given("settle", &source.settle, span);
        }
        self.optional("per_host", source.per_host.as_ref(), usize::to_string);
        self.given("no_owner", &source.no_owner, bool::to_string);
        self.given("no_acl", &source.no_acl, bool::to_string);
        self.optional("lock_wait_timeout", source.lock_wait_timeout.as_ref(), span);
        self.optional("rate_kib_max", source.rate_kib_max.as_ref(), u32::to_string);
        if source.spread_checkpoint.value {
            self.given("spread_checkpoint", &source.spread_checkpoint, bool::to_string);
        }
        self.optional("compression", source.compression.as_ref(), i32::to_string);
        if !source.notify.value.is_empty() {
            self.given("notify", &source.notify, list);
        }
    }
}

/// The program of a command: what follows, and what stands before it as `NAME=value`, may open something.
fn program(command: &str) -> String {
    let mut words = command.split_whitespace();
    let first = words.next().filter(|word| !word.contains(['=', ':', '@'])).unwrap_or_default();
    let more = if words.next().is_some() || first.is_empty() { "…" } else { "" };
    [first, more].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn quoted(value: &impl ToString) -> String {
    format!("{:?}", value.to_string())
}

fn list(values: &Vec<String>) -> String {
    format!("{values:?}")
}

fn span(span: &SignedDuration) -> String {
    quoted(&show_span(*span))
}

fn file(path: &impl AsRef<Path>) -> String {
    quoted(&path.as_ref().display())
}

fn address(address: &impl ToString) -> String {
    quoted(&without_password(&address.to_string()))
}

/// A reference as it is shown; that a command may hold a secret is known once it is read.
fn reference(text: &impl ToString) -> String {
    let read = text.to_string().parse::<SecretReference>();
    quoted(&read.map_or_else(|_| "…".to_owned(), |reference| reference.to_string()))
}

fn on_the_web(address: &Address) -> String {
    match address {
        Address::Plain(address) => quoted(&place_on_the_web(address)),
        Address::Secret(reference) => quoted(reference),
    }
}
