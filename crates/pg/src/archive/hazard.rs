//! Entries of an archive that reach further than a database should, for archives of unknown origin (threat 11).
//!
//! pg_restore runs every definition as it stands, whatever kind the entry claims to be, so this is a list to show
//! before a restore, and no wall: the wall is a throw-away server and a user without rights.

use super::toc::{Toc, TocEntry};

/// Something in an archive that deserves a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hazard {
    /// The entry.
    pub dump_id: u32,
    /// Kind, schema and name, for people.
    pub name: String,
    /// Why.
    pub reason: &'static str,
}

/// Kinds that only privileged users make, and why.
const KINDS: [(&str, &str); 7] = [
    ("EVENT TRIGGER", "runs at statements of every user"),
    ("PROCEDURAL LANGUAGE", "brings a way to run code on the server"),
    ("ACCESS METHOD", "calls compiled code"),
    ("FOREIGN DATA WRAPPER", "calls compiled code"),
    ("SERVER", "connects the server to other machines"),
    ("USER MAPPING", "connects the server to other machines"),
    ("SUBSCRIPTION", "connects the server to other machines"),
];

/// Languages in which a function can do what the server process can, as pg_dump writes them.
const UNTRUSTED: [&str; 7] = ["c", "internal", "plpython3u", "plpythonu", "plperlu", "pltclu", "plsh"];

impl Toc {
    /// What in this archive deserves a look before it is restored.
    pub fn hazards(&self) -> Vec<Hazard> {
        let with_reason = self.entries.iter().filter_map(|entry| Some((entry, self.hazard(entry)?)));
        let hazards = with_reason.map(|(entry, reason)| Hazard {
            dump_id: entry.dump_id,
            name: format!("{} {}.{}", entry.desc, entry.namespace, entry.tag),
            reason,
        });
        hazards.collect()
    }

    fn hazard(&self, entry: &TocEntry) -> Option<&'static str> {
        let copy = self.copy_statement(entry);
        if !copy.is_empty() && !is_plain_copy(copy) {
            return Some("takes its rows by something else than COPY … FROM stdin");
        }
        let definition = String::from_utf8_lossy(self.definition(entry)).to_lowercase();
        let is_routine = ["FUNCTION", "PROCEDURE"].contains(&entry.desc.as_str());
        if is_routine && languages(&definition).any(|language| UNTRUSTED.contains(&language)) {
            return Some("calls compiled or untrusted code");
        }
        KINDS.iter().find(|(kind, _)| *kind == entry.desc).map(|(_, reason)| *reason)
    }
}

/// The words behind `language`, without quotes; a body may contain the word too.
fn languages(definition: &str) -> impl Iterator<Item = &str> {
    definition.match_indices("language").filter_map(|(at, word)| {
        let name = definition[at + word.len()..].split_whitespace().next()?;
        Some(name.trim_matches(|c: char| "\"';,".contains(c)))
    })
}

/// One statement, from `COPY` to `FROM stdin;`, with nothing in between that could be another one.
fn is_plain_copy(statement: &[u8]) -> bool {
    let statement = statement.trim_ascii();
    let Some(middle) = statement.strip_prefix(b"COPY ").and_then(|rest| rest.strip_suffix(b" FROM stdin;"))
    else {
        return false;
    };
    // Outside quoted names only letters, digits and the few marks of a list of columns are left.
    let mut is_quoted = false;
    middle.iter().all(|byte| {
        is_quoted ^= *byte == b'"';
        is_quoted || *byte >= 0x80 || byte.is_ascii_alphanumeric() || b"_$., ()\"".contains(byte)
    }) && !is_quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_copies_are_plain() {
        let cases = [
            ("COPY public.orders (id, \"od\"\"d; col\") FROM stdin;\n", true),
            ("COPY \"a;b\".t () FROM stdin;\n", true),
            ("COPY t FROM PROGRAM 'rm' FROM stdin;", false),
            ("COPY t FROM stdin; DROP TABLE t; COPY t FROM stdin;", false),
            ("COPY t -- FROM stdin;", false),
            ("SELECT 1; COPY t FROM stdin;", false),
            ("COPY \"t FROM stdin;", false),
        ];
        for (statement, expected) in cases {
            assert_eq!(is_plain_copy(statement.as_bytes()), expected, "{statement}");
        }
    }

    #[test]
    fn languages_are_found() {
        let definition = "create function f() returns int\n    language c strict\n    as '$libdir/x', 'f';";
        assert_eq!(languages(definition).collect::<Vec<_>>(), ["c"]);
    }
}
