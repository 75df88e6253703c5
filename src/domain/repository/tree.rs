//! The tree of a repository (a Merkle Search Tree): walks from its root to each of its keys, in
//! order.
//!
//! A key's layer is the number of leading pairs of zero bits in its SHA-256; all keys of a node are
//! on one layer, and each subtree is one layer lower. So the same keys always make the same tree,
//! and no tree is deeper than the layer of its root. Promises: each key is passed on once, in
//! order, or the walk is refused; no node is read twice; the stack is a vector, with one frame per
//! layer.

use sha2::{Digest, Sha256};

use super::Refused;
use super::blocks::SortedNodes;
use crate::wire::dag_cbor::Link;
use crate::wire::ids::Rkey;
use crate::wire::repository::{Entry, Node};

/// The longest key, in bytes.
const KEY_MAX: usize = 1024;

/// A key of the tree, `<collection>/<rkey>`.
pub(super) struct Key<'a> {
    pub(super) collection: &'a str,
    rkey: &'a str,
}

impl<'a> Key<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Refused> {
        let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"_~-:.".contains(&byte);
        let (collection, rkey) = std::str::from_utf8(bytes)
            .ok()
            .filter(|key| key.len() <= KEY_MAX)
            .and_then(|key| key.split_once('/'))
            .ok_or(Refused::BadKey)?;
        let is_key = [collection, rkey].iter().all(|part| !part.is_empty() && part.bytes().all(is_char));
        if is_key { Ok(Self { collection, rkey }) } else { Err(Refused::BadKey) }
    }

    /// Its second part. T02 applies to wanted collections only.
    pub(super) fn rkey(&self) -> Result<Rkey, Refused> {
        Rkey::parse(self.rkey).map_err(|_| Refused::BadKey)
    }
}

/// The layer of a key.
fn layer(key: &[u8]) -> u32 {
    let mut zeros = 0;
    for byte in Sha256::digest(key) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

/// A node whose entries are being walked.
struct Frame<'a> {
    layer: u32,
    entries: std::vec::IntoIter<Entry<'a>>,
    /// The previous key, with which the next one may share a prefix.
    key: Vec<u8>,
}

/// Walks the tree below `root`, and passes each key with its record to `each`.
pub(super) fn walk(
    nodes: &SortedNodes,
    root: Link,
    mut each: impl FnMut(&Key<'_>, Link) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut walk = Walk { nodes, seen: vec![false; nodes.len()], stack: Vec::new() };
    walk.open(root, None)?;
    let mut last: Vec<u8> = Vec::new();
    while let Some(frame) = walk.stack.last_mut() {
        let Some(entry) = frame.entries.next() else {
            walk.stack.pop();
            continue;
        };
        next_key(&mut frame.key, &entry)?;
        let key = Key::parse(&frame.key)?;
        if frame.key <= last {
            return Err(Refused::OutOfOrder);
        }
        if layer(&frame.key) != frame.layer {
            return Err(Refused::WrongLayer);
        }
        each(&key, entry.value)?;
        last.clear();
        last.extend_from_slice(&frame.key);
        let layer = frame.layer;
        if let Some(right) = entry.right {
            walk.open(right, Some(layer))?;
        }
    }
    Ok(())
}

/// Builds the key of an entry from the previous one. The shared prefix must be as long as possible:
/// a key has only one encoding.
fn next_key(key: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), Refused> {
    let prefix = usize::try_from(entry.prefix).map_err(|_| Refused::BadKey)?;
    let is_all_they_share = match (key.get(prefix), entry.suffix.first()) {
        (Some(old), Some(new)) => old != new,
        (Some(_), None) => true,
        (None, _) => prefix == key.len(),
    };
    if !is_all_they_share || prefix.saturating_add(entry.suffix.len()) > KEY_MAX {
        return Err(Refused::BadKey);
    }
    key.truncate(prefix);
    key.extend_from_slice(entry.suffix);
    Ok(())
}

struct Walk<'a> {
    nodes: &'a SortedNodes,
    /// Which nodes were read. Reading one twice would repeat its keys, and a loop of nodes without
    /// keys would not end.
    seen: Vec<bool>,
    stack: Vec<Frame<'a>>,
}

impl Walk<'_> {
    /// Descends to a node, and on to the first of its subtrees. `above` is the layer of the node
    /// above it; a root has none, and is on the layer of its keys.
    fn open(&mut self, link: Link, above: Option<u32>) -> Result<(), Refused> {
        let (mut next, mut above) = (Some(link), above);
        while let Some(link) = next {
            let (at, bytes) = self.nodes.get(link).ok_or(Refused::MissingNode)?;
            let node = Node::parse(bytes).ok_or(Refused::MissingNode)?;
            let seen = self.seen.get_mut(at).ok_or(Refused::MissingNode)?;
            if std::mem::replace(seen, true) {
                return Err(Refused::OutOfOrder);
            }
            let layer = match (above, node.entries.first()) {
                (Some(above), _) => above.checked_sub(1).ok_or(Refused::TooDeep)?,
                (None, Some(entry)) => layer(entry.suffix),
                // A repository without records.
                (None, None) if node.left.is_none() => return Ok(()),
                // A root without keys could be replaced by its subtree.
                (None, None) => return Err(Refused::WrongLayer),
            };
            // Below a root, a node without keys must lead to lower ones; otherwise it need not
            // exist.
            if node.entries.is_empty() && node.left.is_none() {
                return Err(Refused::WrongLayer);
            }
            self.stack.push(Frame { layer, entries: node.entries.into_iter(), key: Vec::new() });
            (next, above) = (node.left, Some(layer));
        }
        Ok(())
    }
}
