//! Listing and reading over FTP, in the dialect that a server speaks.

use std::io::{self, ErrorKind};

use jiff::{SignedDuration, Timestamp};
use model::entry::{Entry, EntryKind};

use super::super::talk::{ENTRIES_MAX, Listing, Look, Talk, Unsaid};
use super::control::{Control, Door};
use super::reply::{LINE_LEN_MAX, Reply, garbled};
use super::time::{Coarse, exact};
use super::transfer::Transfer;
use super::{list, mlst};

/// Bytes of one listing.
const LISTING_LEN_MAX: usize = 256 << 20;
/// Questions that are sent at once, and their bytes: no more than what fits into buffers on the way.
const TOGETHER: usize = 64;
const TOGETHER_LEN_MAX: usize = 16 << 10;

/// How far the zone of a server may be from ours, where its times are those of its wall.
const ZONE_MAX: SignedDuration = SignedDuration::from_hours(15);

/// How a server tells what is in a directory; found out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    /// `MLSD`: names, sizes and times as they are.
    Facts,
    /// `LIST` with this option; times of files by `MDTM`, or else in steps.
    Lines { option: &'static str, has_times: bool },
}

/// A logged-in connection that reads one thing at a time.
pub(super) struct FtpTalk {
    control: Control,
    dialect: Dialect,
    unsaid: Unsaid,
    reading: Option<Reading>,
}

/// A file on its way.
struct Reading {
    path: Vec<u8>,
    /// Bytes that are to come, where that is known.
    left: Option<u64>,
    /// Gone when the server has said that it was all.
    transfer: Option<Transfer>,
}

/// Log in; the directory of the login comes with it, and the dialect.
pub(in super::super) fn dial(
    door: &Door,
    unsaid: Unsaid,
    known: Option<Dialect>,
) -> io::Result<(Box<dyn Talk>, Vec<u8>, Dialect)> {
    let mut control = Control::open(door)?;
    let home = control.call(b"PWD")?.quoted_path().unwrap_or_else(|| b"/".to_vec());
    let has_times = control.features.times;
    let dialect = known.unwrap_or(match &control.features.facts {
        Some(_) => Dialect::Facts,
        None => Dialect::Lines { option: "", has_times },
    });
    let mut talk = FtpTalk { control, dialect, unsaid, reading: None };
    if known.is_none() && dialect != Dialect::Facts {
        talk.dialect = Dialect::Lines { option: talk.option()?, has_times };
    }
    let dialect = talk.dialect;
    Ok((Box::new(talk), home, dialect))
}

impl FtpTalk {
    /// Servers with `ls` in mind show names with a dot in front only with `-a`; others take it for a name.
    fn option(&mut self) -> io::Result<&'static str> {
        let plain = self.transfer(b"LIST")?;
        let lines = |bytes: &[u8]| {
            let mut lines: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            lines.sort();
            lines
        };
        match self.transfer(b"LIST -a") {
            Ok(all) => {
                let all = lines(&all);
                let is_more = lines(&plain)
                    .iter()
                    .all(|line| line.starts_with(b"total") || all.binary_search(line).is_ok());
                Ok(if is_more { " -a" } else { "" })
            }
            Err(error) if super::super::talk::is_broken(&error) => Err(error),
            Err(_) => Ok(""),
        }
    }

    /// The whole of a listing.
    fn transfer(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let passive = self.control.passive();
        let reply = self.control.call(passive)?;
        Transfer::begin(&mut self.control, reply, command, 0)?.read_all(&mut self.control, LISTING_LEN_MAX)
    }

    /// Replies to many commands, in their order.
    fn ask(&mut self, commands: &[Vec<u8>]) -> io::Result<Vec<Reply>> {
        let mut replies = vec![];
        while replies.len() < commands.len() {
            let mut len = 0;
            let fits = |command: &&Vec<u8>| {
                len += command.len();
                len <= TOGETHER_LEN_MAX
            };
            let rest = &commands[replies.len()..];
            let count = rest.iter().take(TOGETHER).take_while(fits).count().max(1);
            self.control.send(&rest[..count].iter().map(Vec::as_slice).collect::<Vec<_>>())?;
            for _ in 0..count {
                replies.push(self.control.reply()?);
            }
        }
        Ok(replies)
    }

    fn list_facts(&mut self, directory: &[u8]) -> io::Result<Listing> {
        let bytes = self.transfer(&[b"MLSD ", directory].concat())?;
        let (mut listing, mut links) = (Listing::default(), vec![]);
        for line in lines_of(&bytes)? {
            match mlst::parse(line, &self.unsaid).ok_or_else(|| odd(line))? {
                mlst::Line::Entry(entry) => listing.entries.push(*entry),
                mlst::Line::Link(entry) => links.push(*entry),
                mlst::Line::Unclear(name, words) => listing.unclear.push((name, words)),
                mlst::Line::Nothing => {}
            }
        }
        if !links.is_empty() {
            self.add_targets(directory, links, &mut listing)?;
        }
        Ok(listing)
    }

    /// Links whose targets the facts do not tell: `LIST` does.
    fn add_targets(&mut self, directory: &[u8], links: Vec<Entry>, listing: &mut Listing) -> io::Result<()> {
        let told = self.list_lines(directory, "", false)?;
        for mut link in links {
            let found = told.entries.iter().find(|entry| entry.name == link.name);
            match found.map(|entry| &entry.kind) {
                Some(kind @ EntryKind::Symlink { .. }) => {
                    link.kind = kind.clone();
                    listing.entries.push(link);
                }
                _ => {
                    listing.unclear.push((link.name, "the server does not tell where the link points".into()))
                }
            }
        }
        Ok(())
    }

    /// An argument of `LIST` would be an option or a pattern for many servers, so the directory is gone to.
    fn list_lines(&mut self, directory: &[u8], option: &str, has_times: bool) -> io::Result<Listing> {
        let gone = self.control.call(&[b"CWD ", directory].concat())?;
        if !gone.is_done() {
            return Err(gone.refusal());
        }
        let bytes = self.transfer(format!("LIST{option}").as_bytes())?;
        let now = Timestamp::now();
        let (mut listing, mut times) = (Listing::default(), vec![]);
        for line in lines_of(&bytes)? {
            match list::parse(line, &self.unsaid, now).ok_or_else(|| odd(line))? {
                list::Line::Entry(entry, time) => {
                    listing.entries.push(*entry);
                    times.push(time);
                }
                list::Line::Unclear(name, words) => listing.unclear.push((name, words)),
                list::Line::Nothing => {}
            }
        }
        self.settle_times(directory, &mut listing.entries, &times, has_times)?;
        Ok(listing)
    }

    /// Exact times of files, where the server tells them; else the latest that they may mean counts as the change.
    fn settle_times(
        &mut self,
        directory: &[u8],
        entries: &mut [Entry],
        steps: &[Coarse],
        has_times: bool,
    ) -> io::Result<()> {
        for (entry, Coarse { begin, step }) in entries.iter_mut().zip(steps) {
            entry.metadata.ctime = *begin + *step + ZONE_MAX;
        }
        if !has_times {
            return Ok(());
        }
        let mut files: Vec<_> =
            entries.iter_mut().filter(|entry| entry.is_file() && is_sayable(&entry.name)).collect();
        let commands: Vec<_> =
            files.iter().map(|entry| [b"MDTM ", &join(directory, &entry.name)[..]].concat()).collect();
        for (entry, reply) in files.iter_mut().zip(self.ask(&commands)?) {
            if let Some(time) = time_of(&reply) {
                (entry.metadata.mtime, entry.metadata.atime, entry.metadata.ctime) = (time, time, time);
            }
        }
        Ok(())
    }

    /// Commands that tell size and time of a file.
    fn questions(&self, path: &[u8]) -> Vec<Vec<u8>> {
        let features = &self.control.features;
        if self.dialect == Dialect::Facts {
            return vec![[b"MLST ", path].concat()];
        }
        let mut questions = vec![];
        questions.extend(features.sizes.then(|| [b"SIZE ", path].concat()));
        questions.extend(features.times.then(|| [b"MDTM ", path].concat()));
        questions
    }

    /// What the replies to them say.
    fn looked(&self, replies: &[Reply]) -> io::Result<Look> {
        if let Some(refused) = replies.iter().find(|reply| !reply.is_done()) {
            return Err(refused.refusal());
        }
        if self.dialect == Dialect::Facts {
            let line =
                replies.first().and_then(|reply| reply.lines.get(1)).ok_or_else(|| garbled("no facts"))?;
            return mlst::look(line).ok_or_else(|| ErrorKind::IsADirectory.into());
        }
        let (mut replies, features) = (replies.iter(), &self.control.features);
        let size = if features.sizes { replies.next().and_then(size_of) } else { None };
        let mtime = if features.times { replies.next().and_then(time_of) } else { None };
        Ok(Look { size, mtime })
    }
}

/// Whether commands can say it.
fn is_sayable(name: &[u8]) -> bool {
    !name.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

fn time_of(reply: &Reply) -> Option<Timestamp> {
    exact(reply.lines.last()?).filter(|_| reply.code == 213)
}

fn size_of(reply: &Reply) -> Option<u64> {
    std::str::from_utf8(reply.lines.last()?).ok()?.trim().parse().ok().filter(|_| reply.code == 213)
}

fn lines_of(bytes: &[u8]) -> io::Result<Vec<&[u8]>> {
    let mut lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    lines.pop_if(|line| line.is_empty());
    if lines.len() > ENTRIES_MAX || lines.iter().any(|line| line.len() > LINE_LEN_MAX) {
        return Err(io::Error::other(format!(
            "its listing has more than {ENTRIES_MAX} lines, or endless ones"
        )));
    }
    Ok(lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect())
}

/// Nothing is passed over that might be a file.
fn odd(line: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&line[..line.len().min(200)]).replace(char::is_control, "?");
    io::Error::other(format!("its listing has a line that is not understood: {shown:?}"))
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"/" => [b"/", name].concat(),
        _ => [directory, b"/", name].concat(),
    }
}

impl Talk for FtpTalk {
    fn root(&mut self, directory: &[u8]) -> io::Result<Entry> {
        let gone = self.control.call(&[b"CWD ", directory].concat())?;
        if !gone.is_done() {
            return Err(io::Error::new(ErrorKind::NotFound, gone.words()));
        }
        let listed = self.list(directory)?;
        let mut entry = self.unsaid.entry(vec![], EntryKind::Directory);
        // Its own time is not told; the latest in it is as steady.
        let latest = listed.entries.iter().map(|entry| entry.metadata.mtime).max();
        let metadata = &mut entry.metadata;
        metadata.mtime = latest.unwrap_or(metadata.mtime);
        (metadata.atime, metadata.ctime) = (metadata.mtime, metadata.mtime);
        Ok(entry)
    }

    fn list(&mut self, directory: &[u8]) -> io::Result<Listing> {
        match self.dialect {
            Dialect::Facts => self.list_facts(directory),
            Dialect::Lines { option, has_times } => self.list_lines(directory, option, has_times),
        }
    }

    fn look(&mut self, path: &[u8]) -> io::Result<Look> {
        let replies = self.ask(&self.questions(path))?;
        self.looked(&replies)
    }

    fn open(&mut self, path: &[u8], offset: u64, expected: &Look) -> io::Result<Look> {
        self.reading = None;
        let mut commands = self.questions(path);
        commands.push(self.control.passive().to_vec());
        let mut replies = self.ask(&commands)?;
        let Some(passive) = replies.pop() else { return Err(garbled("no reply")) };
        let look = self.looked(&replies)?;
        let transfer = Transfer::begin(&mut self.control, passive, &[b"RETR ", path].concat(), offset)?;
        let left = look.size.or(expected.size).map(|size| size.saturating_sub(offset));
        self.reading = Some(Reading { path: path.to_vec(), left, transfer: Some(transfer) });
        Ok(look)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(reading) = &mut self.reading else { return Ok(0) };
        let Some(transfer) = &mut reading.transfer else { return Ok(0) };
        let count = transfer.read(buffer, reading.left)?;
        // Only the server's word makes it the end: a broken connection may look like one.
        if let Some(transfer) = reading.transfer.take_if(|_| count == 0) {
            transfer.end(&mut self.control)?;
        }
        Ok(count)
    }

    fn is_idle(&self) -> bool {
        self.reading.is_none() && self.control.is_idle()
    }

    fn close(&mut self) -> io::Result<Look> {
        let Some(reading) = self.reading.take() else { return Ok(Look::default()) };
        self.look(&reading.path)
    }
}
