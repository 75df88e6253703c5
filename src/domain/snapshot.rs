//! The contents of a repository at one moment, from its signed archive (`repository`) or from a
//! listing of its records.
//!
//! Promises: each record appears once; a record that a collection in `complete` does not list was
//! not in the repository at `rev` (K04). The rules of live events decide whether a record is valid
//! (invariant 8), so its JSON stays text, in Jetstream's form.

use std::collections::BTreeSet;

use crate::wire::ids::{AtUri, Collection, Did, Rkey};

/// The records of a repository in the requested collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the repository: a TID; a newer one is greater as text. The snapshot contains
    /// everything written up to it. A signed archive contains nothing newer; a listing may, because
    /// its revision was read before the listing began.
    pub rev: String,
    /// The records, each once, in arbitrary order.
    pub records: Vec<SnapshotRecord>,
    /// The collections that were read completely. Only in these does absence mean deletion (K04).
    pub complete: BTreeSet<Collection>,
}

/// One record of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its collection.
    pub collection: Collection,
    /// Its key.
    pub rkey: Rkey,
    /// The CID of its bytes, in base32: equal for equal contents.
    pub cid: String,
    /// The record as JSON text, with links as `{"$link":…}` and bytes as `{"$bytes":…}`. Empty if
    /// it exists but cannot be a valid record (I03): too long, or not valid data.
    pub json: String,
}

impl SnapshotRecord {
    /// The AT-URI of the record, in the repository of `did`.
    pub fn uri(&self, did: &Did) -> AtUri {
        AtUri::of(did, self.collection, &self.rkey)
    }
}
