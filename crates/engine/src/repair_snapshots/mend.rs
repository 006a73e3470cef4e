//! Trees without what is lost: bottom up, each once, however many snapshots share it.
//!
//! A lost chunk of known length becomes zero bytes, so that all that follows stays at its offset; one of unknown
//! length is cut out. What was done to a file or directory stands in its attribute [`LOST`].

use std::collections::HashMap;
use std::fmt::Write as _;

use model::cancel::CancelToken;
use model::digest::Digest;
use model::entry::Xattr;
use repo::index::{IdMap, Index};
use repo::node::Node;
use repo::saver::Hand;
use repo::{BlobKind, Repository, tree};

use crate::error::Result;
use crate::stored_tree::TreeSource;

/// The attribute that says what a mended file or directory lacks.
const LOST: &str = "user.mainstay.lost";
/// Characters of it at most; an ext4 attribute must fit into a block beside others.
const LOST_LEN_MAX: usize = 1024;
/// Zeros are stored in pieces of this length, each the same blob.
const ZEROS_LEN: u32 = 512 << 10;

/// Mends trees.
pub(super) struct Mender<'a> {
    trees: TreeSource<'a>,
    index: &'a Index,
    lengths: IdMap<u32>,
    hand: Hand,
    /// Each tree that was looked at, and what it is now; `None` where it cannot be read.
    done: HashMap<Digest, Option<Digest>>,
}

enum Step {
    Enter(Digest),
    Leave(Digest, Vec<Node>),
}

impl<'a> Mender<'a> {
    pub(super) fn new(
        repository: &'a Repository,
        index: &'a Index,
        lengths: IdMap<u32>,
        hand: Hand,
    ) -> Result<Self> {
        Ok(Self { trees: TreeSource::new(repository, index)?, index, lengths, hand, done: HashMap::new() })
    }

    /// What the tree `root` becomes, or `None` where it is lost itself.
    pub(super) fn mend(&mut self, root: Digest, cancel: &CancelToken) -> Result<Option<Digest>> {
        let mut steps = vec![Step::Enter(root)];
        while let Some(step) = steps.pop() {
            cancel.check()?;
            match step {
                Step::Enter(id) if self.done.contains_key(&id) => {}
                Step::Enter(id) => match self.trees.load(&id) {
                    Ok(nodes) => {
                        let below: Vec<_> = nodes.iter().filter_map(|node| node.subtree).collect();
                        steps.push(Step::Leave(id, nodes));
                        steps.extend(below.into_iter().map(Step::Enter));
                    }
                    Err(error) if error.is_damage() => _ = self.done.insert(id, None),
                    Err(error) => return Err(error),
                },
                Step::Leave(id, nodes) => {
                    let mended = self.save(id, nodes)?;
                    self.done.insert(id, Some(mended));
                }
            }
        }
        Ok(self.done.get(&root).copied().flatten())
    }

    /// The tree of `nodes`, stored anew if anything in it is lost. All trees below are done.
    fn save(&mut self, id: Digest, mut nodes: Vec<Node>) -> Result<Digest> {
        let mut is_changed = false;
        for node in &mut nodes {
            is_changed |= match node.subtree {
                Some(below) => self.mend_directory(node, below)?,
                None => self.mend_file(node)?,
            };
        }
        match is_changed {
            true => Ok(self.hand.save(BlobKind::Tree, &tree::encode(&mut nodes))?.id),
            false => Ok(id),
        }
    }

    fn mend_directory(&mut self, node: &mut Node, below: Digest) -> Result<bool> {
        match self.done.get(&below).copied().flatten() {
            Some(mended) => {
                node.subtree = Some(mended);
                Ok(mended != below)
            }
            None => {
                node.subtree = Some(self.hand.save(BlobKind::Tree, &tree::encode(&mut []))?.id);
                mark(node, "all entries".to_owned());
                Ok(true)
            }
        }
    }

    fn mend_file(&mut self, node: &mut Node) -> Result<bool> {
        let length = |id: &Digest| -> Result<_> {
            Ok(self.index.find(BlobKind::Data, id)?.map(|place| place.plain_length()))
        };
        let lengths = node.content.iter().map(length).collect::<Result<Vec<_>>>()?;
        let lost = node.content.iter().zip(&lengths).filter(|(_, length)| length.is_none());
        let lost: Vec<Digest> = lost.map(|(id, _)| *id).collect();
        let Some(first) = lost.first() else { return Ok(false) };
        // One lost chunk, however often it stands in the file, is as long as what the others leave.
        let kept: u64 = lengths.iter().flatten().copied().map(u64::from).sum();
        let rest = node.entry.metadata.size.checked_sub(kept).filter(|_| lost.iter().all(|id| id == first));
        let only = rest.map(|rest| rest / lost.len() as u64).and_then(|len| u32::try_from(len).ok());
        let (mut content, mut offset, mut words) = (vec![], 0, String::new());
        for (id, length) in std::mem::take(&mut node.content).into_iter().zip(lengths) {
            if let Some(length) = length {
                content.push(id);
                offset += u64::from(length);
                continue;
            }
            match self.lengths.get(&id).copied().or(only) {
                Some(length) => {
                    note(&mut words, &format!("{offset}+{length} zeroed"));
                    self.push_zeros(length, &mut content)?;
                    offset += u64::from(length);
                }
                None => note(&mut words, &format!("{offset} cut")),
            }
        }
        node.content = content;
        node.entry.metadata.size = offset;
        mark(node, words);
        Ok(true)
    }

    fn push_zeros(&mut self, mut length: u32, content: &mut Vec<Digest>) -> Result<()> {
        let zeros = vec![0; length.min(ZEROS_LEN) as usize];
        while length > 0 {
            let piece = length.min(ZEROS_LEN);
            content.push(self.hand.save(BlobKind::Data, &zeros[..piece as usize])?.id);
            length -= piece;
        }
        Ok(())
    }
}

fn note(words: &mut String, more: &str) {
    let separator = if words.is_empty() { "" } else { ", " };
    if words.len() + more.len() + 2 < LOST_LEN_MAX {
        write!(words, "{separator}{more}").expect("writing to a string");
    } else if !words.ends_with('…') {
        words.push('…');
    }
}

fn mark(node: &mut Node, words: String) {
    let xattrs = &mut node.entry.metadata.xattrs;
    xattrs.retain(|xattr| xattr.name != LOST);
    xattrs.push(Xattr { name: LOST.to_owned(), value: words.into_bytes() });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_short() {
        let mut words = String::new();
        (0..1000).for_each(|n| note(&mut words, &format!("{n}+5 zeroed")));
        assert!(
            words.len() < LOST_LEN_MAX + 4 && words.starts_with("0+5 zeroed, 1+5") && words.ends_with('…')
        );
    }
}
