//! The archives of a backup as they come, one for each tablespace and one for the data directory, then the manifest.
//!
//! Form: up to 14 each archive is a stream of its own, in the order of the list of tablespaces, and the manifest one
//! more. From 15 on there is one stream, in which `n` begins an archive and names it, `m` begins the manifest, `d` carries
//! bytes of either and `p` says how far the server is. The place where the backup stops comes as a result at the end.

use bytes::{Buf, Bytes};
use model::lsn::{Lsn, Timeline};

use super::options::{ONE_STREAM, Options, command, has_manifest};
use crate::wire::{Answer, Body, Conversation, Piece, Rows, ServerError, Value, WireError, readable};

/// The archive of the data directory in the one stream.
const MAIN_ARCHIVE: &str = "base.tar";

/// A tablespace that the server has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tablespace {
    /// Its number, the name of its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it lies on the server.
    pub location: String,
    /// About how much is in it, if that was asked.
    pub size_kib: Option<u64>,
}

/// A position with its timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) lsn: Lsn,
    pub(super) timeline: Timeline,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An archive begins: of a tablespace, or of the data directory.
    Archive(Option<u32>),
    /// The manifest begins.
    Manifest,
    /// Bytes of what began last.
    Bytes(Bytes),
    /// All is there.
    End(Position),
}

/// A backup that is being sent.
pub(super) struct Archives {
    server: Conversation,
    is_one_stream: bool,
    has_manifest: bool,
    pub(super) start: Position,
    pub(super) tablespaces: Vec<Tablespace>,
    pub(super) size_kib: Option<u64>,
    /// Oids in the order of the list; none for the data directory.
    order: Vec<Option<u32>>,
    /// Up to 14: how many streams have begun, and whether one runs.
    begun: usize,
    is_inside: bool,
}

impl Archives {
    /// Ask for the backup and read what comes before the archives.
    pub(super) fn begin(mut server: Conversation, options: &Options) -> Result<Self, WireError> {
        let version = server.version();
        server.send_query(&command(options, version))?;
        let start = position(server.rows("the start of the backup")?)?;
        let list = server.rows("the list of tablespaces")?;
        let (mut order, mut tablespaces, mut size_kib) = (Vec::new(), Vec::new(), None);
        for row in &list.rows {
            let size = number(row.get(2));
            let oid = number(row.first()).and_then(|oid| u32::try_from(oid).ok());
            order.push(oid);
            match oid {
                None => size_kib = size,
                Some(oid) => {
                    let location = row.get(1).and_then(Option::as_deref).unwrap_or_default();
                    let location = readable(location).into_owned();
                    tablespaces.push(Tablespace { oid, location, size_kib: size });
                }
            }
        }
        let is_one_stream = version >= ONE_STREAM;
        if is_one_stream && !matches!(server.answer()?, Answer::CopyOut) {
            return Err(WireError::nonsense("no stream after the list of tablespaces"));
        }
        Ok(Self {
            server,
            is_one_stream,
            has_manifest: has_manifest(version),
            start,
            tablespaces,
            size_kib,
            order,
            begun: 0,
            is_inside: is_one_stream,
        })
    }

    /// What the server has warned of since this was asked last.
    pub(super) fn take_warnings(&mut self) -> Vec<ServerError> {
        self.server.take_warnings()
    }

    /// What comes next.
    pub(super) fn step(&mut self) -> Result<Step, WireError> {
        loop {
            if !self.is_inside {
                return self.between();
            }
            match self.server.piece()? {
                Piece::End => self.is_inside = false,
                Piece::Bytes(bytes) if self.is_one_stream => {
                    if let Some(step) = self.typed(bytes)? {
                        return Ok(step);
                    }
                }
                Piece::Bytes(bytes) => return Ok(Step::Bytes(bytes)),
            }
        }
    }

    /// Between two streams, or behind the last.
    fn between(&mut self) -> Result<Step, WireError> {
        match self.server.answer()? {
            Answer::Rows(rows) => {
                let stop = position(rows)?;
                self.server.ready()?;
                Ok(Step::End(stop))
            }
            Answer::CopyOut if !self.is_one_stream => {
                self.is_inside = true;
                self.begun += 1;
                match self.order.get(self.begun - 1) {
                    Some(oid) => Ok(Step::Archive(*oid)),
                    None if self.has_manifest && self.begun == self.order.len() + 1 => Ok(Step::Manifest),
                    None => Err(WireError::nonsense("more archives than tablespaces")),
                }
            }
            other => Err(WireError::nonsense(format!("{other:?} between archives"))),
        }
    }

    /// A message of the one stream; nothing where it is about progress.
    fn typed(&mut self, mut bytes: Bytes) -> Result<Option<Step>, WireError> {
        let mut body = Body::new(&bytes);
        match body.u8()? {
            b'd' => {
                bytes.advance(1);
                Ok(Some(Step::Bytes(bytes)))
            }
            b'n' => {
                let name = readable(body.text()?);
                let oid = name.strip_suffix(".tar").and_then(|oid| oid.parse().ok());
                match oid {
                    Some(oid) if self.order.contains(&Some(oid)) => Ok(Some(Step::Archive(Some(oid)))),
                    None if name == MAIN_ARCHIVE => Ok(Some(Step::Archive(None))),
                    _ => Err(WireError::nonsense(format!("an archive {name:?} that is not in the list"))),
                }
            }
            b'm' => Ok(Some(Step::Manifest)),
            b'p' => Ok(None),
            other => {
                Err(WireError::nonsense(format!("a message of kind {:?} in the backup", char::from(other))))
            }
        }
    }

    /// The conversation, after the end.
    pub(super) fn into_server(self) -> Conversation {
        self.server
    }
}

fn position(rows: Rows) -> Result<Position, WireError> {
    let row = rows.only("a position of the backup", 2)?;
    let text = |column: usize| row[column].as_deref().map(readable).unwrap_or_default();
    let lsn = text(0).parse().map_err(|_| WireError::nonsense("a position that is none"))?;
    let timeline = text(1).parse().ok().filter(|number| *number > 0);
    let timeline = timeline.map(Timeline).ok_or_else(|| WireError::nonsense("a timeline that is none"))?;
    Ok(Position { lsn, timeline })
}

fn number(value: Option<&Value>) -> Option<u64> {
    readable(value?.as_deref()?).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::super::backup::{BaseBackup, Finished};
    use super::super::tar::tests::head;
    use super::*;
    use crate::version::Version;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
    }

    fn result(rows: &[&[Option<&str>]]) -> Vec<u8> {
        let columns = rows[0].len() as u16;
        let column = [&b"c\0"[..], &[0; 18]].concat();
        let mut bytes = message(b'T', &[&columns.to_be_bytes()[..], &column.repeat(columns.into())].concat());
        for row in rows {
            let values = row.iter().flat_map(|value| match value {
                Some(text) => [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat(),
                None => vec![0xff; 4],
            });
            bytes.extend(message(b'D', &[&columns.to_be_bytes()[..], &values.collect::<Vec<_>>()].concat()));
        }
        [bytes, message(b'C', b"SELECT\0")].concat()
    }

    /// A stream of its own, torn into small pieces.
    fn stream(content: &[u8]) -> Vec<u8> {
        let pieces = content.chunks(300).flat_map(|piece| message(b'd', piece));
        [message(b'H', &[0, 0, 0]), pieces.collect(), message(b'c', &[])].concat()
    }

    fn archive(name: &str, content: &[u8]) -> Vec<u8> {
        let size = format!("{:011o} ", content.len()).into_bytes().try_into().unwrap();
        let mut bytes = [&head(name, b'0', &size), content].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    /// What a server of 14 sends, as chapter 53.4 of its manual has it: the data directory comes last, with the zeros at
    /// its end, and the manifest behind it.
    fn of_14() -> Vec<u8> {
        let first = archive("PG_14_202107181/5/16385", &[7; 1000]);
        let main = [archive("backup_label", b"START"), archive("base/1/2", &[]), vec![0; 1024]].concat();
        [
            result(&[&[Some("0/2000028"), Some("1")]]),
            result(&[&[Some("16384"), Some("/far"), Some("8")], &[None, None, Some("900")]]),
            stream(&first),
            stream(&main),
            stream(b"{manifest}"),
            result(&[&[Some("0/2000100"), Some("1")]]),
            message(b'C', b"SELECT\0"),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    type Files = Vec<(String, usize)>;

    fn read(bytes: &[u8]) -> Result<(Files, Finished), WireError> {
        let (mut theirs, ours) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let server = Conversation::over(ours, Version::new(14, 2));
        // It may be read to its end, and no further.
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut backup = BaseBackup::start(server, &Options::default())?;
        let mut files = vec![];
        while let Some(mut entry) = backup.next_entry()? {
            let mut content = vec![];
            std::io::Read::read_to_end(&mut entry, &mut content).map_err(|_| WireError::Closed)?;
            files.push((entry.path().display().to_string(), content.len()));
        }
        assert_eq!(backup.tablespaces()[0].location, "/far");
        Ok((files, backup.finish()?.0))
    }

    #[test]
    fn streams_of_their_own_are_read_as_servers_up_to_14_send_them() {
        let (files, finished) = read(&of_14()).unwrap();
        let expected =
            [("pg_tblspc/16384/PG_14_202107181/5/16385", 1000), ("backup_label", 5), ("base/1/2", 0)];
        assert_eq!(files, expected.map(|(path, len)| (path.to_owned(), len)));
        let manifest = b"{manifest}".to_vec();
        assert_eq!(finished, Finished { stop: Lsn(0x2000100), timeline: Timeline(1), manifest });
    }

    #[test]
    fn a_backup_that_is_cut_anywhere_is_none() {
        let whole = of_14();
        for end in (0..whole.len()).step_by(37) {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
    }
}
