//! One file of a far directory: read as it comes, and from its offset on where a connection broke in its middle.

use std::io;
use std::sync::Arc;

use files::error::Error;
use files::origin::Contents;
use files::read::{Extent, Steadiness};
use files::relative::RelativePath;
use model::entry::Entry;

use super::far::{Far, Trouble};
use super::talk::{Look, Talk, is_broken};

/// Breaks of the connection between which not a byte came: then the file is given up, and not the server.
const BREAKS_MAX: u32 = 5;

/// An open file.
pub(super) struct FarContents {
    far: Arc<Far>,
    path: RelativePath,
    entry: Entry,
    look: Look,
    talk: Option<Box<dyn Talk>>,
    position: u64,
    told: bool,
    breaks: u32,
}

impl FarContents {
    /// Open the file that the walk met as `walked`.
    pub(super) fn open(far: &Arc<Far>, path: &RelativePath, walked: &Entry) -> Result<Self, Error> {
        let expected = Look::of(walked);
        let opened = far.begin("read", path, |talk| talk.open(&far.at(path), 0, &expected));
        let (look, talk) = opened.map_err(|trouble| far.error("open", path, trouble))?;
        let mut entry = walked.clone();
        if !look.agrees(&expected) {
            entry.metadata.size = look.size.unwrap_or(entry.metadata.size);
            entry.metadata.mtime = look.mtime.unwrap_or(entry.metadata.mtime);
            entry.metadata.ctime = entry.metadata.ctime.max(entry.metadata.mtime);
        }
        let look = look.or(expected);
        let (far, path, talk) = (far.clone(), path.clone(), Some(talk));
        Ok(Self { far, path, entry, look, talk, position: 0, told: false, breaks: 0 })
    }

    fn error(&self, error: io::Error) -> Error {
        self.far.error("read", &self.path, Trouble::This(error))
    }

    fn broke(&mut self, talk: Box<dyn Talk>, error: io::Error) -> Result<(), Error> {
        self.far.pool.give_up(talk);
        self.breaks += 1;
        match self.breaks < BREAKS_MAX {
            true => Ok(()),
            false => {
                Err(self.error(io::Error::other(format!("the connection broke {BREAKS_MAX} times: {error}"))))
            }
        }
    }

    /// The connection that reads it; where that broke, another one, from the same byte on.
    fn reading(&mut self) -> Result<Box<dyn Talk>, Error> {
        if let Some(talk) = self.talk.take() {
            return Ok(talk);
        }
        let (far, path, position, look) = (&self.far, &self.path, self.position, self.look);
        let begin_again = || Error::BeginAgain { path: far.full(path) };
        match far.begin("read", path, |talk| talk.open(&far.at(path), position, &look)) {
            Ok((found, talk)) if found.agrees(&look) => Ok(talk),
            Ok((_, talk)) => {
                far.pool.give_up(talk);
                Err(begin_again())
            }
            Err(Trouble::This(error)) if error.kind() == io::ErrorKind::Unsupported => Err(begin_again()),
            Err(trouble) => Err(far.error("open", path, trouble)),
        }
    }

    /// What the file is like now, asked on any connection.
    fn look_again(&self) -> Result<Look, Error> {
        let looked = self.far.ask("look at", &self.path, |talk| talk.look(&self.far.at(&self.path)));
        looked.map_err(|trouble| self.far.error("look at", &self.path, trouble))
    }

    /// Read what should not be there any more, and what the server tells at the end.
    fn end(&mut self) -> Result<Look, Error> {
        let Some(mut talk) = self.talk.take() else { return self.look_again() };
        let ended = match talk.read(&mut [0]) {
            Ok(0) => talk.close(),
            // It became longer, and nobody reads that.
            Ok(_) => {
                self.far.pool.give_up(talk);
                let look = self.look_again()?;
                let longer = self.position + 1;
                return Ok(Look { size: Some(look.size.unwrap_or(longer).max(longer)), ..look });
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(look) => {
                self.far.pool.give_back(talk);
                Ok(look)
            }
            Err(error) if is_broken(&error) => {
                self.far.pool.give_up(talk);
                self.look_again()
            }
            Err(error) => {
                self.far.pool.give_up(talk);
                Err(self.error(error))
            }
        }
    }
}

impl Contents for FarContents {
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn next_extent(&mut self) -> Result<Option<Extent>, Error> {
        let len = self.entry.metadata.size;
        let is_first = !std::mem::replace(&mut self.told, true);
        Ok((is_first && len > 0).then_some(Extent::Data { offset: 0, len }))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        if offset != self.position {
            return Err(self.error(io::Error::other("it is read from its beginning to its end")));
        }
        let room = self.entry.metadata.size.saturating_sub(self.position).min(buffer.len() as u64) as usize;
        let mut filled = 0;
        while filled < room {
            let mut talk = self.reading()?;
            match talk.read(&mut buffer[filled..room]) {
                Ok(0) => {
                    self.talk = Some(talk);
                    break;
                }
                Ok(count) => {
                    self.talk = Some(talk);
                    self.breaks = 0;
                    filled += count;
                    self.position += count as u64;
                }
                Err(error) if is_broken(&error) => self.broke(talk, error)?,
                Err(error) => {
                    self.far.pool.give_up(talk);
                    return Err(self.error(error));
                }
            }
        }
        Ok(filled)
    }

    fn finish(mut self: Box<Self>) -> Result<Steadiness, Error> {
        let (size, now) = (self.entry.metadata.size, self.end()?);
        Ok(match now.size {
            _ if self.position < size => {
                Steadiness::Shrank { size: now.size.unwrap_or(self.position).min(self.position) }
            }
            Some(now) if now < size => Steadiness::Shrank { size: now },
            Some(now) if now > size => Steadiness::Grew { size: now },
            _ if now.agrees(&self.look) => Steadiness::Unchanged,
            _ => Steadiness::Changed,
        })
    }
}

impl Drop for FarContents {
    fn drop(&mut self) {
        // In the middle of a file nothing else can be asked on it.
        if let Some(talk) = self.talk.take() {
            self.far.pool.give_up(talk);
        }
    }
}
