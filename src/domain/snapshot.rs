//! What a repository held at one moment, however it was learnt: from its signed archive
//! (`repository`) or from listing its records.
//!
//! Promises: a record stands here once; what a collection in `complete` does not list was not in
//! the repository at `rev` (K04). Whether a record means anything is decided by the same rules
//! as for a live event (invariant 8), so its JSON is kept as text, in the form in which Jetstream
//! shows it.

use std::collections::BTreeSet;

use crate::wire::ids::{AtUri, Collection, Did, Rkey};

/// The records of a repository in the collections that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The revision of the repository: a TID, newer is greater as text. Everything written up to
    /// it is in here. A signed archive holds nothing newer either; a listing of records may, as
    /// its revision was read before the listing began.
    pub rev: String,
    /// The records, each once, in no order that means anything.
    pub records: Vec<SnapshotRecord>,
    /// The collections that were read from their beginning to their end. Only in these does
    /// being absent mean being deleted (K04).
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
    /// The record as JSON text, links as `{"$link":…}` and bytes as `{"$bytes":…}`. Empty if it
    /// is there but can be no valid record (I03): too long, or not the network's data.
    pub json: String,
}

impl SnapshotRecord {
    /// The full name of the record, in the repository of `did`.
    pub fn uri(&self, did: &Did) -> AtUri {
        AtUri::of(did, self.collection, &self.rkey)
    }
}
