//! What an archive_command does, as far as its words tell, and those words without secrets.

/// Commands that say yes and keep nothing.
const DISCARDING: [&str; 6] = ["true", "/bin/true", "/usr/bin/true", ":", "exit 0", "cd ."];
/// Whose value nobody is to read.
const SECRET: [&str; 6] = ["pass", "secret", "token", "key", "sas", "credential"];

/// Who archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArchivedBy<'a> {
    /// `mainstay wal push`.
    Us,
    /// Nobody: the server waits until somebody is named.
    Nobody,
    /// A command that throws WAL away.
    Discarded(&'a str),
    /// A module of the server.
    Library(&'a str),
    /// Another command.
    Another(&'a str),
}

/// Who archives by `archive_library` and `archive_command`.
pub(super) fn archived_by<'a>(library: &'a str, command: &'a str) -> ArchivedBy<'a> {
    let command = command.trim();
    let words: Vec<&str> = command.split_whitespace().collect();
    let program = words.iter().position(|word| word.contains("mainstay"));
    let is_ours = program.is_some_and(|at| words[at..].windows(2).any(|two| two == ["wal", "push"]));
    match (library.trim(), command) {
        ("", "") => ArchivedBy::Nobody,
        ("", command) if DISCARDING.contains(&command) => ArchivedBy::Discarded(command),
        ("", _) if is_ours => ArchivedBy::Us,
        ("", command) => ArchivedBy::Another(command),
        (library, _) => ArchivedBy::Library(library),
    }
}

/// The command without what could be a secret: values of variables and options whose names say so, and passwords in addresses.
pub(super) fn shown(command: &str) -> String {
    let mut is_value = false;
    let words = command.split(' ').map(|word| {
        let is_secret = |name: &str| {
            let name = name.to_ascii_lowercase();
            SECRET.iter().any(|secret| name.contains(secret))
        };
        if std::mem::take(&mut is_value) && !word.starts_with('-') {
            return "…".to_owned();
        }
        if let Some((name, _)) = word.split_once('=').filter(|(name, _)| is_secret(name)) {
            return format!("{name}=…");
        }
        is_value = word.starts_with('-') && is_secret(word);
        without_password(word)
    });
    words.collect::<Vec<_>>().join(" ")
}

fn without_password(word: &str) -> String {
    let hidden = word.split_once("://").and_then(|(scheme, rest)| {
        let (user, host) = rest.split_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:…@{host}"))
    });
    hidden.unwrap_or_else(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_archives_is_told_by_the_words() {
        let cases = [
            ("", "mainstay wal push %p", ArchivedBy::Us),
            ("", "/usr/bin/mainstay -r /srv/wal wal push --source acme/main %p", ArchivedBy::Us),
            ("", "", ArchivedBy::Nobody),
            ("", " /bin/true ", ArchivedBy::Discarded("/bin/true")),
            ("", "wal-g wal-push %p", ArchivedBy::Another("wal-g wal-push %p")),
            ("", "mainstay wal fetch %f %p", ArchivedBy::Another("mainstay wal fetch %f %p")),
            ("basic_archive", "mainstay wal push %p", ArchivedBy::Library("basic_archive")),
        ];
        for (library, command, who) in cases {
            assert_eq!(archived_by(library, command), who, "{command}");
        }
    }

    #[test]
    fn a_command_is_shown_without_its_secrets() {
        let command = "env AWS_SECRET_ACCESS_KEY=hunter2 WALG_PREFIX=s3://b x --password hunter2 --token=hunter2 push \
                       sftp://u:hunter2@host/p %p";
        let text = shown(command);
        assert!(
            !text.contains("hunter2")
                && text.contains("WALG_PREFIX=s3://b")
                && text.ends_with("u:…@host/p %p"),
            "{text}"
        );
        assert_eq!(shown("test ! -f /a/%f && cp %p /a/%f"), "test ! -f /a/%f && cp %p /a/%f");
    }
}
