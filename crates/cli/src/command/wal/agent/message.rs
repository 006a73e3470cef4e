//! What `push` and `fetch` say to the agent, and what it answers: a line of JSON each.
//!
//! A client sends one request. The agent says that it is at work about every second until it answers, so that one who is
//! silent is known to be stuck.

use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::time::Duration;

use engine::wal_owner::Claim;
use model::lsn::SystemId;
use serde::{Deserialize, Serialize};

use crate::command::wal::work::Pushed;
use crate::error::{CliError, Kind};

/// How often the agent says that it is at work.
pub(super) const BEAT: Duration = Duration::from_secs(1);
/// How long an agent may work on one file, whatever it says meanwhile.
pub(in crate::command::wal) const WORK_MAX: Duration = Duration::from_secs(300);
/// Bytes of a line at most.
const LINE_LEN_MAX: u64 = 64 << 10;

/// What is asked for.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    Push(PushJob),
    Fetch(FetchJob),
}

/// Archive a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PushJob {
    pub(crate) path: PathBuf,
    pub(crate) system_id: SystemId,
    pub(crate) claim: Claim,
    pub(crate) takes_over: bool,
}

/// Put an archived file somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FetchJob {
    pub(crate) file: String,
    pub(crate) system_id: SystemId,
    pub(crate) to: PathBuf,
}

/// What is said back.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// It is being done.
    Working,
    /// It is durable in the repository.
    Pushed(Pushed),
    /// It is in its place.
    Delivered,
    /// There certainly is none.
    Absent,
    /// It was not done.
    Failed(Failure),
}

/// An error on its way.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl From<CliError> for Failure {
    fn from(CliError { kind, message, hint, .. }: CliError) -> Self {
        Self { kind, message, hint }
    }
}

impl From<Failure> for CliError {
    fn from(Failure { kind, message, hint }: Failure) -> Self {
        Self { hint, ..Self::new(kind, message) }
    }
}

impl Failure {
    /// Whether it says no, where others say that something is broken.
    pub(crate) fn is_refusal(&self) -> bool {
        self.kind == Kind::Refused
    }
}

/// One line as it is written.
pub(super) fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// The next line; `None` where there is no whole one any more, or it makes no sense.
pub(super) fn read<T: for<'de> Deserialize<'de>>(from: &mut impl BufRead) -> std::io::Result<Option<T>> {
    let mut line = vec![];
    from.take(LINE_LEN_MAX).read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()))
}
