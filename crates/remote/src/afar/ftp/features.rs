//! What a server says that it can do: the lines of `FEAT` (RFC 2389). Does no IO.

use super::reply::Reply;

/// Facts that we have a use for, where a server tells them.
const FACTS: [&str; 10] = [
    "type",
    "size",
    "modify",
    "unique",
    "unix.mode",
    "unix.uid",
    "unix.gid",
    "unix.owner",
    "unix.group",
    "unix.ownername",
];

/// What of it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// `MLSD` and `MLST`, and the facts to ask for.
    pub(super) facts: Option<String>,
    /// `MDTM`.
    pub(super) times: bool,
    /// `SIZE`.
    pub(super) sizes: bool,
    /// Names are UTF-8 where they are text.
    pub(super) utf8: bool,
}

impl Features {
    /// Those of the reply to `FEAT`; a server that does not know the question has none.
    pub(super) fn of(reply: &Reply) -> Self {
        let mut found = Self::default();
        if !reply.is_done() {
            return found;
        }
        for line in &reply.lines {
            let line = String::from_utf8_lossy(line);
            let (name, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match name.to_ascii_uppercase().as_str() {
                "MLST" | "MLSD" => found.facts = found.facts.take().or_else(|| facts(rest)),
                "MDTM" => found.times = true,
                "SIZE" => found.sizes = true,
                "UTF8" => found.utf8 = true,
                _ => {}
            }
        }
        found
    }
}

/// `type*;size*;unix.mode;…`, where a star is what is told already. Without kind, size and time it is of no use.
fn facts(told: &str) -> Option<String> {
    let told: Vec<String> =
        told.split(';').map(|fact| fact.trim().trim_end_matches('*').to_ascii_lowercase()).collect();
    let has = |fact: &str| told.iter().any(|told| told == fact);
    (has("type") && has("size") && has("modify"))
        .then(|| FACTS.iter().filter(|fact| has(fact)).map(|fact| format!("{fact};")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Features {
        Features::of(&Reply { code: 211, lines: lines.iter().map(|line| line.as_bytes().to_vec()).collect() })
    }

    #[test]
    fn only_what_a_server_names_is_used() {
        let vsftpd = of(&[
            "Features:",
            " AUTH TLS",
            " EPRT",
            " EPSV",
            " MDTM",
            " PASV",
            " REST STREAM",
            " SIZE",
            " TVFS",
            "End",
        ]);
        assert_eq!(vsftpd, Features { times: true, sizes: true, ..Features::default() });
        let other =
            of(&["Features:", " MLST type*;perm*;size*;modify*;unique*;unix.mode;unix.uid;", " UTF8", "End"]);
        assert_eq!(other.facts.as_deref(), Some("type;size;modify;unique;unix.mode;unix.uid;"));
        assert!(other.utf8 && !other.times);
        assert_eq!(of(&[" MLST type*;perm*;"]).facts, None);
        assert_eq!(Features::of(&Reply { code: 502, lines: vec![b" MDTM".to_vec()] }), Features::default());
    }
}
