//! The WAL that makes the copied files a cluster, from the start of the backup to its stop, out of `pg_wal`.
//!
//! A segment that the server has removed is a gap, and a gap is no backup: the slot of the session keeps them where the
//! role may make one.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use files::owner::Owners;
use files::relative::RelativePath;
use files::target::Target;
use model::lsn::SystemId;
use model::wal_name::{SegmentName, SegmentNo, SegmentSize};
use pg::backup_mode::Stopped;
use pg::data_directory::is_history;
use pg::wal_segment::SegmentHeader;
use repo::node::Node;
use repo::saver::Content;

use super::read::{PIECE_LEN, Reading};
use crate::error::{EngineError, Result};
use crate::writing::{Order, save_small_file};

/// Every segment from start to stop, and the histories of timelines, as nodes of `pg_wal`.
pub(super) fn save(
    reading: &Reading<'_>,
    data_directory: &Path,
    system_id: SystemId,
    size: SegmentSize,
    stopped: &Stopped,
    order: &Order,
) -> Result<Vec<Node>> {
    let directory = data_directory.join("pg_wal");
    let mut nodes = vec![];
    let (first, last) = (size.segment_of(stopped.start), size.segment_before(stopped.stop));
    for number in first.0..=last.0 {
        let name = SegmentName::new(stopped.timeline, SegmentNo(number), size);
        nodes.push(segment(reading, &directory, (name, system_id), size)?);
    }
    let listed =
        std::fs::read_dir(&directory).map_err(EngineError::io(format!("listing {}", directory.display())))?;
    for entry in listed {
        let entry = entry.map_err(EngineError::io(format!("listing {}", directory.display())))?;
        let name = entry.file_name();
        if let Some(timeline) = is_history(name.as_encoded_bytes())
            && timeline <= stopped.timeline
            && let Some(name) = name.to_str()
        {
            let bytes = std::fs::read(entry.path()).map_err(EngineError::io(format!("reading {name}")))?;
            nodes.push(save_small_file(reading.saver, name, &bytes, order)?);
        }
    }
    Ok(nodes)
}

fn segment(
    reading: &Reading<'_>,
    directory: &Path,
    (segment, system_id): (SegmentName, SystemId),
    size: SegmentSize,
) -> Result<Node> {
    let saver = reading.saver;
    let name = &segment.to_string();
    let path = directory.join(name);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(EngineError::Gone(format!(
                "segment {name}, which the backup needs, was removed from pg_wal before it could be read"
            )));
        }
        opened => opened.map_err(EngineError::io(format!("opening {}", path.display())))?,
    };
    let content = Content::new();
    let mut left = size.bytes();
    while left > 0 {
        let wanted = left.min(PIECE_LEN as u64) as usize;
        reading.pace.wait_for(wanted, &reading.cancel)?;
        let mut piece = saver.buffer();
        piece.resize(wanted, 0);
        file.read_exact(&mut piece).map_err(EngineError::io(format!("reading {}", path.display())))?;
        // A file that is kept for later bears its future name, and what it was before.
        if left == size.bytes() {
            let header = SegmentHeader::parse(&piece);
            let verified = header.and_then(|header| header.verify(&segment, system_id, size.bytes()));
            verified.map_err(|error| EngineError::Gone(format!("segment {name} in pg_wal: {error}")))?;
        }
        left -= piece.len() as u64;
        reading.progress.advance(piece.len() as u64);
        saver.submit(piece, None, &content)?;
    }
    let found = Target::open(directory)?
        .look_at(&RelativePath::parse(name).map_err(files::error::Error::from)?, &Owners::default())?;
    let mut entry =
        found.ok_or_else(|| EngineError::Gone(format!("segment {name} was removed from pg_wal")))?;
    entry.metadata.size = size.bytes();
    entry.metadata.atime = entry.metadata.mtime;
    Ok(Node { entry, content: content.wait()?, subtree: None })
}
