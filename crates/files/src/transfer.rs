//! Move all bytes that were asked for, where the kernel may move fewer at a time.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, Result, pread, pwrite};

/// Zeros written at once where a hole cannot be punched.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Fill `buffer` from `offset` on; fewer bytes than it holds: the file ends there.
pub(crate) fn read_full(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pread(&fd, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Write all of `bytes` at `offset`.
pub(crate) fn write_all(fd: impl AsFd, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match pwrite(&fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Make a stretch read as zeros: a hole where the file system can, else written.
pub(crate) fn write_hole(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    match fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(fd, offset, len),
        outcome => outcome,
    }
}

fn write_zeros(fd: BorrowedFd<'_>, mut offset: u64, mut len: u64) -> Result<()> {
    while len > 0 {
        let piece = usize::try_from(len).map_or(ZEROS.len(), |len| len.min(ZEROS.len()));
        write_all(fd, &ZEROS[..piece], offset)?;
        offset += piece as u64;
        len -= piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_written_where_holes_are_not_possible() {
        let file = tempfile::tempfile().unwrap();
        write_all(&file, &[1; 200_000], 0).unwrap();
        write_zeros(file.as_fd(), 10, 150_000).unwrap();
        let mut found = vec![9; 300_000];
        assert_eq!(read_full(&file, &mut found, 0).unwrap(), 200_000);
        assert!(found[..10].iter().all(|&b| b == 1) && found[150_010..200_000].iter().all(|&b| b == 1));
        assert!(found[10..150_010].iter().all(|&b| b == 0));
    }
}
