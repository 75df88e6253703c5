//! The blocks of a repository that are kept until its tree can be walked, and their limits.
//!
//! An isolate has 128 MB for everything, and wasm's memory never shrinks. So both kinds of blocks
//! have a limit that includes the overhead of each, and both are vectors that are sorted once: a
//! hash table would need twice its room while it grows.

use super::Refused;
use crate::wire::dag_cbor::{Kind, Link, json, kind};
use crate::wire::ids::Collection;
use crate::wire::records::RECORD_MAX;

/// The maximum for nodes, in bytes. A tree takes about 75 bytes per record of the repository,
/// wanted or not, so this is enough for some 250,000 records.
const NODES_MAX: usize = 20 * 1024 * 1024;
/// The longest node. Hashes put 4 keys into a node on average and hardly ever 50, of at most 1 KiB.
const NODE_MAX: usize = 256 * 1024;
/// The overhead of a node: its hash, the position of its bytes, their allocation.
const NODE_COST: usize = 64;

/// The maximum for wanted records, in bytes: some 70,000 messages.
const RECORDS_MAX: usize = 32 * 1024 * 1024;
/// The overhead of a record: its hash, and later its collection, key and CID.
const RECORD_COST: usize = 256;

/// Blocks may be duplicated, and duplicates cost nothing: at the limit, they are removed. If that
/// freed less than this fraction of the limit, it is not repeated.
const WORTH: usize = 8;

/// Removes duplicates, and returns whether that was worthwhile.
fn without_twins<T>(
    blocks: &mut Vec<(Link, T)>,
    left: &mut usize,
    max: usize,
    cost: impl Fn(&T) -> usize,
) -> bool {
    blocks.sort_by_key(|(link, _)| *link);
    blocks.dedup_by_key(|(link, _)| *link);
    let held = blocks.iter().map(|(_, block)| cost(block)).sum();
    *left = max.saturating_sub(held);
    *left >= max / WORTH
}

/// Takes `cost` from what remains of a limit.
fn spend(left: &mut usize, cost: usize) -> Result<(), Refused> {
    *left = left.checked_sub(cost).ok_or(Refused::TooLarge)?;
    Ok(())
}

/// Nodes of a tree, as they arrive.
#[derive(Debug)]
pub(super) struct Nodes {
    left: usize,
    nodes: Vec<(Link, Box<[u8]>)>,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { left: NODES_MAX, nodes: Vec::new() }
    }
}

impl Nodes {
    pub(super) fn add(&mut self, link: Link, bytes: &[u8]) -> Result<(), Refused> {
        if bytes.len() > NODE_MAX {
            return Err(Refused::TooLarge);
        }
        let cost = |bytes: &[u8]| bytes.len() + NODE_COST;
        if self.left < cost(bytes)
            && !without_twins(&mut self.nodes, &mut self.left, NODES_MAX, |bytes| cost(bytes))
        {
            return Err(Refused::TooLarge);
        }
        spend(&mut self.left, cost(bytes))?;
        self.nodes.push((link, bytes.into()));
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        NODES_MAX.saturating_sub(self.left)
    }

    pub(super) fn sorted(self) -> SortedNodes {
        let Self { mut nodes, .. } = self;
        nodes.sort_unstable_by_key(|(link, _)| *link);
        // An archive may contain a block twice.
        nodes.dedup_by_key(|(link, _)| *link);
        SortedNodes(nodes)
    }
}

/// Nodes of a tree, for lookup.
pub(super) struct SortedNodes(Vec<(Link, Box<[u8]>)>);

impl SortedNodes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, link: Link) -> Option<(usize, &[u8])> {
        let at = self.0.binary_search_by_key(&link, |(link, _)| *link).ok()?;
        self.0.get(at).map(|(_, bytes)| (at, bytes.as_ref()))
    }
}

/// Wanted records, as they arrive.
#[derive(Debug)]
pub(super) struct Records {
    left: usize,
    records: Vec<(Link, String)>,
}

impl Default for Records {
    fn default() -> Self {
        Self { left: RECORDS_MAX, records: Vec::new() }
    }
}

impl Records {
    /// Keeps a block if it may be a wanted record. A record names its collection itself; one that
    /// does not is kept, and the tree decides. An invalid record (I03) is kept as an empty text, so
    /// that it counts as present and is refused like one from the stream.
    pub(super) fn add(&mut self, link: Link, block: &[u8], wanted: &[Collection]) -> Result<(), Refused> {
        let json = match kind(block) {
            Kind::Named(kind) if !wanted.iter().any(|wanted| wanted.nsid() == kind) => return Ok(()),
            Kind::Named(_) | Kind::Nameless => json(block, RECORD_MAX).unwrap_or_default(),
            Kind::Unreadable => String::new(),
        };
        let cost = |json: &String| json.len() + RECORD_COST;
        if self.left < cost(&json) && !without_twins(&mut self.records, &mut self.left, RECORDS_MAX, cost) {
            return Err(Refused::TooLarge);
        }
        spend(&mut self.left, cost(&json))?;
        self.records.push((link, json));
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        RECORDS_MAX.saturating_sub(self.left)
    }

    pub(super) fn sorted(self) -> SortedRecords {
        let Self { left, mut records } = self;
        records.sort_unstable_by_key(|(link, _)| *link);
        records.dedup_by_key(|(link, _)| *link);
        let records = records.into_iter().map(|(link, json)| (link, Json::Kept(json))).collect();
        SortedRecords { left, records }
    }
}

/// Wanted records, for lookup.
pub(super) struct SortedRecords {
    left: usize,
    records: Vec<(Link, Json)>,
}

enum Json {
    Kept(String),
    /// Where it was returned first: equal records share one hash.
    Shown(usize),
}

impl SortedRecords {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// The JSON of a record, which is returned as the `n`th. `shown` gives the length of an earlier
    /// one: one block under many keys must not grow without bound either.
    pub(super) fn show(
        &mut self,
        link: Link,
        n: usize,
        shown: impl Fn(usize) -> Option<String>,
    ) -> Result<String, Refused> {
        let at = self.records.binary_search_by_key(&link, |(link, _)| *link);
        let at = at.map_err(|_| Refused::MissingRecord)?;
        let (_, json) = self.records.get_mut(at).ok_or(Refused::MissingRecord)?;
        match json {
            Json::Kept(kept) => {
                let kept = std::mem::take(kept);
                *json = Json::Shown(n);
                Ok(kept)
            }
            Json::Shown(first) => {
                let copy = shown(*first).ok_or(Refused::MissingRecord)?;
                spend(&mut self.left, copy.len() + RECORD_COST)?;
                Ok(copy)
            }
        }
    }
}
