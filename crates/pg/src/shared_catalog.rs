//! Names in the shared catalogs of a cluster that does not run: which databases and roles its files have.
//!
//! Form (PostgreSQL source, `utils/cache/relmapper.c`, `storage/bufpage.h`, `access/htup_details.h`): `pg_filenode.map` is a
//! magic, the number of pairs, and pairs of relation and file, each 32 bit; a page has its header of 24 bytes, then line
//! pointers of 4; a row has a header whose length is its 23rd byte, then the columns. In `pg_database` and `pg_authid` the
//! first two columns are the number and the name, in every major version from 13 to 18.
//!
//! Invariant: every version of a row is seen, also one that a transaction has deleted or never committed: a file says less
//! than a server. So this tells what to look at, and what people may have meant, and never what is so.

use crate::page::PAGE_LEN;

/// Which file each of these catalogs is in.
pub const FILENODE_MAP: &str = "global/pg_filenode.map";
/// The number of `pg_database`.
pub const DATABASES: u32 = 1262;
/// The number of `pg_authid`.
pub const ROLES: u32 = 1260;
/// The number of the role that `initdb` made, whatever its name is.
pub const FIRST_ROLE: u32 = 10;
/// Databases below this number come with the server: the templates and `postgres`.
pub const FIRST_MADE: u32 = 16_384;

const MAP_MAGIC: u32 = 0x0059_2717;
const PAGE_HEADER_LEN: usize = 24;
const ROW_HEADER_LEN: usize = 23;
/// Bytes of a name, with the zeros behind it.
const NAME_LEN: usize = 64;
/// The line pointer of a row that is there.
const NORMAL: u32 = 1;
/// No transaction has deleted or replaced the row.
const NOT_DELETED: u16 = 0x0800;

/// A version of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRow {
    /// The number of what it tells of.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Whether nothing says that it was deleted or replaced.
    pub is_newest: bool,
    /// The columns behind the name.
    rest: Vec<u8>,
}

impl NamedRow {
    /// A row with what stands behind its first two columns.
    pub fn made(oid: u32, name: &str, is_newest: bool, rest: &[u8]) -> Self {
        Self { oid, name: name.to_owned(), is_newest, rest: rest.to_vec() }
    }

    /// Of a row of `pg_database`: whether others are made from that database.
    pub fn is_template(&self, major: u32) -> bool {
        // Owner and encoding come first; up to 14 two more names, since 15 the letter of the provider.
        let at = if major >= 15 { 4 + 4 + 1 } else { 4 + 4 + 2 * NAME_LEN };
        self.rest.get(at) == Some(&1)
    }
}

/// The number of the file that has the catalog `relation`, by the bytes of [`FILENODE_MAP`].
pub fn file_of(map: &[u8], relation: u32) -> Option<u32> {
    let mut words = map.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    if words.next()? != MAP_MAGIC {
        return None;
    }
    let count = words.next()?;
    let mut pairs = std::iter::from_fn(|| words.next().zip(words.next())).take(count as usize);
    pairs.find(|(known, _)| *known == relation).map(|(_, file)| file)
}

/// Every version of every row in the bytes of such a catalog.
pub fn rows(file: &[u8]) -> Vec<NamedRow> {
    file.as_chunks::<PAGE_LEN>().0.iter().flat_map(|page| rows_of(page)).collect()
}

fn rows_of(page: &[u8]) -> impl Iterator<Item = NamedRow> {
    let lower = usize::from(half(page, 12).unwrap_or(0)).min(page.len());
    let pointers = page.get(PAGE_HEADER_LEN..lower).unwrap_or_default().as_chunks::<4>().0;
    pointers.iter().filter_map(|pointer| {
        let pointer = u32::from_le_bytes(*pointer);
        let (offset, len) = ((pointer & 0x7fff) as usize, (pointer >> 17) as usize);
        if (pointer >> 15) & 3 != NORMAL {
            return None;
        }
        row(page.get(offset..offset + len)?)
    })
}

fn row(bytes: &[u8]) -> Option<NamedRow> {
    let columns = bytes.get(usize::from(*bytes.get(ROW_HEADER_LEN - 1)?)..)?;
    let oid = u32::from_le_bytes(*columns.first_chunk()?);
    let name = columns.get(4..4 + NAME_LEN)?;
    let len = name.iter().position(|byte| *byte == 0)?;
    let is_newest = bytes.get(4..8)? == [0; 4] || half(bytes, 20)? & NOT_DELETED != 0;
    Some(NamedRow {
        oid,
        name: String::from_utf8_lossy(&name[..len]).into_owned(),
        is_newest,
        rest: columns[4 + NAME_LEN..].to_vec(),
    })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page with these rows, as a server lays them out from the end.
    fn page(rows: &[Vec<u8>]) -> Vec<u8> {
        let mut page = vec![0; PAGE_LEN];
        let (mut end, lower) = (PAGE_LEN, PAGE_HEADER_LEN + 4 * rows.len());
        page[12..14].copy_from_slice(&(lower as u16).to_le_bytes());
        for (number, row) in rows.iter().enumerate() {
            end -= row.len();
            page[end..end + row.len()].copy_from_slice(row);
            let pointer = end as u32 | NORMAL << 15 | (row.len() as u32) << 17;
            page[PAGE_HEADER_LEN + 4 * number..][..4].copy_from_slice(&pointer.to_le_bytes());
        }
        page
    }

    fn made(oid: u32, name: &str, deleted_by: u32, rest: &[u8]) -> Vec<u8> {
        let mut row = vec![0; 24];
        row[4..8].copy_from_slice(&deleted_by.to_le_bytes());
        row[22] = 24;
        row.extend_from_slice(&oid.to_le_bytes());
        row.extend_from_slice(name.as_bytes());
        row.resize(24 + 4 + NAME_LEN, 0);
        row.extend_from_slice(rest);
        row
    }

    #[test]
    fn every_version_of_a_row_is_seen_and_damage_is_none() {
        let template = [&[0; 9][..], &[1, 1]].concat();
        let mut file = page(&[made(1, "template1", 0, &template), made(16_390, "old", 700, &[0; 11])]);
        file.extend(page(&[made(16_390, "app", 0, &[0; 11])]));
        let found = rows(&file);
        let told: Vec<_> = found.iter().map(|row| (row.oid, row.name.as_str(), row.is_newest)).collect();
        assert_eq!(told, [(1, "template1", true), (16_390, "old", false), (16_390, "app", true)]);
        assert!(found[0].is_template(15) && !found[2].is_template(15) && !found[2].is_template(14));
        // Whatever the bytes are, nothing panics, and no row is made of zeros.
        assert_eq!(rows(&vec![0; PAGE_LEN]), []);
        assert_eq!(rows(&vec![0xff; PAGE_LEN]), []);
        assert_eq!(rows(&file[..100]), []);
        for at in 0..64 {
            let mut bent = file.clone();
            bent[at] ^= 0x55;
            drop(rows(&bent));
        }
    }

    #[test]
    fn a_map_tells_the_file_of_a_catalog() {
        let words = [MAP_MAGIC, 2, 1262, 1262, 1260, 24_580, 9999, 1];
        let map: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(file_of(&map, ROLES), Some(24_580));
        assert_eq!(file_of(&map, DATABASES), Some(1262));
        assert_eq!(file_of(&map, 9999), None, "behind the pairs that count");
        assert_eq!(file_of(&map[4..], ROLES), None);
        assert_eq!(file_of(&[], ROLES), None);
    }
}
