//! What holds, value by value, for people and scripts. Secrets are not in it: references alone are.

use std::path::PathBuf;

use model::span::show_span;
use serde::Serialize;

use crate::configuration::{
    Configuration, Export, ExportRetention, Far, Hooks, Repository, Source, SourceSet, Tenant, What,
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
    lines.optional("limits.tenants", configuration.tenants_max.as_ref(), usize::to_string);
    configuration.tenants.iter().for_each(|tenant| lines.tenant(tenant));
    lines.found
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
            self.set(set, &tenant.repository.url.origin);
        }
        self.prefix.clear();
    }

    fn repository(&mut self, key: &str, repository: &Repository) {
        self.given(&format!("{key}.url"), &repository.url, quoted);
        self.optional(&format!("{key}.hot"), repository.hot.as_ref(), quoted);
        self.optional(&format!("{key}.password"), repository.password.as_ref(), quoted);
        for (name, given) in &repository.credentials {
            self.given(&format!("{key}.credentials.{name}"), given, quoted);
        }
    }

    fn set(&mut self, set: &SourceSet, origin: &Origin) {
        self.line("members", list(&set.members.iter().map(ToString::to_string).collect()), origin);
        self.optional("max_age", set.max_age.as_ref(), |span| quoted(&show_span(*span)));
        self.hooks("hooks", &set.hooks, origin);
        self.hooks("restore_hooks", &set.restore_hooks, origin);
    }

    fn hooks(&mut self, key: &str, hooks: &Hooks, origin: &Origin) {
        let stages = [("before", &hooks.before), ("after", &hooks.after), ("on_failure", &hooks.on_failure)];
        for (stage, commands) in stages.into_iter().filter(|(_, commands)| !commands.is_empty()) {
            let shown = commands.iter().map(|hook| hook.command.clone()).collect();
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
        let path = |path: &PathBuf| quoted(&path.display());
        self.optional("directory_key", far.key.as_ref(), path);
        self.optional("directory_host_key", far.host_key.as_ref(), quoted);
        self.optional("directory_ca_file", far.ca_file.as_ref(), path);
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
        self.given("jitter", &source.jitter, |span| quoted(&show_span(*span)));
        self.optional("max_age", source.max_age.as_ref(), |span| quoted(&show_span(*span)));
        if let Some(Given { value, origin }) = &source.wal {
            match value.max_lag {
                Some(span) => self.line("wal.max_lag", quoted(&show_span(span)), origin),
                None => self.line("wal", "{}".to_owned(), origin),
            }
        }
        self.optional("rpo", source.rpo.as_ref(), |span| quoted(&show_span(*span)));
        match &source.retention {
            Some(retention) => self.given("retention", retention, ToString::to_string),
            None => self.line("retention", "keep everything".to_owned(), &Origin::BuiltIn),
        }
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
            self.given("settle", &source.settle, |span| quoted(&show_span(*span)));
        }
        self.optional("per_host", source.per_host.as_ref(), usize::to_string);
        self.given("no_owner", &source.no_owner, bool::to_string);
        self.given("no_acl", &source.no_acl, bool::to_string);
        self.optional("lock_wait_timeout", source.lock_wait_timeout.as_ref(), |span| {
            quoted(&show_span(*span))
        });
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

fn quoted(value: &impl ToString) -> String {
    format!("{:?}", value.to_string())
}

fn list(values: &Vec<String>) -> String {
    format!("{values:?}")
}

/// An address without the password that somebody wrote into it all the same.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@').and_then(|(user, host)| Some((user.split_once(':')?.0, host))) {
        Some((user, host)) => format!("{scheme}://{user}:…@{host}{path}"),
        None => address.to_owned(),
    }
}
