//! Writing a large content past the page cache: half the work in the kernel, and what a database has in the cache stays
//! there.
//!
//! open(2), `O_DIRECT`: memory, offset and length must be multiples of a block. So whole blocks go through an aligned
//! buffer, and the last part goes the usual way; so does everything on file systems that do not know better.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// A multiple of every block that disks have.
const BLOCK_LEN: usize = 4096;
/// Bytes of one write.
const PIECE_LEN: usize = 1 << 20;

/// Write `content` to the empty `file`.
///
/// # Errors
/// What the system says; the file then holds anything.
pub(crate) fn write_all(file: &File, content: &[u8]) -> io::Result<()> {
    let done = if content.len() < PIECE_LEN { 0 } else { write_blocks(file, content)? };
    file.write_all_at(&content[done..], done as u64)
}

/// -> bytes from the front that were written past the cache
fn write_blocks(file: &File, content: &[u8]) -> io::Result<usize> {
    let flags = fcntl_getfl(file)?;
    if fcntl_setfl(file, flags | OFlags::DIRECT).is_err() {
        return Ok(0);
    }
    let written = write_pieces(file, &content[..content.len() / BLOCK_LEN * BLOCK_LEN]);
    fcntl_setfl(file, flags)?;
    written
}

fn write_pieces(file: &File, blocks: &[u8]) -> io::Result<usize> {
    let mut room = vec![0; PIECE_LEN + BLOCK_LEN];
    let start = room.as_ptr().align_offset(BLOCK_LEN);
    let room = &mut room[start..start + PIECE_LEN];
    let mut done = 0;
    while done < blocks.len() {
        let piece = &blocks[done..blocks.len().min(done + PIECE_LEN)];
        room[..piece.len()].copy_from_slice(piece);
        match file.write_at(&room[..piece.len()], done as u64) {
            Ok(count) if count > 0 && count % BLOCK_LEN == 0 => done += count,
            // Behind a part of a block only the usual way goes on.
            Ok(count) => return Ok(done + count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Some take the flag and refuse the write.
            Err(error) if error.kind() == ErrorKind::InvalidInput => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_of_every_length_are_written_whole() {
        // A disk, and a file system in memory.
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let content: Vec<u8> =
                (0..3 * PIECE_LEN as u32 + 5).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            for len in
                [0, 1, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 2 * PIECE_LEN + BLOCK_LEN, content.len()]
            {
                // Wherever the content begins in memory.
                for start in [0, 1, 5] {
                    let Some(content) = content.get(start..start + len) else { continue };
                    let file = tempfile::tempfile_in(&folder).unwrap();
                    write_all(&file, content).unwrap();
                    let mut back = vec![0; len + 1];
                    let count = file.read_at(&mut back, 0).unwrap();
                    assert!(
                        count == len && back[..len] == *content,
                        "{len} from {start} in {}",
                        folder.display()
                    );
                    assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
                }
            }
        }
    }
}
