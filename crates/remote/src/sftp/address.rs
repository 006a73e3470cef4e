//! Where a store over SFTP is, in the two ways in which restic writes it.
//!
//! A path without a slash of its own at its beginning is below the home directory on the server: `sftp:host:path`
//! and `sftp://host/path`; `sftp:host:/path` and `sftp://host//path` are absolute.

use std::fmt;

/// A server and a directory on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Who logs in; our own name where none is given.
    pub user: Option<String>,
    /// Name or number of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The directory: absolute, or below the home directory of the user.
    pub path: String,
}

/// Port of SSH.
const PORT: u16 = 22;

impl Address {
    /// Read an address; `None` where it is of another kind.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(url: &str) -> Option<Result<Self, String>> {
        let rest = url.strip_prefix("sftp:")?;
        Some(match rest.strip_prefix("//") {
            Some(rest) => Self::parse_url(rest),
            None => Self::parse_short(rest),
        })
    }

    fn parse_url(text: &str) -> Result<Self, String> {
        let (authority, path) =
            text.split_once('/').ok_or("names no directory, as in sftp://host//srv/backups")?;
        let (user, place) = split_user(authority)?;
        let (host, port) = match place.rsplit_once(':') {
            // A colon inside of brackets belongs to an IPv6 number.
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("{port:?} is no port"))?)
            }
            _ => (place, PORT),
        };
        Self::checked(user, host, port, path)
    }

    fn parse_short(text: &str) -> Result<Self, String> {
        let end = text.find(']').unwrap_or(0);
        let colon = text[end..].find(':').ok_or("names no directory, as in sftp:host:/srv/backups")? + end;
        let (user, host) = split_user(&text[..colon])?;
        Self::checked(user, host, PORT, &text[colon + 1..])
    }

    fn checked(user: Option<&str>, host: &str, port: u16, path: &str) -> Result<Self, String> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_odd =
            |text: &str| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control());
        let path = match path.trim_end_matches('/') {
            "" => return Err("names no directory".into()),
            path => path,
        };
        if is_odd(host) || user.is_some_and(is_odd) || path.contains(char::is_control) {
            return Err("is no address of a server and a directory".into());
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path: path.to_owned() })
    }
}

fn split_user(authority: &str) -> Result<(Option<&str>, &str), String> {
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => {
            Err("a password does not belong into an address; log in with a key".into())
        }
        Some((user, place)) => Ok((Some(user), place)),
        None => Ok((None, authority)),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(out, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(out, "[{}]", self.host)?
        } else {
            out.write_str(&self.host)?
        }
        if self.port != PORT {
            write!(out, ":{}", self.port)?;
        }
        write!(out, "/{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_restic_are_read_and_shown_as_one() {
        let cases = [
            ("sftp:backup@nas:/srv/b", "backup", "nas", 22, "/srv/b", "sftp://backup@nas//srv/b"),
            ("sftp:nas:b/c/", "", "nas", 22, "b/c", "sftp://nas/b/c"),
            ("sftp:u@[::1]:/b", "u", "::1", 22, "/b", "sftp://u@[::1]//b"),
            ("sftp://u@nas:2222//srv/b", "u", "nas", 2222, "/srv/b", "sftp://u@nas:2222//srv/b"),
            ("sftp://nas/b", "", "nas", 22, "b", "sftp://nas/b"),
            ("sftp://u@[fe80::1]:24/b", "u", "fe80::1", 24, "b", "sftp://u@[fe80::1]:24/b"),
            ("sftp://u@[fe80::1]/b", "u", "fe80::1", 22, "b", "sftp://u@[fe80::1]/b"),
            ("sftp:DOM\\u@nas:/x y", "DOM\\u", "nas", 22, "/x y", "sftp://DOM\\u@nas//x y"),
        ];
        for (url, user, host, port, path, shown) in cases {
            let address = Address::parse(url).unwrap().unwrap();
            let found =
                (address.user.clone().unwrap_or_default(), &*address.host, address.port, &*address.path);
            assert_eq!(found, (user.to_owned(), host, port, path), "{url}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap().unwrap(), address, "{url}");
        }
    }

    #[test]
    fn what_names_no_directory_or_holds_a_password_is_refused() {
        for url in [
            "sftp:",
            "sftp:host",
            "sftp://",
            "sftp://host",
            "sftp://host/",
            "sftp://host:x/p",
            "sftp:@h:/p",
            "sftp://user:secret@host/p",
            "sftp:ho st:/p",
            "sftp:host:",
            "sftp:host:/",
            "sftp://host:99999/p",
        ] {
            let refused = Address::parse(url).unwrap();
            assert!(refused.as_ref().is_err_and(|words| !words.contains("secret")), "{url}: {refused:?}");
        }
        assert_eq!(Address::parse("/srv/sftp:x"), None);
    }
}
