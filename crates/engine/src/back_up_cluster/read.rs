//! One file of a cluster into the repository: in aligned pieces, its pages compared with their checksums.
//!
//! Pages do not move within a file, so pieces of a fixed length find again what did not change. Every page that is read is
//! compared, also where only those that changed are taken: one that does not fit is taken, too, and [`misfits`] judges it.

use std::sync::Arc;

use crossbeam_channel::Sender;
use files::error::Error as FilesError;
use files::origin::Contents;
use files::owner::Owners;
use files::read::Extent;
use files::relative::RelativePath;
use files::target::Target;
use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::Entry;
use model::lsn::Lsn;
use model::progress::Progress;
use pg::data_directory::RelationFile;
use pg::incremental::{self, IncrementalHeader};
use pg::page::{self, PAGE_LEN, SEGMENT_PAGES};
use repo::BlobKind;
use repo::saver::{Content, Hand, Saver};

use super::misfits::{self, Misfit};
use super::pace::Pace;
use super::walk::Place;
use crate::error::{EngineError, Result};

/// Bytes of a piece.
pub(super) const PIECE_LEN: usize = 512 << 10;
/// How often a file is opened again that was replaced under its name.
const OPEN_MAX: u32 = 10;
/// A file of which more than this share changed is taken whole, in tenths.
const CHANGED_TENTHS_MAX: usize = 8;

/// What to take of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// All of it.
    Whole,
    /// Pages that were changed from here on.
    ChangedSince(Lsn),
    /// These pages, and from that one on nothing earlier holds.
    Pages(Vec<u32>, Option<u32>),
    /// Nothing: it is as it was in the earlier backup.
    Nothing,
}

/// A file to read.
pub(super) struct Job {
    pub(super) place: Place,
    /// The relation whose pages it has.
    pub(super) relation: Option<RelationFile>,
    pub(super) take: Take,
    pub(super) answer: Sender<Option<FileRead>>,
}

/// A file that was read.
pub(super) struct FileRead {
    /// As it stands in the backup, with the name and the size that it has there.
    pub(super) entry: Entry,
    /// Its pieces.
    pub(super) content: Vec<Digest>,
    /// CRC-32C of its bytes.
    pub(super) crc: u32,
    /// Bytes of the file itself.
    pub(super) source_size: u64,
    /// Pages that do not fit their checksums.
    pub(super) misfits: Vec<Misfit>,
}

/// What all readers know.
pub(super) struct Reading<'a> {
    pub(super) saver: &'a Saver,
    pub(super) has_checksums: bool,
    pub(super) pace: Pace<'a>,
    pub(super) progress: Progress,
    pub(super) cancel: CancelToken,
}

/// One reading thread.
pub(super) struct Reader<'a> {
    reading: &'a Reading<'a>,
    hand: Hand,
    buffer: Vec<u8>,
    zeros: Option<(Digest, u32)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(reading: &'a Reading<'a>) -> Result<Self> {
        Ok(Self { reading, hand: reading.saver.hand()?, buffer: vec![0; PIECE_LEN], zeros: None })
    }

    /// Read the file of a job; nothing where it is gone.
    pub(super) fn read(&mut self, job: &Job) -> Result<Option<FileRead>> {
        if job.take == Take::Nothing {
            return self.nothing(&job.place.entry).map(Some);
        }
        let Some(mut file) = open(&job.place)? else { return Ok(None) };
        if let Some(relation) = job.relation
            && let Some((pages, limit)) = self.changed(&mut *file, relation, &job.take)?
        {
            return self.pages(&mut *file, relation, pages, limit).map(Some);
        }
        self.whole(&mut *file, job.relation).map(Some)
    }

    fn whole(&mut self, file: &mut dyn Contents, relation: Option<RelationFile>) -> Result<FileRead> {
        let mut entry = file.entry().clone();
        let (mut crc, mut misfits, mut size) = (0, vec![], 0u64);
        let content = Content::new();
        let mut holes = Holes::default();
        let whole_len = entry.metadata.size;
        while size < whole_len {
            self.reading.cancel.check()?;
            let wanted = (whole_len - size).min(PIECE_LEN as u64) as usize;
            if wanted == PIECE_LEN && holes.cover(file, size, PIECE_LEN as u64)? {
                let (id, zeros) = self.zeros()?;
                content.push(id);
                crc = crc32c::crc32c_combine(crc, zeros, PIECE_LEN);
                size += PIECE_LEN as u64;
                self.reading.progress.advance(PIECE_LEN as u64);
                continue;
            }
            self.reading.pace.wait_for(wanted, &self.reading.cancel)?;
            let mut piece = self.reading.saver.buffer();
            piece.resize(wanted, 0);
            let count = file.read_at(size, &mut piece)?;
            piece.truncate(count);
            if let Some(relation) = relation.filter(|_| self.reading.has_checksums) {
                let first = (size / PAGE_LEN as u64) as u32;
                misfits.extend(misfits::find(file, relation, first.., &mut piece)?);
            }
            crc = crc32c::crc32c_append(crc, &piece);
            size += count as u64;
            self.reading.progress.advance(count as u64);
            if count > 0 {
                self.keep(piece, whole_len, &content)?;
            }
            if count < wanted {
                break; // it became shorter, and WAL tells so
            }
        }
        entry.metadata.size = size;
        Ok(FileRead { entry, content: content.wait()?, crc, source_size: size, misfits })
    }

    /// Small files are saved on this thread, so that several go on at one time; the pieces of large ones by all.
    fn keep(&mut self, piece: Vec<u8>, whole_len: u64, content: &Arc<Content>) -> Result<()> {
        if whole_len <= PIECE_LEN as u64 {
            content.push(self.hand.save(BlobKind::Data, &piece)?.id);
            return Ok(());
        }
        Ok(self.reading.saver.submit(piece, None, content)?)
    }

    /// The pages to take; nothing where it is most of them, or where the file does not consist of pages.
    fn changed(
        &mut self,
        file: &mut dyn Contents,
        relation: RelationFile,
        take: &Take,
    ) -> Result<Option<(Vec<u32>, Option<u32>)>> {
        let len = file.entry().metadata.size;
        if !len.is_multiple_of(PAGE_LEN as u64) || len / PAGE_LEN as u64 > SEGMENT_PAGES.into() {
            return Ok(None);
        }
        let count = (len / PAGE_LEN as u64) as u32;
        let (pages, limit) = match take {
            Take::ChangedSince(since) => match self.scan(file, relation, len, *since)? {
                Some(pages) => (pages, None),
                None => return Ok(None),
            },
            // What is cut off by now is in no file. Behind a limit nothing earlier holds, and pages of zeros that were added
            // there since are in no log and in no summary: all that is there is taken.
            Take::Pages(pages, limit) => {
                self.reading.progress.advance(len);
                let cut = limit.unwrap_or(count).min(count);
                let named = pages.iter().copied().filter(|page| *page < cut);
                (named.chain(cut..count).collect(), *limit)
            }
            Take::Whole | Take::Nothing => return Ok(None),
        };
        Ok((pages.len() <= count as usize * CHANGED_TENTHS_MAX / 10).then_some((pages, limit)))
    }

    /// Pages that changed since then, those that were never written, of which nobody knows since when, and those that do not
    /// fit their checksums, of which nobody knows anything; nothing where the file became shorter meanwhile.
    fn scan(
        &mut self,
        file: &mut dyn Contents,
        relation: RelationFile,
        len: u64,
        since: Lsn,
    ) -> Result<Option<Vec<u32>>> {
        let has_checksums = self.reading.has_checksums;
        let (mut pages, mut at) = (vec![], 0);
        while at < len {
            let wanted = (len - at).min(PIECE_LEN as u64) as usize;
            self.reading.pace.wait_for(wanted, &self.reading.cancel)?;
            let count = file.read_at(at, &mut self.buffer[..wanted])?;
            let first = (at / PAGE_LEN as u64) as u32;
            for (number, page) in (first..).zip(self.buffer[..count].as_chunks::<PAGE_LEN>().0) {
                let is_changed = page::is_new(page) || page::lsn(page) >= since;
                if is_changed || has_checksums && !misfits::is_fit(page, relation, number) {
                    pages.push(number);
                }
            }
            self.reading.progress.advance(count as u64);
            if count < wanted {
                return Ok(None);
            }
            at += count as u64;
        }
        Ok(Some(pages))
    }

    /// An incremental file of these pages, which are read now.
    fn pages(
        &mut self,
        file: &mut dyn Contents,
        relation: RelationFile,
        pages: Vec<u32>,
        limit: Option<u32>,
    ) -> Result<FileRead> {
        let source_size = file.entry().metadata.size;
        let truncation = ((source_size / PAGE_LEN as u64) as u32).max(limit.unwrap_or(0).min(SEGMENT_PAGES));
        let header = IncrementalHeader { pages, truncation };
        let mut entry = incremental_entry(file.entry(), header.file_len());
        let (content, mut misfits) = (Content::new(), vec![]);
        let mut piece = header.to_bytes();
        let mut crc = 0;
        let per_piece = PIECE_LEN / PAGE_LEN;
        for numbers in header.pages.chunks(per_piece) {
            self.reading.pace.wait_for(numbers.len() * PAGE_LEN, &self.reading.cancel)?;
            // The header is a piece of its own, so that equal pages are found again.
            crc = crc32c::crc32c_append(crc, &piece);
            self.keep(piece, entry.metadata.size, &content)?;
            piece = self.reading.saver.buffer();
            piece.resize(numbers.len() * PAGE_LEN, 0);
            for (number, bytes) in numbers.iter().zip(piece.as_chunks_mut::<PAGE_LEN>().0) {
                let at = u64::from(*number) * PAGE_LEN as u64;
                // What is gone at the end of the file by now stays zeros: WAL says that it was cut off.
                file.read_at(at, bytes)?;
            }
            if self.reading.has_checksums {
                misfits.extend(misfits::find(file, relation, numbers.iter().copied(), &mut piece)?);
            }
        }
        crc = crc32c::crc32c_append(crc, &piece);
        self.keep(piece, entry.metadata.size, &content)?;
        entry.metadata.size = header.file_len();
        Ok(FileRead { entry, content: content.wait()?, crc, source_size, misfits })
    }

    /// An incremental file without pages.
    fn nothing(&mut self, source: &Entry) -> Result<FileRead> {
        let source_size = source.metadata.size;
        let truncation = (source_size / PAGE_LEN as u64) as u32;
        let bytes = IncrementalHeader { pages: vec![], truncation }.to_bytes();
        let entry = incremental_entry(source, bytes.len() as u64);
        let content = vec![self.hand.save(BlobKind::Data, &bytes)?.id];
        self.reading.progress.advance(source_size);
        Ok(FileRead { entry, content, crc: crc32c::crc32c(&bytes), source_size, misfits: vec![] })
    }

    fn zeros(&mut self) -> Result<(Digest, u32)> {
        if let Some(zeros) = self.zeros {
            return Ok(zeros);
        }
        let bytes = vec![0; PIECE_LEN];
        let id = self.hand.save(BlobKind::Data, &bytes)?.id;
        Ok(*self.zeros.insert((id, crc32c::crc32c(&bytes))))
    }
}

/// The same entry as an incremental file.
fn incremental_entry(source: &Entry, size: u64) -> Entry {
    let mut entry = source.clone();
    entry.name = [incremental::PREFIX.as_bytes(), &source.name].concat();
    entry.metadata.size = size;
    entry
}

/// Open a file, also where another one has taken its name meanwhile; nothing where it is gone.
fn open(place: &Place) -> Result<Option<Box<dyn Contents>>> {
    let mut walked = place.entry.clone();
    let mut attempts = 0;
    loop {
        match place.origin.open(&place.path, &walked) {
            Ok(file) => return Ok(Some(file)),
            Err(FilesError::Vanished { .. }) => return Ok(None),
            Err(FilesError::Replaced { .. }) if attempts < OPEN_MAX => {
                match look_again(place)? {
                    Some(entry) => walked = entry,
                    None => return Ok(None),
                }
                attempts += 1;
            }
            Err(error) => return Err(EngineError::Files(error)),
        }
    }
}

/// What has the name of a file now; nothing where that is no file.
fn look_again(place: &Place) -> Result<Option<Entry>> {
    let full = place.origin.full(&place.path);
    let Some((parent, name)) = full.parent().zip(full.file_name()) else { return Ok(None) };
    let name = RelativePath::parse(name.as_encoded_bytes()).map_err(FilesError::from)?;
    let found = Target::open(parent)?.look_at(&name, &Owners::default())?;
    Ok(found.filter(Entry::is_file))
}

/// The holes of a file, met in order.
#[derive(Default)]
struct Holes {
    now: Option<Extent>,
}

impl Holes {
    /// Whether a hole covers that stretch. Ask in ascending order.
    fn cover(&mut self, file: &mut dyn Contents, offset: u64, len: u64) -> Result<bool> {
        loop {
            let (start, end, is_hole) = match self.now {
                Some(Extent::Hole { offset, len }) => (offset, offset + len, true),
                Some(Extent::Data { offset, len }) => (offset, offset + len, false),
                None => (0, 0, false),
            };
            if offset < end {
                return Ok(is_hole && start <= offset && offset + len <= end);
            }
            match file.next_extent()? {
                Some(extent) => self.now = Some(extent),
                None => return Ok(false),
            }
        }
    }
}
