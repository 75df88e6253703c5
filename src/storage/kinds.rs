//! How rows of each kind are read for a batch and stored after it.
//!
//! Each kind of the list (`domain::kinds`) has one [`Stored`], in the files of this folder. The
//! list generates [`KINDS`], which the facts, the commit, the parts and the reconciliation iterate
//! over. A kind without its `Stored` does not compile.

/// The row objects that a statement gets as one JSON array (`?1`), for `SELECT value ->> 'column'`. SQLite parses
/// each object once and keeps it in binary; `->>` on the plain `value` of `json_each` goes back to the object's text for
/// every column, which took twice the time. `LIMIT -1` (no limit) keeps SQLite from folding the subquery into the
/// outer query, where it would call `jsonb` once per column again.
macro_rules! row_objects {
    () => {
        "(SELECT jsonb(value) AS value FROM json_each(?1) LIMIT -1)"
    };
}
pub(super) use row_objects;

mod members;
mod people;
mod structure;
mod talk;
mod traces;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::facts::Facts;
use super::{Fault, Param, Statement, chunks, rows};
use crate::domain::editions::Part;
use crate::domain::facts_cache::FactsCache;
use crate::domain::form::Form;
use crate::domain::ingest::Needs;
use crate::domain::kinds::each_kind;
use crate::domain::working_set::{Changes, Kind};
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::time::Micros;

/// The statements of one kind.
pub(super) trait Stored: Kind + Serialize + DeserializeOwned {
    /// The part of the index that the rows belong to; `None` if no cached answer shows them (H11).
    const PART: Option<Part>;
    /// Reads the rows that a batch needs, with the parameters of [`Stored::asked`].
    const READ: &'static str;
    /// Stores rows with their bound columns ([`Bound`]). It sets every column except those of the
    /// AT-URI, and does nothing if a newer revision is stored: a record deleted and written again
    /// in one batch is an update.
    const STORE: &'static str;
    /// I52, I56: deletes the rows of accounts (`?1`) of this kind, and other people's rows on them: at
    /// most `?2` rows with each statement, all of them if that is negative. `?3` is the time.
    const PURGE: &'static [Purge];
    /// I51, I53: hides (`?2`) the rows of an account (`?1`) of this kind; `None` if they stay
    /// visible.
    const HIDE: Option<&'static str>;
    /// The most rows per person, the newest, of a kind that anybody may write without permission
    /// (I33, I38). The table has the columns `did` and `indexed_at`.
    const KEPT: Option<i64> = None;
    /// Whether a row represents a record, applied or held.
    const IS_RECORD: bool = true;

    /// The parameters of [`Stored::READ`].
    fn asked(asked: &Asked) -> Vec<Param>;
}

/// A statement that takes out rows, in two forms of the same text.
pub(super) struct Purge {
    /// For a commit, which wants no answer.
    pub(super) all: &'static str,
    /// For pieces: it answers a row for each that it changed.
    pub(super) piece: &'static str,
}

impl Purge {
    /// The parameters of both forms: whose, at most how many rows, when.
    pub(super) fn params(&self, dids: &[&Did], limit: i64, now: Micros) -> Vec<Param> {
        let mut params = vec![Param::json(&dids), limit.into()];
        params.extend(self.all.contains("?3").then(|| now.sortable().into()));
        params
    }
}

/// Writes the list of a kind's [`Purge`]s.
macro_rules! purges {
    ($($sql:literal),+ $(,)?) => {
        &[$($crate::storage::kinds::Purge { all: $sql, piece: concat!($sql, " RETURNING 'null' AS row") }),+]
    };
}
pub(super) use purges;

/// The statements of a kind, as data.
pub(super) struct Descriptor {
    /// [`Kind::TABLE`].
    pub(super) table: &'static str,
    /// [`Stored::PART`].
    pub(super) part: Option<Part>,
    /// [`Stored::PURGE`].
    pub(super) purge: &'static [Purge],
    /// [`Stored::HIDE`].
    pub(super) hide: Option<&'static str>,
    /// The question for the rows of a batch.
    pub(super) question: fn(&Asked) -> Question,
    /// Stores the changed rows.
    pub(super) store: fn(&mut Vec<Statement>, &Changes),
    /// Deletes the rows over [`Stored::KEPT`] of each person.
    pub(super) bound: fn(&mut Vec<Statement>, &Changes),
    /// The records of a repository, from `?1` to `?2`, at most `?3`; `None` if rows represent no
    /// records.
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

/// A statement together with the code that loads its answer, so that answers cannot be mixed up.
pub(super) struct Question {
    /// The statement.
    pub(super) statement: Statement,
    /// Loads the answer.
    pub(super) load: fn(&mut Facts, &Vec<String>) -> Result<(), Fault>,
}

/// The question for the rows of a kind.
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

/// A row as it is bound: its columns, the two that its AT-URI contains, and the CID of its version. The CID
/// is missing if the version did not change, and empty if it is unknown.
#[derive(Serialize)]
struct Bound<'a, R> {
    #[serde(flatten)]
    row: &'a R,
    authority: Did,
    rkey: Rkey,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a str>,
}

fn store<R: Stored>(statements: &mut Vec<Statement>, changes: &Changes, remove: &'static str) {
    let delta = R::delta(changes);
    for text in chunks(delta.put.iter().map(|row| {
        let uri: &AtUri = row.uri();
        Bound { row, authority: uri.authority(), rkey: uri.rkey(), cid: changes.cid_of(uri) }
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

/// The parameters that a batch provides. Several statements ask about the same, so each text is made once.
pub(super) struct Asked<'n> {
    /// The keys.
    pub(super) needs: &'n Needs,
    /// What need not be read.
    known: &'n FactsCache,
    /// For people whose account was activated or deactivated, messages since then are loaded (I51).
    recent_since: Micros,
    /// The records that the batch writes, by collection.
    written: BTreeMap<Collection, Vec<&'n AtUri>>,
    messages: OnceCell<Param>,
    reactions: OnceCell<Param>,
    records: OnceCell<Param>,
    parent_rkeys: OnceCell<Param>,
    target_rkeys: OnceCell<Param>,
    strangers: OnceCell<Param>,
    known_channels: OnceCell<Param>,
}

impl<'n> Asked<'n> {
    /// What `needs` names, apart from what is `known`.
    pub(super) fn new(needs: &'n Needs, known: &'n FactsCache, recent_since: Micros) -> Self {
        let mut written: BTreeMap<Collection, Vec<&AtUri>> = BTreeMap::new();
        for uri in &needs.records {
            if let Some(collection) = Collection::from_nsid(uri.nsid()) {
                written.entry(collection).or_default().push(uri);
            }
        }
        Self {
            needs,
            known,
            recent_since,
            written,
            messages: OnceCell::new(),
            reactions: OnceCell::new(),
            records: OnceCell::new(),
            parent_rkeys: OnceCell::new(),
            target_rkeys: OnceCell::new(),
            strangers: OnceCell::new(),
            known_channels: OnceCell::new(),
        }
    }

    /// The records of a collection that the batch writes, and those that it names.
    fn touched_and<'u>(&'u self, collection: Collection, named: impl Iterator<Item = &'u AtUri>) -> Param {
        let touched = self.written.get(&collection).into_iter().flatten().copied();
        Param::json(
            &touched.chain(named.filter(|uri| !self.needs.records.contains(*uri))).collect::<Vec<_>>(),
        )
    }

    fn touched(&self, collection: Collection) -> Param {
        self.touched_and(collection, std::iter::empty())
    }

    pub(super) fn communities(&self) -> Param {
        Param::json(&self.needs.communities)
    }

    /// The communities whose roles decide: those of the newest form that are named, and those that admitted people
    /// whose standing is cached.
    fn role_communities(&self) -> Param {
        let named = self.needs.communities.iter().filter(|uri| Form::of(uri) == Form::New);
        Param::json(&named.chain(self.known.admitting(&self.needs.people)).collect::<BTreeSet<_>>())
    }

    pub(super) fn channels(&self) -> Param {
        self.touched_and(Collection::Channel, self.needs.channel_uris.iter())
    }

    pub(super) fn channel_rkeys(&self) -> Param {
        Param::json(&self.needs.channel_rkeys)
    }

    /// The keys whose channels are not cached.
    fn strange_rkeys(&self) -> Param {
        let strange = self.needs.channel_rkeys.iter().filter(|rkey| !self.known.knows_channels(rkey));
        Param::json(&strange.collect::<Vec<_>>())
    }

    /// The channels that are cached.
    fn known_channels(&self) -> Param {
        let channels = || Param::json(&self.known.channels().map(|row| &row.uri).collect::<Vec<_>>());
        self.known_channels.get_or_init(channels).clone()
    }

    /// The communities that are cached.
    fn known_communities(&self) -> Param {
        Param::json(&self.known.communities().map(|row| &row.uri).collect::<Vec<_>>())
    }

    fn categories(&self) -> Param {
        self.touched(Collection::Category)
    }

    fn memberships(&self) -> Param {
        self.touched_and(Collection::Membership, self.needs.memberships.iter())
    }

    /// Records that are touched and by which somebody takes part: approvals, and admissions.
    pub(super) fn approvals(&self) -> Param {
        let of = |collection| self.written.get(&collection).into_iter().flatten();
        Param::json(&of(Collection::Approval).chain(of(Collection::Member)).collect::<Vec<_>>())
    }

    /// Messages that the batch writes, answers or reacts to.
    pub(super) fn messages(&self) -> Param {
        let named = || self.needs.parent_uris.union(&self.needs.target_uris);
        self.messages.get_or_init(|| self.touched_and(Collection::Message, named())).clone()
    }

    pub(super) fn parent_rkeys(&self) -> Param {
        self.parent_rkeys.get_or_init(|| Param::json(&self.needs.parent_rkeys)).clone()
    }

    pub(super) fn target_rkeys(&self) -> Param {
        self.target_rkeys.get_or_init(|| Param::json(&self.needs.target_rkeys)).clone()
    }

    pub(super) fn reactions(&self) -> Param {
        self.reactions.get_or_init(|| self.touched(Collection::Reaction)).clone()
    }

    pub(super) fn people(&self) -> Param {
        Param::json(&self.needs.people)
    }

    /// People whose standing is not cached.
    pub(super) fn strangers(&self) -> Param {
        let strangers = || self.needs.people.iter().filter(|did| !self.known.knows(did));
        self.strangers.get_or_init(|| Param::json(&strangers().collect::<Vec<_>>())).clone()
    }

    pub(super) fn profiles(&self) -> Param {
        Param::json(&self.needs.profiles)
    }

    pub(super) fn closing(&self) -> Param {
        Param::json(&self.needs.closing)
    }

    fn records(&self) -> Param {
        self.records.get_or_init(|| Param::json(&self.needs.records)).clone()
    }

    pub(super) fn accounts(&self) -> Param {
        Param::json(&self.needs.accounts)
    }

    pub(super) fn since(&self) -> Param {
        self.recent_since.sortable().into()
    }
}

/// The people whose standing is needed, as `concerned`: those named (?1), those whose approval or
/// admission the batch writes (?2), and those who wait in a community that requires approval from now
/// on (?3).
macro_rules! people_concerned {
    ($rest:literal) => {
        concat!(
            "WITH concerned(did) AS (
                SELECT value FROM json_each(?1)
                UNION SELECT m.member_did FROM approvals a JOIN memberships m ON m.uri = a.membership_uri
                       WHERE a.uri IN (SELECT value FROM json_each(?2))
                UNION SELECT member_did FROM members WHERE uri IN (SELECT value FROM json_each(?2))
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
