//! Messages (section 8.3).
//!
//! The gate judges creates and edits alike. The difference between the message's visibility before
//! and after is announced.

use super::super::announcement::{Audience, Topic};
use super::super::gate::{Verdict, admit};
use super::super::keys::meant_in;
use super::super::rows::{GoneRow, MessageRow, Outcome};
use super::super::working_set::WorkingSet;
use super::{Fold, Version, reactions};
use crate::wire::bodies::{self, message_id, verbatim};
use crate::wire::events::{Event, MessageEvent, pack};
use crate::wire::ids::{AtUri, Collection, Rkey};
use crate::wire::records::{Message, are_attachments, are_facets};
use crate::wire::subscribe_events::{self, NewestEvent};
use crate::wire::time::Micros;
use crate::wire::views::links;

impl Fold {
    /// I10–I13, I15. The first rule that applies decides:
    ///   1. an update of a message that is neither known nor held does nothing (I11b);
    ///   2. if the gate holds it, it waits, and an earlier version stays as it is (G1, N12);
    ///   3. if the gate refuses it, a new message is dropped for good (G7), and an edited one keeps
    ///      its earlier version (I11);
    ///   4. otherwise it is stored, and shown unless it is blocked (I13, I15).
    ///
    /// `may_be_new` is true for a create and for a held message.
    pub(super) fn put_message(&mut self, version: &Version, record: &Message, may_be_new: bool) {
        let before = self.working_set.messages.get(version.uri).cloned();
        if before.is_none() && !may_be_new {
            if !self.was(version.uri, Outcome::Deleted) {
                self.doubtful.insert(version.author.clone());
            }
            return self.note_rev(version);
        }
        match admit(&self.working_set, version.author, &record.channel, version.received) {
            Verdict::Held => self.hold(version, &record.channel),
            Verdict::Awaits(admission) => self.hold(version, &admission),
            Verdict::Refused(refused) => self.turn_away(version, refused.reason()),
            Verdict::Accepted(channel) => {
                self.accept(version);
                self.working_set.people.know(version.author);
                let is_active = self.working_set.is_active(version.author);
                let row = stored(version, record, channel, before.as_ref(), is_active);
                self.replace_message(before.as_ref(), row);
            }
        }
    }

    /// Stores `row` and announces the difference (E01, E02, I12).
    fn replace_message(&mut self, before: Option<&MessageRow>, row: MessageRow) {
        let same_content = before.is_some_and(|old| old.looks_like(&row));
        let same_embeds = before.is_some_and(|old| old.suppressed_embeds == row.suppressed_embeds);
        let shown_before = before.filter(|old| self.working_set.visible(old)).cloned();
        let stood = before.is_some_and(|old| self.working_set.visible_if_active(old));
        self.judge_hidden(&row);
        self.working_set.messages.put(row.clone());
        if same_content {
            if !same_embeds && self.working_set.visible(&row) {
                self.announce_own_embeds(&row);
            }
            return;
        }
        self.notify(before, &row);
        let same_thread = |old: &MessageRow| old.channel_uri == row.channel_uri && old.parent == row.parent;
        let (stays_in_thread, left_thread) = match &shown_before {
            Some(old) if same_thread(old) => (true, None),
            old => (false, old.clone().filter(|old| old.channel_uri == row.channel_uri)),
        };
        let moved = shown_before.filter(|old| old.channel_uri != row.channel_uri);
        if let Some(old) = before.filter(|old| old.channel_uri != row.channel_uri) {
            self.working_set.gone.insert(GoneRow::from(old));
        }
        if let Some(old) = moved {
            self.announce_gone(&old);
        }
        if self.working_set.visible(&row) && (before.is_some() || self.is_announced(row.sort_at)) {
            self.announce_shown(&row);
            left_thread.iter().for_each(|old| self.announce_thread(old));
            if !stays_in_thread {
                self.announce_thread(&row);
            }
        }
        if !stood && self.working_set.visible_if_active(&row) {
            self.release_after_message(&row.uri);
        }
    }

    /// I14: E02 if it was visible. Its reactions are deleted for good (I71).
    pub(super) fn delete_message(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.remove_message(uri) {
            self.notified.withdraw(uri, None, None);
            self.forget_reactions(uri);
            if self.working_set.visible(&row) {
                self.announce_gone(&row);
            }
        }
    }

    pub(super) fn announce_gone(&mut self, row: &MessageRow) {
        let Some(community_uri) = self.community_of(row) else { return };
        let event = Event::MessageDeleted {
            id: message_id(&row.uri),
            rkey: row.uri.rkey(),
            author_did: row.author_did.clone(),
            channel: row.shown_channel(),
            community_uri: community_uri.clone(),
            channel_uri: row.channel_uri.clone(),
        };
        let audience = Audience::Messages(row.channel_uri.clone());
        self.announce(&community_uri, audience, Topic::MessageGone(row.uri.clone()), &event);
        self.announce_thread(row);
    }

    /// A message that was hidden is visible again: E01, U33.
    pub(super) fn announce_shown_again(&mut self, row: &MessageRow) {
        self.announce_shown(row);
        self.announce_thread(row);
    }

    /// U33: `row`, if it answers anything, appeared in a thread, or disappeared from it. Which thread that is, and how
    /// much it has, says the index once all of this is committed.
    fn announce_thread(&mut self, row: &MessageRow) {
        let Some(parent) = row.parent.clone().filter(|parent| names_a_message(parent)) else { return };
        let Some(community_uri) = self.community_of(row) else { return };
        let event = Event::ThreadUpdated {
            parent: parent.clone(),
            channel: row.shown_channel(),
            community_uri: community_uri.clone(),
            channel_uri: row.channel_uri.clone(),
            thread: None,
        };
        let audience = Audience::Messages(row.channel_uri.clone());
        self.announce(&community_uri, audience, Topic::Thread(parent), &event);
    }

    /// E01. For the newest client it has a text of its own only if that says more: which previews are not shown.
    fn announce_shown(&mut self, row: &MessageRow) {
        let Some(march) = self.shown_text(row) else { return };
        let own = links(row.suppressed_embeds.as_deref());
        let hidden = self.embeds_hidden_in(row);
        let says_more = !(own.is_empty() && hidden.is_empty());
        let newest = says_more.then(|| NewestEvent::of_message(&march, own, hidden)?.text().ok()).flatten();
        let text = if newest.is_some() { pack(newest.as_deref(), Some(&march)) } else { march };
        self.announce_message(row, text);
    }

    /// N53: previews that their author does not want shown any more, or again, which only the newest client has.
    fn announce_own_embeds(&mut self, row: &MessageRow) {
        let Some(march) = self.shown_text(row) else { return };
        let own = links(row.suppressed_embeds.as_deref());
        let newest = NewestEvent::of_message(&march, own, self.embeds_hidden_in(row));
        if let Some(Ok(newest)) = newest.as_ref().map(NewestEvent::text) {
            self.announce_message(row, pack(Some(&newest), None));
        }
    }

    /// N54: other previews are hidden by the community.
    pub(super) fn announce_embeds(&mut self, row: &MessageRow) {
        if !self.working_set.visible(row) {
            return;
        }
        let event = NewestEvent::MessageEvent(subscribe_events::MessageEvent::Embeds {
            uri: row.uri.clone(),
            channel: row.channel_uri.clone(),
            mod_suppressed_embeds: self.embeds_hidden_in(row),
        });
        if let Ok(newest) = event.text() {
            self.announce_message(row, pack(Some(&newest), None));
        }
    }

    fn announce_message(&mut self, row: &MessageRow, text: String) {
        let Some(community_uri) = self.community_of(row) else { return };
        let audience = Audience::Messages(row.channel_uri.clone());
        self.announce_text(&community_uri, audience, Topic::MessageShown(row.uri.clone()), Ok(text));
    }

    /// The E01 of a message, if its community is known.
    fn shown_text(&self, row: &MessageRow) -> Option<String> {
        let message = bodies::Message {
            core: core(&self.working_set, row),
            parent_message: parent(&self.working_set, row).map(|parent| core(&self.working_set, parent)),
            reactions: reactions::groups_shown(self.working_set.reactions.group(row.uri.as_str())),
        };
        let event = Event::Message(Box::new(MessageEvent {
            message,
            community_uri: self.community_of(row)?,
            channel_uri: row.channel_uri.clone(),
        }));
        event.text().ok()
    }

    pub(super) fn community_of(&self, row: &MessageRow) -> Option<AtUri> {
        self.working_set.channel(&row.channel_uri).map(|(_, community)| community.uri.clone())
    }
}

/// Whether a parent can mean a message (T21).
fn names_a_message(parent: &str) -> bool {
    AtUri::parse(parent).is_ok_and(|uri| uri.is(Collection::Message)) || Rkey::parse(parent).is_ok()
}

/// The row of an accepted version. An edit replaces text, channel, parent, facets and attachments;
/// all times stay (I11, T13).
fn stored(
    version: &Version,
    record: &Message,
    channel_uri: AtUri,
    before: Option<&MessageRow>,
    is_active: bool,
) -> MessageRow {
    let received = version.received;
    let written = Micros::parse(&record.created_at);
    let mut row = MessageRow {
        uri: version.uri.clone(),
        author_did: version.author.clone(),
        channel_uri,
        channel: record.channel.clone(),
        text: record.text.clone(),
        created_at: if written.is_some() { record.created_at.clone() } else { received.shown() },
        sort_at: written.map_or(received, |instant| instant.min(received)),
        indexed_at: received,
        edited: record.edited,
        parent: record.parent.clone(),
        facets: record.facets.clone(),
        attachments: record.attachments.clone(),
        suppressed_embeds: record.suppressed_embeds.clone(),
        rev: version.rev.to_owned(),
        hidden: before.map_or(!is_active, |old| old.hidden),
        banned: false, // the gate refuses everybody whom a record bans (N11)
    };
    if let Some(old) = before {
        row.created_at.clone_from(&old.created_at);
        row.sort_at = old.sort_at;
        row.indexed_at = old.indexed_at;
        row.edited |= old.edited;
        row.edited |= !old.looks_like(&row);
    }
    row
}

/// The visible message that `row` answers (T21): by AT-URI, or by the meaning of its rkey in the
/// same channel.
pub(super) fn parent<'w>(working_set: &'w WorkingSet, row: &MessageRow) -> Option<&'w MessageRow> {
    let named = row.parent.as_deref()?;
    let found = match AtUri::parse(named) {
        Ok(uri) => working_set.messages.get(&uri),
        Err(_) => {
            let meant = meant_in(working_set, &Rkey::parse(named).ok()?, &row.channel_uri)?;
            working_set.messages.get(&meant).filter(|parent| parent.channel_uri == row.channel_uri)
        }
    };
    found.filter(|parent| working_set.visible(parent) && may_be_shown_with(working_set, parent, row))
}

/// Whether those who see `row` may see the message it answers: of another community only if everybody
/// reads that (X44).
fn may_be_shown_with(working_set: &WorkingSet, parent: &MessageRow, row: &MessageRow) -> bool {
    let home = |row: &MessageRow| working_set.channel(&row.channel_uri).map(|(_, community)| &community.uri);
    home(parent).is_some_and(|of| home(row) == Some(of) || !working_set.members_only.contains(of))
}

fn core(working_set: &WorkingSet, row: &MessageRow) -> bodies::MessageCore {
    row.core(working_set.person(&row.author_did))
}

impl MessageRow {
    /// Whether the two are the same to clients of 2026-03: previews, which these do not have, do not
    /// count (N53).
    fn looks_like(&self, other: &Self) -> bool {
        let (rev, suppressed_embeds) = (other.rev.clone(), other.suppressed_embeds.clone());
        Self { rev, suppressed_embeds, ..self.clone() } == *other
    }

    /// The channel as clients of 2026-03 look for it (N06): by its key, also where the record names it
    /// by its AT-URI.
    pub fn shown_channel(&self) -> String {
        if self.channel == self.channel_uri.as_str() {
            self.channel_uri.rkey().to_string()
        } else {
            self.channel.clone()
        }
    }

    /// The message as bodies and frames show it (O01), by `author`. Invalid facets and attachments,
    /// which were accepted before 8.3 required validation, are left out.
    pub fn core(&self, author: bodies::Person) -> bodies::MessageCore {
        bodies::MessageCore {
            id: message_id(&self.uri),
            rkey: self.uri.rkey(),
            author_did: self.author_did.clone(),
            text: self.text.clone(),
            channel: self.shown_channel(),
            created_at: self.created_at.clone(),
            indexed_at: self.indexed_at.shown(),
            edited: self.edited,
            parent: self.parent.clone(),
            facets: verbatim(self.facets.as_deref().filter(|text| are_facets(text))),
            attachments: verbatim(self.attachments.as_deref().filter(|text| are_attachments(text))),
            author,
        }
    }
}
