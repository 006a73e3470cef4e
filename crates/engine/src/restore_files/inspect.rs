//! What of a window's files is there already: on all cores, also where one file is most of it.
//!
//! Each file is looked at; what may be the same is read and hashed in spans of some megabytes, whichever files they are of;
//! then it is decided how each file comes to be.

use std::ops::Range;
use std::sync::atomic::Ordering;

use files::compare::{Comparison, compare};
use files::read::FileReader;
use files::root::Root;
use files::target::Target;
use model::entry::Entry;
use repo::BlobKind;
use repo::index::Index;
use repo::sha256::digests;
use repo::threads::{map, map_with};

use super::order::{Counts, Notice, RestoreOrder};
use super::window::{FilePlan, Way};
use crate::error::Result;

/// Bytes that a thread reads at once, and hashes side by side.
const SPAN_LEN: u64 = 4 << 20;

/// What looking takes.
#[derive(Clone, Copy)]
pub(super) struct Looking<'a> {
    pub(super) target: &'a Target,
    pub(super) root: &'a Root,
    pub(super) index: &'a Index,
    pub(super) order: &'a RestoreOrder<'a>,
    pub(super) counts: &'a Counts,
}

/// Some pieces of a file, one behind the other.
struct Span<'a> {
    file: usize,
    found: &'a Entry,
    pieces: Range<usize>,
    offset: u64,
    len: u64,
}

impl Looking<'_> {
    /// Decide how each of `files` comes to be.
    ///
    /// # Errors
    /// Only what makes going on useless.
    pub(super) fn inspect(self, files: &mut [FilePlan]) -> Result<()> {
        let look = |file: &FilePlan| -> Result<Option<Entry>> {
            self.order.cancel.check()?;
            Ok(self.target.look_at(&file.path, &self.order.owners)?)
        };
        let found = map(files, look)?.into_iter().collect::<Result<Vec<_>>>()?;
        let mut spans = vec![];
        for (number, (file, found)) in files.iter().zip(&found).enumerate() {
            if let Some(found) = found.as_ref().filter(|found| must_be_read(file, found)) {
                self.add_spans((number, file), found, &mut spans)?;
            }
        }
        let differing = {
            let files = &*files;
            map_with(&spans, || Ok(vec![]), |buffer, span| self.differing(&files[span.file], span, buffer))?
        };
        let mut of_spans = spans.iter().map(|span| span.file).zip(differing).peekable();
        for (number, (file, found)) in files.iter_mut().zip(&found).enumerate() {
            let mut read = Ok(());
            while let Some((_, differing)) = of_spans.next_if(|(of, _)| *of == number) {
                read = read.and(differing.map(|differing| file.differing.extend(differing)));
            }
            let decided = read.and_then(|()| self.decide(file, found.as_ref()));
            if let Err(error) = decided {
                file.way = Way::Keep;
                self.counts.problem(self.order, &file.path, error)?;
            }
        }
        Ok(())
    }

    fn add_spans<'f>(
        self,
        (number, file): (usize, &FilePlan),
        found: &'f Entry,
        spans: &mut Vec<Span<'f>>,
    ) -> Result<()> {
        let mut span = Span { file: number, found, pieces: 0..0, offset: 0, len: 0 };
        for (position, id) in file.content.iter().enumerate() {
            let len = u64::from(self.index.require(BlobKind::Data, id)?.plain_length());
            if span.len > 0 && span.len + len > SPAN_LEN {
                let (pieces, offset) = (position..position, span.offset + span.len);
                spans
                    .push(std::mem::replace(&mut span, Span { file: number, found, pieces, offset, len: 0 }));
            }
            span.pieces.end = position + 1;
            span.len += len;
        }
        spans.extend((span.len > 0).then_some(span));
        Ok(())
    }

    /// The pieces of `span` that are not there.
    fn differing(self, file: &FilePlan, span: &Span<'_>, buffer: &mut Vec<u8>) -> Result<Vec<u32>> {
        self.order.cancel.check()?;
        let found = span.found;
        let reader = FileReader::open(self.root, &file.path, found, &self.order.owners)?;
        buffer.resize(span.len as usize, 0);
        let count = if span.offset < found.metadata.size { reader.read_at(span.offset, buffer)? } else { 0 };
        let (mut rest, mut there) = (&buffer[..count], vec![]);
        for id in &file.content[span.pieces.clone()] {
            let len = self.index.require(BlobKind::Data, id)?.plain_length() as usize;
            // Where the file ends before, neither this piece is there nor one behind it.
            let Some((piece, behind)) = rest.split_at_checked(len) else { break };
            there.push(piece);
            rest = behind;
        }
        let first = span.pieces.start;
        let mut differing: Vec<_> =
            (first + there.len()..span.pieces.end).map(|number| number as u32).collect();
        digests(there, |number, digest| {
            if digest != file.content[first + number] {
                differing.push((first + number) as u32);
            }
        });
        differing.sort_unstable();
        Ok(differing)
    }

    fn decide(self, file: &mut FilePlan, found: Option<&Entry>) -> Result<()> {
        let Some(found) = found else {
            self.counts.created.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let comparison = compare(Some(found), &file.entry);
        let is_same = file.differing.is_empty() && found.metadata.size == file.size;
        file.way = match comparison {
            Comparison::OtherKind | Comparison::Missing => Way::Replace,
            Comparison::Same if is_same => Way::Keep,
            _ if is_same => Way::Touch,
            // Another name of it may lie outside.
            _ if found.metadata.links > 1 => Way::Replace,
            _ => Way::Patch,
        };
        match file.way {
            Way::Keep | Way::Touch => _ = self.counts.unchanged.fetch_add(1, Ordering::Relaxed),
            _ => {
                self.counts.overwritten.fetch_add(1, Ordering::Relaxed);
                (self.order.tell)(&Notice::Overwrites(file.path.clone()));
            }
        }
        // A file never takes the place of a directory by itself.
        match found.is_dir() && !self.order.dry_run {
            true => Ok(self.target.remove_tree(&file.path)?),
            false => Ok(()),
        }
    }
}

/// Size and times alone are trusted only where change time and inode are the recorded ones too: a restored file, or one with
/// its time set back, is hashed.
fn must_be_read(file: &FilePlan, found: &Entry) -> bool {
    let (there, want) = (&found.metadata, &file.entry.metadata);
    let is_untouched = (there.size, there.mtime, there.ctime, there.inode, there.device_id)
        == (want.size, want.mtime, want.ctime, want.inode, want.device_id);
    compare(Some(found), &file.entry) != Comparison::OtherKind && !is_untouched
}
