//! Where a repository is and what opens it, as it is written.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::written::Written;

/// One repository.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryTable {
    /// A directory, or s3://, gs://, az:// or sftp:// …; `{tenant}` stands for the tenant's name
    pub(crate) url: Option<Written<String>>,
    /// The hot part of a repository whose packs are cold
    pub(crate) hot: Option<Written<String>>,
    /// Where its password comes from; `{tenant}` stands for the tenant's name
    pub(crate) password: Option<Written<String>>,
    /// What the store asks for, by the name of its variable, such as AWS_SECRET_ACCESS_KEY
    #[serde(default)]
    pub(crate) credentials: BTreeMap<String, Written<String>>,
}

/// A further place for backups: its address alone, or with what opens it.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(untagged)]
pub(crate) enum Place {
    Url(String),
    Table(RepositoryTable),
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Place;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the address of a repository, or a table with its url")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Place, E> {
                Ok(Place::Url(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Place, A::Error> {
                RepositoryTable::deserialize(MapAccessDeserializer::new(map)).map(Place::Table)
            }
        }
        deserializer.deserialize_any(Either)
    }
}
