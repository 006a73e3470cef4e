//! From files as they are written to what holds for each tenant and source.
//!
//! A value is taken from the source, else from the defaults of its tenant, else from the common ones. Mistakes are
//! collected, so that all of them are shown at once.

mod findings;
mod place;
mod choice;
mod set;
mod promise;
mod minimum;
mod watch;

use std::collections::BTreeSet;

use jiff::SignedDuration;
use model::name::{SourceName, TenantName};
use model::reference::SecretReference;

use crate::configuration::{Configuration, Repository, RepositoryDefaults, Source, Tenant, What};
use crate::error::ConfigError;
use crate::file::File;
use crate::origin::{Given, Origin};
use crate::section::{Section, TenantTable};
use crate::written::Written;
use choice::{Choice, SpanOf};
use findings::Findings;

/// How long nothing must have changed before a source runs because it changed.
const SETTLE_USUAL: SignedDuration = SignedDuration::from_secs(10);
/// What PostgreSQL takes as MAX_RATE (Frontend/Backend Protocol, BASE_BACKUP).
const RATES_KIB: std::ops::RangeInclusive<u32> = 32..=1_048_576;

/// What the files say together.
///
/// # Errors
/// Everything that is wrong.
pub fn resolve(files: &[File]) -> Result<Configuration, Vec<ConfigError>> {
    let mut found = Findings::default();
    let common = found.common(files);
    let defaults: Vec<_> = files.iter().map(|file| (file, &file.tables.defaults)).collect();
    let mut tenants: Vec<Tenant> = vec![];
    let mut seen = BTreeSet::new();
    for file in files {
        if file.tables.defaults.what().next().is_some() {
            let message = "[defaults] cannot say what is backed up";
            found.mistakes.push(
                ConfigError::of_file(&file.path, message)
                    .hint("a source belongs into [tenants.NAME.sources.NAME]"),
            );
        }
        for (name, table) in &file.tables.tenants {
            if !seen.insert(name) {
                let message = format!("tenant {name} is in two files");
                found.mistakes.push(file.mistake(table, message).hint("keep each tenant in one file"));
                continue;
            }
            tenants.extend(found.tenant(file, name, table, &defaults, &common));
        }
    }
    tenants.sort_by(|one, other| one.name.cmp(&other.name));
    found.warn_of_shared_passwords(&tenants);
    let tenants_max = files.iter().find_map(|file| Some(file.given(file.tables.limits.tenants.as_ref()?)));
    if tenants_max.as_ref().is_some_and(|max| max.value == 0) {
        found.mistakes.push(ConfigError::of_file(&files[0].path, "limits.tenants must be at least 1"));
    }
    let minimum = minimum::minimum(files);
    found.judge_by_minimum(files, &minimum, &tenants);
    let (watch, receivers) = (found.watch(files), found.receivers(files));
    found.find_receivers(files, &tenants, &watch, &receivers);
    match found.mistakes.is_empty() {
        true => {
            let warnings = found.warnings;
            Ok(Configuration { tenants, tenants_max, common, minimum, watch, receivers, warnings })
        }
        false => Err(found.mistakes),
    }
}

impl Findings {
    fn tenant(
        &mut self,
        file: &File,
        name: &str,
        table: &Written<TenantTable>,
        defaults: &[(&File, &Section)],
        common: &RepositoryDefaults,
    ) -> Option<Tenant> {
        let named =
            name.parse::<TenantName>().map_err(|error| file.mistake(table, format!("tenant: {error}")));
        let named = self.noted(named)?;
        let own = &table.value;
        let placed = self.repository(file, table, &named, common);
        // Sources are looked at all the same: every mistake is shown at once.
        let repository = placed.clone().unwrap_or_else(Repository::nowhere);
        let layers: Vec<_> = std::iter::once((file, &own.defaults)).chain(defaults.iter().copied()).collect();
        let path = format!("tenants.{named}");
        let of_sets = set::said(own);
        let sources = own.sources.iter().filter_map(|(name, section)| {
            let what = format!("{path}.sources.{name}");
            let layers: Vec<_> = of_sets
                .get(name)
                .map(|said| (file, said))
                .into_iter()
                .chain(layers.iter().copied())
                .collect();
            self.source((&what, named.as_str()), name, file, section, &layers, &repository)
        });
        let sources: Vec<_> = sources.collect();
        let sets = self.sets(&path, file, own, &sources);
        let text = |written: &Option<Written<String>>| written.as_ref().map(|written| file.given(written));
        let limits = &own.limits;
        Some(Tenant {
            name: named,
            repository: placed?,
            upload: text(&limits.upload),
            download: text(&limits.download),
            stored_max: text(&limits.stored),
            sources,
            sets,
        })
    }

    /// One source; `path` names it in words.
    fn source(
        &mut self,
        (path, tenant): (&str, &str),
        name: &str,
        file: &File,
        own: &Written<Section>,
        layers: &[(&File, &Section)],
        repository: &Repository,
    ) -> Option<Source> {
        let name = name.parse::<SourceName>().map_err(|error| file.mistake(own, format!("source: {error}")));
        let name = self.noted(name);
        let what = self.what(path, file, own);
        let layers: Vec<_> = std::iter::once((file, &own.value)).chain(layers.iter().copied()).collect();
        let choice = Choice { layers: &layers, path };
        let zone = self.noted(choice.zone())?;
        let schedule = self.noted(choice.schedule(&zone.value));
        let retention = self.noted(choice.retention(&zone.value));
        let password = self.noted(choice.password());
        let copies = self.noted(choice.copies(repository));
        let export = self.noted(choice.export(tenant, &zone.value));
        let hooks = self.noted(choice.hooks(|section| &section.hooks));
        let restore_hooks = self.noted(choice.hooks(|section| &section.restore_hooks));
        self.warn_of_what_does_not_fit(&choice, what.as_ref().map(|what| &what.value));
        self.warn_of_what_waits(&choice);
        let compression = choice.plain(|section| &section.compression);
        if compression.as_ref().is_some_and(|level| !(1..=19).contains(&level.value)) {
            self.mistakes.push(file.mistake(own, format!("{path}: compression goes from 1 to 19")));
        }
        let rate_kib_max = choice.plain(|section| &section.rate_kib_max);
        if rate_kib_max.as_ref().is_some_and(|rate| !RATES_KIB.contains(&rate.value)) {
            self.mistakes.push(file.mistake(own, format!("{path}: rate_kib_max goes from 32 to 1048576")));
        }
        let promised = self.promised(&choice, what.as_ref().map(|what| &what.value));
        let span = |pick: SpanOf| choice.span(pick);
        let max_age = span(|section| &section.max_age);
        Some(Source {
            name: name?,
            what: what?,
            exclude: choice.plain(|section| &section.exclude).unwrap_or(Given::built_in(vec![])),
            password: password?,
            schedule: schedule?,
            time_zone: zone,
            jitter: span(|section| &section.jitter).unwrap_or(Given::built_in(SignedDuration::ZERO)),
            max_age,
            wal: promised.wal,
            rpo: promised.rpo,
            retention: retention?,
            below_minimum: choice.plain(|section| &section.below_minimum),
            copies: copies?,
            export: export?,
            hooks: hooks?,
            restore_hooks: restore_hooks?,
            far: choice.far(),
            settle: span(|section| &section.settle).unwrap_or(Given::built_in(SETTLE_USUAL)),
            per_host: choice.plain(|section| &section.per_host),
            no_owner: choice.plain(|section| &section.no_owner).unwrap_or(Given::built_in(false)),
            no_acl: choice.plain(|section| &section.no_acl).unwrap_or(Given::built_in(false)),
            lock_wait_timeout: span(|section| &section.lock_wait_timeout),
            rate_kib_max,
            spread_checkpoint: choice
                .plain(|section| &section.spread_checkpoint)
                .unwrap_or(Given::built_in(false)),
            compression,
            notify: choice.plain(|section| &section.notify).unwrap_or(Given::built_in(vec![])),
            drill: choice.drill(),
            rto: span(|section| &section.rto),
        })
    }

    /// Exactly one of the four.
    fn what(&mut self, path: &str, file: &File, own: &Written<Section>) -> Option<Given<What>> {
        let mut said = own.value.what();
        let found = match (said.next(), said.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(file.mistake(own, format!("{path}: nothing says what is backed up"))),
            (Some(_), Some((_, second))) => {
                Err(file.mistake(second, format!("{path}: it is one thing, and two are said")))
            }
        };
        let advice = "write exactly one of database, databases, cluster and directory";
        let (make, written) = self.noted(found.map_err(|mistake| mistake.hint(advice)))?;
        let Given { value, origin } = file.given(written);
        if value.trim().is_empty() {
            self.mistakes.push(file.mistake(written, format!("{path}: it is empty")).hint(advice));
        }
        self.refuse_password(file, written, path, "say where it comes from: password = \"file:…\"");
        Some(Given { value: make(value), origin })
    }

    /// What is understood and not carried out by this version must not look as if it were.
    fn warn_of_what_waits(&mut self, choice: &Choice<'_>) {
        let waiting =
            [choice.waits("drill", |section| &section.drill), choice.waits("rto", |section| &section.rto)];
        self.warnings.extend(waiting.into_iter().flatten());
        if let Some(Err(mistake)) = choice.drill_schedule() {
            self.mistakes.push(mistake);
        }
    }

    /// Whoever knows the password of one tenant could open the others' too.
    fn warn_of_shared_passwords(&mut self, tenants: &[Tenant]) {
        let mut seen: Vec<(&SecretReference, &TenantName)> = vec![];
        for tenant in tenants {
            let Some(password) = &tenant.repository.password else { continue };
            if let Some((_, first)) = seen.iter().find(|(reference, _)| **reference == password.value) {
                let message = format!("tenants {first} and {} have the same password", tenant.name);
                let Origin::File { path, line } = &password.origin else { continue };
                let hint = "give each its own, as in password = \"file:/run/secrets/{tenant}\"";
                self.warnings.push(ConfigError::of_file(path, message).at_line(*line).hint(hint));
                return;
            }
            seen.push((&password.value, &tenant.name));
        }
    }
}

/// How a source becomes what it is.
type Make = fn(String) -> What;

impl Section {
    /// Those of the four that are said.
    fn what(&self) -> impl Iterator<Item = (Make, &Written<String>)> {
        let all: [(Make, &Option<Written<String>>); 4] = [
            (What::Database, &self.database),
            (What::Databases, &self.databases),
            (What::Cluster, &self.cluster),
            (What::Directory, &self.directory),
        ];
        all.into_iter().filter_map(|(make, written)| Some((make, written.as_ref()?)))
    }
}
