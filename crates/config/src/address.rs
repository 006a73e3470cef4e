//! Passwords that somebody wrote into an address: such an address is refused, and nothing that looks like one is shown.
//!
//! Form: what stands between `:` and `@` of an address; the value of a parameter that is a secret, behind `?` or among
//! libpq's `name=value`. Invariant: an address with nothing of that kind is shown as it is.

use std::borrow::Cow;

/// Stands for what is not shown.
const HIDDEN: &str = "…";
/// Parameters of libpq that are no passwords and open something all the same.
const SECRET_NAMES: [&str; 4] = ["oauth_client_secret", "scram_client_key", "scram_server_key", "sig"];

/// Why an address that holds a password is refused.
pub(crate) const NO_PASSWORDS: &str = "an address holds no password";

/// Whether somebody wrote a password into it.
pub fn has_password(address: &str) -> bool {
    matches!(without_password(address), Cow::Owned(_))
}

/// An address as it can be shown; borrowed where nothing had to be hidden.
pub(crate) fn without_password(address: &str) -> Cow<'_, str> {
    let hidden = match address.split_once("://") {
        Some((scheme, rest)) => of_address(scheme, rest),
        // A path is a path, whatever it is called.
        None if address.starts_with(['/', '.']) => None,
        None => of_short(address).or_else(|| of_words(address)),
    };
    hidden.map_or(Cow::Borrowed(address), Cow::Owned)
}

/// What can be shown of an address on the web, in whose path and parameters there are often words that open something.
pub(crate) fn place_on_the_web(address: &str) -> String {
    let shown = without_password(address);
    let Some((scheme, rest)) = shown.split_once("://") else { return HIDDEN.to_owned() };
    // Who logs in is as often a word that opens something.
    let path = rest.find('/').unwrap_or(rest.len());
    let rest = rest[..path].rfind('@').map_or(rest, |at| &rest[at + 1..]);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let more = if rest[end..].len() > 1 { format!("/{HIDDEN}") } else { rest[end..].to_owned() };
    format!("{scheme}://{}{more}", &rest[..end])
}

/// `user:password@host/path?name=value&…`; none where it has no secret. A login ends at the last @ before the path, whatever
/// else is in it.
fn of_address(scheme: &str, rest: &str) -> Option<String> {
    let end = rest.find('/').unwrap_or(rest.len());
    // A password with a slash in it that nobody wrote as %2F.
    let is_odd = scheme.starts_with("postgres") && !is_hosts(&rest[..end]);
    let odd = || rest.split('?').next()?.rfind('@').filter(|_| is_odd);
    let (login, host) = rest.split_at(rest[..end].rfind('@').or_else(odd).unwrap_or(0));
    let (place, query) = host.split_once('?').map_or((host, None), |(place, query)| (place, Some(query)));
    let (user, shown) = (login.split_once(':').map(|(user, _)| user), query.and_then(of_query));
    if user.is_none() && shown.is_none() {
        return None;
    }
    let login = user.map_or_else(|| login.to_owned(), |user| format!("{user}:{HIDDEN}"));
    let query = shown.or_else(|| query.map(str::to_owned)).map(|query| format!("?{query}"));
    Some(format!("{scheme}://{login}{place}{}", query.unwrap_or_default()))
}

/// `sftp:user:password@host:/path`, as restic writes it.
fn of_short(address: &str) -> Option<String> {
    let (scheme, place) = address.split_once(':')?;
    let end = place.find('/').unwrap_or(place.len());
    let (login, host) = place.split_at(place[..end].rfind('@')?);
    Some(format!("{scheme}:{}:{HIDDEN}{host}", login.split_once(':')?.0))
}

/// Hosts, each with its port where it has one.
fn is_hosts(text: &str) -> bool {
    let is_port = |after: &str| after.is_empty() || after.bytes().all(|byte| byte.is_ascii_digit());
    let port = |host: &str| match host.rsplit_once(']') {
        Some((_, after)) => is_port(after.trim_start_matches(':')),
        None => host.split_once(':').is_none_or(|(_, after)| is_port(after)),
    };
    text.split(',').all(port)
}

/// `name=value&name=value`; none where none is a secret.
fn of_query(query: &str) -> Option<String> {
    let mut has_secret = false;
    let mut shown = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret(name) && !value.is_empty() => {
            has_secret = true;
            format!("{name}={HIDDEN}")
        }
        Some((name, value)) => match without_password(value) {
            Cow::Owned(value) => {
                has_secret = true;
                format!("{name}={value}")
            }
            Cow::Borrowed(_) => pair.to_owned(),
        },
        None => pair.to_owned(),
    };
    let pairs: Vec<_> = query.split('&').map(&mut shown).collect();
    has_secret.then(|| pairs.join("&"))
}

/// libpq's `name=value name='value'`: what follows the first secret is not looked into further.
fn of_words(text: &str) -> Option<String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices('=').find_map(|(at, _)| {
        let before = text[..at].trim_end();
        let name = before.rsplit(|c| !is_of_name(c)).next()?;
        (is_secret(name) && !text[at + 1..].trim().is_empty()).then(|| format!("{before}={HIDDEN}"))
    })
}

/// Whether what a parameter of this name says is a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("password") || SECRET_NAMES.contains(&&*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_of_an_address_is_shown_in_whatever_form_it_stands_there() {
        let table = [
            ("postgresql://u:canary@h/d", "postgresql://u:…@h/d"),
            ("postgresql://u:can@ry@h/d?sslmode=require", "postgresql://u:…@h/d?sslmode=require"),
            ("postgresql://u:canary/with/slashes@h/d", "postgresql://u:…@h/d"),
            ("postgresql://u@h/d?password=canary", "postgresql://u@h/d?password=…"),
            (
                "postgresql:///d?user=u&sslpassword=canary&host=h",
                "postgresql:///d?user=u&sslpassword=…&host=h",
            ),
            ("host=h password=canary dbname=d", "host=h password=…"),
            ("host=h password = 'canary with spaces'", "host=h password=…"),
            ("sftp://u:canary@h:22//srv", "sftp://u:…@h:22//srv"),
            ("s3://key:canary@bucket/p", "s3://key:…@bucket/p"),
            ("sftp://u:can#ary@h//srv", "sftp://u:…@h//srv"),
            ("sftp://u:can?ary@h//srv", "sftp://u:…@h//srv"),
            ("s3:https://k:can#ary@h/b", "s3:https://k:…@h/b"),
            ("postgresql://u:12#34@h/d", "postgresql://u:…@h/d"),
            ("postgresql://u:ca?nary@h/d", "postgresql://u:…@h/d"),
            ("s3:https://key:canary@host/bucket", "s3:https://key:…@host/bucket"),
            ("sftp:u:canary@h:/srv", "sftp:u:…@h:/srv"),
            ("s3://b/p?endpoint=http://u:canary@h", "s3://b/p?endpoint=http://u:…@h"),
            ("az://a/c?sig=canary", "az://a/c?sig=…"),
        ];
        for (address, shown) in table {
            assert_eq!(without_password(address), shown);
            assert!(has_password(address), "{address}");
        }
    }

    #[test]
    fn what_holds_none_is_shown_as_it_is() {
        for address in [
            "postgresql://u@h1:5432,[::1]:5433/d@x:y?sslmode=require&application_name=a",
            "postgresql://h:5432/a@b",
            "postgresql://u@h/d?password=",
            "host=h user=u dbname=password_store",
            "app",
            "/srv/password=x/a:b@c",
            "sftp://u@h:22/a:b@c",
            "sftp:u@h:/srv",
            "s3:s3.amazonaws.com/bucket/a:b@c",
            "s3://b/p?endpoint=http://localhost:9000&region=x",
            "file:///srv/backups",
        ] {
            assert_eq!(without_password(address), address);
            assert!(!has_password(address), "{address}");
        }
    }

    #[test]
    fn of_the_web_the_host_alone_is_shown() {
        for (address, shown) in [
            ("https://hooks.example/services/canary", "https://hooks.example/…"),
            ("https://hooks.example?token=canary", "https://hooks.example/…"),
            ("https://u:canary@hooks.example/", "https://hooks.example/"),
            ("https://canary@hooks.example/1", "https://hooks.example/…"),
            ("http://h:8080", "http://h:8080"),
        ] {
            assert_eq!(place_on_the_web(address), shown);
        }
    }
}
