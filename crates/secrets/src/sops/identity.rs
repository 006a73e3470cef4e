//! The age identities that SOPS would use, and the data key that they open.

use std::io::Read;
use std::path::PathBuf;

use age::armor::ArmoredReader;
use age::{Decryptor, Identity, IdentityFile};
use zeroize::Zeroizing;

use super::cipher::DataKey;
use crate::error::{SecretError, Variable};
use crate::sops_error::SopsError;
use crate::{command, file};

/// Bytes of a data key that is encrypted, at most: the real ones have 32.
const DATA_KEY_MAX: u64 = 1 << 10;

/// Every identity of the environment, its files and its command.
///
/// # Errors
/// Where there is none, or one that cannot be read.
pub(super) fn load(
    variable: &Variable<'_>,
    of_file: &dyn Fn(SopsError) -> SecretError,
) -> Result<Vec<Box<dyn Identity>>, SecretError> {
    let mut texts = vec![];
    if let Some(keys) = variable("SOPS_AGE_KEY") {
        texts.push(("SOPS_AGE_KEY".to_owned(), Zeroizing::new(keys.expose().to_owned())));
    }
    if let Some(path) = variable("SOPS_AGE_KEY_FILE") {
        let path = PathBuf::from(path.expose());
        texts.push((path.display().to_string(), file::read(&path)?));
    }
    if let Some(order) = variable("SOPS_AGE_KEY_CMD") {
        texts.push(("SOPS_AGE_KEY_CMD".to_owned(), command::read(order.expose(), variable)?));
    }
    let usual = usual_file(variable);
    if let Some(path) = usual.as_ref().filter(|path| path.exists()) {
        texts.push((path.display().to_string(), file::read(path)?));
    }
    if texts.is_empty() {
        let usual = usual.map_or_else(|| "home directory".to_owned(), |path| path.display().to_string());
        return Err(of_file(SopsError::NoIdentity(usual)));
    }
    let mut identities = vec![];
    for (place, text) in texts {
        let parsed =
            IdentityFile::from_buffer(text.as_bytes()).ok().and_then(|file| file.into_identities().ok());
        let parsed = parsed.filter(|parsed| !parsed.is_empty());
        identities.extend(parsed.ok_or_else(|| of_file(SopsError::BadIdentity(place)))?);
    }
    Ok(identities)
}

fn usual_file(variable: &Variable<'_>) -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").map(|folder| PathBuf::from(folder.expose()));
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?.expose()).join(".config")))?;
    Some(folder.join("sops/age/keys.txt"))
}

/// The data key: the first of `keys` that one of `identities` opens.
pub(super) fn open(keys: &[String], identities: &[Box<dyn Identity>]) -> Result<DataKey, SopsError> {
    let opened = keys.iter().find_map(|key| {
        let decryptor = Decryptor::new_buffered(ArmoredReader::new(key.as_bytes())).ok()?;
        let reader = decryptor.decrypt(identities.iter().map(|one| &**one as &dyn Identity)).ok()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(DATA_KEY_MAX as usize));
        reader.take(DATA_KEY_MAX).read_to_end(&mut bytes).ok()?;
        DataKey::new(&bytes)
    });
    opened.ok_or(SopsError::NotForUs { identities: identities.len(), recipients: keys.len() })
}
