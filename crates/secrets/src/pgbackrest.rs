//! A value in pgBackRest's own file of credentials, the Secret with the single key `s3.conf` (H6), as it is:
//!
//! ```text
//! [global]
//! repo2-cipher-pass=…
//! repo2-s3-key=…
//! ```
//!
//! Only the section `[global]` counts, as it does there for what all stanzas have.

use std::path::Path;

use zeroize::Zeroizing;

use crate::error::SecretError;
use crate::file;

/// The value `key` of the file at `path`, which others must not be able to read.
pub(crate) fn read(path: &Path, key: &str) -> Result<Zeroizing<String>, SecretError> {
    let text = file::read(path)?;
    let failed = |what| SecretError::PgBackRest { path: path.to_owned(), key: key.to_owned(), what };
    let mut is_global = false;
    let mut found = None;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix('[') {
            is_global = section.strip_suffix(']').is_some_and(|section| section.trim() == "global");
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err(failed("has a line that is no name=value; it is not shown"));
        };
        if is_global && name.trim_end() == key && found.replace(value.trim_start()).is_some() {
            return Err(failed("is there more than once"));
        }
    }
    let value = found.ok_or_else(|| failed("is not in its section [global]"))?;
    Ok(Zeroizing::new(value.to_owned()))
}
