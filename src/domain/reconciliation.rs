//! What a repository that was read means for the index: the order of its records, and which records
//! are gone (K02, K04, K09).
//!
//! [`plan`] puts a snapshot and the repository's records in the index into one sequence. Each step
//! goes through the same facts, fold and commit as an event of the stream; [`super::ingest`]
//! applies it.

use std::collections::BTreeSet;

use super::snapshot::{Snapshot, SnapshotRecord};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::jetstream::{Commit, Write, is_cid};
use crate::wire::records::Record;
use crate::wire::time::Micros;

/// The order of collections (K02). Approvals alone decide nothing (I41); they come first because a
/// channel releases the messages that waited for it, and the gate then needs the approvals. The
/// collections in one row are equal.
const ORDER: [&[Collection]; 13] = [
    &[Collection::Approval],
    &[Collection::Community],
    &[Collection::Channel, Collection::Category, Collection::Role],
    &[Collection::Membership],
    &[Collection::Member],
    &[Collection::Moderation],
    &[Collection::Message],
    &[Collection::Reaction],
    &[Collection::ActorData],
    &[Collection::ChannelRead],
    &[Collection::Profile],
    &[Collection::ActorProfile],
    &[Collection::Mute, Collection::Preference],
];

/// One finding of a reconciliation about a repository.
#[derive(Clone, Debug)]
pub struct Found {
    /// The repository.
    pub did: Did,
    /// The finding.
    pub what: Finding,
}

/// See [`Found`].
#[derive(Clone, Debug)]
pub enum Finding {
    /// A record exists or is gone, at the revision of the snapshot.
    Record(Box<Commit>),
    /// The account is active or not, at this time.
    Account {
        /// Whether it is active.
        active: bool,
        /// Why it is not.
        status: Option<String>,
        /// When its host was asked.
        at: Micros,
    },
}

/// One step of a [`plan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The repository contains this record.
    Present(&'a SnapshotRecord),
    /// The index has this record and the repository does not.
    Gone(&'a AtUri),
}

/// The steps, in order. `known` are the repository's records in the index.
///
///   1. Collections follow the order of K02; within one, keys are in order, which is the order of
///      writing if keys are TIDs.
///   2. A known record is gone if its collection is listed completely without it (K04). Its step
///      comes after the other records of its row, so that a person whose membership has a new key does
///      not leave in between.
///   3. Of several actor records one decides: `self`, or else the last key (I33). It comes after
///      deletions, which empty the entry.
pub fn plan<'a>(did: &Did, snapshot: &'a Snapshot, known: &'a [AtUri]) -> Vec<Step<'a>> {
    let listed: BTreeSet<AtUri> = snapshot.records.iter().map(|record| record.uri(did)).collect();
    let mut steps = Vec::new();
    for collections in ORDER {
        let stand = snapshot
            .records
            .iter()
            .filter(|record| collections.contains(&record.collection))
            .map(Step::Present);
        let gone = known
            .iter()
            .filter(|uri| {
                collections.iter().any(|of| uri.is(*of) && snapshot.complete.contains(of))
                    && uri.authority() == *did
                    && !listed.contains(*uri)
            })
            .map(Step::Gone);
        if collections.contains(&Collection::ActorData) {
            steps.extend(gone);
            steps.extend(deciding(snapshot).map(Step::Present));
        } else {
            steps.extend(stand);
            steps.extend(gone);
        }
    }
    steps
}

/// The actor record that counts (I33).
fn deciding(snapshot: &Snapshot) -> Option<&SnapshotRecord> {
    snapshot
        .records
        .iter()
        .filter(|record| record.collection == Collection::ActorData)
        .max_by_key(|record| (record.rkey.as_str() == "self", &record.rkey))
}

impl Step<'_> {
    /// The finding, at revision `rev` of the repository of `did`.
    pub fn found(&self, did: &Did, rev: &str) -> Option<Found> {
        let (uri, cid, write) = match self {
            Step::Present(record) => {
                let parsed = Record::parse(record.collection, did, &record.json);
                let json = if parsed.is_ok() { record.json.clone() } else { String::new() };
                let cid = Some(&record.cid).filter(|cid| is_cid(cid)).cloned();
                (record.uri(did), cid, Write::Put { is_create: false, json, record: parsed })
            }
            Step::Gone(uri) => ((*uri).clone(), None, Write::Delete),
        };
        let collection = Collection::from_nsid(uri.nsid())?;
        let commit = Commit { collection, rkey: uri.rkey(), uri, rev: rev.to_owned(), cid, write };
        Some(Found { did: did.clone(), what: Finding::Record(Box::new(commit)) })
    }

    /// The length of its text, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Step::Present(record) => record.json.len(),
            Step::Gone(uri) => uri.as_str().len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::Rkey;

    fn did() -> Did {
        Did::parse("did:plc:a").unwrap()
    }

    fn uri(path: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:a/social.colibri.{path}")).unwrap()
    }

    fn snapshot(records: &[&str], complete: &[Collection]) -> Snapshot {
        let records = records
            .iter()
            .map(|path| {
                let uri = uri(path);
                SnapshotRecord {
                    collection: Collection::from_nsid(uri.nsid()).unwrap(),
                    rkey: uri.rkey(),
                    cid: "b".into(),
                    json: "{}".into(),
                }
            })
            .collect();
        Snapshot { rev: "3a".into(), records, complete: complete.iter().copied().collect() }
    }

    fn check(records: &[&str], complete: &[Collection], known: &[&str], expected: &[&str], why: &str) {
        let (snapshot, known) =
            (snapshot(records, complete), known.iter().map(|path| uri(path)).collect::<Vec<_>>());
        let steps: Vec<String> = plan(&did(), &snapshot, &known)
            .iter()
            .map(|step| match step {
                Step::Present(record) => format!("{}/{}", record.collection.nsid(), record.rkey),
                Step::Gone(uri) => format!("-{}/{}", uri.nsid(), uri.rkey()),
            })
            .map(|step| step.replace("social.colibri.", ""))
            .collect();
        assert_eq!(steps, expected, "{why}");
    }

    #[test]
    fn k02_structure_first_reactions_last() {
        check(
            &[
                "reaction/r",
                "message/2",
                "message/1",
                "membership/m",
                "community/c",
                "channel/k",
                "approval/p",
            ],
            &[],
            &[],
            &[
                "approval/p",
                "community/c",
                "channel/k",
                "membership/m",
                "message/2",
                "message/1",
                "reaction/r",
            ],
            "whatever the order of the snapshot",
        );
    }

    #[test]
    fn k04_b33_only_a_complete_listing_deletes() {
        let message = [Collection::Message];
        check(
            &["message/1"],
            &message,
            &["message/1", "message/2"],
            &["message/1", "-message/2"],
            "listed without it",
        );
        check(&["message/1"], &[], &["message/1", "message/2"], &["message/1"], "an incomplete listing");
        check(&[], &message, &["channel/k"], &[], "another collection was not listed");
        check(&[], &message, &[], &[], "nothing known, nothing gone");
        check(
            &["message/1"],
            Collection::ALL,
            &["message/1"],
            &["message/1"],
            "a record that cannot be read is there all the same",
        );
        let (snapshot, foreign) = (
            snapshot(&[], &message),
            vec![AtUri::of(
                &Did::parse("did:plc:b").unwrap(),
                Collection::Message,
                &Rkey::parse("1").unwrap(),
            )],
        );
        assert_eq!(plan(&did(), &snapshot, &foreign), [], "a record of another repository");
    }

    #[test]
    fn what_replaces_comes_before_what_goes() {
        let all = Collection::ALL;
        check(
            &["membership/new"],
            all,
            &["membership/old", "community/c", "message/1"],
            &["-community/c", "membership/new", "-membership/old", "-message/1"],
            "a membership written anew",
        );
    }

    #[test]
    fn i33_one_actor_record_decides() {
        let all = Collection::ALL;
        check(&["actor.data/a", "actor.data/self", "actor.data/z"], all, &[], &["actor.data/self"], "self");
        check(&["actor.data/a", "actor.data/z"], all, &[], &["actor.data/z"], "the last key");
        check(
            &["actor.data/self"],
            all,
            &["actor.data/old"],
            &["-actor.data/old", "actor.data/self"],
            "a deletion empties the entry, so it comes first",
        );
    }
}
