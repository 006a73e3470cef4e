//! The bytes of one file, many requests under way: a long road costs its latency once, not once a piece.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};

use super::link::{Link, sftp_error};

/// Requests under way for one file: with 128 KiB each they fill the 2 MiB that SSH lets pass unacknowledged.
const UNDER_WAY: usize = 16;

/// Write all of `content` to an open file, beginning at `offset`.
///
/// # Errors
/// The first of any piece.
pub(super) async fn write(link: &Arc<Link>, handle: &str, mut offset: u64, content: &[u8]) -> io::Result<()> {
    let mut under_way = JoinSet::new();
    for piece in content.chunks(link.write_len as usize) {
        if under_way.len() == UNDER_WAY {
            under_way.join_next().await.transpose().map_err(lost)?.transpose()?;
        }
        let (link, handle, owned) = (link.clone(), handle.to_owned(), piece.to_vec());
        under_way
            .spawn(async move { link.sftp.write(handle, offset, owned).await.map(drop).map_err(sftp_error) });
        offset += piece.len() as u64;
    }
    while let Some(done) = under_way.join_next().await {
        done.map_err(lost)??;
    }
    Ok(())
}

/// Fill `into` from an open file, beginning at `offset`.
///
/// # Errors
/// `UnexpectedEof` where the file ends before.
pub(super) async fn read(link: &Arc<Link>, handle: &str, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let piece = link.read_len as usize;
    let mut missing: VecDeque<(usize, usize)> =
        (0..into.len()).step_by(piece).map(|start| (start, piece.min(into.len() - start))).collect();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < UNDER_WAY
            && let Some((start, len)) = missing.pop_front()
        {
            let (link, handle) = (link.clone(), handle.to_owned());
            under_way.spawn(async move {
                let len_asked = u32::try_from(len).unwrap_or(u32::MAX);
                let read = link.sftp.read(handle, offset + start as u64, len_asked).await;
                read.map(|found| (start, len, found.data)).map_err(sftp_error)
            });
        }
        let Some(done) = under_way.join_next().await else { return Ok(()) };
        let (start, len, found) = done.map_err(lost)??;
        if found.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some(room) = into.get_mut(start..start + found.len()).filter(|_| found.len() <= len) else {
            return Err(io::Error::new(ErrorKind::InvalidData, "the server sent more than was asked for"));
        };
        room.copy_from_slice(&found);
        if found.len() < len {
            // A server may answer with less; the rest is asked for again.
            missing.push_front((start + found.len(), len - found.len()));
        }
    }
}

/// A task of ours ended by itself: only while the program ends.
pub(super) fn lost(error: JoinError) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error)
}
