//! People's own records, and account events (sections 8.6 and 8.8).

use super::super::announcement::{Announcement, Audience, Scope, Topic};
use super::super::identity::Finding;
use super::super::rows::{ActorRow, ChannelReadRow, MessageRow, PersonRow};
use super::{Fold, Version};
use crate::wire::events::{Event, channel_read};
use crate::wire::ids::{AtUri, Did};
use crate::wire::records::{Actor, ChannelRead, Invalid, Profile, ReadUpTo};
use crate::wire::tid;
use crate::wire::time::Micros;

/// The effect of an account event on everything that is stored of a person, loaded or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    /// The person.
    pub did: Did,
    /// Whether all their records are hidden.
    pub hidden: bool,
    /// Whether all records of the repository are deleted for good (I52).
    pub purged: bool,
    /// Whether the account becomes active again: its repository must be read (I53).
    pub returned: bool,
}

/// How far the stream may lag behind the clock: an event without a usable time is placed before
/// those that follow it.
const STREAM_LAG: i64 = 10_000_000;

/// The account status of a person whose rows are being erased (I56). No host reports it.
const ERASED: &str = "erased";

/// The status of an account that does not return (I52).
const DELETED: &str = "deleted";

impl Fold {
    /// I33: all actor records of a person share one entry; the last one applied counts. Each sends
    /// E15, even without a change.
    pub(super) fn put_actor(&mut self, version: &Version, record: &Actor) {
        let indexed_at =
            self.working_set.actors.get(version.uri).map_or(version.received, |row| row.indexed_at);
        self.accept(version);
        let order = (!record.communities.is_empty()).then_some(&record.communities);
        self.working_set.actors.put(ActorRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            communities: order.and_then(|order| serde_json::to_string(order).ok()),
            rev: version.rev.to_owned(),
            indexed_at,
        });
        self.set_status(version.author, &record.status, record.emoji.clone());
    }

    /// I33: the deletion of any of them empties the entry.
    pub(super) fn delete_actor(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.actors.remove(uri) {
            self.set_status(&row.did, "", None);
        }
    }

    fn set_status(&mut self, did: &Did, status: &str, emoji: Option<String>) {
        self.working_set.people.change(did, |person| {
            person.status_text = Some(status.to_owned());
            person.emoji = emoji;
        });
        let event = Event::status_of(did, self.working_set.person(did));
        self.announce_to_watchers(did, Topic::Other, &event);
    }

    /// I36: stores a profile if the person's profile is cached and the rkey is `self`.
    pub(super) fn put_profile(&mut self, version: &Version, record: &Profile) {
        self.set_profile(version, record.clone());
    }

    /// I36: removes all four values.
    pub(super) fn delete_profile(&mut self, version: &Version) {
        self.set_profile(version, Profile::default());
    }

    fn set_profile(&mut self, version: &Version, profile: Profile) {
        let did = version.author;
        let Some(before) = self.working_set.people.get(did).cloned() else { return };
        if version.uri.rkey().as_str() != "self"
            || before.profile_rev.as_deref().is_some_and(|applied| version.rev <= applied)
        {
            return;
        }
        self.working_set.people.change(did, |person| {
            person.is_bot = profile.is_bot;
            person.set_bluesky(profile.into());
            person.profile_rev = Some(version.rev.to_owned());
        });
        self.working_set.note_cid(version.uri, version.cid);
        self.announce_profile(did, &before);
    }

    /// E16, if a shown value changed.
    pub(super) fn announce_profile(&mut self, did: &Did, before: &PersonRow) {
        let Some(after) = self.working_set.people.get(did) else { return };
        let shown = |row: &PersonRow| (row.looks(), row.handle.clone(), row.is_bot);
        if shown(before) == shown(after) {
            return;
        }
        let event = Event::profile_of(did, self.working_set.person(did));
        self.announce_to_watchers(did, Topic::Other, &event);
    }

    /// I38, N52: a person's read position in a channel never moves back, and never ahead of the clock:
    /// a position in the future would stay for good. The first rule that applies says where a message
    /// is:
    ///   1. where it is sorted (T13), if it is known;
    ///   2. at the time of its rkey, if that is one;
    ///   3. nowhere: the mark is refused.
    pub(super) fn put_channel_read(&mut self, version: &Version, record: &ChannelRead) {
        let (position, named) = match &record.cursor {
            ReadUpTo::Time(time) => (Some(*time), None),
            ReadUpTo::Message(uri) => {
                let known = self.working_set.messages.get(uri).map(|message| message.sort_at);
                (known.or_else(|| tid::time(uri.rkey().as_str())), Some(uri.clone()))
            }
        };
        let Some(position) = position else {
            self.refuse(version, Invalid::Reference.reason());
            return self.note_rev(version);
        };
        let cursor = position.min(version.received);
        let group = format!("{} {}", version.author, record.channel);
        let latest = self.working_set.channel_reads.group(&group).map(|row| row.cursor_at).max();
        let indexed_at =
            self.working_set.channel_reads.get(version.uri).map_or(version.received, |row| row.indexed_at);
        self.accept(version);
        if latest.is_none_or(|latest| cursor > latest) {
            let (newest, march) = channel_read(&record.channel);
            self.announce_to_person(version.author, newest, Some(&march));
        }
        self.working_set.channel_reads.put(ChannelReadRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            channel_uri: record.channel.clone(),
            cursor_at: latest.map_or(cursor, |latest| latest.max(cursor)),
            cursor_uri: named,
            rev: version.rev.to_owned(),
            indexed_at,
        });
    }

    pub(super) fn delete_channel_read(&mut self, uri: &AtUri) {
        self.working_set.channel_reads.remove(uri);
    }

    /// I50: the shown handle is a verified one; a different claim counts as unproven until it is
    /// verified.
    pub(super) fn identity(&mut self, did: &Did, handle: Option<&str>) {
        let Some(before) = self.working_set.people.get(did).cloned() else { return };
        self.identities.push(did.clone());
        if before.handle.is_some() && before.handle.as_deref() != handle {
            self.working_set.people.change(did, |person| person.handle = None);
            self.announce_profile(did, &before);
        }
    }

    /// I50, K12: stores a verified handle and a missing profile; E16 if a shown value changes.
    pub(super) fn learn(&mut self, did: &Did, finding: &Finding) {
        let Some(before) = self.working_set.people.get(did).cloned() else { return };
        let mut after = before.clone();
        after.learn(finding);
        if after != before {
            self.working_set.people.change(did, |person| *person = after);
            self.announce_profile(did, &before);
        }
    }

    /// I51–I53. The first rule that applies decides:
    ///   1. an unknown person is ignored, and so is a repetition: an event older than the last, or
    ///      one of the same time that was applied already;
    ///   2. a deleted account deletes every record of its repository, for good (I52);
    ///   3. an account that becomes inactive hides its records, and one that becomes active again
    ///      shows those that still exist.
    pub(super) fn account(&mut self, did: &Did, active: bool, status: Option<&str>, at: Micros) {
        let Some(before) = self.working_set.people.get(did).cloned() else { return };
        // A clock that is far ahead must not suppress the events of a month.
        let at = if at.is_ahead_of(self.now) { Micros(self.now.0.saturating_sub(STREAM_LAG)) } else { at };
        let status = status.filter(|_| !active);
        let Some(said) = said_by_then(&before, active, status, at) else { return };
        let purged = status == Some(DELETED);
        let away_since = (!active).then(|| before.away_since.unwrap_or(self.clock));
        self.working_set.people.change(did, |person| {
            person.active = active;
            person.account_status = status.map(str::to_owned);
            person.account_at = Some(at);
            person.account_said = Some(said);
            person.away_since = away_since;
            if purged {
                person.deleted_at = Some(at);
                person.show(None); // N50: the record goes
            }
        });
        if before.active != active {
            // The gateway owns presence: it decides whether to publish this (P13).
            let event = Event::status_of(did, self.working_set.person(did));
            self.announce_to_watchers(did, Topic::Account(active), &event);
        }
        if before.active && !active {
            self.hide(did);
        } else if !before.active && active {
            self.show(did, before.away_since);
        }
        if purged {
            self.deleted_communities.extend(self.owned_communities(did));
            self.working_set.remove_all_of(did);
        }
        let returned = active && !before.active && !self.recovering;
        self.accounts.push(AccountChange { did: did.clone(), hidden: !active, purged, returned });
    }

    /// I55: hides everything of a person as if their account became inactive (I51). The only thing that is
    /// published is that they are gone.
    pub(super) fn erase(&mut self, did: &Did) {
        self.working_set.erased.insert(did.clone());
        let Some(before) = self.working_set.people.get(did).cloned() else { return };
        self.working_set.people.change(did, |person| {
            *person = PersonRow {
                active: false,
                account_status: Some(ERASED.to_owned()),
                state: before.state.clone(),
                ..PersonRow::new(did)
            };
        });
        if before.active {
            let event = Event::status_of(did, self.working_set.person(did));
            self.announce_to_watchers(did, Topic::Account(false), &event);
            self.hide(did);
        }
        self.deleted_communities.extend(self.owned_communities(did));
        self.accounts.push(AccountChange { did: did.clone(), hidden: true, purged: false, returned: false });
    }

    /// Whether a person is erased, so that their record is refused (I57). Counts the refused ones.
    pub(super) fn is_shut_out(&mut self, did: &Did) -> bool {
        let is_erased = self.working_set.erased.contains(did);
        self.shut_out += u64::from(is_erased);
        is_erased
    }

    /// I51: E02 for recent messages, `member_left` everywhere, E06 for owned communities.
    fn hide(&mut self, did: &Did) {
        let shown: Vec<MessageRow> = self
            .working_set
            .messages
            .iter()
            .filter(|row| row.author_did == *did && self.working_set.visible(row) && self.is_recent(row))
            .cloned()
            .collect();
        for message in &shown {
            self.announce_gone(message);
        }
        self.working_set.set_hidden_messages(did, true);
        for community in self.communities_of_member(did) {
            let left = |fold: &mut Self| fold.working_set.set_hidden_memberships(did, &community, true);
            let change = self.put_out_by_ban(&community, did);
            if self.standing_changed(&community, did, left).is_some() {
                self.announce_change(&community, did, Some(change));
            }
        }
        for community in self.owned_communities(did) {
            if self.working_set.community(&community).is_some() {
                self.announce_community_gone(&community);
            }
            self.working_set.set_hidden_community(&community, true);
        }
    }

    /// I53: E05 for owned communities, members as from "none", E01 for messages since the account
    /// became inactive; none for older ones.
    fn show(&mut self, did: &Did, away_since: Option<Micros>) {
        for community in self.owned_communities(did) {
            self.working_set.set_hidden_community(&community, false);
            self.announce_community(&community, Topic::CommunityShown);
            self.release_after_community(&community);
        }
        self.working_set.set_hidden_messages(did, false);
        for community in self.communities_of_member(did) {
            self.with_standing(&community, did, |fold| {
                fold.working_set.set_hidden_memberships(did, &community, false);
            });
        }
        let mut news: Vec<MessageRow> = self
            .working_set
            .messages
            .iter()
            .filter(|row| row.author_did == *did && away_since.is_some_and(|since| row.indexed_at > since))
            .filter(|row| self.working_set.visible(row) && self.is_recent(row))
            .cloned()
            .collect();
        news.sort_by_key(|row| (row.indexed_at, row.uri.clone()));
        for message in &news {
            self.announce_shown_again(message);
        }
    }

    pub(super) fn is_recent(&self, message: &MessageRow) -> bool {
        message.sort_at >= self.recent_since
    }

    fn communities_of_member(&self, did: &Did) -> Vec<AtUri> {
        let mut communities: Vec<AtUri> = self
            .working_set
            .memberships
            .iter()
            .map(|row| (&row.member_did, &row.community_uri))
            .chain(self.working_set.members.iter().map(|row| (&row.member_did, &row.community_uri)))
            .filter(|(member, _)| *member == did)
            .map(|(_, community)| community.clone())
            .collect();
        communities.sort();
        communities.dedup();
        communities
    }

    fn owned_communities(&self, did: &Did) -> Vec<AtUri> {
        self.working_set
            .communities
            .iter()
            .filter(|row| row.uri.authority() == *did)
            .map(|row| row.uri.clone())
            .collect()
    }

    /// Whether the account was deleted after this moment of the stream: its earlier records are
    /// gone for good, even if the stream repeats them (I52).
    pub(super) fn is_purged(&self, did: &Did, at: Micros) -> bool {
        let person = self.working_set.people.get(did);
        person.and_then(|person| person.deleted_at).is_some_and(|deleted| at <= deleted)
    }

    /// Announces to everybody who watches a person.
    fn announce_to_watchers(&mut self, did: &Did, topic: Topic, event: &Event) {
        let Ok(text) = event.text().and_then(serde_json::value::RawValue::from_string) else { return };
        self.announcements.push(Announcement {
            scope: Scope::People,
            audience: Audience::Watchers(did.clone()),
            topic,
            live: self.is_live(),
            event: text,
        });
    }
}

/// What the account events of the time `at` reported, including this one, one line each. `None` if
/// this one was applied before. The time alone does not show that: a stream may give two events the same
/// time, and repeats both.
fn said_by_then(person: &PersonRow, active: bool, status: Option<&str>, at: Micros) -> Option<String> {
    let line = format!("{active} {:?}", status.unwrap_or_default());
    match person.account_at {
        Some(applied) if at < applied => None,
        Some(applied) if at == applied => {
            // Applied by a build that stored only the resulting state.
            let stood =
                || format!("{} {:?}", person.active, person.account_status.as_deref().unwrap_or_default());
            let mut said = person.account_said.clone().unwrap_or_else(stood);
            if said.lines().any(|earlier| earlier == line) {
                return None;
            }
            said.push('\n');
            said.push_str(&line);
            Some(said)
        }
        _ => Some(line),
    }
}
