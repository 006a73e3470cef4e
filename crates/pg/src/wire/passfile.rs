//! libpq's password file, read: the first line that fits gives the password.
//!
//! Form: `host:port:database:user:password` lines, `*` fits everything, `\` takes the next character as it is, `#`
//! begins a remark (PostgreSQL manual, chapter 34.16). Invariant: a file that others may read is not used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use model::secret::Secret;

/// Whom a password is for.
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password in the file, if it has one; a file that is not there, or open to others, has none, as with libpq.
pub(crate) fn find(path: &Path, wanted: &Wanted<'_>) -> Option<Secret> {
    let facts = std::fs::metadata(path).ok()?;
    if !facts.is_file() || facts.permissions().mode() & 0o077 != 0 {
        return None;
    }
    let text = Secret::new(std::fs::read_to_string(path).ok()?);
    text.expose().lines().find_map(|line| password_in(line, wanted))
}

fn password_in(line: &str, wanted: &Wanted<'_>) -> Option<Secret> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for value in [wanted.host, &port, wanted.database, wanted.user] {
        let (field, after) = field(rest)?;
        if field != "*" && unescaped(field) != value {
            return None;
        }
        rest = after;
    }
    Some(Secret::new(unescaped(rest)))
}

/// Up to the next `:` that is not escaped, and what follows it.
fn field(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b':' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted<'static> {
        Wanted { host: "::1", port: 5433, database: "replication", user: "me" }
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let cases = [
            ("*:*:*:*:a", Some("a")),
            (r"\:\:1:5433:replication:me:a\:b\\c", Some(r"a:b\c")),
            ("::1:5433:replication:me:x", None),
            (r"\:\:1:5432:replication:me:x", None),
            ("*:*:app:me:x", None),
            ("#*:*:*:*:a", None),
            ("*:*:*:*", None),
        ];
        for (line, password) in cases {
            let found = password_in(line, &wanted());
            assert_eq!(found.as_ref().map(Secret::expose), password, "{line}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# mine\n*:*:app:*:no\n*:*:*:*:yes\n*:*:*:*:late\n").unwrap();
        let set = |mode| std::fs::set_permissions(file.path(), PermissionsExt::from_mode(mode)).unwrap();
        set(0o600);
        assert_eq!(find(file.path(), &wanted()).unwrap().expose(), "yes");
        set(0o640);
        assert!(find(file.path(), &wanted()).is_none());
    }
}
