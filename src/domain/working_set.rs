//! The part of the index that one batch of events may read and change.
//!
//! `storage` fills it with the facts that the batch needs; the fold changes it event by event, so
//! that a later event sees the effects of an earlier one; [`Changes`] has the touched rows. For the
//! rules, a row that is not here does not exist, so the loader must load everything that
//! [`super::ingest::Needs`] names.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::bans::{Bans, BansDelta};
use super::facts_cache::Kept;
use super::kinds::each_kind;
use super::rows::{ChannelRow, CommunityRow, GoneRow, MessageRow, PersonRow, Row};
use crate::wire::bodies::Person;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};

/// Rows of one kind ([`super::kinds`]): where they are stored.
pub trait Kind: Row {
    /// The name of their table, in the database too.
    const TABLE: &'static str;

    /// Their table.
    fn table(working_set: &mut WorkingSet) -> &mut Table<Self>;

    /// The changes of a batch to them.
    fn delta(changes: &Changes) -> &Delta<Self>;
}

macro_rules! tables {
    (
        records { $($(#[$doc:meta])* $table:ident: $row:ident of $collection:ident, grouped by $_group:expr;)* }
        traces { $($(#[$trace_doc:meta])* $trace:ident: $trace_row:ident, grouped by $_trace_group:expr;)* }
    ) => {
        /// Facts and, as the fold goes on, their changes.
        #[derive(Clone, Debug, Default)]
        pub struct WorkingSet {
            $($(#[$doc])* pub $table: Table<super::rows::$row>,)*
            $($(#[$trace_doc])* pub $trace: Table<super::rows::$trace_row>,)*
            /// Messages that left a channel, by the keys that the batch needs.
            pub gone: Marks<GoneRow>,
            /// Who is banned where (T10).
            pub bans: Bans,
            /// Who may moderate the communities that a decision concerns (X20).
            pub moderators: BTreeSet<(AtUri, Did)>,
            /// Of the communities concerned, those for members only (X40).
            pub members_only: BTreeSet<AtUri>,
            /// Blocked messages (T11), known or not.
            pub blocks: Marks<AtUri>,
            /// Messages that a record of their community hides (N21), known or not.
            pub hides: Marks<AtUri>,
            /// Cached profiles.
            pub people: People,
            /// The people who are erased (I57).
            pub erased: BTreeSet<Did>,
            /// The CIDs of the versions that this batch put into rows.
            cids: BTreeMap<AtUri, Option<String>>,
            /// `CDN_URL`, for links (O10).
            pub cdn: String,
        }

        /// Everything that a batch changed.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the tables of WorkingSet")]
        pub struct Changes {
            $(pub $table: Delta<super::rows::$row>,)*
            $(pub $trace: Delta<super::rows::$trace_row>,)*
            pub gone: MarksDelta<GoneRow>,
            pub bans: BansDelta,
            pub blocks: MarksDelta<AtUri>,
            pub hides: MarksDelta<AtUri>,
            pub people: Vec<PersonRow>,
            /// Of rows that stand for another version now: its CID, if it is known.
            pub cids: BTreeMap<AtUri, Option<String>>,
        }

        impl Changes {
            /// The CID of the version that this batch put into the record's row: empty if it is unknown,
            /// `None` if the batch did not change the version.
            pub fn cid_of(&self, uri: &AtUri) -> Option<&str> {
                self.cids.get(uri).map(|cid| cid.as_deref().unwrap_or_default())
            }

            /// Whether nothing was touched.
            pub fn is_empty(&self) -> bool {
                $(self.$table.is_empty() &&)*
                $(self.$trace.is_empty() &&)*
                self.gone.is_empty()
                    && self.bans.is_empty()
                    && self.blocks.is_empty()
                    && self.hides.is_empty()
                    && self.people.is_empty()
            }
        }

        impl WorkingSet {
            /// The changes of the fold, and the tables that can be kept for the next one.
            pub fn into_changes(mut self) -> (Changes, Kept) {
                let mut kept = Kept {
                    memberships: std::mem::take(&mut self.memberships),
                    approvals: std::mem::take(&mut self.approvals),
                    members: std::mem::take(&mut self.members),
                    bans: std::mem::take(&mut self.bans),
                    channels: std::mem::take(&mut self.channels),
                    communities: std::mem::take(&mut self.communities),
                };
                let changes = Changes {
                    $($table: self.$table.into_delta(),)*
                    $($trace: self.$trace.into_delta(),)*
                    gone: self.gone.into_parts().0,
                    bans: kept.bans.settle(),
                    blocks: self.blocks.into_parts().0,
                    hides: self.hides.into_parts().0,
                    people: self.people.into_touched(),
                    cids: self.cids,
                };
                let changes = Changes {
                    memberships: kept.memberships.settle(),
                    approvals: kept.approvals.settle(),
                    members: kept.members.settle(),
                    channels: kept.channels.settle(),
                    communities: kept.communities.settle(),
                    ..changes
                };
                (changes, kept)
            }

            /// The newest revision at which this record was decided (I02).
            pub fn decided_rev(&self, uri: &AtUri) -> Option<&str> {
                let row = match Collection::from_nsid(uri.nsid()) {
                    $(Some(Collection::$collection) => self.$table.rev(uri),)*
                    // A profile is a part of a person, whose row has its revision.
                    Some(Collection::Profile) | None => None,
                };
                row $(.max(self.$trace.rev(uri)))*
            }

            /// Notes that the version `rev` of this record was decided and changed nothing.
            pub fn note_rev(&mut self, uri: &AtUri, rev: &str) {
                match Collection::from_nsid(uri.nsid()) {
                    $(Some(Collection::$collection) => self.$table.decided(uri, rev),)*
                    Some(Collection::Profile) | None => {}
                }
                $(self.$trace.decided(uri, rev);)*
            }

            /// Notes that the record's row now has the version with this CID, if that is known.
            pub fn note_cid(&mut self, uri: &AtUri, cid: Option<&str>) {
                self.cids.insert(uri.clone(), cid.map(str::to_owned));
            }

            /// Whether this record has a row.
            pub fn has_row(&self, uri: &AtUri) -> bool {
                match Collection::from_nsid(uri.nsid()) {
                    $(Some(Collection::$collection) => self.$table.get(uri).is_some(),)*
                    Some(Collection::Profile) | None => false,
                }
            }

            /// Removes from the facts everything of erased people (I57) and others' reactions to their messages: it
            /// counts as gone, whenever its rows go.
            pub fn leave_out_erased(&mut self) {
                if self.erased.is_empty() {
                    return;
                }
                let erased = std::mem::take(&mut self.erased);
                let is_erased = |uri: &AtUri| erased.contains(&uri.authority());
                let written = self.messages.iter().filter(|row| is_erased(&row.uri)).map(GoneRow::from);
                let written: Vec<GoneRow> = written.collect();
                written.into_iter().for_each(|row| self.gone.seed(row));
                $(self.$table.leave_out(|row| is_erased(row.uri()));)*
                self.held.leave_out(|row| is_erased(&row.uri));
                self.reactions.leave_out(|row| is_erased(&row.target_uri));
                self.people.rows.retain(|did, _| !erased.contains(did));
                self.erased = erased;
            }

            /// Removes every record of a repository (I52), but not the decisions without a row.
            pub fn remove_all_of(&mut self, did: &Did) {
                let written = self.messages.iter().filter(|row| row.author_did == *did);
                let written: Vec<AtUri> = written.map(|row| row.uri.clone()).collect();
                written.iter().for_each(|uri| drop(self.remove_message(uri)));
                $(self.$table.remove_authority(did);)*
                self.held.remove_authority(did);
            }
        }

        $(kind! { $table, super::rows::$row })*
        $(kind! { $trace, super::rows::$trace_row })*
    };
}
macro_rules! kind {
    ($table:ident, $row:ty) => {
        impl Kind for $row {
            const TABLE: &'static str = stringify!($table);
            fn table(working_set: &mut WorkingSet) -> &mut Table<Self> {
                &mut working_set.$table
            }
            fn delta(changes: &Changes) -> &Delta<Self> {
                &changes.$table
            }
        }
    };
}
each_kind!(tables);

/// People, with a record of who was touched.
#[derive(Clone, Debug, Default)]
pub struct People {
    rows: BTreeMap<Did, PersonRow>,
    touched: BTreeSet<Did>,
}

impl People {
    /// Adds a fact.
    pub fn seed(&mut self, row: PersonRow) {
        self.rows.insert(row.did.clone(), row);
    }

    /// A person whose profile is cached.
    pub fn get(&self, did: &Did) -> Option<&PersonRow> {
        self.rows.get(did)
    }

    /// Changes a person, and caches them if necessary (I37).
    pub fn change(&mut self, did: &Did, change: impl FnOnce(&mut PersonRow)) {
        let row = self.rows.entry(did.clone()).or_insert_with(|| PersonRow::new(did));
        let before = row.clone();
        change(row);
        if *row != before {
            self.touched.insert(did.clone());
        }
    }

    /// Caches a person if necessary (I37).
    pub fn know(&mut self, did: &Did) {
        if !self.rows.contains_key(did) {
            self.seed(PersonRow::new(did));
            self.touched.insert(did.clone());
        }
    }

    fn into_touched(mut self) -> Vec<PersonRow> {
        self.touched.iter().filter_map(|did| self.rows.remove(did)).collect()
    }
}

/// Decisions beside the records, with a record of which were touched.
#[derive(Clone, Debug)]
pub struct Marks<K> {
    set: BTreeSet<K>,
    touched: BTreeSet<K>,
}

impl<K> Default for Marks<K> {
    fn default() -> Self {
        Self { set: BTreeSet::new(), touched: BTreeSet::new() }
    }
}

/// Adds facts.
impl<K: Ord> FromIterator<K> for Marks<K> {
    fn from_iter<I: IntoIterator<Item = K>>(facts: I) -> Self {
        Self { set: facts.into_iter().collect(), touched: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Marks<K> {
    /// Whether it is set.
    pub fn contains(&self, key: &K) -> bool {
        self.set.contains(key)
    }

    /// Everything that is set.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.set.iter()
    }

    /// Adds a fact.
    pub fn seed(&mut self, key: K) {
        self.set.insert(key);
    }

    /// Sets it; `false` if it was set already.
    pub fn insert(&mut self, key: K) -> bool {
        self.set.insert(key.clone()) && {
            self.touched.insert(key);
            true
        }
    }

    /// Lifts it; `false` if it was not set.
    pub fn remove(&mut self, key: &K) -> bool {
        self.set.remove(key) && {
            self.touched.insert(key.clone());
            true
        }
    }

    /// The touched decisions, and all that are set.
    fn into_parts(self) -> (MarksDelta<K>, BTreeSet<K>) {
        let (set, lifted) = self.touched.into_iter().partition(|key| self.set.contains(key));
        (MarksDelta { set, lifted }, self.set)
    }
}

/// The touched decisions of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarksDelta<K> {
    /// Those that are set.
    pub set: Vec<K>,
    /// Those that were lifted.
    pub lifted: Vec<K>,
}

/// Rows of one kind, with a record of which were touched.
#[derive(Clone, Debug)]
pub struct Table<R> {
    rows: BTreeMap<AtUri, R>,
    groups: BTreeMap<String, BTreeSet<AtUri>>,
    touched: BTreeSet<AtUri>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), groups: BTreeMap::new(), touched: BTreeSet::new() }
    }
}

impl<R: Row> Table<R> {
    /// Adds a fact.
    pub fn seed(&mut self, row: R) {
        let (uri, group) = (row.uri().clone(), row.group());
        if let Some(old) = self.rows.insert(uri.clone(), row) {
            let old = old.group();
            if old == group {
                return;
            }
            self.leave_group(&old, &uri);
        }
        self.groups.entry(group).or_default().insert(uri);
    }

    /// Adds facts, unless they are here already.
    pub(super) fn join(&mut self, others: Self) {
        let fresh = std::mem::replace(self, others);
        fresh.rows.into_values().for_each(|row| self.seed(row));
        self.touched.extend(fresh.touched);
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of a record.
    pub fn get(&self, uri: &AtUri) -> Option<&R> {
        self.rows.get(uri)
    }

    /// Every row, by AT-URI.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.rows.values()
    }

    /// The rows of a group ([`Row::group`]), by AT-URI.
    pub fn group<'a>(&'a self, group: &str) -> impl Iterator<Item = &'a R> + use<'a, R> {
        self.groups.get(group).into_iter().flatten().filter_map(|uri| self.rows.get(uri))
    }

    /// Creates or replaces a row.
    pub fn put(&mut self, row: R) {
        self.touched.insert(row.uri().clone());
        self.seed(row);
    }

    /// Removes a row.
    pub fn remove(&mut self, uri: &AtUri) -> Option<R> {
        let row = self.rows.remove(uri)?;
        self.leave_group(&row.group(), uri);
        self.touched.insert(uri.clone());
        Some(row)
    }

    fn leave_group(&mut self, group: &str, uri: &AtUri) {
        let Some(uris) = self.groups.get_mut(group) else { return };
        uris.remove(uri);
        if uris.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Changes every matching row. Their groups must stay the same.
    fn change_where(&mut self, fits: impl Fn(&R) -> bool, change: impl Fn(&mut R)) {
        for row in self.rows.values_mut().filter(|row| fits(row)) {
            change(row);
            self.touched.insert(row.uri().clone());
        }
    }

    /// Takes facts out that do not count, as if they had never been brought in.
    pub(super) fn leave_out(&mut self, is_out: impl Fn(&R) -> bool) {
        let out: Vec<AtUri> =
            self.rows.values().filter(|row| is_out(row)).map(|row| row.uri().clone()).collect();
        for uri in out {
            if let Some(row) = self.rows.remove(&uri) {
                self.leave_group(&row.group(), &uri);
            }
        }
    }

    fn remove_authority(&mut self, did: &Did) {
        let gone: Vec<AtUri> = self.rows.keys().filter(|uri| uri.authority() == *did).cloned().collect();
        gone.iter().for_each(|uri| drop(self.remove(uri)));
    }

    /// Notes that the version `rev` was decided and changed nothing else.
    pub fn decided(&mut self, uri: &AtUri, rev: &str) {
        if let Some(row) = self.rows.get_mut(uri) {
            row.set_rev(rev);
            self.touched.insert(uri.clone());
        }
    }

    fn rev(&self, uri: &AtUri) -> Option<&str> {
        self.rows.get(uri).map(Row::rev)
    }

    fn into_delta(mut self) -> Delta<R> {
        Delta::of(self.touched, |uri| self.rows.remove(uri))
    }

    /// The changes; from now on they are facts.
    fn settle(&mut self) -> Delta<R> {
        let touched = std::mem::take(&mut self.touched);
        Delta::of(touched, |uri| self.rows.get(uri).cloned())
    }
}

/// The touched rows of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta<R> {
    /// Rows to create or replace.
    pub put: Vec<R>,
    /// Rows to remove.
    pub removed: Vec<AtUri>,
}

impl<R> Delta<R> {
    /// The changes to the records `touched`: `row` returns the row of each, if it still has one.
    fn of(touched: BTreeSet<AtUri>, mut row: impl FnMut(&AtUri) -> Option<R>) -> Self {
        let mut delta = Self { put: Vec::new(), removed: Vec::new() };
        for uri in touched {
            match row(&uri) {
                Some(row) => delta.put.push(row),
                None => delta.removed.push(uri),
            }
        }
        delta
    }

    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.removed.is_empty()
    }
}

impl<K> MarksDelta<K> {
    /// Whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.lifted.is_empty()
    }
}

impl WorkingSet {
    /// The community, if it is known (T07).
    pub fn community(&self, uri: &AtUri) -> Option<&CommunityRow> {
        self.communities.get(uri).filter(|row| !row.hidden)
    }

    /// The channel and its community, if both are known (T07).
    pub fn channel(&self, uri: &AtUri) -> Option<(&ChannelRow, &CommunityRow)> {
        let channel = self.channels.get(uri)?;
        Some((channel, self.community(&channel.community_uri)?))
    }

    /// Known channels with this rkey, in the order of indexing, ties by AT-URI (T20.4).
    pub fn channels_with_rkey(&self, rkey: &Rkey) -> Vec<(&ChannelRow, &CommunityRow)> {
        let mut found: Vec<_> =
            self.channels.group(rkey.as_str()).filter_map(|row| self.channel(&row.uri)).collect();
        found.sort_by_key(|(row, _)| (row.indexed_at, row.uri.clone()));
        found
    }

    /// Whether this message is visible (T16): not blocked, its channel and community known, its
    /// author's account active.
    pub fn visible(&self, message: &MessageRow) -> bool {
        !message.hidden && !message.banned && self.visible_if_active(message)
    }

    /// Whether this message would be visible if its author's account were active: not blocked, its
    /// channel and community known.
    pub fn visible_if_active(&self, message: &MessageRow) -> bool {
        !self.is_blocked(&message.uri) && self.channel(&message.channel_uri).is_some()
    }

    /// Whether a message appears nowhere, by the service's decision (T11) or the community's (N21).
    pub fn is_blocked(&self, message: &AtUri) -> bool {
        self.blocks.contains(message) || self.hides.contains(message)
    }

    /// Puts what is known of a person in a community out of sight, or shows it again (N21).
    pub fn set_banned_messages(&mut self, community: &AtUri, did: &Did, banned: bool) {
        let channels: BTreeSet<AtUri> = self
            .channels
            .iter()
            .filter(|row| row.community_uri == *community)
            .map(|row| row.uri.clone())
            .collect();
        self.messages.change_where(
            |row| row.author_did == *did && channels.contains(&row.channel_uri),
            |row| row.banned = banned,
        );
    }

    /// Whether a person's account is active, as far as is known.
    pub fn is_active(&self, did: &Did) -> bool {
        self.people.get(did).is_none_or(|person| person.active)
    }

    /// Hides or shows the messages and reactions of a person (I51, I53).
    pub fn set_hidden_messages(&mut self, did: &Did, hidden: bool) {
        self.messages.change_where(|row| row.author_did == *did, |row| row.hidden = hidden);
        self.reactions.change_where(|row| row.reactor_did == *did, |row| row.hidden = hidden);
    }

    /// Hides or shows a person's memberships in a community, and their admissions.
    pub fn set_hidden_memberships(&mut self, did: &Did, community: &AtUri, hidden: bool) {
        self.memberships.change_where(
            |row| row.member_did == *did && row.community_uri == *community,
            |row| row.hidden = hidden,
        );
        self.members.change_where(
            |row| row.member_did == *did && row.community_uri == *community,
            |row| row.hidden = hidden,
        );
    }

    /// Hides or shows a community.
    pub fn set_hidden_community(&mut self, uri: &AtUri, hidden: bool) {
        self.communities.change_where(|row| row.uri == *uri, |row| row.hidden = hidden);
    }

    /// Removes a message, and notes what its key meant (T21).
    pub fn remove_message(&mut self, uri: &AtUri) -> Option<MessageRow> {
        let row = self.messages.remove(uri)?;
        self.gone.insert(GoneRow::from(&row));
        Some(row)
    }

    /// A person as others see them; without values if not cached.
    pub fn person(&self, did: &Did) -> Person {
        self.people.get(did).map(|row| row.shown(&self.cdn)).unwrap_or_default()
    }
}
