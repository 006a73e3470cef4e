//! One file or listing on its data connection, from the command to the last reply.

use std::io::{self, ErrorKind};

use super::control::Control;
use super::reply::Reply;
use super::wire::Wire;

/// Bytes on their way here.
pub(super) struct Transfer {
    wire: Wire,
    received: u64,
    is_over: bool,
}

impl Transfer {
    /// Begin what `command` asks for, after the `reply` to [`Control::passive`]; from `offset` on, where that is not the
    /// beginning.
    pub(super) fn begin(
        control: &mut Control,
        reply: Reply,
        command: &[u8],
        offset: u64,
    ) -> io::Result<Self> {
        let mut wire = control.data(reply)?;
        if offset > 0 {
            let restarted = control.call(format!("REST {offset}").as_bytes())?;
            if restarted.code != 350 {
                return Err(io::Error::new(ErrorKind::Unsupported, restarted.words()));
            }
        }
        control.send(&[command])?;
        wire.begin()?;
        let begun = control.reply()?;
        if !begun.is_begun() {
            return Err(begun.refusal());
        }
        Ok(Self { wire, received: 0, is_over: false })
    }

    /// Some bytes; none at the end. `expected`: how many there have to be, if TLS does not say itself that it is the end.
    pub(super) fn read(&mut self, buffer: &mut [u8], expected: Option<u64>) -> io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        let count = match self.wire.read(buffer) {
            // Some servers drop the connection at the end: then the size has to say that nobody cut it.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && expected == Some(self.received) => 0,
            outcome => outcome?,
        };
        self.is_over = count == 0;
        self.received += count as u64;
        Ok(count)
    }

    /// What the server says at the end.
    pub(super) fn end(self, control: &mut Control) -> io::Result<()> {
        self.wire.close();
        let reply = control.reply()?;
        if reply.is_done() { Ok(()) } else { Err(reply.refusal()) }
    }

    /// All there is, at most `len_max` bytes.
    pub(super) fn read_all(mut self, control: &mut Control, len_max: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![];
        loop {
            let len = bytes.len();
            bytes.resize(len + (64 << 10), 0);
            let count = self.read(&mut bytes[len..], None)?;
            bytes.truncate(len + count);
            if count == 0 {
                self.end(control)?;
                return Ok(bytes);
            }
            if bytes.len() > len_max {
                let words = format!("its listing has more than {len_max} bytes");
                // What still comes would be taken for the next listing.
                return Err(io::Error::new(ErrorKind::FileTooLarge, words));
            }
        }
    }
}
