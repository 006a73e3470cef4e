//! Listing and reading over SFTP: few round trips for small files, many reads under way for large ones.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use model::entry::Entry;

use super::super::talk::{ENTRIES_MAX, Listing, Look, Talk, Unsaid};
use super::attributes::Attributes;
use super::message::{Answer, Named, Request};
use super::session::Session;
use crate::runtime::{Inside, block_on};
use crate::sftp::Dial;

/// Bytes of one read: every server answers so many.
const PIECE_LEN: u32 = 32 << 10;
/// Reads under way: 1 MiB, half of what SSH lets pass unacknowledged.
const UNDER_WAY: usize = 32;
/// Questions about entries that are sent at once.
const TOGETHER: usize = 64;

/// A session that reads one thing at a time.
pub(super) struct SftpTalk {
    session: Inside<Session>,
    unsaid: Unsaid,
    reading: Option<Reading>,
}

/// An open file.
struct Reading {
    handle: Vec<u8>,
    /// The next byte to ask for.
    next: u64,
    end: u64,
    under_way: VecDeque<(u32, u64, u32)>,
    /// Bytes that came and were not taken yet.
    rest: Vec<u8>,
    taken: usize,
}

/// Log in and begin; the directory of the login comes with it.
pub(in super::super) fn dial(dial: &Dial, unsaid: Unsaid) -> io::Result<(Box<dyn Talk>, Vec<u8>)> {
    block_on(async {
        let mut session = Session::open(dial).await?;
        let home = match session.call(Request::RealPath(b".")).await? {
            Answer::Names(mut names) if names.len() == 1 => names.remove(0).name,
            answer => return Err(unexpected(answer)),
        };
        let talk: Box<dyn Talk> = Box::new(SftpTalk { session: Inside::new(session), unsaid, reading: None });
        Ok((talk, home))
    })
}

/// The error of an answer of the wrong kind.
fn unexpected(answer: Answer) -> io::Error {
    match answer {
        Answer::Refused(error) => error,
        _ => io::Error::new(ErrorKind::ConnectionAborted, "the server answers another question"),
    }
}

/// Why what was to be a file is not read.
fn refused(looked: Answer) -> io::Error {
    match looked {
        Answer::Attributes(_) => ErrorKind::IsADirectory.into(),
        answer => unexpected(answer),
    }
}

impl SftpTalk {
    async fn attributes(&mut self, request: Request<'_>) -> io::Result<Attributes> {
        match self.session.call(request).await? {
            Answer::Attributes(attributes) => Ok(attributes),
            answer => Err(unexpected(answer)),
        }
    }

    async fn names(&mut self, directory: &[u8]) -> io::Result<Vec<Named>> {
        let handle = match self.session.call(Request::OpenDir(directory)).await? {
            Answer::Handle(handle) => handle,
            answer => return Err(unexpected(answer)),
        };
        let mut names = vec![];
        let mut under_way: VecDeque<u32> = VecDeque::new();
        let ended = loop {
            while under_way.len() < 2 {
                under_way.push_back(self.session.ask(Request::ReadDir(&handle)));
            }
            let Some(id) = under_way.pop_front() else { continue };
            match self.session.answer(id).await? {
                Answer::Names(some) if names.len() + some.len() <= ENTRIES_MAX => names.extend(some),
                Answer::Names(_) => {
                    break Err(io::Error::other(format!("it has more than {ENTRIES_MAX} entries")));
                }
                Answer::End => break Ok(names),
                answer => break Err(unexpected(answer)),
            }
        };
        for id in under_way {
            self.session.answer(id).await?;
        }
        self.session.tell(Request::Close(&handle));
        ended
    }

    /// Ask again about those of which the listing does not tell enough.
    async fn complete(&mut self, directory: &[u8], names: &mut [Named]) -> io::Result<()> {
        let mut missing: Vec<_> = names.iter_mut().filter(|named| !named.attributes.is_whole()).collect();
        for some in missing.chunks_mut(TOGETHER) {
            let ids: Vec<_> = some
                .iter()
                .map(|named| self.session.ask(Request::Lstat(&join(directory, &named.name))))
                .collect();
            for (named, id) in some.iter_mut().zip(ids) {
                if let Answer::Attributes(attributes) = self.session.answer(id).await? {
                    named.attributes = attributes;
                }
            }
        }
        Ok(())
    }

    /// Where the links point, or why that is not told; nothing for what is none.
    async fn targets(
        &mut self,
        directory: &[u8],
        names: &[Named],
    ) -> io::Result<Vec<Result<Vec<u8>, String>>> {
        let mut targets = vec![];
        for some in names.chunks(TOGETHER) {
            let ask = |named: &Named| {
                named
                    .attributes
                    .is_link()
                    .then(|| self.session.ask(Request::ReadLink(&join(directory, &named.name))))
            };
            let ids: Vec<_> = some.iter().map(ask).collect();
            for id in ids {
                targets.push(match id {
                    None => Ok(vec![]),
                    Some(id) => match self.session.answer(id).await? {
                        Answer::Names(mut names) if names.len() == 1 => Ok(names.remove(0).name),
                        answer => Err(unexpected(answer).to_string()),
                    },
                });
            }
        }
        Ok(targets)
    }

    async fn listed(&mut self, directory: &[u8]) -> io::Result<Listing> {
        let mut names = self.names(directory).await?;
        names.retain(|named| !matches!(&named.name[..], b"." | b".."));
        self.complete(directory, &mut names).await?;
        let targets = self.targets(directory, &names).await?;
        let mut listing = Listing::default();
        for (Named { name, line, attributes }, target) in names.into_iter().zip(targets) {
            let entry = target.map(|target| attributes.entry(name.clone(), target, &line, &self.unsaid));
            match entry {
                Ok(Some(entry)) => listing.entries.push(entry),
                Ok(None) => listing.unclear.push((name, "SFTP tells too little of it, as of devices".into())),
                Err(words) => listing.unclear.push((name, words)),
            }
        }
        Ok(listing)
    }

    async fn begin(&mut self, path: &[u8], offset: u64, expected: &Look) -> io::Result<Look> {
        // The first question does not follow links, so that what took the name of a file is not read in its place.
        let (looked, opened) =
            (self.session.ask(Request::Lstat(path)), self.session.ask(Request::Open(path)));
        let (looked, opened) = (self.session.answer(looked).await?, self.session.answer(opened).await?);
        let (handle, found) = match (looked, opened) {
            (Answer::Attributes(found), Answer::Handle(handle)) if found.is_file() => (handle, found),
            (looked, Answer::Handle(handle)) => {
                self.session.tell(Request::Close(&handle));
                return Err(refused(looked));
            }
            (Answer::Attributes(found), answer) if found.is_file() => return Err(unexpected(answer)),
            (looked, _) => return Err(refused(looked)),
        };
        let look = found.look();
        let end = look.size.or(expected.size).unwrap_or(u64::MAX);
        let under_way = VecDeque::new();
        self.reading = Some(Reading { handle, next: offset, end, under_way, rest: vec![], taken: 0 });
        self.ask_ahead();
        self.session.send().await?;
        Ok(look)
    }

    /// Keep as many reads under way as may be.
    fn ask_ahead(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        while reading.under_way.len() < UNDER_WAY && reading.next < reading.end {
            let len = (reading.end - reading.next).min(PIECE_LEN.into()) as u32;
            let read = Request::Read { handle: &reading.handle, offset: reading.next, len };
            reading.under_way.push_back((self.session.ask(read), reading.next, len));
            reading.next += u64::from(len);
        }
    }

    /// Wait for the next piece; without one the file ends here.
    async fn next_piece(&mut self) -> io::Result<()> {
        self.ask_ahead();
        let Some(reading) = &mut self.reading else { return Ok(()) };
        let Some((id, offset, len)) = reading.under_way.pop_front() else { return Ok(()) };
        match self.session.answer(id).await? {
            Answer::Data(bytes) if bytes.len() <= len as usize && !bytes.is_empty() => {
                let is_short = bytes.len() < len as usize;
                let after = offset + bytes.len() as u64;
                (reading.rest, reading.taken) = (bytes, 0);
                if is_short {
                    self.ask_again_from(after).await?;
                }
                Ok(())
            }
            Answer::End => self.ask_again_from(u64::MAX).await,
            answer => Err(unexpected(answer)),
        }
    }

    /// A server may answer with less than was asked for: then what was asked for behind it is not what comes next.
    async fn ask_again_from(&mut self, offset: u64) -> io::Result<()> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        for (id, ..) in std::mem::take(&mut reading.under_way) {
            self.session.answer(id).await?;
        }
        reading.next = offset.min(reading.end);
        if offset == u64::MAX {
            reading.end = reading.next;
        }
        Ok(())
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"/" => [b"/", name].concat(),
        _ => [directory, b"/", name].concat(),
    }
}

impl Talk for SftpTalk {
    fn list(&mut self, directory: &[u8]) -> io::Result<Listing> {
        block_on(self.listed(directory))
    }

    fn root(&mut self, directory: &[u8]) -> io::Result<Entry> {
        block_on(async {
            let found = self.attributes(Request::Stat(directory)).await?;
            if !found.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
            let entry = found.entry(vec![], vec![], b"", &self.unsaid);
            entry.ok_or_else(|| io::Error::other("SFTP does not tell enough of it"))
        })
    }

    fn look(&mut self, path: &[u8]) -> io::Result<Look> {
        block_on(async { Ok(self.attributes(Request::Lstat(path)).await?.look()) })
    }

    fn open(&mut self, path: &[u8], offset: u64, expected: &Look) -> io::Result<Look> {
        self.reading = None;
        block_on(self.begin(path, offset, expected))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_used_up = |reading: &Reading| reading.taken == reading.rest.len();
        if self.reading.as_ref().is_some_and(is_used_up) {
            if let Some(reading) = &mut self.reading {
                (reading.rest, reading.taken) = (vec![], 0);
            }
            block_on(self.next_piece())?;
        }
        let Some(reading) = &mut self.reading else { return Ok(0) };
        let count = buffer.len().min(reading.rest.len() - reading.taken);
        buffer[..count].copy_from_slice(&reading.rest[reading.taken..reading.taken + count]);
        reading.taken += count;
        Ok(count)
    }

    fn is_idle(&self) -> bool {
        self.reading.is_none()
    }

    fn close(&mut self) -> io::Result<Look> {
        let Some(reading) = self.reading.take() else { return Ok(Look::default()) };
        block_on(async {
            for (id, ..) in reading.under_way {
                self.session.answer(id).await?;
            }
            let looked = self.session.ask(Request::Fstat(&reading.handle));
            self.session.tell(Request::Close(&reading.handle));
            match self.session.answer(looked).await? {
                Answer::Attributes(found) => Ok(found.look()),
                answer => Err(unexpected(answer)),
            }
        })
    }
}
