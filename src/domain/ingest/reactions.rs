//! Reactions (section 8.4).
//!
//! Several records of one person with the same emoji on the same message count once; events are
//! sent for the first and the last of them (B-38).

use std::collections::{BTreeMap, BTreeSet};

use super::super::announcement::{Audience, Topic};
use super::super::gate::{No, may_react};
use super::super::keys::meanings;
use super::super::rows::{MessageRow, Outcome, ReactionRow, Row, SettledRow};
use super::{Fold, Version};
use crate::wire::bodies::ReactionGroup;
use crate::wire::emoji::compared;
use crate::wire::events::{self, Event};
use crate::wire::ids::{AtUri, Rkey};
use crate::wire::records::Reaction;
use crate::wire::time::Micros;

/// How many bytes an event may spend on naming the people who reacted: about 2,200 of them. A
/// message event contains its reactions and must fit into the 2 MB of a stored value (platform
/// facts T8); otherwise it would fail for ever, and block everything behind it.
const NAMED_MAX: usize = 192 * 1024;

/// The target of a reaction.
enum Target {
    /// A message that is blocked or was deleted, for good.
    Gone,
    /// A message that is unknown or not visible.
    Unseen,
    /// This message, visible or hidden only by its author's inactive account.
    Visible(Box<MessageRow>),
}

impl Fold {
    /// I20–I22. The first rule that applies decides:
    ///   1. if its message is blocked or was deleted, it is refused for good (I22);
    ///   2. if its message is unknown or not visible, it waits (I21). A message that only its
    ///      author's inactive account hides counts as visible (I51);
    ///   3. if the gate of the target's channel refuses it, ignoring "owner only", it is dropped
    ///      for good;
    ///   4. otherwise it counts, and is announced if it is the person's first with this emoji there
    ///      (and, if a reconciliation found it, recent: K08).
    pub(super) fn put_reaction(&mut self, version: &Version, record: &Reaction) {
        let target = match self.target(version, &record.target) {
            Target::Gone => {
                self.refuse(version, "target_blocked_or_deleted");
                return self.settle(version, Outcome::Orphaned, false);
            }
            Target::Unseen => return self.hold(version, &record.target),
            Target::Visible(target) => target,
        };
        let verdict = match self.working_set.channel(&target.channel_uri) {
            Some((_, community)) => may_react(&self.working_set, version.author, community, version.received),
            None => return self.hold(version, &record.target),
        };
        match verdict {
            Ok(()) => {}
            Err(No::Refused(refused)) => return self.turn_away(version, refused.reason()),
            Err(No::Awaits(admission)) => return self.hold(version, &admission),
        }
        let row = ReactionRow {
            uri: version.uri.clone(),
            reactor_did: version.author.clone(),
            target_uri: target.uri.clone(),
            emoji: self.spelling(&target.uri, &record.emoji),
            rev: version.rev.to_owned(),
            indexed_at: version.received,
            hidden: !self.working_set.is_active(version.author),
        };
        let is_first = !self.has_same_reaction(&row);
        self.accept(version);
        self.working_set.reactions.put(row.clone());
        let written = record.created_at.as_deref().and_then(Micros::parse);
        let sort_at = written.map_or(version.received, |instant| instant.min(version.received));
        if is_first && !row.hidden && self.working_set.visible(&target) && self.is_announced(sort_at) {
            self.announce_reaction(&row, &target, Event::ReactionAdded);
        }
    }

    /// I24: announced if it was the person's last with this emoji there.
    pub(super) fn delete_reaction(&mut self, uri: &AtUri) {
        let Some(row) = self.working_set.reactions.remove(uri) else { return };
        let target = self.working_set.messages.get(&row.target_uri).cloned();
        if let Some(target) = target.filter(|target| self.working_set.visible(target))
            && !row.hidden
            && !self.has_same_reaction(&row)
        {
            self.announce_reaction(&row, &target, Event::ReactionRemoved);
        }
    }

    /// A message is deleted, with its reactions. If it is written again, it starts without them,
    /// even if the stream repeats them (I71).
    pub(super) fn forget_reactions(&mut self, message: &AtUri) {
        let rows: Vec<ReactionRow> = self.working_set.reactions.group(message.as_str()).cloned().collect();
        for row in rows {
            self.working_set.reactions.remove(&row.uri);
            self.working_set.settled.put(SettledRow {
                uri: row.uri.clone(),
                outcome: Outcome::Orphaned,
                rev: row.rev().to_owned(),
                settled_at: self.clock,
                lasting: true,
            });
        }
    }

    /// Whether another record of the same person has the same emoji on the same message.
    fn has_same_reaction(&self, row: &ReactionRow) -> bool {
        self.working_set.reactions.group(row.target_uri.as_str()).any(|other| {
            other.uri != row.uri && other.reactor_did == row.reactor_did && other.emoji == row.emoji
        })
    }

    /// The spelling of an emoji on a message: that of the first one there with the same shape
    /// (8.4).
    fn spelling(&self, target: &AtUri, emoji: &str) -> String {
        let shape = compared(emoji);
        let same =
            self.working_set.reactions.group(target.as_str()).filter(|row| compared(&row.emoji) == shape);
        same.min_by_key(|row| (row.indexed_at, &row.uri)).map_or(emoji, |row| &row.emoji).to_owned()
    }

    /// The message that a reaction refers to (T21): by AT-URI, or by the meaning of its rkey in a
    /// channel where the person passes the gate, the one indexed first. If no channel accepts, it
    /// is the one indexed first of all, so that the refusal has a reason.
    fn target(&self, version: &Version, named: &str) -> Target {
        if let Ok(uri) = AtUri::parse(named) {
            let was_deleted =
                self.working_set.settled.get(&uri).is_some_and(|row| row.outcome == Outcome::Deleted);
            return if was_deleted { Target::Gone } else { self.as_target(&uri).unwrap_or(Target::Unseen) };
        }
        let Ok(rkey) = Rkey::parse(named) else { return Target::Unseen };
        let mut channels = BTreeSet::new();
        let chosen = meanings(&self.working_set, &rkey)
            .into_iter()
            // The first in each channel.
            .filter(|meant| channels.insert(meant.channel.clone()))
            .filter_map(|meant| {
                let (_, community) = self.working_set.channel(&meant.channel)?;
                let accepts =
                    may_react(&self.working_set, version.author, community, version.received).is_ok();
                Some((!accepts, meant))
            })
            .min();
        match chosen {
            Some((_, meant)) => self.as_target(&meant.message).unwrap_or(Target::Gone),
            None => Target::Unseen,
        }
    }

    /// A message as a target; `None` if it does not exist.
    fn as_target(&self, uri: &AtUri) -> Option<Target> {
        if self.working_set.is_blocked(uri) {
            return Some(Target::Gone);
        }
        let row = self.working_set.messages.get(uri)?;
        Some(if self.working_set.visible_if_active(row) {
            Target::Visible(Box::new(row.clone()))
        } else {
            Target::Unseen
        })
    }

    fn announce_reaction(
        &mut self,
        row: &ReactionRow,
        target: &MessageRow,
        event: impl FnOnce(events::Reaction) -> Event,
    ) {
        let Some(community_uri) = self.community_of(target) else { return };
        let event = event(events::Reaction {
            rkey: row.uri.rkey(),
            author_did: row.reactor_did.clone(),
            emoji: row.emoji.clone(),
            target_rkey: target.uri.rkey(),
            target_author_did: target.author_did.clone(),
            channel: target.shown_channel(),
            community_uri: community_uri.clone(),
            channel_uri: target.channel_uri.clone(),
        });
        let audience = Audience::Messages(target.channel_uri.clone());
        self.announce(&community_uri, audience, Topic::Other, &event);
    }
}

/// The same for an event, which has a size limit: every group with its full `count`, but only as
/// many people as fit into [`NAMED_MAX`], oldest first. REST names all.
pub(super) fn groups_shown<'r>(reactions: impl IntoIterator<Item = &'r ReactionRow>) -> Vec<ReactionGroup> {
    let mut left = NAMED_MAX;
    let mut groups = groups(reactions);
    for group in &mut groups {
        let fit = group.reactor_dids.iter().zip(&group.rkeys).take_while(|(did, rkey)| {
            // Two lists of DIDs and one of keys, each with quotes and a comma.
            let bytes = 2 * (did.as_str().len() + 3) + rkey.as_str().len() + 3;
            let fits = bytes <= left;
            left = if fits { left - bytes } else { 0 };
            fits
        });
        let fit = fit.count();
        group.reactor_dids.truncate(fit);
        group.authors.truncate(fit);
        group.rkeys.truncate(fit);
    }
    groups
}

/// The reactions to one message as bodies show them (O03): each person counts once per emoji with
/// their oldest record, in order of arrival; groups are sorted by `count`, then by first arrival.
pub fn groups<'r>(reactions: impl IntoIterator<Item = &'r ReactionRow>) -> Vec<ReactionGroup> {
    let mut rows: Vec<&ReactionRow> = reactions.into_iter().filter(|row| !row.hidden).collect();
    rows.sort_by_key(|row| (row.indexed_at, &row.uri));
    let mut groups: Vec<ReactionGroup> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counted = BTreeSet::new();
    for row in rows {
        let place = *places.entry(&row.emoji).or_insert(groups.len());
        if place == groups.len() {
            groups.push(ReactionGroup {
                emoji: row.emoji.clone(),
                count: 0,
                reactor_dids: Vec::new(),
                authors: Vec::new(),
                rkeys: Vec::new(),
            });
        }
        if let Some(group) = groups.get_mut(place)
            && counted.insert((&row.emoji, &row.reactor_did))
        {
            group.count += 1;
            group.reactor_dids.push(row.reactor_did.clone());
            group.authors.push(row.reactor_did.clone());
            group.rkeys.push(row.uri.rkey());
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.count)); // stable: ties keep their order of arrival
    groups
}
