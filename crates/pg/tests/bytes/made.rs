//! Archives made by hand, of every format version, small enough to be cut and bent everywhere.

/// One entry of a table of contents.
pub(crate) struct Made {
    pub(crate) dump_id: u32,
    pub(crate) desc: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) section: u32,
    pub(crate) has_data: bool,
    pub(crate) copy: &'static str,
}

pub(crate) fn int(number: i64) -> Vec<u8> {
    [&[u8::from(number < 0)][..], &(number.unsigned_abs() as u32).to_le_bytes()].concat()
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [int(text.len() as i64), text.as_bytes().to_vec()].concat()
}

fn none() -> Vec<u8> {
    int(-1)
}

/// Head up to the entries, of format `1.minor`, dumped at second `time`.
pub(crate) fn head(minor: u8, compression: u8, time: i64, count: usize) -> Vec<u8> {
    let mut head = b"PGDMP\x01".to_vec();
    head.extend([minor, 0, 4, 8, 1]);
    if minor >= 15 {
        head.push(compression);
    } else {
        head.extend(int(i64::from(compression)));
    }
    head.extend((0..7).flat_map(|_| int(time)));
    head.extend(["shop", "15.14", "15.14 (Debian)"].iter().flat_map(|word| text(word)));
    head.extend(int(count as i64));
    head
}

pub(crate) fn entry(minor: u8, made: &Made) -> Vec<u8> {
    let mut entry =
        [int(made.dump_id.into()), int(made.has_data.into()), text("1259"), text("16384")].concat();
    entry.extend([text(made.tag), text(made.desc), int(made.section.into())].concat());
    entry.extend([text("CREATE …"), text("DROP …"), text(made.copy), text("public"), text("")].concat());
    if minor >= 14 {
        entry.extend(text("heap"));
    }
    if minor >= 16 {
        entry.extend(int(114));
    }
    entry.extend([text("me"), text("false"), text("1"), text("2"), none()].concat());
    entry.extend([if made.has_data { 1 } else { 3 }, 0, 0, 0, 0, 0, 0, 0, 0]);
    entry
}

pub(crate) fn chunks(chunks: &[&[u8]]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        chunks.iter().flat_map(|chunk| [int(chunk.len() as i64), chunk.to_vec()].concat()).collect();
    bytes.extend(int(0));
    bytes
}

pub(crate) const END: &[u8] = b"\\.\n\n\n";

const ENTRIES: [Made; 7] = [
    Made { dump_id: 1, desc: "ENCODING", tag: "ENCODING", section: 2, has_data: false, copy: "" },
    Made { dump_id: 2, desc: "TABLE", tag: "orders", section: 2, has_data: false, copy: "" },
    Made { dump_id: 3, desc: "COMMENT", tag: "TABLE orders", section: 1, has_data: false, copy: "" },
    Made {
        dump_id: 4,
        desc: "TABLE DATA",
        tag: "orders",
        section: 3,
        has_data: true,
        copy: "COPY public.orders FROM stdin;\n",
    },
    Made { dump_id: 5, desc: "TABLE DATA", tag: "inserts", section: 3, has_data: true, copy: "" },
    Made { dump_id: 6, desc: "BLOBS", tag: "BLOBS", section: 3, has_data: true, copy: "" },
    Made { dump_id: 7, desc: "INDEX", tag: "by_id", section: 4, has_data: false, copy: "" },
];

/// A whole archive: a table of three rows, one of INSERT statements, two large objects.
pub(crate) fn archive(minor: u8, compression: u8, time: i64) -> Vec<u8> {
    let mut archive = head(minor, compression, time, ENTRIES.len());
    archive.extend(ENTRIES.iter().flat_map(|made| entry(minor, made)));
    archive.extend([vec![1], int(4), chunks(&[b"1\tone\n", b"2\n", b"\\\\.\n", END])].concat());
    archive.extend([vec![1], int(5), chunks(&[b"INSERT\n", b"INSERT\n"])].concat());
    archive.extend([vec![3], int(6)].concat());
    archive.extend([int(4_000_000_000), chunks(&[b"large \n object"])].concat());
    archive.extend([int(17), chunks(&[]), int(0)].concat());
    archive
}
