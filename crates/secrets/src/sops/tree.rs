//! What stands in an encrypted file, in its order: the seal over it hashes the values one after the other.

/// One value, list or mapping.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// Text, in most files the ciphertext of a value.
    Text(String),
    /// A number, a boolean or a time, spelled as SOPS spells it to hash it.
    Bare(String),
    /// Nothing; the seal passes over it.
    Null,
    /// Values one after the other; for the seal they all have the name of the list.
    List(Vec<Self>),
    /// Values with names.
    Map(Vec<(String, Self)>),
}

/// Levels inside each other at most, far more than anybody writes.
pub(super) const DEPTH_MAX: usize = 64;

impl Node {
    /// The value with this name.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// What its text is, also of a number.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Bare(text) => Some(text),
            _ => None,
        }
    }

    /// The values of a list.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Whether nothing stands here: null, or a list or mapping without anything in it.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) | Self::Bare(text) => text.is_empty(),
            Self::Null => true,
            Self::List(items) => items.is_empty(),
            Self::Map(entries) => entries.is_empty(),
        }
    }

    /// What `key` means, with its levels apart by dots, and a list's values counted from 0. A name may have dots of its
    /// own (`stringData.s3.conf`). Gives the names on the way as well.
    pub(super) fn find<'a>(&'a self, key: &str, way: &mut Vec<Step<'a>>) -> Option<&'a Self> {
        let rest_behind = |name: &str| key.strip_prefix(name)?.strip_prefix('.');
        let mut through = |step: Step<'a>, value: &'a Self, rest: &str| {
            way.push(step);
            let found = value.find(rest, way);
            if found.is_none() {
                way.pop();
            }
            found
        };
        match self {
            Self::Map(entries) => {
                if let Some((name, value)) = entries.iter().find(|(name, _)| name == key) {
                    way.push(Step::Name(name));
                    return Some(value);
                }
                entries.iter().find_map(|(name, value)| through(Step::Name(name), value, rest_behind(name)?))
            }
            Self::List(items) => {
                let (place, rest) =
                    key.split_once('.').map_or((key, None), |(place, rest)| (place, Some(rest)));
                let place: usize = place.parse().ok()?;
                let value = items.get(place)?;
                match rest {
                    Some(rest) => through(Step::Place(place), value, rest),
                    None => {
                        way.push(Step::Place(place));
                        Some(value)
                    }
                }
            }
            _ => None,
        }
    }

    /// Every value in the order of the file, with the names above it.
    pub(super) fn each<'a, E>(
        &'a self,
        names: &mut Vec<&'a str>,
        seen: &mut Seen<'_, 'a, E>,
    ) -> Result<(), E> {
        match self {
            Self::Text(_) | Self::Bare(_) => seen(self, names),
            Self::Null => Ok(()),
            Self::List(items) => items.iter().try_for_each(|item| item.each(names, seen)),
            Self::Map(entries) => entries.iter().try_for_each(|(name, value)| {
                names.push(name);
                let result = value.each(names, seen);
                names.pop();
                result
            }),
        }
    }
}

/// Is shown a value and the names above it.
type Seen<'f, 'a, E> = dyn FnMut(&'a Node, &[&'a str]) -> Result<(), E> + 'f;

/// One level of the way to a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step<'a> {
    /// Into a mapping.
    Name(&'a str),
    /// Into a list, counted from 0.
    Place(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_by_names_with_dots_of_their_own() {
        let text = |text: &str| Node::Text(text.to_owned());
        let map = |entries: Vec<(&str, Node)>| {
            Node::Map(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
        };
        let tree = map(vec![
            ("data", map(vec![("s3", text("other")), ("s3.conf", text("conf"))])),
            ("list", Node::List(vec![text("zero"), map(vec![("key", text("one"))])])),
        ]);
        let find = |key: &str| tree.find(key, &mut vec![]).and_then(Node::text);
        assert_eq!(find("data.s3.conf"), Some("conf"));
        assert_eq!(find("data.s3"), Some("other"));
        assert_eq!(find("list.0"), Some("zero"));
        assert_eq!(find("list.1.key"), Some("one"));
        assert_eq!(find("list.2"), None);
        assert_eq!(find("data.s3.other"), None);
        let mut way = vec![];
        tree.find("list.1.key", &mut way).unwrap();
        assert_eq!(way, [Step::Name("list"), Step::Place(1), Step::Name("key")]);
    }
}
