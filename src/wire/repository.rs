//! The blocks of a repository: its signed commit, and the nodes of its tree (a Merkle Search Tree,
//! atproto.com/specs/repository). The domain checks that the nodes form a tree.

use ipld_core::cid::Cid;
use serde::{Deserialize, Serialize};

use super::dag_cbor::Link;
use super::tid;

/// The longest commit, in bytes. Commits have about 200.
const COMMIT_MAX: usize = 4096;
/// The first bytes of a node: a map of two entries, the first of which is `e`. No record with a
/// `$type` starts like this.
const NODE: [u8; 3] = [0xa2, 0x61, b'e'];

/// A commit: the account's signed statement of what the repository contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The DID of the account.
    pub did: String,
    /// Its revision: a TID.
    pub rev: String,
    /// The root of the tree.
    pub data: Link,
    /// The signature of `signed`.
    pub signature: Vec<u8>,
    /// The signed bytes: the commit without its signature.
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
    /// Reads a commit of version 3, or one of version 2 with a revision, which repositories had
    /// when version 3 came. `None` if the bytes are neither.
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

/// A node of the tree: consecutive keys in order, with subtrees before, between and after them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node<'a> {
    /// The subtree before the first entry.
    #[serde(rename = "l")]
    pub left: Option<Link>,
    /// The entries.
    #[serde(rename = "e", borrow)]
    pub entries: Vec<Entry<'a>>,
}

/// A key in a node, and its record.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<'a> {
    /// The length of the prefix that the key shares with the previous key in this node, in bytes.
    #[serde(rename = "p")]
    pub prefix: u32,
    /// The rest of the key.
    #[serde(rename = "k", borrow)]
    pub suffix: &'a [u8],
    /// The record.
    #[serde(rename = "v")]
    pub value: Link,
    /// The subtree between this entry and the next.
    #[serde(rename = "t")]
    pub right: Option<Link>,
}

impl<'a> Node<'a> {
    /// Whether a block starts like a node.
    pub fn is_likely(bytes: &[u8]) -> bool {
        bytes.starts_with(&NODE)
    }

    /// Reads a node.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        serde_ipld_dagcbor::from_slice(bytes).ok()
    }
}
