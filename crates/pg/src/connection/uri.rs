//! `postgresql://user:password@host:port,host:port/database?name=value&…`, taken apart as libpq does.
//!
//! Form: section 34.1.1.2 of the PostgreSQL manual. Invariant: the parts are percent-decoded exactly once.

use super::error::ConnectionError;

/// What follows the scheme, if this is a URI.
pub(super) fn strip_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// The parameters in the rest of a URI, in their order.
pub(super) fn parse(rest: &str) -> Result<Vec<(String, String)>, ConnectionError> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = parse_hosts(hosts)?;
    let mut pairs = Vec::new();
    for (name, value) in
        [("user", user), ("password", password), ("host", &host), ("port", &port), ("dbname", database)]
    {
        if !value.is_empty() {
            pairs.push((name.to_owned(), decode(value)?));
        }
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) =
            pair.split_once('=').ok_or(ConnectionError::Malformed("a parameter without '='"))?;
        pairs.push(match (decode(name)?.as_str(), decode(value)?) {
            // JDBC's spelling, which libpq accepts in URIs.
            ("ssl", value) if value == "true" => ("sslmode".to_owned(), "require".to_owned()),
            (name, value) => (name.to_owned(), value),
        });
    }
    Ok(pairs)
}

/// Hosts and ports as libpq's two comma-separated lists, still percent-encoded.
fn parse_hosts(text: &str) -> Result<(String, String), ConnectionError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (host, after) = match part.strip_prefix('[') {
            Some(address) => {
                address.split_once(']').ok_or(ConnectionError::Malformed("an IPv6 address without ']'"))?
            }
            None => part.split_at(part.find(':').unwrap_or(part.len())),
        };
        hosts.push(host);
        ports.push(match after.strip_prefix(':') {
            Some(port) => port,
            None if after.is_empty() => "",
            None => return Err(ConnectionError::Malformed("text between an address and its port")),
        });
    }
    let ports = if ports.iter().all(|port| port.is_empty()) { String::new() } else { ports.join(",") };
    Ok((hosts.join(","), ports))
}

fn decode(text: &str) -> Result<String, ConnectionError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let decoded = decoded.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.ok_or(ConnectionError::Malformed("'%' without two hexadecimal digits"))?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| ConnectionError::Malformed("a part is not UTF-8"))
}
