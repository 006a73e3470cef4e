//! One shard as an object.
//!
//! Form: `x/parity/<set>/<number>`: `mainstay parity 1\n`, u32le length of a JSON header, the header
//! `{"packs":[{"id","len"}],"shards","shardLen","sha256"}`, and the shard. `<set>` is the SHA-256 over the ids of its
//! packs in order, `sha256` that of the shard. The header stands in every shard, so one is enough to know its set.

use model::digest::Digest;
use serde::{Deserialize, Serialize};
use store::{Key as ObjectKey, Range};

use crate::blob::id_of;
use crate::error::{RepoError, Result};
use crate::note;
use crate::parity::{PACKS_MAX, SHARDS_MAX};
use crate::repository::Repository;

const MAGIC: &[u8] = b"mainstay parity 1\n";
/// A header names [`PACKS_MAX`] packs at most.
const HEADER_LEN_MAX: usize = 64 << 10;

/// A pack of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: Digest,
    /// Its bytes.
    pub len: u64,
}

/// What every shard of a set says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The packs, in the order in which they were coded.
    pub packs: Vec<Member>,
    /// Shards that were made.
    pub shards: usize,
    /// Bytes of each.
    pub shard_len: u64,
    /// SHA-256 of this shard.
    pub sha256: Digest,
}

/// A shard that is there.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Its number in the set.
    pub number: usize,
    /// Its object.
    pub object: ObjectKey,
    /// First byte of the shard in the object.
    pub offset: u64,
    /// What it says of its set.
    pub header: Header,
}

/// The name of the set of these packs.
pub fn set_name(packs: &[Member]) -> Digest {
    id_of(&packs.iter().flat_map(|pack| pack.id.0).collect::<Vec<u8>>())
}

/// The object of a shard.
///
/// # Errors
/// Never: digits and slashes are a key.
pub fn object(set: &Digest, number: usize) -> Result<ObjectKey> {
    note::object(&format!("parity/{set}/{number}"))
}

/// The bytes of the object that keeps `shard`.
pub fn encode(header: &Header, shard: &[u8]) -> Vec<u8> {
    let json = serde_json::to_vec(header).expect("numbers and digits always serialise");
    [MAGIC, &(json.len() as u32).to_le_bytes(), &json, shard].concat()
}

/// Every shard that is there. An object that is none is passed over: it protects nothing.
///
/// # Errors
/// When the store cannot list or read.
pub fn list(repository: &Repository) -> Result<Vec<Shard>> {
    let mut shards = vec![];
    for (name, listed) in repository.list_notes("parity")? {
        let Some((set, number)) = name.split_once('/') else { continue };
        let (Ok(set), Ok(number)) = (set.parse::<Digest>(), number.parse::<usize>()) else { continue };
        match read_header(repository, &listed.key, listed.size) {
            Ok((header, offset)) => {
                let is_ours = set_name(&header.packs) == set && number < header.shards;
                let shard = Shard { number, object: listed.key, offset, header };
                shards.extend(is_ours.then_some(shard));
            }
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(shards)
}

fn read_header(repository: &Repository, object: &ObjectKey, size: u64) -> Result<(Header, u64)> {
    let damaged = |reason: &str| RepoError::damaged(object.as_str(), reason);
    let first_len = (MAGIC.len() + 4) as u64;
    let mut bytes = vec![];
    if size < first_len {
        return Err(damaged("too short"));
    }
    repository.store().get(object, Range::Bytes { offset: 0, len: first_len }, &mut bytes)?;
    let len = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<4>());
    let len = u32::from_le_bytes(*len.ok_or_else(|| damaged("is no shard of parity"))?) as usize;
    let offset = first_len + len as u64;
    if len > HEADER_LEN_MAX || offset > size {
        return Err(damaged("its header is out of bounds"));
    }
    repository.store().get(object, Range::Bytes { offset: first_len, len: len as u64 }, &mut bytes)?;
    let header: Header = serde_json::from_slice(&bytes).map_err(|error| damaged(&error.to_string()))?;
    let longest = header.packs.iter().map(|pack| pack.len).max().unwrap_or(0);
    let fits = header.packs.len() <= PACKS_MAX
        && (1..=SHARDS_MAX).contains(&header.shards)
        && header.shard_len == longest.next_multiple_of(2)
        && offset.checked_add(header.shard_len) == Some(size);
    if fits { Ok((header, offset)) } else { Err(damaged("its header does not fit it")) }
}
