//! YAML as SOPS reads it: every document, in its order, plain scalars typed by the rules of go-yaml.

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::tree::{DEPTH_MAX, Node};

/// The documents of `text`, or why they cannot be read.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = vec![];
    while let Some(event) = next(&mut parser)? {
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => break,
            start => documents.push(node(start, &mut parser, 0)?),
        }
    }
    Ok(documents)
}

fn next<'input>(
    parser: &mut Parser<'input, saphyr_parser::StrInput<'input>>,
) -> Result<Option<Event<'input>>, String> {
    // The parser's own words may quote the line; where it is, is enough.
    parser
        .next_event()
        .map(|event| event.map(|(event, _)| event).map_err(|error| format!("line {}", error.marker().line())))
        .transpose()
}

fn node<'input>(
    start: Event<'input>,
    parser: &mut Parser<'input, saphyr_parser::StrInput<'input>>,
    depth: usize,
) -> Result<Node, String> {
    let cut = || "it ends too early".to_owned();
    if depth > DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} levels"));
    }
    match start {
        Event::Scalar(text, style, _, tag) => scalar(&text, style, tag.as_deref()),
        Event::SequenceStart(..) => {
            let mut items = vec![];
            loop {
                match next(parser)?.ok_or_else(cut)? {
                    Event::SequenceEnd => return Ok(Node::List(items)),
                    event => items.push(node(event, parser, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = vec![];
            loop {
                let name = match next(parser)?.ok_or_else(cut)? {
                    Event::MappingEnd => return Ok(Node::Map(entries)),
                    Event::Scalar(name, ..) => name.into_owned(),
                    _ => return Err("a name that is no text".to_owned()),
                };
                let event = next(parser)?.ok_or_else(cut)?;
                entries.push((name, node(event, parser, depth + 1)?));
            }
        }
        // SOPS writes none: it puts what they mean in their place.
        Event::Alias(_) => Err("an alias".to_owned()),
        _ => Err(cut()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, String> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(Node::Text(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(Node::Text(text.to_owned())),
        Some(tag) => Err(format!("the tag {}{}", tag.handle, tag.suffix)),
    }
}

/// What a scalar without quotes is: go-yaml v3's rules, and the spelling that SOPS hashes.
fn plain(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Bare("True".to_owned()),
        "false" | "False" | "FALSE" => return Node::Bare("False".to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Node::Bare("+Inf".to_owned()),
        "-.inf" | "-.Inf" | "-.INF" => return Node::Bare("-Inf".to_owned()),
        ".nan" | ".NaN" | ".NAN" => return Node::Bare("NaN".to_owned()),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Node::Text(text.to_owned());
    }
    if let Some(time) = time(text) {
        return Node::Bare(time);
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Node::Bare(number.to_string());
    }
    match digits.parse::<f64>() {
        Ok(number) if is_float(&digits) => Node::Bare(number.to_string()),
        _ => Node::Text(text.to_owned()),
    }
}

/// Whole numbers as Go's `ParseInt` reads them with base 0: also 0x, 0o, 0b and a leading 0 for octal.
fn integer(digits: &str) -> Option<i128> {
    let (sign, digits) = match digits.as_bytes().first()? {
        b'-' => (-1, &digits[1..]),
        b'+' => (1, &digits[1..]),
        _ => (1, digits),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_str() {
        _ if lower.starts_with("0x") => (&lower[2..], 16),
        _ if lower.starts_with("0b") => (&lower[2..], 2),
        _ if lower.starts_with("0o") => (&lower[2..], 8),
        _ if lower.len() > 1 && lower.starts_with('0') => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    let is_plain = digits.starts_with(|c: char| c.is_digit(radix));
    let number = i128::from(u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)?) * sign;
    (number >= i128::from(i64::MIN)).then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`: what else Rust takes for a float is text there.
fn is_float(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
}

/// A date or a time. SOPS hashes it as RFC 3339, and writes it so itself.
fn time(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_date = bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    match bytes.get(10) {
        None if is_date => Some(format!("{text}T00:00:00Z")),
        Some(b'T') if is_date => Some(text.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_go_yaml_takes_them_for() {
        for (text, bare) in [
            ("1", "1"),
            ("-17", "-17"),
            ("0777", "511"),
            ("0x1F", "31"),
            ("0o17", "15"),
            ("1_000", "1000"),
            ("1.50", "1.5"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("1.", "1"),
            ("true", "True"),
            ("FALSE", "False"),
            ("2026-11-21", "2026-11-21T00:00:00Z"),
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("18446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(plain(text), Node::Bare(bare.to_owned()), "{text}");
        }
        for text in
            ["v1", "yes", "on", "1.2.3", "-", "+-1", "0xg", "1a", "10.0.0.1", "-inf", "08x", ".", "12:30"]
        {
            assert_eq!(plain(text), Node::Text(text.to_owned()), "{text}");
        }
        for text in ["", "~", "null"] {
            assert_eq!(plain(text), Node::Null);
        }
    }

    #[test]
    fn documents_keep_their_order_and_quotes_make_text() {
        let documents = read("b: '1'\na: [1, \"x\"]\n# said\n---\nc: |\n  two\n  lines\n").unwrap();
        let text = |text: &str| Node::Text(text.to_owned());
        let bare = |text: &str| Node::Bare(text.to_owned());
        let first =
            vec![("b".to_owned(), text("1")), ("a".to_owned(), Node::List(vec![bare("1"), text("x")]))];
        assert_eq!(documents, [Node::Map(first), Node::Map(vec![("c".to_owned(), text("two\nlines\n"))])]);
    }

    #[test]
    fn what_is_no_yaml_or_goes_too_deep_is_refused_without_its_words() {
        let words = read("a: \"hunter2\nb").unwrap_err();
        assert!(!words.contains("hunter2"), "{words}");
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("a: &x 1\nb: *x\n").is_err());
    }
}
