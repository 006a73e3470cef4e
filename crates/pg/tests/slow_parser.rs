//! How fast an archive of short rows is understood: it must never be what a backup waits for.
//!
//! `cargo test --release -p pg --test slow_parser -- --nocapture`

// A test prints what it measured.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "bytes/made.rs"]
mod made;

use std::time::Instant;

use made::{END, archive, chunks, entry, head, int};
use pg::archive::ArchiveReader;

#[test]
fn two_million_rows_are_counted_and_the_speed_is_told() {
    assert!(!archive(14, 0, 1).is_empty());
    let table = made::Made {
        dump_id: 4,
        desc: "TABLE DATA",
        tag: "orders",
        section: 3,
        has_data: true,
        copy: "COPY public.orders FROM stdin;\n",
    };
    let row = [b"12345\t".to_vec(), vec![b'x'; 93], b"\n".to_vec()].concat();
    let mut rows = vec![row.as_slice(); 2_000_000];
    rows.push(END);
    let bytes = [head(14, 0, 1, 1), entry(14, &table), vec![1], int(4), chunks(&rows)].concat();
    let begin = Instant::now();
    let mut reader = ArchiveReader::new();
    for slice in bytes.chunks(1 << 20) {
        reader.push(slice).unwrap();
    }
    let summary = reader.finish().unwrap();
    let speed = bytes.len() as f64 / begin.elapsed().as_secs_f64() / 1e9;
    println!("{speed:.2} GB/s");
    assert_eq!(summary.entries[0].rows, Some(2_000_000));
}
