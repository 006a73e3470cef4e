//! Which stretch of a file comes from which link of a chain.
//!
//! The newest link that has a page wins. A link says in its truncation up to which page older ones count at all: what lies
//! above was cut off or did not exist when it was taken, and is zeros unless a newer link has it. The oldest one that is
//! asked must have the file whole. (PostgreSQL source, `pg_combinebackup/reconstruct.c`.)

use pg::incremental::{IncrementalHeader, header_len};
use pg::page::PAGE_LEN;

/// A file in one link.
#[derive(Clone, Copy, Debug)]
pub(super) enum Version<'a> {
    /// All of it: so many bytes.
    Whole(u64),
    /// The pages that changed.
    Pages(&'a IncrementalHeader),
}

/// A stretch that comes from one link; what no stretch covers is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Which of the versions.
    pub(super) version: usize,
    /// Where it is there.
    pub(super) from: u64,
    /// Where it goes.
    pub(super) to: u64,
    /// Bytes.
    pub(super) len: u64,
}

/// A file as it is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageMap {
    /// Bytes of the file.
    pub(super) len: u64,
    /// Ascending, without overlaps.
    pub(super) stretches: Vec<Stretch>,
}

/// Put a file together from its `versions`, newest first; nothing where none of them is whole.
pub(super) fn merge(versions: &[Version<'_>]) -> Option<PageMap> {
    let newest = match versions.first()? {
        Version::Whole(len) => return Some(PageMap { len: *len, stretches: whole(*len) }),
        Version::Pages(header) => header.length(),
    };
    // For each page: whose it is, and its number there.
    let mut owners: Vec<Option<(usize, u32)>> = vec![None; newest as usize];
    let mut limit = newest;
    for (number, version) in versions.iter().enumerate() {
        match version {
            Version::Whole(len) => {
                let pages = u32::try_from(len / PAGE_LEN as u64).unwrap_or(u32::MAX).min(limit);
                for page in 0..pages {
                    owners[page as usize].get_or_insert((number, page));
                }
                return Some(PageMap {
                    len: u64::from(newest) * PAGE_LEN as u64,
                    stretches: stretches(&owners, versions),
                });
            }
            Version::Pages(header) => {
                for (place, page) in header.pages.iter().enumerate().filter(|(_, page)| **page < limit) {
                    owners[*page as usize].get_or_insert((number, place as u32));
                }
                limit = limit.min(header.truncation);
            }
        }
    }
    None
}

fn whole(len: u64) -> Vec<Stretch> {
    if len == 0 { vec![] } else { vec![Stretch { version: 0, from: 0, to: 0, len }] }
}

/// Pages that follow each other here and there are one stretch.
fn stretches(owners: &[Option<(usize, u32)>], versions: &[Version<'_>]) -> Vec<Stretch> {
    let page_len = PAGE_LEN as u64;
    let heads: Vec<u64> = versions
        .iter()
        .map(|version| match version {
            Version::Whole(_) => 0,
            Version::Pages(header) => header_len(header.pages.len() as u32) as u64,
        })
        .collect();
    let mut stretches: Vec<Stretch> = vec![];
    for (page, owner) in owners.iter().enumerate() {
        let Some((version, place)) = *owner else { continue };
        let (from, to) = (heads[version] + u64::from(place) * page_len, page as u64 * page_len);
        match stretches.last_mut() {
            Some(last)
                if last.version == version && last.from + last.len == from && last.to + last.len == to =>
            {
                last.len += page_len;
            }
            _ => stretches.push(Stretch { version, from, to, len: page_len }),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_LEN as u64;

    fn header(pages: &[u32], truncation: u32) -> IncrementalHeader {
        IncrementalHeader { pages: pages.to_vec(), truncation }
    }

    /// For each page of the file, the version that it comes from and its place there, or a dot.
    fn drawn(map: &PageMap, heads: &[u64]) -> String {
        let mut pages = vec![".".to_owned(); (map.len / PAGE) as usize];
        for Stretch { version, from, to, len } in &map.stretches {
            for step in 0..len / PAGE {
                let place = (from - heads[*version]) / PAGE + step;
                pages[(to / PAGE + step) as usize] = format!("{version}:{place}");
            }
        }
        pages.join(" ")
    }

    #[test]
    fn the_newest_link_that_has_a_page_wins() {
        let (new, mid) = (header(&[1, 4], 6), header(&[0, 1, 3], 5));
        let versions = [Version::Pages(&new), Version::Pages(&mid), Version::Whole(5 * PAGE)];
        let map = merge(&versions).unwrap();
        assert_eq!(drawn(&map, &[PAGE, PAGE, 0]), "1:0 0:0 2:2 1:2 0:1 .");
        assert_eq!(map.len, 6 * PAGE);
    }

    #[test]
    fn what_a_truncation_cut_off_never_comes_back() {
        // Cut to two pages in between, and grown again since: page 4 is what the newest link says, 2 and 3 are zeros.
        let (new, mid) = (header(&[4], 5), header(&[0], 2));
        let versions = [Version::Pages(&new), Version::Pages(&mid), Version::Whole(9 * PAGE)];
        assert_eq!(drawn(&merge(&versions).unwrap(), &[PAGE, PAGE, 0]), "1:0 2:1 . . 0:0");
        let shorter = header(&[], 1);
        let versions = [Version::Pages(&shorter), Version::Whole(9 * PAGE)];
        assert_eq!(drawn(&merge(&versions).unwrap(), &[12, 0]), "1:0");
    }

    #[test]
    fn pages_that_lie_together_are_one_stretch() {
        let new = header(&[2, 3], 100);
        let map = merge(&[Version::Pages(&new), Version::Whole(100 * PAGE)]).unwrap();
        let expected = [
            Stretch { version: 1, from: 0, to: 0, len: 2 * PAGE },
            Stretch { version: 0, from: PAGE, to: 2 * PAGE, len: 2 * PAGE },
            Stretch { version: 1, from: 4 * PAGE, to: 4 * PAGE, len: 96 * PAGE },
        ];
        assert_eq!(map.stretches, expected);
    }

    #[test]
    fn a_file_without_a_whole_version_cannot_be_made() {
        let new = header(&[0], 1);
        assert_eq!(merge(&[Version::Pages(&new)]), None);
        assert_eq!(merge(&[]), None);
        assert_eq!(
            merge(&[Version::Whole(5)]).unwrap().stretches[0].len,
            5,
            "a file of any length is itself"
        );
        assert_eq!(merge(&[Version::Whole(0)]).unwrap().stretches, []);
    }
}
