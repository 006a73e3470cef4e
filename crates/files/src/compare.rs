//! Whether what stands at a place of a restore is what is to be restored there.
//!
//! Contents count as the same if size and modification time are: asking the bytes is the caller's next step. Not compared
//! is what cannot be restored (inode, device, link count, change time) or what reading changes (access time).

use model::entry::{Entry, EntryKind};

/// What the place of an entry has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The same, as far as one look can tell.
    Same,
    /// The same contents, but owner, mode, attributes or (for directories and the like) time differ.
    MetadataDiffers,
    /// The same kind, with other contents.
    ContentsDiffer,
    /// Something of another kind.
    OtherKind,
    /// Nothing.
    Missing,
}

/// Compare what is there with what is wanted.
pub fn compare(found: Option<&Entry>, wanted: &Entry) -> Comparison {
    let Some(found) = found else { return Comparison::Missing };
    let (there, want) = (&found.metadata, &wanted.metadata);
    let same_contents = match (&found.kind, &wanted.kind) {
        (EntryKind::File, EntryKind::File) => there.size == want.size && there.mtime == want.mtime,
        (EntryKind::Symlink { target: there }, EntryKind::Symlink { target: want }) => there == want,
        (EntryKind::BlockDevice { device: there }, EntryKind::BlockDevice { device: want })
        | (EntryKind::CharDevice { device: there }, EntryKind::CharDevice { device: want }) => there == want,
        (EntryKind::Directory, EntryKind::Directory)
        | (EntryKind::Fifo, EntryKind::Fifo)
        | (EntryKind::Socket, EntryKind::Socket) => true,
        _ => return Comparison::OtherKind,
    };
    let is_link = matches!(wanted.kind, EntryKind::Symlink { .. });
    let same_metadata = (there.uid, there.gid, there.mtime) == (want.uid, want.gid, want.mtime)
        && (is_link || there.mode == want.mode)
        && there.xattrs == want.xattrs;
    match (same_contents, same_metadata) {
        (true, true) => Comparison::Same,
        (true, false) => Comparison::MetadataDiffers,
        (false, _) => Comparison::ContentsDiffer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use model::entry::{Metadata, Xattr};

    fn entry(kind: EntryKind) -> Entry {
        let time = Timestamp::UNIX_EPOCH;
        let metadata = Metadata {
            mode: 0o644,
            uid: 1,
            gid: 1,
            user: String::new(),
            group: String::new(),
            mtime: time,
            atime: time,
            ctime: time,
            inode: 1,
            device_id: 1,
            links: 1,
            size: 10,
            xattrs: Vec::new(),
        };
        Entry { name: b"e".to_vec(), kind, metadata }
    }

    #[test]
    fn table_of_what_counts() {
        use Comparison::{ContentsDiffer, MetadataDiffers, OtherKind, Same};
        let later = Timestamp::new(1, 1).unwrap();
        type Change = fn(&mut Metadata, Timestamp);
        let changes: [(Change, Comparison); 9] = [
            (|_, _| {}, Same),
            (|m, _| m.size = 11, ContentsDiffer),
            (|m, t| m.mtime = t, ContentsDiffer),
            (|m, _| m.mode = 0o600, MetadataDiffers),
            (|m, _| m.uid = 2, MetadataDiffers),
            (|m, _| m.gid = 2, MetadataDiffers),
            (|m, _| m.xattrs.push(Xattr { name: "user.a".into(), value: vec![] }), MetadataDiffers),
            (|m, t| (m.atime, m.ctime) = (t, t), Same),
            (|m, _| (m.inode, m.device_id, m.links) = (2, 2, 2), Same),
        ];
        let wanted = entry(EntryKind::File);
        for (number, (change, expected)) in changes.into_iter().enumerate() {
            let mut found = wanted.clone();
            change(&mut found.metadata, later);
            assert_eq!(compare(Some(&found), &wanted), expected, "change {number}");
        }
        assert_eq!(compare(None, &wanted), Comparison::Missing);
        assert_eq!(compare(Some(&entry(EntryKind::Directory)), &wanted), OtherKind);
        let link = |target: &str| entry(EntryKind::Symlink { target: target.into() });
        assert_eq!(compare(Some(&link("a")), &link("b")), ContentsDiffer);
        let device = |device| entry(EntryKind::CharDevice { device });
        assert_eq!(compare(Some(&device(1)), &device(2)), ContentsDiffer);
        assert_eq!(compare(Some(&entry(EntryKind::BlockDevice { device: 1 })), &device(1)), OtherKind);
    }
}
