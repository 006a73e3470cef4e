//! How a restored cluster is told to recover: lines for `postgresql.auto.conf` and a signal file.
//!
//! Form: `name = 'value'`, with quotes and backslashes doubled, as ALTER SYSTEM writes them; the last line of a name
//! counts, and this file is read last of all. Rules, from the PostgreSQL manual, 20.5.5, 20.5.6 and 26.3.4: without a
//! signal file no recovery setting means anything; `standby.signal` wins over `recovery.signal`; one target at most may
//! be set. Each setting of a target that is read unsets the ones before it, and one that is read while another is set
//! ends the server: so the empty ones, which hide what other files say, stand in front of the one that counts.

use std::path::Path;

use model::lsn::Lsn;
use model::recovery_target::{RecoveryTarget, TargetAction, TargetTimeline};

/// Name of the file of settings, in the data directory.
pub const AUTO_CONF: &str = "postgresql.auto.conf";
/// A server that finds it recovers up to its target.
pub const RECOVERY_SIGNAL: &str = "recovery.signal";
/// A server that finds it goes on recovering, as a standby does.
pub const STANDBY_SIGNAL: &str = "standby.signal";

/// The setting that lets recovery go on where a page is not what the log says; it tells each of them in the server's log.
pub const IGNORE_INVALID_PAGES: &str = "ignore_invalid_pages";

const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_name",
    "recovery_target_lsn",
];

/// What a restored cluster is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Where it ends.
    pub target: RecoveryTarget,
    /// Whether the target itself is still part of it.
    pub inclusive: bool,
    /// Along which history.
    pub timeline: TargetTimeline,
    /// And then.
    pub action: TargetAction,
    /// Whether it becomes a standby.
    pub standby: bool,
    /// The shell command that fetches WAL, with PostgreSQL's `%f` and `%p`.
    pub restore_command: String,
    /// Whether it archives as its original did.
    pub continue_archiving: bool,
    /// Whether files of some databases are zeros. Recovery would stop at what the log says of their pages.
    pub is_partial: bool,
}

/// A value that no line of a configuration file can hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} cannot be set to a text with line breaks or NUL: {value:?}")]
pub struct Unwritable {
    name: String,
    value: String,
}

impl Recovery {
    /// The end of a standby's backup, where PostgreSQL finds it also if the log ends there: `last_record` is where the record
    /// begins that is the last of it.
    #[must_use]
    pub fn to_last_record(mut self, last_record: Option<Lsn>) -> Self {
        if let (RecoveryTarget::Immediate, Some(lsn)) = (&self.target, last_record) {
            (self.target, self.inclusive) = (RecoveryTarget::Lsn(lsn), true);
        }
        self
    }

    /// The signal file that belongs to it.
    pub fn signal(&self) -> &'static str {
        if self.standby { STANDBY_SIGNAL } else { RECOVERY_SIGNAL }
    }

    /// The settings, in the order in which they must stand.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let target = match &self.target {
            RecoveryTarget::Latest => None,
            RecoveryTarget::Immediate => Some(("recovery_target", "immediate".to_owned())),
            RecoveryTarget::Time(time) => {
                Some(("recovery_target_time", time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string()))
            }
            RecoveryTarget::Xid(xid) => Some(("recovery_target_xid", xid.number().to_string())),
            RecoveryTarget::Name(name) => Some(("recovery_target_name", name.as_str().to_owned())),
            RecoveryTarget::Lsn(lsn) => Some(("recovery_target_lsn", lsn.to_string())),
        };
        let chosen = target.as_ref().map(|(name, _)| *name);
        let hidden = TARGETS.into_iter().filter(|name| Some(*name) != chosen);
        let mut settings: Vec<_> = hidden.map(|name| (name, String::new())).collect();
        settings.extend(target);
        settings.extend([
            ("recovery_target_inclusive", if self.inclusive { "on" } else { "off" }.to_owned()),
            ("recovery_target_timeline", self.timeline.to_string()),
            ("recovery_target_action", self.action.as_str().to_owned()),
            ("restore_command", self.restore_command.clone()),
        ]);
        // The backup may be of a standby: this one follows nobody's primary, and uses nobody's slot, unless it is told to.
        settings.push(("primary_slot_name", String::new()));
        if !self.standby {
            settings.push(("primary_conninfo", String::new()));
        }
        if !self.continue_archiving {
            settings.push(("archive_mode", "off".to_owned()));
        }
        if self.is_partial {
            settings.push((IGNORE_INVALID_PAGES, "on".to_owned()));
        }
        settings
    }

    /// What `postgresql.auto.conf` has to be, given what it was: other settings stay, those of an earlier restore go.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub fn auto_conf(&self, before: &[u8]) -> Result<Vec<u8>, Unwritable> {
        let settings = self.settings();
        let is_ours = |line: &[u8]| settings.iter().any(|(name, _)| is_setting(line, name));
        let mut after: Vec<u8> = before
            .split_inclusive(|byte| *byte == b'\n')
            .filter(|line| !is_ours(line))
            .flatten()
            .copied()
            .collect();
        if !after.is_empty() && !after.ends_with(b"\n") {
            after.push(b'\n');
        }
        for (name, value) in &settings {
            if value.contains(['\n', '\r', '\0']) {
                return Err(Unwritable { name: (*name).to_owned(), value: value.clone() });
            }
            let value = value.replace('\\', "\\\\").replace('\'', "''");
            after.extend_from_slice(format!("{name} = '{value}'\n").as_bytes());
        }
        Ok(after)
    }
}

/// Whether a line of a configuration file sets `name`.
fn is_setting(line: &[u8], name: &str) -> bool {
    let line = line.trim_ascii_start();
    let rest = line.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name.as_bytes()));
    rest.is_some()
        && !line.get(name.len()).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(byte))
}

/// The `restore_command` that runs `program` with `arguments`, and then `wal fetch` for what PostgreSQL wants.
pub fn restore_command(program: &Path, arguments: &[String]) -> String {
    let program = program.to_string_lossy();
    let words = std::iter::once(&*program).chain(arguments.iter().map(String::as_str)).map(shell_word);
    let words: Vec<_> = words.collect();
    format!("{} wal fetch %f \"%p\"", words.join(" "))
}

/// The `restore_command` that runs a script of the shell with what PostgreSQL wants, and where it goes.
pub fn script_command(script: &Path) -> String {
    format!("/bin/sh {} %f \"%p\"", shell_word(&script.to_string_lossy()))
}

/// A word that a shell reads as it is, after PostgreSQL has looked for its `%`.
fn shell_word(word: &str) -> String {
    let word = word.replace('%', "%%");
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(target: RecoveryTarget) -> Recovery {
        Recovery {
            target,
            inclusive: true,
            timeline: TargetTimeline::Latest,
            action: TargetAction::Pause,
            standby: false,
            restore_command: restore_command(Path::new("/usr/bin/mainstay"), &[]),
            continue_archiving: false,
            is_partial: false,
        }
    }

    fn text(recovery: &Recovery, before: &str) -> String {
        String::from_utf8(recovery.auto_conf(before.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn one_target_is_set_and_stands_behind_the_empty_ones() {
        let time = recovery(RecoveryTarget::Time("2026-11-30T02:45:38.1234567+01:00".parse().unwrap()));
        let lines = text(&time, "");
        assert!(lines.contains("recovery_target_time = '2026-11-30 01:45:38.123456+00'\n"), "{lines}");
        let of = |start: &str| lines.find(start).unwrap();
        let empty = ["recovery_target = ''", "recovery_target_xid = ''", "recovery_target_name = ''"];
        assert!(empty.iter().all(|line| of(line) < of("recovery_target_time")), "{lines}");
        assert!(lines.contains("archive_mode = 'off'\n"), "{lines}");
        let latest = text(&recovery(RecoveryTarget::Latest), "");
        assert_eq!(latest.matches("recovery_target").count(), TARGETS.len() + 3, "{latest}");
    }

    #[test]
    fn what_a_standby_was_told_of_its_primary_is_forgotten_unless_it_becomes_one_again() {
        let before = "primary_conninfo = 'host=production'\nprimary_slot_name = 'its'\n";
        let alone = text(&recovery(RecoveryTarget::Latest), before);
        assert!(alone.contains("primary_conninfo = ''\n") && !alone.contains("production"), "{alone}");
        let standby = Recovery { standby: true, ..recovery(RecoveryTarget::Latest) };
        let standby = text(&standby, before);
        assert!(
            standby.contains("host=production") && standby.contains("primary_slot_name = ''\n"),
            "{standby}"
        );
    }

    #[test]
    fn quotes_backslashes_and_percents_arrive_as_they_are() {
        let name = recovery(RecoveryTarget::Name("it's a \\ 100%".parse().unwrap()));
        assert!(text(&name, "").contains("recovery_target_name = 'it''s a \\\\ 100%'\n"));
        let words = ["-r", "/srv/it's 100%", ""].map(str::to_owned);
        let command = restore_command(Path::new("/opt/main stay"), &words);
        assert_eq!(command, "'/opt/main stay' -r '/srv/it'\\''s 100%%' '' wal fetch %f \"%p\"");
        assert_eq!(script_command(Path::new("/run/a b")), "/bin/sh '/run/a b' %f \"%p\"");
        let broken = Recovery { restore_command: "a\nb".into(), ..recovery(RecoveryTarget::Latest) };
        assert!(broken.auto_conf(b"").is_err());
    }

    #[test]
    fn what_others_set_stays_and_what_an_earlier_restore_set_goes() {
        let before = "# Do not edit\nwork_mem = '64MB'\nrestore_command = 'cp old'\n Recovery_Target_LSN='0/1'\n\
                      recovery_target_action_x = '1'\narchive_mode 'on'\nlast = 1";
        let after = text(&recovery(RecoveryTarget::Immediate), before);
        let kept = "# Do not edit\nwork_mem = '64MB'\nrecovery_target_action_x = '1'\nlast = 1\n";
        assert!(after.starts_with(kept), "{after}");
        assert!(!after.contains("cp old") && !after.contains("0/1") && !after.contains("'on'\nl"), "{after}");
        assert_eq!(text(&recovery(RecoveryTarget::Immediate), &after), after, "twice is once");
        let archives = Recovery { continue_archiving: true, ..recovery(RecoveryTarget::Latest) };
        assert!(text(&archives, before).contains("archive_mode 'on'"));
    }
}
