//! Decisions by records of a community of the newest form (N21).
//!
//! Of the decisions about one subject, the one with the highest key counts, in whatever order they arrive. The
//! difference between before and after is announced. Decisions by REST are independent of these.

use super::super::embeds;
use super::super::form::community_of;
use super::super::rows::{MessageRow, ModerationRow, decided_group};
use super::super::standing::{MemberChange, Standing, standing};
use super::{Fold, Version};
use crate::wire::ids::{AtUri, Did};
use crate::wire::records::{About, Moderation};

impl Fold {
    /// N21; held while the community is not known (I60).
    pub(super) fn put_moderation(&mut self, version: &Version, record: &Moderation) {
        let community = community_of(version.author);
        let before = self.working_set.moderations.get(version.uri).cloned();
        if self.working_set.community(&community).is_none() && before.is_none() {
            return self.hold(version, community.as_str());
        }
        let (about, subject) = match &record.about {
            About::Person(did) => (ModerationRow::PERSON, did.to_string()),
            About::Message(uri) => (ModerationRow::MESSAGE, uri.to_string()),
            About::Embeds(uri) => (ModerationRow::EMBEDS, uri.to_string()),
            About::Nothing => (ModerationRow::NOTHING, String::new()),
        };
        let row = ModerationRow {
            uri: version.uri.clone(),
            community_uri: community,
            action: record.action.clone(),
            about: about.to_owned(),
            subject,
            embeds: record.embeds.clone(),
            reason: record.reason.clone(),
            created_by: record.created_by.clone(),
            created_at: record.created_at.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.as_ref().map_or(version.received, |row| row.indexed_at),
        };
        self.accept(version);
        let had = self.hidden_embeds(&row);
        let before = before.filter(|old| (&old.about, &old.subject) != (&row.about, &row.subject));
        let before = before.map(|old| (self.hidden_embeds(&old), old));
        self.working_set.moderations.put(row.clone());
        if let Some((had, before)) = before {
            self.judge(&before, &had);
        }
        self.judge(&row, &had);
    }

    pub(super) fn delete_moderation(&mut self, uri: &AtUri) {
        let had = self.working_set.moderations.get(uri).map(|row| self.hidden_embeds(row));
        if let (Some(row), Some(had)) = (self.working_set.moderations.remove(uri), had) {
            self.judge(&row, &had);
        }
    }

    /// Applies the decision that now counts about the subject of `row`. `had`: the previews that were hidden
    /// there before.
    fn judge(&mut self, row: &ModerationRow, had: &[String]) {
        match row.about.as_str() {
            ModerationRow::PERSON => {
                if let Ok(did) = Did::parse(&row.subject) {
                    let banned =
                        self.last_word(&row.community_uri, ModerationRow::PERSON, &row.subject) == "ban";
                    self.ban_by_record(&row.community_uri, &did, banned);
                }
            }
            ModerationRow::MESSAGE => {
                let message = AtUri::parse(&row.subject).ok();
                if let Some(message) = message.and_then(|uri| self.working_set.messages.get(&uri).cloned()) {
                    self.hide_by_record(&message);
                }
            }
            ModerationRow::EMBEDS => {
                let message = AtUri::parse(&row.subject).ok();
                let message = message.and_then(|uri| self.working_set.messages.get(&uri).cloned());
                if let Some(message) = message.filter(|_| self.hidden_embeds(row) != had) {
                    self.announce_embeds(&message);
                }
            }
            _ => {}
        }
    }

    /// The previews that a community hides in the message that `row` is about, if that stands there (N54).
    fn hidden_embeds(&self, row: &ModerationRow) -> Vec<String> {
        let message = AtUri::parse(&row.subject).ok().filter(|_| row.about == ModerationRow::EMBEDS);
        let message = message.and_then(|uri| self.working_set.messages.get(&uri));
        let stands_there =
            |message: &&MessageRow| self.community_of(message).as_ref() == Some(&row.community_uri);
        message.filter(stands_there).map(|message| self.embeds_hidden_in(message)).unwrap_or_default()
    }

    /// The previews that its community hides in a message (N54).
    pub(super) fn embeds_hidden_in(&self, message: &MessageRow) -> Vec<String> {
        let Some(community) = self.community_of(message) else { return Vec::new() };
        let group = decided_group(&community, ModerationRow::EMBEDS, message.uri.as_str());
        let decisions = self.working_set.moderations.group(&group);
        embeds::hidden(decisions.map(|row| (row.action.as_str(), row.embeds.as_deref())))
    }

    /// The action of the decision that counts; empty without one.
    fn last_word(&self, community: &AtUri, about: &str, subject: &str) -> String {
        let group = decided_group(community, about, subject);
        self.working_set.moderations.group(&group).last().map(|row| row.action.clone()).unwrap_or_default()
    }

    /// A ban by record, or its end. The first rule that applies decides:
    ///   1. nobody bans the community's account;
    ///   2. an unchanged state publishes nothing;
    ///   3. otherwise the person's messages are hidden or shown again: E02 for recent ones (I51), no E01;
    ///   4. a new ban, and the end of one, is published to the community (I45).
    fn ban_by_record(&mut self, community: &AtUri, person: &Did, banned: bool) {
        let place = (community.clone(), person.clone());
        let was_banned = self.working_set.bans.contains(&place);
        if community.authority() == *person || self.working_set.bans.is_by_record(&place) == banned {
            return;
        }
        let is_known = self.working_set.community(community).is_some();
        let change = self.change_of_ban(community, person, banned);
        if banned && is_known {
            let of = |fold: &Self, row: &MessageRow| {
                let there = fold.working_set.channel(&row.channel_uri);
                there.is_some_and(|(_, home)| home.uri == *community)
            };
            let shown = |row: &&MessageRow| {
                row.author_did == *person
                    && self.working_set.visible(row)
                    && self.is_recent(row)
                    && of(self, row)
            };
            let shown: Vec<MessageRow> = self.working_set.messages.iter().filter(shown).cloned().collect();
            shown.iter().for_each(|message| self.announce_gone(message));
        }
        self.working_set.bans.record(place.clone(), banned);
        self.working_set.set_banned_messages(community, person, banned);
        self.banned_by_record.push((community.clone(), person.clone(), banned));
        if !banned {
            self.let_in(person);
        }
        if is_known && was_banned != self.working_set.bans.contains(&place) {
            self.announce_change(community, person, change);
        }
    }

    /// The change to announce of a person whose ban by record begins or ends.
    fn change_of_ban(&self, community: &AtUri, person: &Did, banned: bool) -> Option<MemberChange> {
        match standing(&self.working_set, community, person) {
            Standing::Owner | Standing::None => None,
            Standing::Approved(_) | Standing::Pending(_) if banned => {
                Some(self.put_out_by_ban(community, person))
            }
            Standing::Approved(membership) => Some(MemberChange::Joined(membership)),
            Standing::Pending(membership) => Some(MemberChange::Pending(membership)),
        }
    }

    /// A message is hidden by record, or not any more: E02, or E01 and what waits for it.
    fn hide_by_record(&mut self, message: &MessageRow) {
        let was_visible = self.working_set.visible(message);
        let stood = self.working_set.visible_if_active(message);
        if was_visible && self.is_hidden(message) {
            self.announce_gone(message);
        }
        self.judge_hidden(message);
        if !was_visible && self.working_set.visible(message) {
            self.announce_shown_again(message);
        }
        if !stood && self.working_set.visible_if_active(message) {
            self.release_after_message(&message.uri);
        }
    }

    fn is_hidden(&self, message: &MessageRow) -> bool {
        let channel = self.working_set.channels.get(&message.channel_uri);
        channel.is_some_and(|channel| {
            self.last_word(&channel.community_uri, ModerationRow::MESSAGE, message.uri.as_str())
                == "hideMessage"
        })
    }

    /// Notes whether a message's community hides it.
    pub(super) fn judge_hidden(&mut self, message: &MessageRow) {
        if self.is_hidden(message) {
            self.working_set.hides.insert(message.uri.clone());
        } else {
            self.working_set.hides.remove(&message.uri);
        }
    }
}
