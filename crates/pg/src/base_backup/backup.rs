//! The files of a backup, one after the other.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytes::{Buf, Bytes};
use model::lsn::{Lsn, Timeline};

use super::archives::{Archives, Position, Step, Tablespace};
use super::options::{INCREMENTS, Options};
use super::tar::{BLOCK_LEN, Head, Kind, padding, read_head};
use crate::wire::{Answer, Conversation, ServerError, WireError};

/// The checkpoint before a backup, and the wait for an archiver behind it, may take long, and the server is silent.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Bytes of a manifest at most: about 150 for each file.
const MANIFEST_LEN_MAX: usize = 1 << 30;
/// Bytes of a manifest in one message.
const UPLOAD_LEN: usize = 64 << 10;

/// A backup that comes in.
pub struct BaseBackup {
    archives: Archives,
    /// Of which tablespace the archive is.
    tablespace: Option<u32>,
    /// Bytes that came and are not used yet.
    unused: Bytes,
    /// Of the present file: content, and what fills it up.
    left: u64,
    filling: u64,
    manifest: Vec<u8>,
    stop: Option<Position>,
}

/// What a backup is in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// WAL up to here makes the files consistent.
    pub stop: Lsn,
    /// The timeline there.
    pub timeline: Timeline,
    /// `backup_manifest`, as the server wrote it; empty from servers before 13.
    pub manifest: Vec<u8>,
}

/// One file, directory or link; reading it gives its content.
pub struct Entry<'a> {
    backup: &'a mut BaseBackup,
    head: Head,
}

impl BaseBackup {
    /// Begin a backup over a conversation for [`crate::wire::Purpose::Replication`].
    ///
    /// # Errors
    /// The server refuses: the user may not, an increment is asked of a server before 17 or one without the summaries.
    pub fn start(mut server: Conversation, options: &Options) -> Result<Self, WireError> {
        server.set_patience(PATIENCE);
        if let Some(manifest) = &options.parent {
            upload(&mut server, manifest)?;
        }
        Ok(Self {
            archives: Archives::begin(server, options)?,
            tablespace: None,
            unused: Bytes::new(),
            left: 0,
            filling: 0,
            manifest: Vec::new(),
            stop: None,
        })
    }

    /// WAL is needed from here on.
    pub fn start_lsn(&self) -> Lsn {
        self.archives.start.lsn
    }

    /// The timeline at the start.
    pub fn timeline(&self) -> Timeline {
        self.archives.start.timeline
    }

    /// The tablespaces that the server has.
    pub fn tablespaces(&self) -> &[Tablespace] {
        &self.archives.tablespaces
    }

    /// About how much is in the data directory, if that was asked.
    pub fn size_kib(&self) -> Option<u64> {
        self.archives.size_kib
    }

    /// The next file, or nothing behind the last. What was not read of the one before is passed over.
    ///
    /// # Errors
    /// The server found a broken page, an archive is torn, or the conversation ends.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_>>, WireError> {
        while self.piece_of_content()?.is_some() {}
        loop {
            let Some(block) = self.block()? else {
                match self.archives.step()? {
                    Step::Archive(tablespace) => self.tablespace = tablespace,
                    Step::Bytes(bytes) => self.unused = bytes,
                    Step::Manifest => self.read_manifest()?,
                    Step::End(stop) => {
                        self.stop = Some(stop);
                        return Ok(None);
                    }
                }
                if self.stop.is_some() {
                    return Ok(None);
                }
                continue;
            };
            if let Some(head) = read_head(&block)? {
                return Ok(Some(self.entry(head)));
            }
        }
    }

    /// What the server has warned of since this was asked last, also where it then ended the backup: pages that do not fit their
    /// checksums, by file and block.
    pub fn take_warnings(&mut self) -> Vec<ServerError> {
        self.archives.take_warnings()
    }

    /// The end, once [`BaseBackup::next_entry`] has given nothing, and the conversation for more.
    ///
    /// # Errors
    /// There are files that were not read.
    pub fn finish(self) -> Result<(Finished, Conversation), WireError> {
        let Some(Position { lsn, timeline }) = self.stop else {
            return Err(WireError::nonsense("the backup was not read to its end"));
        };
        Ok((Finished { stop: lsn, timeline, manifest: self.manifest }, self.archives.into_server()))
    }

    fn entry(&mut self, mut head: Head) -> Entry<'_> {
        if let Some(oid) = self.tablespace {
            head.path = Path::new("pg_tblspc").join(oid.to_string()).join(head.path);
        }
        if let Kind::File(size) = head.kind {
            (self.left, self.filling) = (size, padding(size));
        }
        Entry { backup: self, head }
    }

    /// The next head, if one is there; nothing between two pieces of the archive.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_LEN]>, WireError> {
        if self.unused.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK_LEN];
        let mut filled = 0;
        while filled < BLOCK_LEN {
            let bytes = self.some(BLOCK_LEN - filled)?;
            block[filled..filled + bytes.len()].copy_from_slice(&bytes);
            filled += bytes.len();
        }
        Ok(Some(block))
    }

    /// At least one and at most `len_max` bytes of the archive, inside something that has not ended.
    fn some(&mut self, len_max: usize) -> Result<Bytes, WireError> {
        while self.unused.is_empty() {
            match self.archives.step()? {
                Step::Bytes(bytes) => self.unused = bytes,
                _ => return Err(WireError::nonsense("an archive ends inside a file")),
            }
        }
        let len = len_max.min(self.unused.len());
        Ok(self.unused.split_to(len))
    }

    /// A piece of the present file as it came; nothing at its end, where what fills it up is passed over too.
    fn piece_of_content(&mut self) -> Result<Option<Bytes>, WireError> {
        if self.left > 0 {
            let bytes = self.some(usize::try_from(self.left).unwrap_or(usize::MAX))?;
            self.left -= bytes.len() as u64;
            return Ok(Some(bytes));
        }
        while self.filling > 0 {
            self.filling -= self.some(self.filling as usize)?.len() as u64;
        }
        Ok(None)
    }

    /// Everything from here on is the manifest, and then the end.
    fn read_manifest(&mut self) -> Result<(), WireError> {
        loop {
            match self.archives.step()? {
                Step::Bytes(bytes) if self.manifest.len() + bytes.len() <= MANIFEST_LEN_MAX => {
                    self.manifest.extend_from_slice(&bytes);
                }
                Step::Bytes(_) => return Err(WireError::nonsense("a manifest without an end")),
                Step::End(stop) => {
                    self.stop = Some(stop);
                    return Ok(());
                }
                other => return Err(WireError::nonsense(format!("{other:?} after the manifest"))),
            }
        }
    }
}

impl Entry<'_> {
    /// Where it belongs in a data directory; empty for the directory itself.
    pub fn path(&self) -> &Path {
        &self.head.path
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.head.kind
    }

    /// Permissions.
    pub fn mode(&self) -> u32 {
        self.head.mode
    }

    /// Numbers of its user and group on the server's host.
    pub fn owner(&self) -> (u32, u32) {
        self.head.owner
    }

    /// When it was changed last, in seconds since 1970.
    pub fn modified_s(&self) -> i64 {
        self.head.modified_s
    }

    /// The next piece of its content as the server sent it; nothing at its end.
    ///
    /// # Errors
    /// The archive is torn, or the conversation ends.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, WireError> {
        self.backup.piece_of_content()
    }
}

impl Read for Entry<'_> {
    /// A [`WireError`] is inside the error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.backup.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let len_max = buffer.len().min(usize::try_from(self.backup.left).unwrap_or(usize::MAX));
        let mut bytes = self.backup.some(len_max).map_err(io::Error::other)?;
        let len = bytes.len();
        bytes.copy_to_slice(&mut buffer[..len]);
        self.backup.left -= len as u64;
        Ok(len)
    }
}

/// Give the server the manifest of the parent.
fn upload(server: &mut Conversation, manifest: &[u8]) -> Result<(), WireError> {
    if server.version() < INCREMENTS {
        return Err(WireError::TooOld("17, the first that makes increments"));
    }
    server.send_query("UPLOAD_MANIFEST")?;
    if !matches!(server.answer()?, Answer::CopyIn) {
        return Err(WireError::nonsense("no stream for the manifest"));
    }
    for piece in manifest.chunks(UPLOAD_LEN) {
        server.send_piece(piece)?;
    }
    server.send_end()?;
    server.ready()
}
