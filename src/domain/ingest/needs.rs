//! The facts that a batch needs before it can be folded, derived from its frames.
//!
//! `storage` loads them in one round trip. The rule: everything that a method of `Fold` looks up
//! must be named here, directly or through a relation that the loader's SQL follows.

use std::collections::BTreeSet;

use super::super::facts_cache::FactsCache;
use super::super::form::{Form, community_of};
use super::super::gate::awaited;
use super::super::moderation::{Caller, Decision, Measure};
use super::super::notifications::MENTIONS_MAX;
use super::super::reconciliation::{Finding, Found};
use super::super::rows::ModerationRow;
use super::super::working_set::WorkingSet;
use crate::wire::emoji::compared;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};
use crate::wire::jetstream::{Commit, Frame, What, Write};
use crate::wire::records::{About, ReadUpTo, Record, mentioned};

/// Keys of the facts that a batch needs. They are sets, so a repeated key is loaded once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Every record that the batch writes.
    pub records: BTreeSet<AtUri>,
    /// Communities that are written, named or joined.
    pub communities: BTreeSet<AtUri>,
    /// Communities that require approval from now on: their pending members are needed (I26).
    pub closing: BTreeSet<AtUri>,
    /// Channels named by AT-URI.
    pub channel_uris: BTreeSet<AtUri>,
    /// Channels named by rkey (T20).
    pub channel_rkeys: BTreeSet<Rkey>,
    /// People whose standing or profile is needed.
    pub people: BTreeSet<Did>,
    /// People whose profile alone is needed.
    pub profiles: BTreeSet<Did>,
    /// People whose account was activated or deactivated: what they own, joined and recently wrote
    /// is needed (I51).
    pub accounts: BTreeSet<Did>,
    /// People and the channels they read.
    pub read_channels: BTreeSet<(Did, AtUri)>,
    /// Memberships that are written, or that approvals name.
    pub memberships: BTreeSet<AtUri>,
    /// Messages that are answered, read up to or decided about, by AT-URI.
    pub parent_uris: BTreeSet<AtUri>,
    /// Messages that are answered, by rkey (T21).
    pub parent_rkeys: BTreeSet<Rkey>,
    /// Messages reacted to, by AT-URI.
    pub target_uris: BTreeSet<AtUri>,
    /// Messages reacted to, by rkey (T21).
    pub target_rkeys: BTreeSet<Rkey>,
    /// Reactions: the person, the message as named, and the emoji in the form of comparisons.
    pub reacting: BTreeSet<(Did, String, String)>,
    /// Names that may become known (AT-URIs and rkeys of communities, channels, messages): the
    /// records that wait for them are needed (I61).
    pub appearing: BTreeSet<String>,
    /// Whether there is a decision: the moderators of its community are needed (X20).
    pub judges: bool,
    /// Subjects that communities decide about by record: the community, what it is about, and the subject.
    pub subjects: BTreeSet<(AtUri, String, String)>,
    /// Messages that may be shown again: with what they answer, and their reactions (R30).
    showing: BTreeSet<AtUri>,
    /// Held records whose own needs are included already.
    followed: BTreeSet<AtUri>,
}

impl Needs {
    /// The needs of `frames`, and of decisions that follow them.
    pub fn of(frames: &[Frame], decisions: &[Decision]) -> Self {
        let mut needs = Self::default();
        decisions.iter().for_each(|decision| needs.decision(decision));
        for frame in frames {
            match &frame.what {
                What::Commit(commit) => needs.commit(&frame.did, commit),
                What::Identity { .. } => drop(needs.profiles.insert(frame.did.clone())),
                What::Account { .. } => {
                    needs.people.insert(frame.did.clone());
                    needs.accounts.insert(frame.did.clone());
                }
                What::Passing | What::Refused(_) => {}
            }
        }
        needs
    }

    /// The needs of a reconciliation's findings.
    pub fn of_found(found: &[Found]) -> Self {
        let mut needs = Self::default();
        for found in found {
            match &found.what {
                Finding::Record(commit) => needs.commit(&found.did, commit),
                Finding::Account { .. } => {
                    needs.people.insert(found.did.clone());
                    needs.accounts.insert(found.did.clone());
                }
            }
        }
        needs
    }

    /// Adds what follows from loaded facts: the needs of records that may be released, and the
    /// names of channels that return with their community (I72). Returns `false` if there is
    /// nothing to add, which is nearly always the case.
    pub fn add_following(&mut self, working_set: &WorkingSet, known: &FactsCache) -> bool {
        let size = |needs: &Self| {
            (needs.records.len(), needs.appearing.len(), needs.followed.len(), needs.subjects.len())
        };
        let before = size(self);
        // Also decisions that are deleted: their rows say what they are about.
        for row in working_set
            .moderations
            .iter()
            .filter(|row| self.records.contains(&row.uri))
            .cloned()
            .collect::<Vec<_>>()
        {
            let about = match row.about.as_str() {
                ModerationRow::PERSON => Did::parse(&row.subject).ok().map(About::Person),
                ModerationRow::MESSAGE => AtUri::parse(&row.subject).ok().map(About::Message),
                ModerationRow::EMBEDS => AtUri::parse(&row.subject).ok().map(About::Embeds),
                _ => None,
            };
            self.communities.insert(row.community_uri.clone());
            self.decided(&row.community_uri, &about.unwrap_or(About::Nothing));
        }
        for row in working_set.held.iter() {
            // Includes a record that the batch itself writes, because it may be released before
            // that.
            if !self.followed.insert(row.uri.clone()) {
                continue;
            }
            let author = row.uri.authority();
            let record = Collection::from_nsid(row.uri.nsid())
                .and_then(|collection| Record::parse(collection, &author, &row.record).ok());
            self.records.insert(row.uri.clone());
            if let Some(record) = record {
                self.record(&author, &row.uri, &record);
            }
        }
        // Published if the account is active again (I53): with what it answers, and its reactions.
        for row in working_set.messages.iter().filter(|row| self.accounts.contains(&row.author_did)) {
            let away_since = working_set.people.get(&row.author_did).and_then(|person| person.away_since);
            if away_since.is_some_and(|since| row.indexed_at > since)
                && self.records.insert(row.uri.clone())
                && let Some(parent) = &row.parent
            {
                // An rkey refers to a message in the same channel (T21).
                self.channel_uris.insert(row.channel_uri.clone());
                by_name(parent, &mut self.parent_uris, &mut self.parent_rkeys);
            }
        }
        for uri in &self.showing {
            if let Some(row) = working_set.messages.get(uri)
                && self.records.insert(uri.clone())
                && let Some(parent) = &row.parent
            {
                // An rkey refers to a message in the same channel (T21).
                self.channel_uris.insert(row.channel_uri.clone());
                by_name(parent, &mut self.parent_uris, &mut self.parent_rkeys);
            }
        }
        for community in working_set.communities.iter().chain(known.communities()) {
            if self.accounts.contains(&community.uri.authority()) {
                self.appearing.insert(community.uri.to_string());
            }
        }
        for channel in working_set.channels.iter().chain(known.channels()) {
            if self.appearing.contains(channel.community_uri.as_str()) {
                self.appears(&channel.uri);
            }
        }
        before != size(self)
    }

    /// Whether [`Self::add_following`] may add something. Nearly always not, and then nothing is copied for it.
    pub fn may_follow(&self, working_set: &WorkingSet, known: &FactsCache) -> bool {
        let places = || working_set.channels.iter().chain(known.channels());
        !working_set.moderations.is_empty()
            || !working_set.held.is_empty()
            || !self.accounts.is_empty()
            || !self.showing.is_empty()
            || places().any(|channel| self.appearing.contains(channel.community_uri.as_str()))
    }

    /// Everybody whose records, account or identity this is about.
    pub fn everybody(&self) -> BTreeSet<Did> {
        let authors = self.records.iter().map(AtUri::authority);
        authors.chain(self.people.iter().chain(&self.profiles).chain(&self.accounts).cloned()).collect()
    }

    /// The needs of a person's erasure: as if their account became inactive (I51).
    pub fn of_erasure(did: &Did) -> Self {
        let mut needs = Self::default();
        needs.people.insert(did.clone());
        needs.accounts.insert(did.clone());
        needs
    }

    /// The channels that may become known.
    pub fn appearing_channels(&self) -> Vec<&str> {
        let is_channel = |name: &&str| AtUri::parse(name).is_ok_and(|uri| uri.is(Collection::Channel));
        self.appearing.iter().map(String::as_str).filter(is_channel).collect()
    }

    fn appears(&mut self, uri: &AtUri) {
        self.appearing.insert(uri.to_string());
        self.appearing.insert(uri.rkey().to_string());
    }

    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The needs of a moderator's decision: the message's community, or the person's standing.
    fn decision(&mut self, decision: &Decision) {
        self.judges = true;
        if let Caller::Person(did) = &decision.caller {
            self.people.insert(did.clone()); // for their bans there
        }
        match &decision.what {
            Measure::Block(message) => drop(self.parent_uris.insert(message.clone())),
            Measure::Unblock(message) => {
                self.parent_uris.insert(message.clone());
                self.appears(message);
                self.showing.insert(message.clone());
            }
            Measure::Ban(community, member, _)
            | Measure::Unban(community, member)
            | Measure::EndBan(community, member)
            | Measure::Kick(community, member) => {
                self.communities.insert(community.clone());
                self.people.insert(member.clone());
            }
            Measure::Moderators(community, _) | Measure::MembersOnly(community, _) => {
                self.communities.insert(community.clone());
            }
        }
    }

    fn commit(&mut self, author: &Did, commit: &Commit) {
        // Whether the account was deleted in the meantime (I52).
        self.profiles.insert(author.clone());
        match &commit.write {
            Write::Put { record: Ok(record), .. } => self.record(author, &commit.uri, record),
            Write::Put { record: Err(_), .. } => {
                self.records.insert(commit.uri.clone());
            }
            Write::Delete => {
                self.records.insert(commit.uri.clone());
                match commit.collection {
                    Collection::Community => drop(self.communities.insert(commit.uri.clone())),
                    Collection::Membership => drop(self.people.insert(author.clone())),
                    Collection::Member | Collection::Role => {
                        self.communities.insert(community_of(author));
                    }
                    // The needs of these deletions depend on the record itself.
                    Collection::Message
                    | Collection::Reaction
                    | Collection::Channel
                    | Collection::Category
                    | Collection::Approval
                    | Collection::Moderation
                    | Collection::ActorData
                    | Collection::ActorProfile
                    | Collection::Mute
                    | Collection::Preference
                    | Collection::ChannelRead
                    | Collection::Profile => {}
                }
            }
        }
    }

    /// The needs of a decision by record (N21): those of a person whose account becomes inactive (I51), or
    /// those of a message that is shown again.
    fn decided(&mut self, community: &AtUri, about: &About) {
        match about {
            About::Person(did) => {
                self.people.insert(did.clone());
                self.accounts.insert(did.clone());
                let subject = (community.clone(), ModerationRow::PERSON.to_owned(), did.to_string());
                self.subjects.insert(subject);
            }
            About::Message(uri) => {
                self.parent_uris.insert(uri.clone());
                self.appears(uri);
                self.showing.insert(uri.clone());
                let subject = (community.clone(), ModerationRow::MESSAGE.to_owned(), uri.to_string());
                self.subjects.insert(subject);
            }
            About::Embeds(uri) => {
                self.parent_uris.insert(uri.clone());
                let subject = (community.clone(), ModerationRow::EMBEDS.to_owned(), uri.to_string());
                self.subjects.insert(subject);
            }
            About::Nothing => {}
        }
    }

    fn record(&mut self, author: &Did, uri: &AtUri, record: &Record) {
        self.records.insert(uri.clone());
        match record {
            Record::Message(message) => {
                self.people.insert(author.clone());
                by_name(&message.channel, &mut self.channel_uris, &mut self.channel_rkeys);
                self.appears(uri);
                if let Some(facets) = &message.facets {
                    self.people.extend(mentioned(facets, MENTIONS_MAX)); // whether they take part (U02)
                }
                if let Some(parent) = &message.parent {
                    by_name(parent, &mut self.parent_uris, &mut self.parent_rkeys);
                }
            }
            Record::Reaction(reaction) => {
                self.people.insert(author.clone());
                by_name(&reaction.target, &mut self.target_uris, &mut self.target_rkeys);
                self.reacting.insert((author.clone(), reaction.target.clone(), compared(&reaction.emoji)));
            }
            Record::Community(community) => {
                self.communities.insert(uri.clone());
                self.appearing.insert(uri.to_string());
                if community.requires_approval_to_join && Form::of(uri) == Form::Old {
                    self.closing.insert(uri.clone());
                }
            }
            Record::Channel(channel) => {
                self.communities.insert(AtUri::of(author, Collection::Community, &channel.community));
                self.appears(uri);
            }
            Record::Category(category) => {
                self.communities.insert(AtUri::of(author, Collection::Community, &category.community));
            }
            Record::Membership(membership) => {
                self.people.insert(author.clone());
                self.communities.insert(membership.community.clone());
                // Its approvals may have come first (I41).
                self.memberships.insert(uri.clone());
                if Form::of(&membership.community) == Form::New {
                    self.appearing.insert(awaited(&membership.community, author));
                }
            }
            Record::Approval(approval) => {
                self.people.insert(approval.membership.authority());
                self.memberships.insert(approval.membership.clone());
            }
            Record::Member(member) => {
                let community = community_of(author);
                self.appearing.insert(awaited(&community, &member.subject));
                self.communities.insert(community);
                self.people.insert(member.subject.clone());
                // Whether it was taken back (N17).
                self.memberships.extend(member.from_membership.clone());
            }
            Record::Moderation(moderation) => {
                self.communities.insert(community_of(author));
                self.decided(&community_of(author), &moderation.about);
            }
            Record::Role(_) => drop(self.communities.insert(community_of(author))),
            Record::ChannelRead(read) => {
                self.read_channels.insert((author.clone(), read.channel.clone()));
                if let ReadUpTo::Message(message) = &read.cursor {
                    self.parent_uris.insert(message.clone());
                }
            }
            Record::Actor(_)
            | Record::Profile(_)
            | Record::ActorProfile(_)
            | Record::Mute(_)
            | Record::Preference(_) => {}
        }
    }
}

/// A value that is either an AT-URI or an rkey.
fn by_name(text: &str, uris: &mut BTreeSet<AtUri>, rkeys: &mut BTreeSet<Rkey>) {
    if let Ok(uri) = AtUri::parse(text) {
        uris.insert(uri);
    } else if let Ok(rkey) = Rkey::parse(text) {
        rkeys.insert(rkey);
    }
}
