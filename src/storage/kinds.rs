//! How rows of each kind are read for a batch and stored after it.
//!
//! One [`Stored`] for each kind of the list (`domain::kinds`), in the files of this folder; from the
//! list follows [`KINDS`], which the facts, the commit, the parts and the reconciliation go through.
//! A kind that lacks one does not compile.

mod members;
mod people;
mod structure;
mod talk;
mod traces;

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::facts::Facts;
use super::{Fault, Param, Statement, chunks, rows};
use crate::domain::editions::Part;
use crate::domain::ingest::Needs;
use crate::domain::kinds::each_kind;
use crate::domain::working_set::{Changes, Kind};
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::time::Micros;

/// The statements of one kind.
pub(super) trait Stored: Kind + Serialize + DeserializeOwned {
    /// Which part of the index the rows are; `None`: no kept answer shows them (H11).
    const PART: Option<Part>;
    /// Reads the rows that a batch may look at, by [`Stored::asked`].
    const READ: &'static str;
    /// Stores rows as they are bound ([`Bound`]). Every column is set but those of the AT-URI, and
    /// nothing if a newer revision stands there: a record deleted and written again in one batch is
    /// an update.
    const STORE: &'static str;
    /// I52: takes out what deleted accounts (`?1`) have of this kind, and what others put on it.
    /// `?2` is the time.
    const PURGE: &'static [&'static str];
    /// I51, I53: hides (`?2`) what an account (`?1`) has of this kind; `None`: what it has stays.
    const HIDE: Option<&'static str>;
    /// Rows of one person that are kept, the newest, of a kind that anybody may write without asking
    /// anybody (I33, I38). The table has the columns `did` and `indexed_at`.
    const KEPT: Option<i64> = None;
    /// Whether a row stands for a record, counting or waiting.
    const IS_RECORD: bool = true;

    /// The parameters of [`Stored::READ`].
    fn asked(asked: &Asked) -> Vec<Param>;
}

/// What storage knows of a kind.
pub(super) struct Descriptor {
    /// [`Kind::TABLE`].
    pub(super) table: &'static str,
    /// [`Stored::PART`].
    pub(super) part: Option<Part>,
    /// [`Stored::PURGE`].
    pub(super) purge: &'static [&'static str],
    /// [`Stored::HIDE`].
    pub(super) hide: Option<&'static str>,
    /// Asks for the rows of a batch.
    pub(super) question: fn(&Asked) -> Question,
    /// Stores what changed.
    pub(super) store: fn(&mut Vec<Statement>, &Changes),
    /// Takes out the rows of those who have more than [`Stored::KEPT`].
    pub(super) bound: fn(&mut Vec<Statement>, &Changes),
    /// The records of a repository, from `?1` to `?2`, at most `?3`; `None`: rows stand for none.
    pub(super) records: Option<&'static str>,
}

macro_rules! descriptors {
    (
        records { $($(#[$_doc:meta])* $table:ident: $row:ident of $collection:ident, grouped by $_group:expr;)* }
        traces { $($(#[$_trace_doc:meta])* $trace:ident: $trace_row:ident, grouped by $_trace_group:expr;)* }
    ) => {
        /// Every kind.
        pub(super) const KINDS: &[Descriptor] = &[
            $(descriptor!($table, crate::domain::rows::$row),)*
            $(descriptor!($trace, crate::domain::rows::$trace_row),)*
        ];
    };
}
macro_rules! descriptor {
    ($table:ident, $row:ty) => {
        Descriptor {
            table: stringify!($table),
            part: <$row>::PART,
            purge: <$row>::PURGE,
            hide: <$row>::HIDE,
            question: question::<$row>,
            store: |statements, changes| {
                const REMOVE: &str = concat!(
                    "DELETE FROM ",
                    stringify!($table),
                    " WHERE uri IN (SELECT value FROM json_each(?1))"
                );
                store::<$row>(statements, changes, REMOVE);
            },
            bound: |statements, changes| {
                const BOUND: &str = concat!(
                    "DELETE FROM ",
                    stringify!($table),
                    " WHERE uri IN (SELECT r.uri FROM json_each(?1) p JOIN ",
                    stringify!($table),
                    " r ON r.did = p.value
                     WHERE r.indexed_at < (SELECT indexed_at FROM ",
                    stringify!($table),
                    " WHERE did = p.value
                         ORDER BY indexed_at DESC LIMIT 1 OFFSET ?2))"
                );
                bound::<$row>(statements, changes, BOUND);
            },
            records: if <$row>::IS_RECORD {
                Some(concat!(
                    "SELECT json_quote(uri) AS row FROM ",
                    stringify!($table),
                    " WHERE uri > ?1 AND uri < ?2 ORDER BY uri LIMIT ?3"
                ))
            } else {
                None
            },
        }
    };
}
each_kind!(descriptors);

/// A statement, and where its answer goes: the two cannot be mixed up with those of another one.
pub(super) struct Question {
    /// What is asked.
    pub(super) statement: Statement,
    /// Brings the answer in.
    pub(super) load: fn(&mut Facts, &Vec<String>) -> Result<(), Fault>,
}

/// Asks for the rows of a kind.
pub(super) fn question<R: Stored>(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(R::READ, R::asked(asked)),
        load: |facts, texts| {
            let table = R::table(&mut facts.working_set);
            rows(Some(texts))?.into_iter().for_each(|row| table.seed(row));
            Ok(())
        },
    }
}

/// A row as it is bound: its columns, and the two that stand in its AT-URI.
#[derive(Serialize)]
struct Bound<'a, R> {
    #[serde(flatten)]
    row: &'a R,
    authority: Did,
    rkey: Rkey,
}

fn store<R: Stored>(statements: &mut Vec<Statement>, changes: &Changes, remove: &'static str) {
    let delta = R::delta(changes);
    for text in chunks(delta.put.iter().map(|row| {
        let uri: &AtUri = row.uri();
        Bound { row, authority: uri.authority(), rkey: uri.rkey() }
    })) {
        statements.push(Statement::new(R::STORE, [Param::Text(text)]));
    }
    for text in chunks(delta.removed.iter()) {
        statements.push(Statement::new(remove, [Param::Text(text)]));
    }
}

fn bound<R: Stored>(statements: &mut Vec<Statement>, changes: &Changes, bound: &'static str) {
    let Some(kept) = R::KEPT else { return };
    let writers: BTreeSet<Did> = R::delta(changes).put.iter().map(|row| row.uri().authority()).collect();
    for text in chunks(writers.iter()) {
        statements.push(Statement::new(bound, [text.into(), (kept - 1).into()]));
    }
}

/// What a batch asks for, as parameters.
pub(super) struct Asked<'n> {
    /// The keys.
    pub(super) needs: &'n Needs,
    /// Of people whose account was switched, the messages since then are loaded (I51).
    pub(super) recent_since: Micros,
}

impl Asked<'_> {
    /// Records of a collection that the batch touches, and those that it names.
    fn touched_and<'u>(&'u self, collection: Collection, named: impl Iterator<Item = &'u AtUri>) -> Param {
        let touched = self.needs.records.iter().filter(|uri| uri.is(collection));
        Param::json(&touched.chain(named).map(AtUri::as_str).collect::<BTreeSet<_>>())
    }

    fn touched(&self, collection: Collection) -> Param {
        self.touched_and(collection, std::iter::empty())
    }

    pub(super) fn communities(&self) -> Param {
        Param::json(&self.needs.communities)
    }

    pub(super) fn channels(&self) -> Param {
        self.touched_and(Collection::Channel, self.needs.channel_uris.iter())
    }

    pub(super) fn channel_rkeys(&self) -> Param {
        Param::json(&self.needs.channel_rkeys)
    }

    fn categories(&self) -> Param {
        self.touched(Collection::Category)
    }

    fn memberships(&self) -> Param {
        self.touched_and(Collection::Membership, self.needs.memberships.iter())
    }

    pub(super) fn approvals(&self) -> Param {
        self.touched(Collection::Approval)
    }

    /// Messages that are touched, answered to or reacted to.
    pub(super) fn messages(&self) -> Param {
        self.touched_and(Collection::Message, self.needs.parent_uris.union(&self.needs.target_uris))
    }

    pub(super) fn parent_rkeys(&self) -> Param {
        Param::json(&self.needs.parent_rkeys)
    }

    pub(super) fn target_rkeys(&self) -> Param {
        Param::json(&self.needs.target_rkeys)
    }

    pub(super) fn reactions(&self) -> Param {
        self.touched(Collection::Reaction)
    }

    pub(super) fn people(&self) -> Param {
        Param::json(&self.needs.people)
    }

    /// People whose standing is not remembered.
    pub(super) fn strangers(&self) -> Param {
        Param::json(&self.needs.people.difference(&self.needs.remembered).collect::<Vec<_>>())
    }

    pub(super) fn profiles(&self) -> Param {
        Param::json(&self.needs.profiles)
    }

    pub(super) fn closing(&self) -> Param {
        Param::json(&self.needs.closing)
    }

    fn records(&self) -> Param {
        Param::json(&self.needs.records)
    }

    pub(super) fn accounts(&self) -> Param {
        Param::json(&self.needs.accounts)
    }

    pub(super) fn since(&self) -> Param {
        self.recent_since.sortable().into()
    }
}

/// The people whose standing is asked about, as `concerned`: those named (?1), those whose approval
/// is touched (?2), and those who wait in a community that asks for approval from now on (?3).
macro_rules! people_concerned {
    ($rest:literal) => {
        concat!(
            "WITH concerned(did) AS (
                SELECT value FROM json_each(?1)
                UNION SELECT m.member_did FROM approvals a JOIN memberships m ON m.uri = a.membership_uri
                       WHERE a.uri IN (SELECT value FROM json_each(?2))
                UNION SELECT m.member_did FROM memberships m
                        JOIN communities c ON c.uri = m.community_uri
                       WHERE m.community_uri IN (SELECT value FROM json_each(?3))
                         AND NOT EXISTS (SELECT 1 FROM approvals a
                              WHERE a.membership_uri = m.uri AND a.approver_did = c.owner_did
                                AND (a.community_uri IS NULL OR a.community_uri = m.community_uri))
            )",
            $rest
        )
    };
}
pub(super) use people_concerned;
