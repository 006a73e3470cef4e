//! A repository that is meant: where it is, and with what it is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::configuration;
use engine::catalog;
use model::backup::BackupRecord;
use model::reference::SecretReference;
use model::secret::Secret;
use repo::Repository;

use crate::arguments::Global;
use crate::environment::Environment;
use crate::error::Result;
use crate::face::Face;
use crate::wire_arguments::WireArguments;
use crate::{password, place};

/// Where a repository is, and what opens it.
#[derive(Clone)]
pub(crate) struct Target {
    /// Its address.
    pub(crate) url: String,
    /// That of its hot part.
    pub(crate) hot: Option<String>,
    password: Password,
    /// What its store asks for, beside what the environment has.
    credentials: BTreeMap<String, SecretReference>,
}

#[derive(Clone)]
enum Password {
    Known(Secret),
    From(SecretReference),
    /// That of the environment.
    Usual,
}

impl Target {
    /// One that flags name.
    pub(crate) fn named(url: String, hot: Option<String>, password: Secret) -> Self {
        Self { url, hot, password: Password::Known(password), credentials: BTreeMap::new() }
    }

    /// One that the configuration names.
    pub(crate) fn configured(repository: &configuration::Repository) -> Self {
        let password = repository.password.as_ref().map(|given| Password::From(given.value.clone()));
        let credentials = repository.credentials.iter();
        Self {
            url: repository.url.value.clone(),
            hot: repository.hot.as_ref().map(|hot| hot.value.clone()),
            password: password.unwrap_or(Password::Usual),
            credentials: credentials.map(|(name, given)| (name.clone(), given.value.clone())).collect(),
        }
    }

    /// The same as it was `--at` a time, where that is asked for.
    pub(crate) fn at(mut self, global: &Global) -> Result<Self> {
        if global.at.is_some() {
            // The cold part alone has everything.
            self.hot = None;
            self.url = place::source(self.url, global)?;
        }
        Ok(self)
    }

    /// What opens it.
    pub(crate) fn password(&self, environment: &Environment) -> Result<Secret> {
        match &self.password {
            Password::Known(secret) => Ok(secret.clone()),
            Password::From(reference) => password::referenced(reference, environment),
            Password::Usual => environment.secret("MAINSTAY_PASSWORD").ok_or_else(password::missing),
        }
    }

    /// The environment in which its store is reached: `base` with its credentials; none where that has them already.
    pub(crate) fn environment(
        &self,
        base: &Environment,
        face: &Face,
        change: impl FnOnce(&mut WireArguments),
    ) -> Result<Environment> {
        let fetched = self.credentials.iter().map(|(name, reference)| {
            Ok((name.clone(), password::referenced(reference, base)?.expose().to_owned()))
        });
        Ok(base.with(fetched.collect::<Result<Vec<_>>>()?, face, change))
    }

    /// The flags and the environment that name this one, for commands that know one repository alone.
    pub(crate) fn settle(&self, global: &mut Global, base: &Environment, face: &Face) -> Result<Environment> {
        let password = self.password(base)?;
        global.repository = Some(self.url.clone());
        global.repository_hot = self.hot.clone();
        global.password_file = None;
        let own = self.environment(base, face, |_| ())?;
        Ok(own.with([("MAINSTAY_PASSWORD".to_owned(), password.expose().to_owned())], face, |_| ()))
    }

    /// Open it; its credentials are fetched anew.
    pub(crate) fn open(&self, base: &Environment, face: &Face) -> Result<Arc<Repository>> {
        let password = self.password(base)?;
        if self.credentials.is_empty() {
            return place::open_parts(&self.url, self.hot.as_deref(), &password, base, face);
        }
        let own = self.environment(base, face, |_| ())?;
        place::open_parts(&self.url, self.hot.as_deref(), &password, &own, face)
    }
}

/// The backups that a repository holds.
pub(crate) fn readable(target: &Target, base: &Environment, face: &Face) -> Result<Vec<BackupRecord>> {
    let repository = target.open(base, face)?;
    Ok(catalog::list_readable(&repository)?.records)
}
