//! Where backups go: the common repository, and those of tenants.

use std::collections::BTreeMap;

use model::name::TenantName;
use model::reference::SecretReference;

use super::findings::Findings;
use crate::address::{NO_PASSWORDS, has_password};
use crate::configuration::{Repository, RepositoryDefaults};
use crate::error::{ConfigError, Result};
use crate::file::File;
use crate::origin::Given;
use crate::repository::{Place, RepositoryTable};
use crate::section::TenantTable;
use crate::written::Written;

/// Stands for the name of a tenant.
const TENANT: &str = "{tenant}";
/// Where what a store asks for belongs.
const CREDENTIALS: &str =
    "what a store asks for belongs into credentials = { … }; over SFTP log in with a key";

impl Findings {
    /// What the files say together; of two, the first one.
    pub(super) fn common(&mut self, files: &[File]) -> RepositoryDefaults {
        let mut common = RepositoryDefaults::default();
        for file in files {
            let RepositoryTable { url, hot, password, credentials } = &file.tables.repository;
            let text =
                |written: &Option<Written<String>>| written.as_ref().map(|written| file.given(written));
            for (key, written) in [("repository.url", url), ("repository.hot", hot)] {
                self.refuse_passwords(file, written, key);
            }
            common.url = common.url.or_else(|| text(url));
            common.hot = common.hot.or_else(|| text(hot));
            if let Some(written) = password {
                self.noted(reference(file, written, "repository.password", ""));
            }
            common.password = common.password.or_else(|| text(password));
            for (name, given) in self.credentials(file, credentials) {
                common.credentials.entry(name).or_insert(given);
            }
        }
        common
    }

    fn refuse_passwords(&mut self, file: &File, address: &Option<Written<String>>, path: &str) {
        if let Some(written) = address {
            self.refuse_password(file, written, path, CREDENTIALS);
        }
    }

    fn credentials(
        &mut self,
        file: &File,
        written: &BTreeMap<String, Written<String>>,
    ) -> BTreeMap<String, Given<SecretReference>> {
        let read = |(name, written): (&String, &Written<String>)| {
            let read = reference(file, written, &format!("credentials.{name}"), "");
            Some((name.clone(), self.noted(read)?))
        };
        written.iter().filter_map(read).collect()
    }

    /// The one of a tenant: its own, or a prefix below the common one.
    pub(super) fn repository(
        &mut self,
        file: &File,
        tenant: &Written<TenantTable>,
        name: &TenantName,
        common: &RepositoryDefaults,
    ) -> Option<Repository> {
        let RepositoryTable { url, hot, password, credentials } = &tenant.value.repository;
        for (key, written) in [("url", url), ("hot", hot)] {
            self.refuse_passwords(file, written, &format!("tenants.{name}.repository.{key}"));
        }
        let nowhere = || {
            let hint = "say url in [repository], or repository = { url = … } in the tenant";
            file.mistake(tenant, format!("tenant {name} has no repository")).hint(hint)
        };
        let below = |common: &Given<String>| {
            let value = match common.value.contains(TENANT) {
                true => common.value.replace(TENANT, name.as_str()),
                false => format!("{}/{name}", common.value.trim_end_matches('/')),
            };
            Given { value, origin: common.origin.clone() }
        };
        let own = |written: &Written<String>| {
            let Given { value, origin } = file.given(written);
            Given { value: value.replace(TENANT, name.as_str()), origin }
        };
        let placed = url.as_ref().map(own).or_else(|| common.url.as_ref().map(below)).ok_or_else(nowhere);
        let placed = self.noted(placed)?;
        let hot = hot.as_ref().map(own).or_else(|| {
            // A repository of its own has nothing to do with the common one's hot part.
            common.hot.as_ref().filter(|_| url.is_none()).map(below)
        });
        let password = match password {
            Some(written) => {
                Some(self.noted(reference(file, written, "repository.password", name.as_str()))?)
            }
            None => common.password.as_ref().and_then(|common| {
                let value = common.value.replace(TENANT, name.as_str()).parse().ok()?;
                Some(Given { value, origin: common.origin.clone() })
            }),
        };
        let mut all = self.credentials(file, credentials);
        if url.is_none() {
            all.extend(
                common.credentials.clone().into_iter().filter(|(name, _)| !credentials.contains_key(name)),
            );
        }
        Some(Repository { url: placed, hot, password, credentials: all })
    }
}

impl Repository {
    /// Stands for one that is not said.
    pub(super) fn nowhere() -> Self {
        Self { url: Given::built_in(String::new()), hot: None, password: None, credentials: BTreeMap::new() }
    }

    /// A further repository: with a password and credentials of its own, or those of this one.
    pub(super) fn further(&self, place: &Place) -> std::result::Result<Self, String> {
        let origin = || self.url.origin.clone();
        let given = |value: &str| Given { value: value.to_owned(), origin: origin() };
        let parse = |what: &str, text: &str| {
            let value = text.parse().map_err(|error| format!("{what} {error}"))?;
            Ok::<_, String>(Given { value, origin: origin() })
        };
        let sound = |url: &str| match has_password(url) {
            true => Err(format!("copies: {NO_PASSWORDS}: {CREDENTIALS}")),
            false => Ok(given(url)),
        };
        match place {
            Place::Url(url) => Ok(Self { url: sound(url)?, hot: None, ..self.clone() }),
            Place::Table(table) => {
                let url = table.url.as_ref().ok_or("copies: url is missing")?;
                let password =
                    table.password.as_ref().map(|text| parse("password", &text.value)).transpose()?;
                let credentials = table
                    .credentials
                    .iter()
                    .map(|(name, text)| {
                        Ok((name.clone(), parse(&format!("credentials.{name}"), &text.value)?))
                    })
                    .collect::<std::result::Result<BTreeMap<_, _>, String>>()?;
                Ok(Self {
                    url: sound(&url.value)?,
                    hot: table.hot.as_ref().map(|hot| sound(&hot.value)).transpose()?,
                    password: password.or_else(|| self.password.clone()),
                    credentials: if credentials.is_empty() { self.credentials.clone() } else { credentials },
                })
            }
        }
    }
}

/// A reference to a secret; `key` names it in words.
fn reference(
    file: &File,
    written: &Written<String>,
    key: &str,
    tenant: &str,
) -> Result<Given<SecretReference>> {
    let Given { value, origin } = file.given(written);
    let value = value.replace(TENANT, tenant).parse();
    let value = value.map_err(|error| -> ConfigError { file.mistake(written, format!("{key} {error}")) })?;
    Ok(Given { value, origin })
}
