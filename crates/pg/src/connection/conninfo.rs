//! libpq's `name=value` strings, read and written.
//!
//! Form: pairs separated by white space, white space around `=` allowed; a value with white space stands in single
//! quotes; `\` takes the next character as it is. Invariant: what is written is quoted throughout, so reading it
//! gives the same pairs whatever the values hold.

use super::error::ConnectionError;

/// The pairs in `text`, in their order.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, ConnectionError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or(ConnectionError::Malformed("a name without '='"))?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(ConnectionError::Malformed("a name without '='"));
        }
        let (value, after) = read_value(after.trim_start())?;
        pairs.push((name.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

fn read_value(text: &str) -> Result<(String, &str), ConnectionError> {
    let quoted = text.starts_with('\'');
    let text = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            character if !quoted && character.is_whitespace() => return Ok((value, &text[at..])),
            character => value.push(character),
        }
    }
    if quoted { Err(ConnectionError::Malformed("a quote that is not closed")) } else { Ok((value, "")) }
}

/// The pairs as one string.
pub(super) fn write<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = pairs.map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{name}='{value}'")
    });
    quoted.collect::<Vec<_>>().join(" ")
}
