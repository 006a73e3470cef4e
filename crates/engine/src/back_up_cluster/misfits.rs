//! Pages that do not fit their checksums: read again, and judged when the backup has ended.
//!
//! A page may just be being written while it is read, so it is read again until it fits. What stays wrong is damage, unless
//! its position says that it was changed while the backup ran: then WAL has all of it. Positions behind the end of the
//! backup are none: nothing was written there yet, and a page that was overwritten by something else has one of that kind
//! nearly always. PostgreSQL's own base backup does not ask for the latter (`basebackup.c`: only pages from before its start
//! are compared).

use std::time::Duration;

use files::origin::Contents;
use model::lsn::Lsn;
use pg::data_directory::RelationFile;
use pg::page::{self, PAGE_LEN, Page, SEGMENT_PAGES};

use crate::error::Result;

/// Pauses before pages are read again that do not fit their checksums: whoever writes them is done by then, also where the
/// system holds writers back for some tenths of a second, as it does when too much waits for the disk.
const PAUSES_MS: [u64; 10] = [5, 5, 10, 10, 20, 50, 100, 200, 400, 800];

/// A page that did not fit however often it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Counted from the beginning of its file.
    page: u32,
    /// Counted from the beginning of its relation.
    of_relation: u32,
    /// Where its last change is in the log, as it says itself.
    lsn: Lsn,
}

impl Misfit {
    /// Whether WAL makes it whole, of a backup from `start` to `stop`.
    pub(super) fn is_made_whole(&self, start: Lsn, stop: Lsn) -> bool {
        (start..=stop).contains(&self.lsn)
    }

    /// What is wrong, of a page in the file `path`.
    pub(super) fn words(&self, path: &str) -> String {
        let Self { page, of_relation, .. } = self;
        match page == of_relation {
            true => format!("page {page} of {path} does not fit its checksum"),
            false => {
                format!(
                    "page {page} of {path} (page {of_relation} of its relation) does not fit its checksum"
                )
            }
        }
    }
}

/// Whether a page of a relation's file fits its checksum.
pub(super) fn is_fit(page: &Page, relation: RelationFile, number: u32) -> bool {
    page::is_sound(page, of_relation(relation, number))
}

fn of_relation(relation: RelationFile, number: u32) -> u32 {
    relation.segment.wrapping_mul(SEGMENT_PAGES).wrapping_add(number)
}

/// Compare `bytes`, which are the pages `numbers` of `file`, with their checksums. What does not fit is read again, and stands in
/// `bytes` as it was read last.
pub(super) fn find(
    file: &mut dyn Contents,
    relation: RelationFile,
    numbers: impl Iterator<Item = u32>,
    bytes: &mut [u8],
) -> Result<Vec<Misfit>> {
    let pages = numbers.zip(bytes.as_chunks_mut::<PAGE_LEN>().0);
    let mut wrong: Vec<(u32, &mut Page)> =
        pages.filter(|(number, page)| !is_fit(page, relation, *number)).collect();
    for pause in PAUSES_MS {
        if wrong.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(pause));
        for (number, page) in std::mem::take(&mut wrong) {
            // One that is gone by now was cut off, as WAL says.
            let is_there = file.read_at(u64::from(number) * PAGE_LEN as u64, page)? == PAGE_LEN;
            if is_there && !is_fit(page, relation, number) {
                wrong.push((number, page));
            }
        }
    }
    let misfit = |(page, bytes): (u32, &mut Page)| Misfit {
        page,
        of_relation: of_relation(relation, page),
        lsn: page::lsn(bytes),
    };
    Ok(wrong.into_iter().map(misfit).collect())
}

#[cfg(test)]
mod tests {
    use files::error::Error as FilesError;
    use files::read::{Extent, Steadiness};
    use model::entry::Entry;
    use pg::data_directory::Fork;

    use super::*;

    const RELATION: RelationFile = RelationFile { number: 16_384, fork: Fork::Main, segment: 1 };

    /// A page of the second file of a relation, with its checksum.
    fn sound(number: u32, filling: u8, lsn: Lsn) -> Page {
        let mut page = [filling; PAGE_LEN];
        page[..4].copy_from_slice(&((lsn.0 >> 32) as u32).to_le_bytes());
        page[4..8].copy_from_slice(&(lsn.0 as u32).to_le_bytes());
        page[14..16].copy_from_slice(&8000u16.to_le_bytes());
        let sum = page::checksum(&page, SEGMENT_PAGES + number);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        page
    }

    /// One half from before a write, the other from behind it.
    fn torn(number: u32, lsn: Lsn) -> Page {
        let (mut page, new) = (sound(number, 3, lsn), sound(number, 4, lsn));
        page[4096..].copy_from_slice(&new[4096..]);
        page
    }

    /// What each reading of a page gives; the last one is given from then on, and nothing behind the end of the file.
    struct Read {
        pages: Vec<(u32, Vec<Page>)>,
        readings: usize,
    }

    impl Contents for Read {
        fn entry(&self) -> &Entry {
            unreachable!("nobody asks")
        }

        fn next_extent(&mut self) -> Result<Option<Extent>, FilesError> {
            Ok(None)
        }

        fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FilesError> {
            self.readings += 1;
            let number = (offset / PAGE_LEN as u64) as u32;
            let Some((_, given)) = self.pages.iter_mut().find(|(known, _)| *known == number) else {
                return Ok(0);
            };
            buffer.copy_from_slice(&given[0]);
            if given.len() > 1 {
                given.remove(0);
            }
            Ok(PAGE_LEN)
        }

        fn finish(self: Box<Self>) -> Result<Steadiness, FilesError> {
            unreachable!("nobody asks")
        }
    }

    #[test]
    fn a_page_that_is_being_written_is_read_until_it_is_whole_and_one_that_stays_wrong_is_named() {
        let lsn = Lsn(0x1_0000_0400);
        // 2: whole at the third reading. 3: never. 4: sound at once. 5: cut off meanwhile.
        let again = vec![(2, vec![torn(2, lsn), sound(2, 4, lsn)]), (3, vec![torn(3, lsn)])];
        let mut file = Read { pages: again, readings: 0 };
        let first = [torn(2, lsn), torn(3, lsn), sound(4, 5, lsn), torn(5, lsn)];
        let mut bytes = first.as_flattened().to_vec();
        let found = find(&mut file, RELATION, 2.., &mut bytes).unwrap();
        assert_eq!(found, [Misfit { page: 3, of_relation: SEGMENT_PAGES + 3, lsn }]);
        assert_eq!(file.readings, 2 + PAUSES_MS.len() + 1);
        assert!(bytes[..PAGE_LEN] == sound(2, 4, lsn), "what was read last is taken");
        // A page of the first file of its relation would have another checksum.
        assert!(!is_fit(&sound(4, 5, lsn), RelationFile { segment: 0, ..RELATION }, 4));
    }

    #[test]
    fn only_what_was_changed_while_the_backup_ran_is_made_whole_by_wal() {
        let (start, stop) = (Lsn(0x1_0000_0028), Lsn(0x1_0500_0100));
        let is_made_whole =
            |lsn| Misfit { page: 5, of_relation: 5, lsn: Lsn(lsn) }.is_made_whole(start, stop);
        assert!(is_made_whole(start.0) && is_made_whole(0x1_0400_0000) && is_made_whole(stop.0));
        assert!(!is_made_whole(start.0 - 8));
        // A page of zeros but for its end, and one full of letters: neither is in any log.
        for lsn in [0, u64::from_be_bytes(*b"garbage!"), stop.0 + 8] {
            assert!(!is_made_whole(lsn), "{lsn:x}");
        }
    }

    #[test]
    fn a_page_is_named_within_its_file_and_within_its_relation() {
        let words = |page, of_relation| Misfit { page, of_relation, lsn: Lsn(0) }.words("base/5/16384");
        assert_eq!(words(5, 5), "page 5 of base/5/16384 does not fit its checksum");
        let expected = "page 5 of base/5/16384 (page 131077 of its relation) does not fit its checksum";
        assert_eq!(words(5, 131_077), expected);
    }
}
