//! The archive reader against bytes: whole, sliced, cut, bent and random ones. No server is needed.

// Everything here is a test, also where clippy does not see it.
#![allow(clippy::unwrap_used)]

mod made;

use made::{END, Made, archive, chunks, entry, head, int, text};
use pg::archive::{ArchiveError, ArchiveReader, ArchiveSummary, Compression, Section, Toc, plan_restore};
use proptest::prelude::{Strategy, any, prop, proptest};

fn read(bytes: &[u8], slice_len: usize) -> Result<ArchiveSummary, ArchiveError> {
    let mut reader = ArchiveReader::new();
    for slice in bytes.chunks(slice_len) {
        reader.push(slice)?;
    }
    reader.finish()
}

#[test]
fn every_format_version_is_read_in_slices_of_any_size() {
    for minor in 12..=16 {
        let bytes = archive(minor, 0, 1);
        let summary = read(&bytes, bytes.len()).unwrap();
        assert_eq!(summary.archive_version, format!("1.{minor}"));
        assert_eq!((summary.database.as_str(), summary.server_version.as_str()), ("shop", "15.14"));
        assert_eq!(summary.length, bytes.len() as u64);
        let rows: Vec<_> = summary.entries.iter().map(|entry| entry.rows).collect();
        assert_eq!(rows, [None, None, None, Some(3), None, None, None]);
        let sections: Vec<_> = summary.entries.iter().map(|entry| entry.section).collect();
        use Section::{Data, PostData, PreData};
        assert_eq!(sections, [PreData, PreData, PreData, Data, Data, Data, PostData]);
        let mut end = summary.toc_length;
        for block in summary.entries.iter().filter(|entry| entry.has_data) {
            assert_eq!(block.offset, end);
            end += block.length;
        }
        assert_eq!(end, summary.length);
        for slice_len in 1..60 {
            assert_eq!(read(&bytes, slice_len).as_ref(), Ok(&summary), "slices of {slice_len}");
        }
        let json = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<ArchiveSummary>(&json).unwrap(), summary);
    }
}

#[test]
fn t5_the_hash_leaves_out_the_time_and_nothing_else() {
    let hash = |bytes: &[u8]| read(bytes, 1000).map(|summary| summary.content_hash);
    let bytes = archive(14, 0, 1);
    assert_eq!(hash(&bytes), hash(&archive(14, 0, 59)));
    let one = memchr::memmem::find(&bytes, b"one").unwrap();
    let mut changed = bytes.clone();
    changed[one] = b'O';
    assert_ne!(hash(&bytes), hash(&changed));
}

#[test]
fn rows_of_compressed_tables_are_not_guessed() {
    let summary = read(&archive(16, 3, 1), 100).unwrap();
    assert_eq!(summary.compression, Compression::Zstd);
    assert!(summary.entries.iter().all(|entry| entry.rows.is_none()));
    assert_eq!(read(&archive(14, 6, 1), 100).unwrap().compression, Compression::Gzip);
}

#[test]
fn rows_are_counted_across_chunks_of_any_cut() {
    let table = Made {
        dump_id: 9,
        desc: "TABLE DATA",
        tag: "t",
        section: 3,
        has_data: true,
        copy: "COPY t FROM stdin;\n",
    };
    let rows = b"\n\n\\\\.\n\n\n1\tx\n\\.\n\n\n";
    for first in 1..rows.len() {
        let mut bytes = [head(14, 0, 1, 1), entry(14, &table), vec![1], int(9)].concat();
        bytes.extend(chunks(&[&rows[..first], &rows[first..]]));
        for slice_len in [1, 2, 3, 5, 8, bytes.len()] {
            assert_eq!(read(&bytes, slice_len).unwrap().entries[0].rows, Some(6), "{first} {slice_len}");
        }
    }
    let empty = [head(14, 0, 1, 1), entry(14, &table), vec![1], int(9), chunks(&[END])].concat();
    assert_eq!(read(&empty, 7).unwrap().entries[0].rows, Some(0));
    assert!(plan_restore(&read(&empty, 7).unwrap()).tables.is_empty());
}

#[test]
fn t6_an_archive_cut_anywhere_is_refused() {
    let bytes = archive(16, 0, 1);
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end], 13.min(end.max(1))).is_err(), "cut at {end}");
        assert!(Toc::parse(&bytes[..end]).is_err() || end as u64 >= read(&bytes, 99).unwrap().toc_length);
    }
    let last_block = read(&bytes, 99).unwrap().entries[5].offset as usize;
    let error = read(&bytes[..last_block], 99).unwrap_err();
    assert_eq!(error.to_string(), "archive has no data for 1 of its entries, first BLOBS public.BLOBS");
}

#[test]
fn an_archive_with_a_bent_bit_never_panics() {
    let bytes = archive(15, 0, 1);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bent = bytes.clone();
            bent[at] ^= 1 << bit;
            if let Ok(summary) = read(&bent, 17) {
                let toc = Toc::parse(&bent[..summary.toc_length as usize]).unwrap();
                toc.rest_head();
                toc.without_data();
            }
        }
    }
}

#[test]
fn absurd_claims_are_refused_before_memory_is_spent() {
    let claims = [
        [head(14, 0, 1, 0), vec![9]].concat(),
        [
            b"PGDMP\x01\x0e\x00\x04\x08\x01".to_vec(),
            int(0),
            (0..7).flat_map(|_| int(1)).collect(),
            int(0x7fff_ffff),
        ]
        .concat(),
        head(14, 0, 1, 0x7fff_ffff),
        [head(14, 0, 1, 1), int(0)].concat(),
        [head(14, 0, 1, 1), int(1), int(1), text("a\0b")].concat(),
        b"PGDMP\x01\x0b\x00\x04\x08\x01".to_vec(),
        b"PGDMP\x01\x0e\x00\x08\x08\x01".to_vec(),
        b"PGDMP\x01\x0e\x00\x04\x08\x03".to_vec(),
        b"-- PostgreSQL database dump".to_vec(),
    ];
    for (number, claim) in claims.iter().enumerate() {
        let mut reader = ArchiveReader::new();
        let error = reader.push(claim).expect_err(&number.to_string());
        assert_eq!(reader.push(b"more"), Err(error.clone()), "an error stays");
        assert_eq!(reader.finish().err(), Some(error));
    }
    // A long string that never comes is waited for, but takes no memory.
    let mut reader = ArchiveReader::new();
    reader.push(&[head(14, 0, 1, 1), int(1), int(1), int(1 << 29)].concat()).unwrap();
    assert!(matches!(reader.finish(), Err(ArchiveError::Truncated { .. })));
}

#[test]
fn blocks_that_nobody_announced_are_refused() {
    let bytes = archive(14, 0, 1);
    let summary = read(&bytes, 99).unwrap();
    let table = &summary.entries[3];
    let block = &bytes[table.offset as usize..(table.offset + table.length) as usize];
    for extra in
        [block.to_vec(), [vec![1], int(2), chunks(&[])].concat(), [vec![1], int(77), chunks(&[])].concat()]
    {
        let error = read(&[bytes.clone(), extra].concat(), 99).unwrap_err();
        assert!(matches!(error, ArchiveError::StrayBlock { .. }), "{error}");
    }
    let twice = [head(14, 0, 1, 2), int(1)].concat();
    assert!(read(&twice, 9).is_err());
}

#[test]
fn derived_archives_hold_what_they_shall() {
    for minor in 12..=16 {
        let bytes = archive(minor, 0, 1);
        let summary = read(&bytes, 99).unwrap();
        let toc = Toc::parse(&bytes).unwrap();
        assert_eq!(toc.bytes().len() as u64, summary.toc_length);
        assert_eq!(toc.definition(&toc.entries[0]), "CREATE …".as_bytes());
        let table = &summary.entries[3];
        let block = &bytes[table.offset as usize..(table.offset + table.length) as usize];
        let derived = read(&[toc.tables_head(&[4]).unwrap(), block.to_vec()].concat(), 99).unwrap();
        let ids: Vec<_> = derived.entries.iter().map(|entry| (entry.dump_id, entry.rows)).collect();
        assert_eq!(ids, [(1, None), (4, Some(3))]);
        let rest = Toc::parse(&toc.rest_head()).unwrap();
        assert_eq!(rest.entries.iter().map(|entry| entry.dump_id).collect::<Vec<_>>(), [1, 6]);
        assert_eq!(toc.tables_head(&[4, 3]), Err(ArchiveError::NoSuchEntry(3)));
        let plan = plan_restore(&summary);
        assert_eq!(plan.rest_blocks.iter().map(|block| block.dump_id).collect::<Vec<_>>(), [6]);
        assert_eq!(plan.tables.len(), 2);
        assert_eq!(plan.batches(1).len(), 2);
        let batch: Vec<_> = plan.batches(1 << 20).concat().iter().map(|table| table.dump_id).collect();
        assert_eq!(batch, [4, 5]);
    }
}

/// Real beginnings with random ends reach deeper than random bytes alone.
fn nearly_an_archive() -> impl Strategy<Value = Vec<u8>> {
    let bytes = archive(14, 0, 1);
    let random = prop::collection::vec(any::<u8>(), 0..300);
    (0..bytes.len(), random).prop_map(move |(end, random)| [&bytes[..end], &random].concat())
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), slice_len in 1usize..80) {
        assert!(read(&bytes, slice_len).is_err());
    }

    #[test]
    fn random_ends_never_panic_and_slices_do_not_matter(bytes in nearly_an_archive(), slice_len in 1usize..80) {
        assert_eq!(read(&bytes, slice_len).ok(), read(&bytes, bytes.len().max(1)).ok());
    }
}
