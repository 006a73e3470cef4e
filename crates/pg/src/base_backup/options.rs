//! What is asked of the server, and the command that asks it.
//!
//! Servers from 15 on take options in parentheses, earlier ones a row of words (PostgreSQL manual, chapter 55.4).

use crate::quote::literal;
use crate::version::Version;

/// From here on one stream holds all archives, and options stand in parentheses.
pub(super) const ONE_STREAM: Version = Version::new(15, 0);
/// From here on there is a manifest.
const MANIFESTS: Version = Version::new(13, 0);
/// From here on there are increments.
pub const INCREMENTS: Version = Version::new(17, 0);

/// How the backup is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// The label that `backup_label` has.
    pub label: String,
    /// A checkpoint at once, in place of one that takes its time.
    pub is_fast: bool,
    /// The WAL from start to stop comes with the files, so that they are enough.
    pub with_wal: bool,
    /// At the end, wait until the server's archiver has passed the WAL; it may wait for ever.
    pub waits_for_archive: bool,
    /// The server compares the checksums of pages while it reads; a page that does not fit is an error at the end,
    /// SQLSTATE XX001.
    pub verifies_checksums: bool,
    /// KiB a second at most, from 32 to 1,048,576.
    pub rate_kib_max: Option<u32>,
    /// The server guesses first how much it will send.
    pub with_sizes: bool,
    /// The manifest of the backup that this one is an increment of (17 and later, with `summarize_wal`).
    pub parent: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            label: "mainstay".to_owned(),
            is_fast: true,
            with_wal: true,
            waits_for_archive: false,
            verifies_checksums: true,
            rate_kib_max: None,
            with_sizes: false,
            parent: None,
        }
    }
}

/// Whether a server of this version sends a manifest.
pub(super) fn has_manifest(version: Version) -> bool {
    version >= MANIFESTS
}

/// The command for a server of this version.
pub(super) fn command(options: &Options, version: Version) -> String {
    let label = literal(&options.label);
    if version >= ONE_STREAM {
        let mut words = vec![
            format!("LABEL {}", label.trim_start()),
            format!("CHECKPOINT '{}'", if options.is_fast { "fast" } else { "spread" }),
            format!("WAL {}", options.with_wal),
            format!("WAIT {}", options.waits_for_archive),
            format!("VERIFY_CHECKSUMS {}", options.verifies_checksums),
            format!("PROGRESS {}", options.with_sizes),
            "TABLESPACE_MAP true".to_owned(),
            "MANIFEST 'yes'".to_owned(),
        ];
        words.extend(options.rate_kib_max.map(|rate| format!("MAX_RATE {rate}")));
        words.extend(options.parent.as_ref().map(|_| "INCREMENTAL true".to_owned()));
        return format!("BASE_BACKUP ({})", words.join(", "));
    }
    let mut words = vec![format!("BASE_BACKUP LABEL {}", label.trim_start())];
    let mut add = |is_wanted: bool, word: &str| words.extend(is_wanted.then(|| word.to_owned()));
    add(options.with_sizes, "PROGRESS");
    add(options.is_fast, "FAST");
    add(options.with_wal, "WAL");
    add(!options.waits_for_archive, "NOWAIT");
    add(true, "TABLESPACE_MAP");
    add(!options.verifies_checksums && version >= Version::new(11, 0), "NOVERIFY_CHECKSUMS");
    add(has_manifest(version), "MANIFEST 'yes'");
    words.extend(options.rate_kib_max.map(|rate| format!("MAX_RATE {rate}")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_in_its_words() {
        let options = Options { label: "it's".into(), rate_kib_max: Some(64), ..Options::default() };
        assert_eq!(
            command(&options, Version::new(12, 3)),
            "BASE_BACKUP LABEL 'it''s' FAST WAL NOWAIT TABLESPACE_MAP MAX_RATE 64"
        );
        assert!(
            command(&options, Version::new(14, 0)).ends_with("TABLESPACE_MAP MANIFEST 'yes' MAX_RATE 64")
        );
        assert_eq!(
            command(&options, Version::new(16, 0)),
            "BASE_BACKUP (LABEL 'it''s', CHECKPOINT 'fast', WAL true, WAIT false, VERIFY_CHECKSUMS true, \
             PROGRESS false, TABLESPACE_MAP true, MANIFEST 'yes', MAX_RATE 64)"
        );
    }
}
