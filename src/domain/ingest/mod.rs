//! How events change the index, and what is announced to clients (contract section 8).
//!
//! [`fold`] is the third step of the pipeline. It takes facts and events in stream order, and
//! returns changes, announcements and refusals. It is pure: the same events over the same facts
//! give the same result, however they are divided into batches (I01).

mod decisions;
mod held;
mod members;
mod messages;
mod moderations;
mod needs;
mod notices;
mod people;
mod personal;
mod reactions;
mod recovered;
mod structure;

pub use needs::Needs;
pub use people::AccountChange;
pub use reactions::groups;

use std::collections::{BTreeMap, BTreeSet};

use super::announcement::{Announcement, Audience, Scope, Topic};
use super::facts_cache::Kept;
use super::form::Form;
use super::identity::Finding;
use super::moderation::{Decision, Ruling};
use super::notifications::{self, Notified};
use super::reconciliation::Found;
use super::rows::{Outcome, SettledRow};
use super::working_set::{Changes, WorkingSet};
use crate::wire::events::{self, Personal};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::jetstream::{Commit, Frame, What, Write};
use crate::wire::records::Record;
use crate::wire::subscribe_events::{ApplicationEvent, NewestEvent};
use crate::wire::time::Micros;

/// An event is live if it arrives within 5 minutes of its stream time (Q01).
const LIVE_WITHIN: i64 = 5 * 60 * 1_000_000;

/// The result of [`fold`].
#[derive(Debug)]
pub struct Folded {
    /// Rows to store.
    pub changes: Changes,
    /// The tables after the batch that can be kept for the next one.
    pub kept: Kept,
    /// Whether facts of erased people were left out (I57): then nothing can be kept.
    pub left_out: bool,
    /// Events to publish, in order.
    pub announcements: Vec<Announcement>,
    /// Records that a rule refused.
    pub refusals: Vec<Refusal>,
    /// Accounts that were activated or deactivated.
    pub accounts: Vec<AccountChange>,
    /// Communities whose record was deleted, even if it was written again since. Their invites
    /// end (I70).
    pub deleted_communities: Vec<AtUri>,
    /// The results of moderators' decisions, in order.
    pub rulings: Vec<Ruled>,
    /// Known people whose identity changed and must be resolved again (I50).
    pub identities: Vec<Did>,
    /// How many records were not indexed because their authors are erased (I57). Nothing else is kept of them.
    pub shut_out: u64,
    /// How many records of a reconciliation the gate refused, repeated refusals included.
    pub turned_away: usize,
    /// Authors of live events that may have been judged on incomplete data after an outage: they
    /// edited an unknown message, or the gate refused their record. If their repository is being
    /// read, or a gap is open, the repository is read once more.
    pub doubtful: BTreeSet<Did>,
    /// People whom a community of the newest form admitted: their earlier records are judged again (N16).
    pub admitted: BTreeSet<Did>,
    /// People who joined a community of the old form or whose ban by record ended, and the stream time of that. A
    /// reading of their repository that is later than that may have been ahead of the stream (K05).
    pub joined: BTreeMap<Did, Micros>,
    /// Communities whose gate accepts more than before, and the stream time of that: readings of their members'
    /// repositories may have been ahead of the stream (K05).
    pub eased: BTreeMap<AtUri, Micros>,
    /// People whose ban by record in a community began (`true`) or ended: all their messages there are hidden
    /// or shown again, including those outside of the working set (N21).
    pub banned_by_record: Vec<(AtUri, Did, bool)>,
    /// Channels that appeared or moved to another community, each with its community. People who are banned
    /// there by record may have written in them before (N21, I72).
    pub channels_placed: Vec<(AtUri, AtUri)>,
    /// Whom messages notify, and whom no more (U01).
    pub notified: notifications::Changes,
}

impl Folded {
    /// Whether there is anything to store or to announce.
    pub fn is_anything(&self) -> bool {
        !(self.changes.is_empty()
            && self.announcements.is_empty()
            && self.refusals.is_empty()
            && self.accounts.is_empty()
            && self.shut_out == 0)
    }

    /// Whether the changes touch a table that the gate reads.
    pub fn changes_gate(&self) -> bool {
        let changes = &self.changes;
        !(changes.communities.is_empty()
            && changes.channels.is_empty()
            && changes.memberships.is_empty()
            && changes.approvals.is_empty()
            && changes.members.is_empty()
            && changes.roles.is_empty())
    }
}

/// One input of the fold.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// An event of the stream.
    Frame(&'a Frame),
    /// A moderator's decision, made through REST at the time of the fold.
    Decision(&'a Decision),
    /// A finding of a reconciliation: the state of one record or of the account.
    Found(&'a Found),
    /// The result of resolving a person's identity, at the time of the fold (I50, K12).
    Learned(&'a Did, &'a Finding),
    /// Everything of this person is to be erased (I55), at the time of the fold.
    Erased(&'a Did),
}

/// The result of a moderator's decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruled {
    /// The result.
    pub ruling: Ruling,
    /// The community in which it took effect, if it did.
    pub acted_in: Option<AtUri>,
}

/// A refused record, as an admin sees it. It never contains the record's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The record.
    pub uri: AtUri,
    /// The rule that refused it, as one word.
    pub reason: &'static str,
}

/// Applies `inputs`, in order, to the facts in `working_set`, at the time `now`. `recent_since` is
/// the oldest time that the event logs cover (`EVENT_LOG_HOURS`).
///
/// Each event gets a receive time one microsecond after that of the previous event, so that
/// "indexed first" (T20) is well defined within a batch.
pub fn fold<'a>(
    working_set: WorkingSet,
    inputs: impl IntoIterator<Item = Input<'a>>,
    now: Micros,
    recent_since: Micros,
) -> Folded {
    let mut fold = Fold {
        working_set,
        now,
        recent_since,
        stream_time: now,
        clock: now,
        announcements: Vec::new(),
        refusals: Vec::new(),
        accounts: Vec::new(),
        deleted_communities: Vec::new(),
        rulings: Vec::new(),
        recovering: false,
        turned_away: 0,
        shut_out: 0,
        doubtful: BTreeSet::new(),
        admitted: BTreeSet::new(),
        joined: BTreeMap::new(),
        eased: BTreeMap::new(),
        banned_by_record: Vec::new(),
        channels_placed: Vec::new(),
        notified: Notified::default(),
        announced_notices: BTreeMap::new(),
        identities: Vec::new(),
    };
    fold.working_set.bans.at(now);
    for input in inputs {
        fold.clock = Micros(fold.clock.0.saturating_add(1));
        let frame = match input {
            Input::Frame(frame) => frame,
            Input::Decision(decision) => {
                fold.stream_time = now;
                fold.decide(decision);
                continue;
            }
            Input::Found(found) if fold.is_shut_out(&found.did) => continue,
            Input::Found(found) => {
                fold.recovering = true;
                fold.recover(found);
                fold.recovering = false;
                continue;
            }
            Input::Learned(did, _) if fold.working_set.erased.contains(did) => continue,
            Input::Erased(did) => {
                fold.stream_time = now;
                fold.erase(did);
                continue;
            }
            Input::Learned(did, finding) => {
                fold.stream_time = now;
                fold.learn(did, finding);
                continue;
            }
        };
        fold.stream_time = frame.time;
        match &frame.what {
            What::Commit(_) if fold.is_shut_out(&frame.did) => {}
            What::Identity { .. } | What::Account { .. } if fold.working_set.erased.contains(&frame.did) => {}
            What::Commit(_) if fold.is_purged(&frame.did, frame.time) => {}
            What::Commit(commit) => fold.apply(&frame.did, commit),
            What::Identity { handle } => fold.identity(&frame.did, handle.as_deref()),
            What::Account { active, status } => {
                fold.account(&frame.did, *active, status.as_deref(), frame.time);
            }
            What::Passing | What::Refused(_) => {}
        }
    }
    let purged: BTreeSet<&Did> =
        fold.accounts.iter().filter(|account| account.purged).map(|account| &account.did).collect();
    let notified = fold.notified.into_changes(|message, recipient| {
        fold.working_set.messages.get(message).is_some() && !purged.contains(recipient)
    });
    let left_out = !fold.working_set.erased.is_empty();
    let (changes, kept) = fold.working_set.into_changes();
    Folded {
        changes,
        kept,
        left_out,
        announcements: fold.announcements,
        refusals: fold.refusals,
        accounts: fold.accounts,
        deleted_communities: fold.deleted_communities,
        rulings: fold.rulings,
        turned_away: fold.turned_away,
        shut_out: fold.shut_out,
        doubtful: fold.doubtful,
        admitted: fold.admitted,
        joined: fold.joined,
        eased: fold.eased,
        banned_by_record: fold.banned_by_record,
        channels_placed: fold.channels_placed,
        notified,
        identities: fold.identities,
    }
}

/// The state of one run of [`fold`]. Its methods are in the files of this folder, one file per
/// part of section 8.
struct Fold {
    working_set: WorkingSet,
    /// When the batch arrived.
    now: Micros,
    /// The oldest time that the event logs cover.
    recent_since: Micros,
    /// The stream time of the current event.
    stream_time: Micros,
    /// The receive time of the current event.
    clock: Micros,
    announcements: Vec<Announcement>,
    refusals: Vec<Refusal>,
    accounts: Vec<AccountChange>,
    deleted_communities: Vec<AtUri>,
    rulings: Vec<Ruled>,
    /// The current input comes from a reconciliation; so does everything that follows from it.
    recovering: bool,
    turned_away: usize,
    shut_out: u64,
    doubtful: BTreeSet<Did>,
    admitted: BTreeSet<Did>,
    joined: BTreeMap<Did, Micros>,
    eased: BTreeMap<AtUri, Micros>,
    banned_by_record: Vec<(AtUri, Did, bool)>,
    channels_placed: Vec<(AtUri, AtUri)>,
    notified: Notified,
    /// How many notifications of each person there were.
    announced_notices: BTreeMap<Did, usize>,
    identities: Vec<Did>,
}

/// One version of one record, with its receive time.
struct Version<'a> {
    uri: &'a AtUri,
    author: &'a Did,
    rev: &'a str,
    /// The CID of the record, if it is known.
    cid: Option<&'a str>,
    /// The record as it arrived.
    json: &'a str,
    /// The receive time (T12). A held record keeps the time of its first arrival (I61).
    received: Micros,
}

impl Fold {
    /// Applies one commit. The first rule that applies decides:
    ///   1. a stale or repeated version changes nothing (I02);
    ///   2. a deletion is always applied (I06);
    ///   3. an invalid version is refused, and the earlier one stays (I03);
    ///   4. otherwise the rules of its collection apply.
    fn apply(&mut self, author: &Did, commit: &Commit) {
        if self.working_set.decided_rev(&commit.uri).is_some_and(|decided| commit.rev.as_str() <= decided) {
            return;
        }
        let json = if let Write::Put { json, .. } = &commit.write { json.as_str() } else { "" };
        let cid = commit.cid.as_deref();
        let version = Version { uri: &commit.uri, author, rev: &commit.rev, cid, json, received: self.clock };
        match &commit.write {
            Write::Delete => self.delete(&version),
            Write::Put { record: Err(invalid), .. } => {
                self.refuse(&version, invalid.reason());
                self.note_rev(&version);
            }
            Write::Put { record: Ok(record), is_create, .. } => self.put(&version, record, *is_create),
        }
    }

    /// Applies a valid create or update, from the stream or from the held records. A held record
    /// keeps its arrival time (I61); if it still cannot be applied, it is held again (I62).
    fn put(&mut self, version: &Version, record: &Record, is_create: bool) {
        // I05. Actor records are exempt: each create counts (I33).
        if is_create && self.has_row(version.uri) && !matches!(record, Record::Actor(_)) {
            return self.note_rev(version);
        }
        let waited = self.working_set.held.remove(version.uri);
        let received = waited.as_ref().map_or(version.received, |row| row.arrived_at);
        let version = &Version { received, ..*version };
        let may_be_new = is_create || waited.is_some() || self.recovering;
        match record {
            Record::Message(message) => self.put_message(version, message, may_be_new),
            // I23: the first version of a reaction stays.
            Record::Reaction(_) if !may_be_new => self.note_rev(version),
            Record::Reaction(reaction) => self.put_reaction(version, reaction),
            Record::Community(community) => self.put_community(version, community),
            Record::Channel(channel) => self.put_channel(version, channel),
            Record::Category(category) => self.put_category(version, category),
            Record::Membership(membership) => self.put_membership(version, membership),
            Record::Approval(approval) => self.put_approval(version, approval),
            Record::Member(member) => self.put_member(version, member),
            Record::Role(role) => self.put_role(version, role),
            Record::Moderation(moderation) => self.put_moderation(version, moderation),
            Record::Actor(actor) => self.put_actor(version, actor),
            Record::ActorProfile(profile) => self.put_actor_profile(version, profile),
            Record::Mute(mute) => self.put_mute(version, mute),
            Record::Preference(preference) => self.put_preference(version, preference),
            Record::ChannelRead(read) => self.put_channel_read(version, read),
            Record::Profile(profile) => self.put_profile(version, profile),
        }
    }

    fn has_row(&self, uri: &AtUri) -> bool {
        self.working_set.has_row(uri)
    }

    /// Deletes a record, whatever its author's status (I06). The revision is stored even if the
    /// record was never seen, so that a late create of it has no effect.
    fn delete(&mut self, version: &Version) {
        let was_indexed = self.has_row(version.uri);
        self.working_set.held.remove(version.uri);
        match Collection::from_nsid(version.uri.nsid()) {
            Some(Collection::Message) => self.delete_message(version.uri),
            Some(Collection::Reaction) => self.delete_reaction(version.uri),
            Some(Collection::Community) => self.delete_community(version.uri),
            Some(Collection::Channel) => self.delete_channel(version.uri),
            Some(Collection::Category) => self.delete_category(version.uri),
            Some(Collection::Membership) => self.delete_membership(version.uri),
            Some(Collection::Approval) => self.delete_approval(version.uri),
            Some(Collection::Member) => self.delete_member(version.uri),
            Some(Collection::Role) => self.delete_role(version.uri),
            Some(Collection::Moderation) => self.delete_moderation(version.uri),
            Some(Collection::ActorData) => self.delete_actor(version.uri),
            Some(Collection::ActorProfile) => self.delete_actor_profile(version.uri),
            Some(Collection::Mute) => self.delete_mute(version.uri),
            Some(Collection::Preference) => drop(self.working_set.preferences.remove(version.uri)),
            Some(Collection::ChannelRead) => self.delete_channel_read(version.uri),
            // The person's row stores the revision.
            Some(Collection::Profile) => return self.delete_profile(version),
            None => {}
        }
        self.settle(version, Outcome::Deleted, was_indexed);
    }

    /// Handles a version that the gate refused: a new record is not stored (G7), and an indexed
    /// record keeps its earlier version (I11). If a reconciliation finds a record that was refused
    /// before, the refusal is counted but not reported again.
    fn turn_away(&mut self, version: &Version, reason: &'static str) {
        self.turned_away += usize::from(self.recovering);
        if self.recovering && self.was(version.uri, Outcome::Refused) {
            return;
        }
        self.refuse(version, reason);
        if !self.recovering {
            self.doubtful.insert(version.author.clone());
        }
        if self.has_row(version.uri) {
            self.note_rev(version)
        } else {
            self.settle(version, Outcome::Refused, false)
        }
    }

    /// The gate may accept more of `person` from now on: as [`Fold::ease`].
    fn let_in(&mut self, person: &Did) {
        if !self.recovering {
            self.joined.entry(person.clone()).or_insert(self.stream_time);
        }
    }

    /// The gate of `community` may accept more from now on: what a reading ahead of the stream refused of its members is
    /// judged again (K05). A reconciliation asks for that itself.
    fn ease(&mut self, community: &AtUri) {
        if !self.recovering {
            self.eased.entry(community.clone()).or_insert(self.stream_time);
        }
    }

    fn was(&self, uri: &AtUri, outcome: Outcome) -> bool {
        self.working_set.settled.get(uri).is_some_and(|row| row.outcome == outcome)
    }

    /// Stores the outcome of a version that leaves no row.
    fn settle(&mut self, version: &Version, outcome: Outcome, was_indexed: bool) {
        let lasts = self.working_set.settled.get(version.uri).is_some_and(|row| row.lasting);
        self.working_set.settled.put(SettledRow {
            uri: version.uri.clone(),
            outcome,
            rev: version.rev.to_owned(),
            settled_at: version.received,
            lasting: was_indexed || lasts,
        });
    }

    /// A version is indexed: its CID is noted, and an outcome that was stored is dropped.
    fn accept(&mut self, version: &Version) {
        self.working_set.settled.remove(version.uri);
        self.working_set.note_cid(version.uri, version.cid);
    }

    /// Stores the revision of a version that was decided and changed nothing.
    fn note_rev(&mut self, version: &Version) {
        self.working_set.note_rev(version.uri, version.rev);
    }

    fn refuse(&mut self, version: &Version, reason: &'static str) {
        self.refusals.push(Refusal { uri: version.uri.clone(), reason });
    }

    fn announce(&mut self, community: &AtUri, audience: Audience, topic: Topic, event: &events::Event) {
        self.announce_text(community, audience, topic, event.text());
    }

    /// Announces to everybody subscribed to the community an event with one text for the newest client and another
    /// for that of March 2026. A client whose text is `None` gets nothing (N168).
    fn announce_each(
        &mut self,
        community: &AtUri,
        topic: Topic,
        march: Option<&events::Event>,
        newest: Option<&NewestEvent>,
    ) {
        let text = || {
            let newest = newest.map(NewestEvent::text).transpose()?;
            let march = march.map(events::Event::text).transpose()?;
            Ok(events::pack(newest.as_deref(), march.as_deref()))
        };
        self.announce_text(community, Audience::Community, topic, text());
    }

    /// Announces an application to those who may admit its person (N168). One to a community of the old form is left
    /// out: its number would be missing in what clients of March 2026 receive (A39).
    fn announce_application(&mut self, community: &AtUri, event: ApplicationEvent) {
        if Form::of(community) == Form::Old {
            return;
        }
        let text = NewestEvent::ApplicationEvent(event).text();
        let text = text.map(|newest| events::pack(Some(&newest), None));
        self.announce_text(community, Audience::Approvers, Topic::Other, text);
    }

    fn announce_text(
        &mut self,
        community: &AtUri,
        audience: Audience,
        topic: Topic,
        text: Result<String, serde_json::Error>,
    ) {
        // Cannot fail: an event holds only strings, numbers and checked JSON (tests in wire::events).
        let Ok(text) = text.and_then(serde_json::value::RawValue::from_string) else { return };
        self.announcements.push(Announcement {
            scope: Scope::Community(community.clone()),
            audience,
            topic,
            live: self.is_live(),
            event: text,
        });
    }

    /// Announces to the clients of a person what they did on another device. It is news or nothing: a client
    /// reads the rest when it connects (N168).
    fn announce_to_person(&mut self, did: &Did, event: NewestEvent, march: Option<&Personal>) {
        let Ok(event) = events::to_person(Some(&event), march) else { return };
        if self.is_live() {
            let (scope, audience) = (Scope::People, Audience::Private(did.clone()));
            self.announcements.push(Announcement { scope, audience, topic: Topic::Other, live: true, event });
        }
    }

    /// Whether to announce a message or reaction that is new in the index. Those that a
    /// reconciliation found are announced only if the event logs still cover their time (K08).
    fn is_announced(&self, sort_at: Micros) -> bool {
        !self.recovering || sort_at >= self.recent_since
    }

    /// Whether the current event is live (Q01, K08).
    fn is_live(&self) -> bool {
        !self.recovering && self.now.0.saturating_sub(self.stream_time.0) <= LIVE_WITHIN
    }
}
