//! A directory as a blob: its nodes, strictly sorted by name.
//!
//! Form: `{"nodes":[…]}` and a newline. Equal directories are equal bytes, so an unchanged directory costs nothing.

use serde::Deserialize;

use crate::error::{RepoError, Result};
use crate::node::{Node, NodeForm};

const OPENING: &[u8] = b"{\"nodes\":[";
const CLOSING: &[u8] = b"]}\n";

#[derive(Deserialize)]
struct TreeRead {
    #[serde(default)]
    nodes: Option<Vec<NodeForm>>,
}

/// The bytes of a tree. Nodes are sorted here; names must be different.
pub fn encode(nodes: &mut [Node]) -> Vec<u8> {
    nodes.sort_by(|one, other| one.entry.name.cmp(&other.entry.name));
    let mut tree = TreeWriter::default();
    nodes.iter().for_each(|node| tree.push(node));
    tree.finish()
}

/// Takes the nodes of one tree as they come, in the order of their names, and keeps only their bytes.
#[derive(Debug, Default)]
pub struct TreeWriter {
    json: Vec<u8>,
}

impl TreeWriter {
    /// The next node; its name must be greater than all before.
    pub fn push(&mut self, node: &Node) {
        self.json.extend_from_slice(if self.json.is_empty() { OPENING } else { b"," });
        serde_json::to_writer(&mut self.json, &NodeForm::from(node)).expect("a node is text and numbers");
    }

    /// Bytes so far. A tree is one blob, so it ends at [`PLAIN_LEN_MAX`](crate::blob::PLAIN_LEN_MAX).
    pub fn len(&self) -> usize {
        self.json.len() + CLOSING.len()
    }

    /// Whether there is no node in it yet.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// The bytes of the tree.
    pub fn finish(mut self) -> Vec<u8> {
        if self.json.is_empty() {
            self.json.extend_from_slice(OPENING);
        }
        self.json.extend_from_slice(CLOSING);
        self.json
    }
}

/// Takes the nodes of one tree in any order, and keeps only their bytes and names.
#[derive(Debug, Default)]
pub struct TreeGatherer {
    writer: TreeWriter,
    names: Vec<u8>,
    places: Vec<Place>,
}

/// Where the name and the bytes of a node lie.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: (usize, usize),
    json: (usize, usize),
}

impl TreeGatherer {
    /// One more node; names must be different.
    pub fn push(&mut self, node: &Node) {
        let name_at = self.names.len();
        self.names.extend_from_slice(&node.entry.name);
        // Behind the opening, or behind a comma.
        let json_at = self.writer.json.len().max(OPENING.len() - 1) + 1;
        self.writer.push(node);
        let (name, json) = ((name_at, self.names.len()), (json_at, self.writer.json.len()));
        self.places.push(Place { name, json });
    }

    /// The bytes of the tree.
    pub fn finish(self) -> Vec<u8> {
        let Self { writer, names, mut places } = self;
        let name = |place: &Place| &names[place.name.0..place.name.1];
        if places.is_sorted_by_key(name) {
            return writer.finish();
        }
        places.sort_unstable_by_key(name);
        let mut sorted = Vec::with_capacity(writer.len());
        for place in &places {
            sorted.extend_from_slice(if sorted.is_empty() { OPENING } else { b"," });
            sorted.extend_from_slice(&writer.json[place.json.0..place.json.1]);
        }
        TreeWriter { json: sorted }.finish()
    }
}

/// Read a tree called `what`.
///
/// # Errors
/// [`RepoError::Damaged`] for other bytes, unsafe names, or names that are not strictly sorted.
pub fn decode(json: &[u8], what: &dyn ToString) -> Result<Vec<Node>> {
    let damaged = |reason: &dyn ToString| RepoError::damaged(what.to_string(), reason.to_string());
    let form: TreeRead = serde_json::from_slice(json).map_err(|error| damaged(&error))?;
    let nodes = form.nodes.unwrap_or_default().into_iter().map(NodeForm::into_node);
    let nodes = nodes.collect::<Result<Vec<_>, _>>().map_err(|reason| damaged(&reason))?;
    if nodes.windows(2).any(|pair| pair[0].entry.name >= pair[1].entry.name) {
        return Err(damaged(&"its names are not sorted"));
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::digest::Digest;
    use model::entry::{Entry, EntryKind, Metadata, Xattr};

    fn node(name: &[u8], kind: EntryKind) -> Node {
        let time = "1969-12-31T23:59:59.123456789Z".parse().unwrap();
        let subtree = (kind == EntryKind::Directory).then_some(Digest([7; 32]));
        let content = if kind == EntryKind::File { vec![Digest([5; 32]); 2] } else { vec![] };
        let metadata = Metadata {
            mode: 0o4755,
            uid: 1000,
            gid: 1001,
            user: "u".into(),
            group: String::new(),
            mtime: time,
            atime: time,
            ctime: time,
            inode: u64::MAX,
            device_id: 3,
            links: 2,
            size: 9,
            xattrs: vec![Xattr { name: "user.x".into(), value: vec![0, 255] }],
        };
        Node { entry: Entry { name: name.to_vec(), kind, metadata }, content, subtree }
    }

    fn sample() -> Vec<Node> {
        vec![
            node(b"\xff\n\"", EntryKind::File),
            node(b"a", EntryKind::Directory),
            node(b"b", EntryKind::Symlink { target: b"/x\xff".to_vec() }),
            node(b"c", EntryKind::CharDevice { device: 259 }),
            node(b"d", EntryKind::BlockDevice { device: 1 }),
            node(b"e", EntryKind::Fifo),
            node(b"f", EntryKind::Socket),
        ]
    }

    #[test]
    fn every_kind_of_node_is_read_back() {
        let mut nodes = sample();
        let json = encode(&mut nodes);
        assert_eq!(nodes[6].entry.name, b"\xff\n\"", "sorted by bytes");
        assert_eq!(decode(&json, &"tree").unwrap(), nodes);
        let text = String::from_utf8(json).unwrap();
        assert!(text.contains(r#""type":"dir","mode":2155872749"#), "{text}");
    }

    #[test]
    fn nodes_that_come_in_any_order_make_the_same_tree() {
        let gathered = |nodes: &[Node]| {
            let mut gatherer = TreeGatherer::default();
            nodes.iter().for_each(|node| gatherer.push(node));
            gatherer.finish()
        };
        let mut sorted = sample();
        let tree = encode(&mut sorted);
        assert_eq!(gathered(&sorted), tree);
        assert_eq!(gathered(&sample()), tree);
        sorted.reverse();
        assert_eq!(gathered(&sorted), tree);
        assert_eq!(gathered(&[]), encode(&mut []));
        assert_eq!(gathered(&sorted[..1]), encode(&mut sorted[..1]));
    }

    #[test]
    fn an_empty_file_has_an_empty_list_not_null() {
        let mut nodes = vec![node(b"a", EntryKind::File)];
        nodes[0].content.clear();
        assert!(String::from_utf8(encode(&mut nodes)).unwrap().contains(r#""content":[]"#));
    }

    #[test]
    fn hostile_trees_are_refused() {
        let json = String::from_utf8(encode(&mut sample())).unwrap();
        let hostile = [
            json.replace(r#""name":"a""#, r#""name":"..""#),
            json.replace(r#""name":"a""#, r#""name":"x/y""#),
            json.replace(r#""name":"a""#, r#""name":"z""#),
            json.replace(r#""name":"b""#, r#""name":"a""#),
            json.replace(r#""type":"fifo""#, r#""type":"door""#),
            json.replace(r#""subtree""#, r#""subtree_""#),
            json[..json.len() / 2].to_owned(),
        ];
        for json in hostile {
            assert!(decode(json.as_bytes(), &"tree").unwrap_err().is_damage(), "{json}");
        }
    }
}
