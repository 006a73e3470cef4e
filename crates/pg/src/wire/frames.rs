//! Messages with their lengths: cut out of what comes, and sent.
//!
//! Form: one byte that says which kind, four with the length of themselves and the rest (big-endian), the rest.
//! Invariant: memory is taken for bytes that came, never for bytes that a length promises, and a length beyond the
//! limit ends the conversation. A server's warnings are kept for whoever asks for them.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use model::cancel::CancelToken;

use super::body::server_error;
use super::error::{ServerError, WireError};
use super::socket::Socket;

/// Bytes of a message at most, before the server has shown who it is: libpq takes 30,000.
const STRANGE_LEN_MAX: usize = 64 << 10;
/// Bytes of a message at most afterwards. The largest that a server sends here are 128 KiB of WAL; a history of timelines
/// or a setting comes in one piece too.
const MESSAGE_LEN_MAX: usize = 16 << 20;
/// Read at once.
const READ_LEN: usize = 128 << 10;
/// Kind and length.
const HEAD_LEN: usize = 5;
/// Warnings at most that are kept: of the pages of one file a base backup tells five.
const WARNINGS_MAX: usize = 100;
/// How long a server is waited for, unless said otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Which kind.
    pub(crate) kind: u8,
    /// The rest.
    pub(crate) body: Bytes,
}

/// A connection, message by message.
pub(crate) struct Frames {
    socket: Socket,
    received: BytesMut,
    room: Box<[u8]>,
    len_max: usize,
    /// For how long nothing may come.
    patience: Duration,
    cancel: CancelToken,
    warnings: Vec<ServerError>,
}

impl Frames {
    pub(crate) fn new(socket: Socket, cancel: &CancelToken) -> Self {
        Self {
            socket,
            received: BytesMut::new(),
            room: vec![0; READ_LEN].into_boxed_slice(),
            len_max: STRANGE_LEN_MAX,
            patience: PATIENCE,
            cancel: cancel.clone(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The server is who it should be: take its larger messages too.
    pub(crate) fn trust(&mut self) {
        self.len_max = MESSAGE_LEN_MAX;
    }

    /// Wait for at most that long from now on whenever something has to come.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Result<Frame, WireError> {
        let until = Instant::now() + self.patience;
        self.next_before(until)?.ok_or(WireError::Silent(self.patience))
    }

    /// What the server has warned of since this was asked last.
    pub(crate) fn take_warnings(&mut self) -> Vec<ServerError> {
        std::mem::take(&mut self.warnings)
    }

    /// The next message, or nothing if none is there at `until`; warnings are kept, other notices passed over, an error is an
    /// error.
    pub(crate) fn next_before(&mut self, until: Instant) -> Result<Option<Frame>, WireError> {
        while let Some(frame) = self.any_before(until)? {
            match frame.kind {
                b'N' => {
                    let is_warning = |notice: &ServerError| notice.severity == "WARNING";
                    let warning = server_error(&frame.body).ok().filter(is_warning);
                    self.warnings.extend(warning.filter(|_| self.warnings.len() < WARNINGS_MAX));
                }
                b'S' | b'A' => {}
                b'E' => return Err(WireError::Server(Box::new(server_error(&frame.body)?))),
                _ => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// The next message of any kind.
    pub(crate) fn any_before(&mut self, until: Instant) -> Result<Option<Frame>, WireError> {
        loop {
            if let Some(frame) = cut(&mut self.received, self.len_max)? {
                return Ok(Some(frame));
            }
            self.cancel.check()?;
            match self.socket.read(&mut self.room) {
                Ok(0) => return Err(WireError::Closed),
                Ok(len) => self.received.extend_from_slice(&self.room[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= until {
                        return Ok(None);
                    }
                    self.socket.wait_readable(until).map_err(WireError::Broken)?;
                }
                Err(error) if is_end(error.kind()) => return Err(WireError::Closed),
                Err(error) => return Err(WireError::Broken(error)),
            }
        }
    }

    /// Send bytes that are whole messages.
    pub(crate) fn send(&mut self, messages: &[u8]) -> Result<(), WireError> {
        let until = Instant::now() + self.patience;
        self.socket.write_all(messages, until).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => WireError::Silent(self.patience),
            kind if is_end(kind) => WireError::Closed,
            _ => WireError::Broken(error),
        })
    }
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// Cut the first message off, if all of it is there.
fn cut(received: &mut BytesMut, len_max: usize) -> Result<Option<Frame>, WireError> {
    let Some((kind, rest)) = received.split_first() else { return Ok(None) };
    let Some(len) = rest.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
        return Ok(None);
    };
    if len < 4 || len > len_max {
        let what = format!("a message of kind {:?} that says it has {len} bytes", char::from(*kind));
        return Err(WireError::nonsense(what));
    }
    if received.len() < len + 1 {
        return Ok(None);
    }
    let kind = *kind;
    let mut body = received.split_to(len + 1).freeze();
    body.advance(HEAD_LEN);
    Ok(Some(Frame { kind, body }))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    fn pair() -> (UnixStream, Frames) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        (theirs, Frames::new(Socket::Unix(ours).unblock().unwrap(), &CancelToken::new()))
    }

    #[test]
    fn messages_are_cut_wherever_the_bytes_are_torn() {
        let (mut theirs, mut frames) = pair();
        let bytes = b"Z\0\0\0\x05Id\0\0\0\x07abcN\0\0\0\x06\0\0";
        for byte in bytes {
            theirs.write_all(&[*byte]).unwrap();
        }
        assert_eq!(frames.next().unwrap(), Frame { kind: b'Z', body: Bytes::from_static(b"I") });
        assert_eq!(frames.next().unwrap(), Frame { kind: b'd', body: Bytes::from_static(b"abc") });
        assert!(frames.next_before(Instant::now()).unwrap().is_none());
        drop(theirs);
        assert!(matches!(frames.next(), Err(WireError::Closed)));
    }

    #[test]
    fn what_the_server_warns_of_is_kept_and_other_notices_are_not() {
        let (mut theirs, mut frames) = pair();
        let notice = |severity: &str, words: &str| {
            let body = format!("S{severity}\0V{severity}\0C01000\0M{words}\0\0");
            [&b"N"[..], &(body.len() as u32 + 4).to_be_bytes()[..], body.as_bytes()].concat()
        };
        let all = [notice("NOTICE", "all is well"), notice("WARNING", "block 5"), b"Z\0\0\0\x05I".to_vec()];
        theirs.write_all(&all.concat()).unwrap();
        assert_eq!(frames.next().unwrap().kind, b'Z');
        let told: Vec<_> = frames.take_warnings().into_iter().map(|warning| warning.message).collect();
        assert_eq!(told, ["block 5"]);
        assert!(frames.take_warnings().is_empty());
    }

    #[test]
    fn a_length_is_no_promise() {
        for head in [b"d\x7f\xff\xff\xff", b"d\xff\xff\xff\xff", b"d\0\0\0\x03"] {
            let (mut theirs, mut frames) = pair();
            frames.trust();
            theirs.write_all(head).unwrap();
            assert!(matches!(frames.next(), Err(WireError::Nonsense(_))));
            assert!(frames.received.capacity() <= 2 * READ_LEN);
        }
    }

    #[test]
    fn who_waits_is_stopped_by_time_and_by_a_wish() {
        let (_theirs, ours) = UnixStream::pair().unwrap();
        let cancel = CancelToken::new();
        let mut frames = Frames::new(Socket::Unix(ours).unblock().unwrap(), &cancel);
        frames.set_patience(Duration::from_millis(10));
        assert!(matches!(frames.next(), Err(WireError::Silent(_))));
        cancel.cancel();
        assert!(matches!(frames.next(), Err(WireError::Cancelled(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut received = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = cut(&mut received, 64) {}
            prop_assert!(received.capacity() <= 1024);
        }
    }
}
