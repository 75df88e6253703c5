//! Reads a repository from the archive that its host sends, and verifies all of it.
//!
//! Promises: the result of [`Reading::finish`] is what the account signed: every block matches the
//! hash in its CID, the commit is signed with the account's key, and the tree below it is complete,
//! in order, and names each record ([`tree`]). Anything else is a [`Refused`], never a part. Memory
//! is bounded for any archive: only records of wanted collections are kept, as their final JSON,
//! and the nodes of the tree as they came. Blocks may come in any order.

mod blocks;
mod tree;

use std::fmt;

use super::snapshot::{Snapshot, SnapshotRecord};
use crate::wire::car::{Archive, BadArchive};
use crate::wire::dag_cbor::Link;
use crate::wire::ids::{Collection, Did};
use crate::wire::repository::{Commit, Node};
use crate::wire::signing_key::SigningKey;
use blocks::{Nodes, Records};

/// The longest archive, in bytes. In workerd reading takes about 25 ms a megabyte, and an object
/// may work for 30 seconds at a time.
pub const ARCHIVE_MAX: u64 = 256 * 1024 * 1024;

/// Why a repository is refused or not read. Nothing of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refused {
    /// Not an archive of one repository.
    NotAnArchive,
    /// The archive is truncated.
    Truncated,
    /// A block is too long.
    BlockTooLong,
    /// A block does not match the hash in its CID.
    WrongHash,
    /// It exceeds a limit on what is read or kept. Reading it again will not help.
    TooLarge,
    /// The commit that the archive names is missing or invalid.
    NoCommit,
    /// The commit belongs to another account.
    WrongAccount,
    /// The commit is not signed with the account's key.
    WrongSignature,
    /// A node of the tree is missing or invalid.
    MissingNode,
    /// A key of the tree does not name a record, or is encoded wrongly.
    BadKey,
    /// Keys of the tree are out of order or duplicate.
    OutOfOrder,
    /// A key is not on the layer that its hash determines.
    WrongLayer,
    /// The tree continues below its lowest layer.
    TooDeep,
    /// A wanted record is missing, or claims another collection.
    MissingRecord,
}

impl Refused {
    /// The word under which it is counted and stored.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::NotAnArchive => "repo_not_an_archive",
            Refused::Truncated => "repo_truncated",
            Refused::BlockTooLong => "repo_block_too_long",
            Refused::WrongHash => "repo_wrong_hash",
            Refused::TooLarge => "repo_too_large",
            Refused::NoCommit => "repo_no_commit",
            Refused::WrongAccount => "repo_wrong_account",
            Refused::WrongSignature => "repo_wrong_signature",
            Refused::MissingNode => "repo_missing_node",
            Refused::BadKey => "repo_bad_key",
            Refused::OutOfOrder => "repo_out_of_order",
            Refused::WrongLayer => "repo_wrong_layer",
            Refused::TooDeep => "repo_too_deep",
            Refused::MissingRecord => "repo_missing_record",
        }
    }

    /// Whether the archive is merely too large for this service. Such a repository may be listed
    /// record by record instead. One that fails verification must not be: the same host would
    /// answer, and a listing is not signed.
    pub fn is_for_its_size(self) -> bool {
        matches!(self, Refused::TooLarge | Refused::BlockTooLong)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::NotAnArchive => "the host sent no archive of a repository",
            Refused::Truncated => "the archive ends too early",
            Refused::BlockTooLong => "a block is too long (max 2 MiB)",
            Refused::WrongHash => "a block does not have the hash of its name",
            Refused::TooLarge => "the repository is too large to be read as an archive",
            Refused::NoCommit => "the commit is missing or is none",
            Refused::WrongAccount => "the commit is of another account",
            Refused::WrongSignature => "the commit is not signed with the account's key",
            Refused::MissingNode => "a node of the tree is missing or is none",
            Refused::BadKey => "a key of the tree names no record",
            Refused::OutOfOrder => "the keys of the tree are not in order",
            Refused::WrongLayer => "a key of the tree is on the wrong layer",
            Refused::TooDeep => "the tree is too deep",
            Refused::MissingRecord => "a record is missing or of another collection",
        })
    }
}

impl From<BadArchive> for Refused {
    fn from(bad: BadArchive) -> Self {
        match bad {
            BadArchive::Header | BadArchive::Length | BadArchive::Cid => Refused::NotAnArchive,
            BadArchive::Hash => Refused::WrongHash,
            BadArchive::Truncated => Refused::Truncated,
        }
    }
}

/// A repository that is being read.
#[derive(Debug)]
pub struct Reading {
    archive: Archive,
    read: u64,
    blocks: Blocks,
}

/// The blocks that are kept.
#[derive(Debug)]
struct Blocks {
    wanted: Vec<Collection>,
    commit: Option<Box<[u8]>>,
    nodes: Nodes,
    records: Records,
}

impl Reading {
    /// Starts to read the collections `wanted`. Fewer collections need less memory.
    pub fn new(wanted: &[Collection]) -> Self {
        let blocks = Blocks {
            wanted: wanted.to_vec(),
            commit: None,
            nodes: Nodes::default(),
            records: Records::default(),
        };
        Self { archive: Archive::default(), read: 0, blocks }
    }

    /// Takes the next bytes of the archive, cut anywhere. After a refusal the reading is over.
    pub fn take(&mut self, chunk: &[u8]) -> Result<(), Refused> {
        self.read = self.read.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        if self.read > ARCHIVE_MAX {
            return Err(Refused::TooLarge);
        }
        let blocks = &mut self.blocks;
        self.archive.take(chunk, |root, link, block| blocks.add(root, link, block))
    }

    /// The bytes held by now, as far as they are counted ([`kept`]).
    pub fn held(&self) -> u64 {
        let Blocks { nodes, records, .. } = &self.blocks;
        u64::try_from(self.archive.held() + nodes.held() + records.held()).unwrap_or(u64::MAX)
    }

    /// The contents of the repository of `did`; `key` is the signing key in its document.
    pub fn finish(self, did: &Did, key: &SigningKey) -> Result<Snapshot, Refused> {
        let passed_over = self.archive.finish()?.passed_over;
        // A missing block may be one that was too long to be kept.
        let missing = |refused: Refused| match refused {
            Refused::NoCommit | Refused::MissingNode | Refused::MissingRecord if passed_over => {
                Refused::BlockTooLong
            }
            other => other,
        };
        let Blocks { wanted, commit, nodes, records } = self.blocks;
        let commit = commit.as_deref().and_then(Commit::parse).ok_or(missing(Refused::NoCommit))?;
        if commit.did != did.as_str() {
            return Err(Refused::WrongAccount);
        }
        if !key.verifies(&commit.signed, &commit.signature) {
            return Err(Refused::WrongSignature);
        }
        let nodes = nodes.sorted();
        let mut records = records.sorted();
        let mut shown: Vec<SnapshotRecord> = Vec::with_capacity(records.len());
        tree::walk(&nodes, commit.data, |key, value| {
            let Some(collection) = wanted.iter().find(|wanted| wanted.nsid() == key.collection) else {
                return Ok(());
            };
            let json =
                records.show(value, shown.len(), |n| shown.get(n).map(|record| record.json.clone()))?;
            shown.push(SnapshotRecord {
                collection: *collection,
                rkey: key.rkey()?,
                cid: value.to_string(),
                json,
            });
            Ok(())
        })
        .map_err(missing)?;
        Ok(Snapshot { rev: commit.rev, records: shown, complete: wanted.into_iter().collect() })
    }
}

impl Blocks {
    /// Keeps of a block what may be needed at the end.
    fn add(&mut self, root: Link, link: Link, block: &[u8]) -> Result<(), Refused> {
        if link == root {
            self.commit = Some(block.into());
            return Ok(());
        }
        if Node::is_likely(block) && Node::parse(block).is_some() {
            return self.nodes.add(link, block);
        }
        self.records.add(link, block, &self.wanted)
    }
}
