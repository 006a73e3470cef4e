//! FTP with TLS, passive, as far as reading needs it (RFC 959, 2228, 2428, 3659, 4217): our own client, because names are
//! bytes and every answer has a bound.
//!
//! Nothing but the first greeting and the wish for TLS is ever said in the clear, and nothing that came in the clear is
//! believed afterwards. Data connections resume the TLS session of their control connection, as strict servers ask for,
//! and lead to the same host, whatever the server says.

mod time;
mod reply;
mod list;
mod mlst;
mod features;
mod wire;
mod control;
mod transfer;
mod talk;

pub(super) use control::Door;
pub(super) use talk::dial;
