//! What an archive_command does, as far as its words tell, and what of those words may be shown.

/// Commands that say yes and keep nothing.
const DISCARDING: [&str; 6] = ["true", "/bin/true", "/usr/bin/true", ":", "exit 0", "cd ."];

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

/// The command's first word, without what it may set: whatever stands behind that could be a secret.
pub(super) fn shown(command: &str) -> String {
    let command = command.trim();
    let end = command.find(|letter: char| letter.is_whitespace() || letter == '=').unwrap_or(command.len());
    let (first, rest) = command.split_at(end);
    match rest.chars().next() {
        None => first.to_owned(),
        Some('=') => format!("{first}=…"),
        Some(_) => format!("{first} …"),
    }
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
        for (command, text) in [
            ("env AWS_SECRET_ACCESS_KEY=hunter2 wal-g wal-push %p", "env …"),
            ("AWS_SECRET_ACCESS_KEY=hunter2 wal-g wal-push %p", "AWS_SECRET_ACCESS_KEY=…"),
            (" /usr/bin/curl\t-u u:hunter2 -T %p https://host/", "/usr/bin/curl …"),
            ("test ! -f /a/%f && cp %p /a/%f", "test …"),
            ("archive-it", "archive-it"),
        ] {
            assert_eq!(shown(command), text);
        }
    }
}
