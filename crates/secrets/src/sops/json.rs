//! JSON in the order of the file, which the usual types would sort; numbers as Go reads them, as floats.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::tree::Node;

/// The one document of `text`, or why it cannot be read.
pub(super) fn read(text: &str) -> Result<Vec<Node>, String> {
    // The parser's own words may quote a value; where it is, is enough. It bounds the levels itself (128).
    serde_json::from_str(text).map(|node| vec![node]).map_err(|error| format!("line {}", error.line()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bare(if value { "True" } else { "False" }.to_owned()))
    }

    // Go has read it as a float, so it was one when it was hashed.
    #[allow(clippy::cast_precision_loss)]
    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Bare(value.to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = vec![];
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = vec![];
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_stays_and_numbers_are_floats() {
        let documents = read(r#"{"z": 1, "a": [1.50, true, null, "\ud83d\ude00"], "b": 1e3}"#).unwrap();
        let Node::Map(entries) = &documents[0] else { panic!("no map") };
        let names: Vec<_> = entries.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["z", "a", "b"]);
        assert_eq!(entries[0].1, Node::Bare("1".to_owned()));
        assert_eq!(entries[1].1.items()[0], Node::Bare("1.5".to_owned()));
        assert_eq!(entries[1].1.items()[3], Node::Text("😀".to_owned()));
        assert_eq!(entries[2].1, Node::Bare("1000".to_owned()));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(!read("{\"a\": \"hunter2").unwrap_err().contains("hunter2"));
    }
}
