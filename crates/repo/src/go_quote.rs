//! Names in trees: arbitrary bytes as text, the way Go's `strconv.Quote` writes them without the outer quotes.
//!
//! Form: printable text stands for itself; `\` and `"` are escaped; control characters and bytes that are not
//! UTF-8 become `\n`, `\x1b`, `\xff` … Source: Go's strconv, and restic's tree format.

/// Text for `bytes`.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for part in bytes.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_ascii_control() => push_hex(&mut text, c as u8),
                c => text.push(c),
            }
        }
        part.invalid().iter().for_each(|byte| push_hex(&mut text, *byte));
    }
    text
}

fn push_hex(text: &mut String, byte: u8) {
    text.push_str(&format!("\\x{byte:02x}"));
}

/// The bytes that `text` stands for; `None` for an unknown escape.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    if !text.contains('\\') {
        return Some(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = unescape(&rest[at + 1..], &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

/// Read what stands behind a backslash; the text behind that.
fn unescape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let code = *text.as_bytes().first()?;
    let simple = match code {
        b'a' => 0x07,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 0x0b,
        b'\\' | b'"' | b'\'' => code,
        b'x' => return number(text, 1, 2, 16, bytes, |value, bytes| bytes.push(value as u8)),
        b'u' => return number(text, 1, 4, 16, bytes, push_char),
        b'U' => return number(text, 1, 8, 16, bytes, push_char),
        b'0'..=b'7' => return number(text, 0, 3, 8, bytes, |value, bytes| bytes.push(value as u8)),
        _ => return None,
    };
    bytes.push(simple);
    text.get(1..)
}

fn number<'a>(
    text: &'a str,
    start: usize,
    digits: usize,
    radix: u32,
    bytes: &mut Vec<u8>,
    push: fn(u32, &mut Vec<u8>),
) -> Option<&'a str> {
    let value = u32::from_str_radix(text.get(start..start + digits)?, radix).ok()?;
    push(value, bytes);
    text.get(start + digits..)
}

fn push_char(value: u32, bytes: &mut Vec<u8>) {
    let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_them() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain name", "plain name"),
            (b"a\\b\"c", "a\\\\b\\\"c"),
            (b"a\nb\x1b", "a\\nb\\x1b"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("grün".as_bytes(), "grün"),
            (b"\x7f", "\\x7f"),
        ];
        for (bytes, text) in cases {
            assert_eq!(quote(bytes), text);
            assert_eq!(unquote(text).unwrap(), bytes);
        }
        assert_eq!(unquote("\\u00fc\\U0001f600\\a\\101").unwrap(), "ü😀\x07A".as_bytes());
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["\\", "\\q", "\\x1", "\\xzz", "\\u12", "\\xé"] {
            assert_eq!(unquote(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_name_survives(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(unquote(&quote(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            unquote(&text);
        }
    }
}
