//! The blocks that make a repository: its signed commit, and the nodes of its tree (a Merkle
//! Search Tree, atproto.com/specs/repository). What makes nodes a tree is a rule's.

use ipld_core::cid::Cid;
use serde::{Deserialize, Serialize};

use super::dag_cbor::Link;
use super::tid;

/// The longest commit read, in bytes. They have about 200.
const COMMIT_MAX: usize = 4096;
/// How a node begins: a map of two, the first of which is `e`. No record with a `$type` does.
const NODE: [u8; 3] = [0xa2, 0x61, b'e'];

/// A commit: what its account says the repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose repository it is.
    pub did: String,
    /// Its revision: a TID.
    pub rev: String,
    /// The root of the tree.
    pub data: Link,
    /// The signature, of `signed`.
    pub signature: Vec<u8>,
    /// What was signed: the commit without its signature.
    pub signed: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedFields<'a> {
    #[serde(borrow)]
    did: &'a str,
    #[serde(borrow)]
    rev: &'a str,
    #[serde(borrow)]
    sig: &'a [u8],
    data: Cid,
    prev: Option<Cid>,
    version: u64,
}

/// In the order of DAG-CBOR: short keys first.
#[derive(Serialize)]
struct Fields<'a> {
    did: &'a str,
    rev: &'a str,
    data: Cid,
    prev: Option<Cid>,
    version: u64,
}

impl Commit {
    /// Reads a commit of version 3, or one of version 2 that has a revision, as those do that
    /// were written when version 3 came. `None` if it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > COMMIT_MAX {
            return None;
        }
        let SignedFields { did, rev, sig, data, prev, version } =
            serde_ipld_dagcbor::from_slice(bytes).ok()?;
        tid::time(rev)?;
        if ![2, 3].contains(&version) {
            return None;
        }
        let signed = serde_ipld_dagcbor::to_vec(&Fields { did, rev, data, prev, version }).ok()?;
        Some(Self {
            did: did.to_owned(),
            rev: rev.to_owned(),
            data: Link::try_from(data).ok()?,
            signature: sig.to_vec(),
            signed,
        })
    }
}

/// A node of the tree: a stretch of its keys, in order, with subtrees before, between and behind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node<'a> {
    /// The subtree of what is before the first entry.
    #[serde(rename = "l")]
    pub left: Option<Link>,
    /// The entries.
    #[serde(rename = "e", borrow)]
    pub entries: Vec<Entry<'a>>,
}

/// A key of a node, and the record it names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<'a> {
    /// How many bytes the key shares with the one before it in this node.
    #[serde(rename = "p")]
    pub prefix: u32,
    /// The rest of the key.
    #[serde(rename = "k", borrow)]
    pub suffix: &'a [u8],
    /// The record.
    #[serde(rename = "v")]
    pub value: Link,
    /// The subtree of what is between this entry and the next.
    #[serde(rename = "t")]
    pub right: Option<Link>,
}

impl<'a> Node<'a> {
    /// Whether a block begins as a node does.
    pub fn is_likely(bytes: &[u8]) -> bool {
        bytes.starts_with(&NODE)
    }

    /// Reads a node.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_ipld_dagcbor::from_slice(bytes).ok()
    }
}
