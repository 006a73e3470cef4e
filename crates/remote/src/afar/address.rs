//! Where a directory on another server is: `sftp://user@host:port/path`, as stores are named, and `ftps://…` alike.
//!
//! A path with one slash is below the directory where the server puts us after the login; one with two is absolute.

use std::fmt;

use crate::sftp;

/// Port of FTP, where TLS is asked for.
const FTP_PORT: u16 = 21;
/// Port where FTP begins with TLS.
const FTPS_PORT: u16 = 990;

/// A server, a directory on it, and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// SFTP.
    Sftp(sftp::Address),
    /// FTP with TLS.
    Ftps(FtpAddress),
}

/// A directory behind FTP with TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FtpAddress {
    /// Who logs in.
    pub(super) user: String,
    /// Name or number of the server.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// The directory: absolute, or below the one of the login.
    pub(super) path: String,
}

impl FtpAddress {
    /// Whether TLS comes before the first word.
    pub(super) fn is_implicit(&self) -> bool {
        self.port == FTPS_PORT
    }
}

impl Address {
    /// Read an address; `None` where it is a path of this machine.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn parse(text: &str) -> Option<Result<Self, String>> {
        if text.starts_with("ftp://") {
            let words = "password and contents would travel in the clear; use ftps:// or sftp://";
            return Some(Err(words.to_owned()));
        }
        let address = match text.strip_prefix("ftps://") {
            Some(rest) => Self::parse_ftps(rest),
            None => match sftp::Address::parse(text)? {
                // The root directory is a fine thing to back up, if not to write into.
                Err(_) if is_root_of_sftp(text) => {
                    let below = format!("{}x", text);
                    sftp::Address::parse(&below)?
                        .map(|address| Self::Sftp(sftp::Address { path: "/".to_owned(), ..address }))
                }
                address => address.map(Self::Sftp),
            },
        };
        Some(address.and_then(Self::without_ways_up))
    }

    fn parse_ftps(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) =
            authority.rsplit_once('@').ok_or("names no user, as in ftps://backup@files.example.org/srv")?;
        if user.contains(':') {
            return Err(
                "a password does not belong into an address; put it into a file or the environment".into()
            );
        }
        let (host, port) = match place.rsplit_once(':') {
            // A colon inside of brackets belongs to an IPv6 number.
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| format!("{port:?} is no port"))?)
            }
            _ => (place, FTP_PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_odd =
            |text: &str| text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_odd(host)
            || user.is_empty()
            || user.contains(char::is_control)
            || path.contains(char::is_control)
        {
            return Err("is no address of a server and a directory".into());
        }
        let path = match path.trim_end_matches('/') {
            "" if path.is_empty() => ".",
            "" => "/",
            path => path,
        };
        Ok(Self::Ftps(FtpAddress { user: user.into(), host: host.into(), port, path: path.into() }))
    }

    fn without_ways_up(self) -> Result<Self, String> {
        match self.path().split('/').any(|part| part == "..") {
            true => Err("leads upward with ..; name the directory itself".into()),
            false => Ok(self),
        }
    }

    /// The directory: absolute, or below the one of the login, which alone is `.`.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Sftp(address) => &address.path,
            Self::Ftps(address) => &address.path,
        }
    }

    /// The name of the server.
    pub(super) fn host(&self) -> &str {
        match self {
            Self::Sftp(address) => &address.host,
            Self::Ftps(address) => &address.host,
        }
    }

    /// The same as the server has it: who logged in, and the whole path.
    pub(super) fn settled(self, user: &str, root: &str) -> Self {
        match self {
            Self::Sftp(address) => {
                Self::Sftp(sftp::Address { user: Some(user.to_owned()), path: root.to_owned(), ..address })
            }
            Self::Ftps(address) => Self::Ftps(FtpAddress { path: root.to_owned(), ..address }),
        }
    }
}

/// `sftp://host//` and `sftp:host:/`.
fn is_root_of_sftp(text: &str) -> bool {
    let rest = text.trim_start_matches("sftp:");
    match rest.strip_prefix("//") {
        Some(rest) => rest
            .split_once('/')
            .is_some_and(|(_, path)| !path.is_empty() && path.trim_matches('/').is_empty()),
        None => rest.ends_with(":/"),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = match self {
            Self::Sftp(address) => return address.fmt(out),
            Self::Ftps(address) => address,
        };
        write!(out, "ftps://{}@", address.user)?;
        match address.host.contains(':') {
            true => write!(out, "[{}]", address.host)?,
            false => out.write_str(&address.host)?,
        }
        if address.port != FTP_PORT {
            write!(out, ":{}", address.port)?;
        }
        match address.path.as_str() {
            "." => Ok(()),
            path => write!(out, "/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_as_what_opens_again() {
        let cases = [
            ("ftps://b@files.example/srv", "files.example", "srv", "ftps://b@files.example/srv"),
            ("ftps://b@files.example//srv/x/", "files.example", "/srv/x", "ftps://b@files.example//srv/x"),
            ("ftps://b@files.example", "files.example", ".", "ftps://b@files.example"),
            ("ftps://b@files.example/", "files.example", ".", "ftps://b@files.example"),
            ("ftps://b@files.example//", "files.example", "/", "ftps://b@files.example//"),
            ("ftps://u@corp@[::1]:990/a b", "::1", "a b", "ftps://u@corp@[::1]:990/a b"),
            ("sftp://u@nas:2222//srv/b", "nas", "/srv/b", "sftp://u@nas:2222//srv/b"),
            ("sftp:u@nas:/srv/b", "nas", "/srv/b", "sftp://u@nas//srv/b"),
            ("sftp://u@nas//", "nas", "/", "sftp://u@nas//"),
            ("sftp:u@nas:/", "nas", "/", "sftp://u@nas//"),
        ];
        for (text, host, path, shown) in cases {
            let address = Address::parse(text).unwrap().unwrap();
            assert_eq!((address.host(), address.path()), (host, path), "{text}");
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap().unwrap(), address);
        }
        assert_eq!(Address::parse("/srv/ftps:x"), None);
        assert_eq!(Address::parse("ftp"), None);
    }

    #[test]
    fn what_is_no_address_or_has_a_password_is_refused_and_never_repeated() {
        for text in [
            "ftp://u@h/p",
            "ftps://u:secret@h/p",
            "ftps://h/p",
            "ftps://@h/p",
            "ftps://u@/p",
            "ftps://u@h:x/p",
            "ftps://u@h/a/../b",
            "ftps://u@h/a\nb",
            "sftp://u@h/../b",
            "sftp://u:secret@h/b",
            "sftp://u@h",
        ] {
            let refused = Address::parse(text).unwrap();
            assert!(refused.as_ref().is_err_and(|words| !words.contains("secret")), "{text}: {refused:?}");
        }
    }

    #[test]
    fn port_990_begins_with_tls() {
        let implicit = |text: &str| match Address::parse(text).unwrap().unwrap() {
            Address::Ftps(address) => address.is_implicit(),
            Address::Sftp(_) => unreachable!(),
        };
        assert!(implicit("ftps://u@h:990/p") && !implicit("ftps://u@h/p") && !implicit("ftps://u@h:2121/p"));
    }
}
