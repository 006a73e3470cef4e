//! What is said of WAL that was copied.

use engine::copy_wal::WalReport;
use model::size::ByteSize;

use crate::error::{CliError, Kind, Result};

/// In words, where there was any.
pub(super) fn describe_wal(wal: &WalReport) -> Option<String> {
    let WalReport { copied, stored_bytes, skipped, compared, gone, .. } = wal;
    let any = copied + skipped + gone > 0;
    let gone = match gone {
        0 => String::new(),
        gone => format!("; {gone} were pruned there, and `mainstay mirror` alone brings them back"),
    };
    any.then(|| {
        format!(
            "\n{copied} files of WAL copied, {skipped} were there already, {compared} compared byte by byte; {} stored{gone}",
            ByteSize(*stored_bytes)
        )
    })
}

/// The first thing that is wrong with it; all else is copied.
pub(super) fn verdict_on_wal(wal: &WalReport) -> Result<()> {
    if let Some(damage) = wal.damage.first() {
        let words = format!("integrity check failed: {damage}");
        return Err(CliError::new(Kind::Damaged, words).hint(
            "everything else is copied; a server that has the segment still can archive it anew once the damaged object is gone",
        ));
    }
    match wal.refused.first() {
        None => Ok(()),
        Some(words) => Err(CliError::new(Kind::Refused, words.clone()).hint(
            "everything else is copied; two clusters must not share a place: copy into another repository, or say with \
             `mainstay wal push --take-over` which one goes on (docs: how-to/archive-wal)",
        )),
    }
}
