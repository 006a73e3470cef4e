//! Plain dumps beside the repository, as they are written in the file.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use model::reference::SecretReference;
use model::retention::Policy;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::address::{NO_PASSWORDS, has_password};
use crate::export_name::ExportName;
use crate::keep::Keep;

/// What a dump is called where nobody says it.
const NAME_USUAL: &str = "{source}/{source}-{time}.dump";
/// Stands for the name of a tenant.
const TENANT: &str = "{tenant}";

/// A plain dump after each good backup.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportTable {
    /// A directory, sftp://user@host//path, or s3://, gs:// or az://bucket/prefix; `{tenant}` stands for the tenant's name
    pub(crate) to: String,
    /// What dumps are called there: {tenant}, {source}, {database}, {id}, {time}, {date}, {clock}; {source}/{source}-{time}.dump by default
    pub(crate) name: Option<String>,
    /// Write beside each dump what is known of it, as NAME.meta.json
    #[serde(default)]
    pub(crate) sidecar: bool,
    /// Which dumps stay there; "lifecycle" leaves it to the bucket's own rules; all by default
    pub(crate) retention: Option<Keep>,
    /// What the store asks for, by the name of its variable
    #[serde(default)]
    pub(crate) credentials: BTreeMap<String, String>,
}

impl ExportTable {
    /// What it means for a tenant.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn read(&self, tenant: &str, zone: &TimeZone) -> Result<Export, String> {
        let words = |words: String| format!("export: {words}");
        if has_password(&self.to) {
            return Err(words(format!(
                "{NO_PASSWORDS}: what a store asks for belongs into credentials = {{ … }}"
            )));
        }
        let retention = match &self.retention {
            None => ExportRetention::All,
            Some(Keep::Lifecycle(_)) => ExportRetention::Lifecycle,
            Some(keep) => {
                let policy = keep.policy(zone).map_err(|why| format!("export: retention {why}"))?;
                ExportRetention::Ours(policy)
            }
        };
        let is_bucket = ["s3://", "gs://", "az://"].iter().any(|scheme| self.to.starts_with(scheme));
        let to = self.to.strip_prefix("file://").unwrap_or(&self.to);
        if !is_bucket && !to.starts_with('/') && !to.starts_with("sftp://") {
            return Err(words(format!(
                "to = {:?} is neither an absolute path nor sftp://, s3://, gs:// or az://",
                self.to
            )));
        }
        if !is_bucket && matches!(retention, ExportRetention::Lifecycle) {
            return Err(words("retention = \"lifecycle\": directories have none".to_owned()));
        }
        let reference = |(name, text): (&String, &String)| {
            let reference = text.parse().map_err(|error| words(format!("credentials.{name} {error}")))?;
            Ok((name.clone(), reference))
        };
        Ok(Export {
            to: to.replace(TENANT, tenant),
            name: ExportName::parse(self.name.as_deref().unwrap_or(NAME_USUAL)).map_err(words)?,
            has_sidecar: self.sidecar,
            retention,
            credentials: self.credentials.iter().map(reference).collect::<Result<_, String>>()?,
        })
    }
}

/// Where plain dumps go, beside the repository.
#[derive(Clone, Debug)]
pub struct Export {
    /// An absolute path, or the address of a server with SSH or of a bucket.
    pub to: String,
    /// What they are called there.
    pub name: ExportName,
    /// Whether what is known of each stands beside it.
    pub has_sidecar: bool,
    /// Which stay.
    pub retention: ExportRetention,
    /// What the store asks for.
    pub credentials: BTreeMap<String, SecretReference>,
}

/// Who takes plain dumps away.
#[derive(Clone, Debug)]
pub enum ExportRetention {
    /// Nobody.
    All,
    /// We, by this policy.
    Ours(Policy),
    /// The bucket, by its own rules.
    Lifecycle,
}
