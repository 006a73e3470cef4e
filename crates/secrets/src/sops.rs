//! A value in a file that SOPS encrypted: found by its key, opened with an age identity, and believed only if the seal
//! over the whole file holds.
//!
//! Our own reader, after `sops.go`, `aes/cipher.go` and the stores of SOPS 3: nothing else of the file is kept in the
//! clear, and there is no program that must be installed. Files whose key is not age's are left to the `sops` program.

mod tree;
mod yaml;
mod json;
mod dotenv;
mod seal;
mod cipher;
mod identity;
mod program;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use seal::Seal;
use tree::Node;

use crate::error::{SecretError, Variable};
use crate::sops_error::SopsError;

/// Bytes of an encrypted file at most: SOPS is for secrets, not for archives.
const LEN_MAX: u64 = 4 << 20;
/// With `mac_only_encrypted` the hash begins with these, so that the two seals never are the same (`sops.go`).
const OVER_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// The value `key` of the file at `path`.
pub(crate) fn read(
    path: &Path,
    key: &str,
    variable: &Variable<'_>,
) -> Result<Zeroizing<String>, SecretError> {
    let failed = |cause| SecretError::Sops { path: path.to_owned(), cause };
    let text = load(path)?;
    let mut documents = parse(path, &text).map_err(failed)?;
    let seal = Seal::take(&mut documents);
    let mut way = vec![];
    let found = documents.iter().find_map(|document| document.find(key, &mut way));
    let wanted = found.ok_or_else(|| failed(SopsError::NoKey(key.to_owned())))?;
    if wanted.text().is_none() {
        return Err(failed(SopsError::NotOne(key.to_owned())));
    }
    match (seal, program::find(variable)) {
        (Err(SopsError::Foreign(_)), Some(sops)) => program::read(&sops, path, &way, variable),
        (seal, _) => {
            let seal = seal.map_err(failed)?;
            let identities = identity::load(variable, &failed)?;
            let data_key = identity::open(&seal.keys, &identities).map_err(failed)?;
            open(&documents, wanted, key, &seal, &data_key).map_err(failed)
        }
    }
}

fn load(path: &Path) -> Result<String, SecretError> {
    let unreadable = |cause| SecretError::Unreadable { path: path.to_owned(), cause };
    let mut text = String::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LEN_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > LEN_MAX {
        return Err(SecretError::Sops { path: path.to_owned(), cause: SopsError::TooLarge(LEN_MAX >> 20) });
    }
    Ok(text)
}

/// By the ending of its name, as SOPS does; what has none of them is JSON or YAML by how it begins.
fn parse(path: &Path, text: &str) -> Result<Vec<Node>, SopsError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let documents = match ending {
        "yaml" | "yml" => yaml::read(text),
        "env" => dotenv::read(text),
        "ini" => return Err(SopsError::Unreadable("INI files are not supported".to_owned())),
        "json" => json::read(text),
        _ if text.trim_start().starts_with('{') => json::read(text),
        _ => yaml::read(text),
    };
    documents.map_err(SopsError::Unreadable)
}

/// Open every value in the order of the file, hash them all, keep the one that is `wanted`, and give it away only if
/// the hash is the one in the seal.
fn open(
    documents: &[Node],
    wanted: &Node,
    key: &str,
    seal: &Seal,
    data_key: &cipher::DataKey,
) -> Result<Zeroizing<String>, SopsError> {
    let mut hash = Sha512::new();
    if seal.is_over_encrypted {
        hash.update(OVER_ENCRYPTED);
    }
    let mut kept = None;
    let mut seen = |node: &Node, names: &[&str]| {
        let is_encrypted = seal.is_encrypted(names);
        let value = match node {
            Node::Text(text) if is_encrypted => {
                let bound = format!("{}:", names.join(":"));
                data_key.open(text, &bound).ok_or_else(|| {
                    SopsError::Tampered(format!("the value at {} does not open", names.join(".")))
                })?
            }
            _ if is_encrypted => {
                return Err(SopsError::Tampered(format!(
                    "the value at {} is not encrypted",
                    names.join(".")
                )));
            }
            _ => Zeroizing::new(node.text().unwrap_or_default().as_bytes().to_vec()),
        };
        let is_sealed = is_encrypted || !seal.is_over_encrypted;
        if is_sealed {
            hash.update(&*value);
        }
        if std::ptr::eq(node, wanted) {
            kept = Some(if is_sealed { Ok(value) } else { Err(SopsError::Bare(key.to_owned())) });
        }
        Ok(())
    };
    documents.iter().try_for_each(|document| document.each(&mut vec![], &mut seen))?;
    let mac = data_key.open(&seal.mac, &seal.last_modified).filter(|mac| !mac.is_empty());
    let mac = mac.ok_or_else(|| SopsError::Tampered("its seal does not open".to_owned()))?;
    if !mac.eq_ignore_ascii_case(hex::encode(hash.finalize()).as_bytes()) {
        return Err(SopsError::Tampered("its seal (MAC) is not the one of these values".to_owned()));
    }
    let value = kept.ok_or_else(|| SopsError::NotOne(key.to_owned()))??;
    let text = std::str::from_utf8(&value).map_err(|_| SopsError::Unreadable(format!("{key} is no text")))?;
    Ok(Zeroizing::new(text.to_owned()))
}
