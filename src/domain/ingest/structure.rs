//! Communities, channels and categories (section 8.5), and the effects of their deletion (8.10).
//!
//! Hiding is not stored: a channel in an unknown community is unknown itself, and a message in an
//! unknown channel is not visible. So when a record is created again, everything below it becomes
//! visible again (I72).

use super::super::announcement::{Audience, Topic};
use super::super::form::Admission;
use super::super::rows::{CategoryRow, ChannelRow, CommunityRow};
use super::super::standing::{Standing, standing};
use super::super::voice_right::is_voice;
use super::{Fold, Version};
use crate::wire::bodies::verbatim;
use crate::wire::events::{Event, Membership};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::records::{Category, Channel, Community};
use crate::wire::subscribe_events::{self, NewestEvent};

impl Fold {
    /// I25, I26, and the release of records that waited for this community (I61).
    pub(super) fn put_community(&mut self, version: &Version, record: &Community) {
        let before = self.working_set.communities.get(version.uri).cloned();
        let row = CommunityRow {
            uri: version.uri.clone(),
            name: record.name.clone(),
            description: record.description.clone(),
            picture: record.picture.clone(),
            category_order: record.category_order.clone(),
            requires_approval_to_join: record.requires_approval_to_join,
            banner: record.banner.clone(),
            link_embeds: record.link_embeds,
            migrated_to: record.migrated_to.clone(),
            migrated_from: record.migrated_from.clone(),
            appview: record.appview.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.as_ref().map_or(version.received, |row| row.indexed_at),
            hidden: !self.working_set.is_active(version.author),
            unread: before.as_ref().is_none_or(|row| row.unread),
        };
        let same = before.as_ref().is_some_and(|old| old.looks_like(&row));
        self.accept(version);
        self.working_set.people.know(version.author);
        self.working_set.communities.put(row.clone());
        if same {
            self.announce_newest_of_community(before.as_ref(), &row);
            return;
        }
        let topic = if before.is_none() { Topic::CommunityShown } else { Topic::Other };
        self.announce_community(version.uri, topic);
        match before {
            Some(old) if old.admission() == Admission::Open && row.admission() == Admission::ByApproval => {
                self.demote_pending_members(version.uri);
            }
            Some(old) if old.admission() == Admission::ByApproval && row.admission() == Admission::Open => {
                self.ease(version.uri);
            }
            Some(_) => {}
            None => self.release_after_community(version.uri),
        }
    }

    /// A community changed only in what the newest client shows (N168).
    fn announce_newest_of_community(&mut self, before: Option<&CommunityRow>, row: &CommunityRow) {
        if before.is_some_and(|old| !old.shows_the_same_to_newest(row))
            && self.working_set.community(&row.uri).is_some()
        {
            let newest = row.newest_event_in_full();
            self.announce_each(&row.uri, Topic::Other, None, Some(&newest));
        }
    }

    /// E05, if the community is known.
    pub(super) fn announce_community(&mut self, uri: &AtUri, topic: Topic) {
        let Some(row) = self.working_set.community(uri).cloned() else { return };
        let event = Event::CommunityUpserted {
            picture: verbatim(row.shown_picture()),
            community_uri: row.uri.clone(),
            owner_did: row.uri.authority(),
            rkey: row.uri.rkey(),
            name: row.name.clone(),
            description: row.description.clone(),
            category_order: verbatim(row.category_order.as_deref()),
            requires_approval_to_join: row.requires_approval_to_join,
        };
        self.announce_with(uri, topic, &event, row.newest_event().as_ref());
    }

    /// An open community now requires approval: announces each member without one, by DID (I26).
    fn demote_pending_members(&mut self, community: &AtUri) {
        if self.working_set.community(community).is_none() {
            return; // its owner's account is inactive
        }
        let members: std::collections::BTreeSet<Did> = self
            .working_set
            .memberships
            .iter()
            .filter(|row| row.community_uri == *community)
            .map(|row| row.member_did.clone())
            .collect();
        for member in members {
            if let Standing::Pending(membership_uri) = standing(&self.working_set, community, &member)
                && !self.is_banned(community, &member)
            {
                let event =
                    Event::MemberPending(self.membership_event(community, &member, Some(membership_uri)));
                let (community_uri, member_did) = (community.clone(), member.clone());
                let newest = subscribe_events::MemberEvent::Leave { community: community_uri, member_did };
                let newest = NewestEvent::MemberEvent(newest);
                self.announce_each(community, Topic::MemberOut(member), Some(&event), Some(&newest));
            }
        }
    }

    /// I70: one event; everything below is hidden without one. Its invites end for good.
    pub(super) fn delete_community(&mut self, uri: &AtUri) {
        if self.working_set.community(uri).is_some() {
            self.announce_community_gone(uri);
        }
        if self.working_set.communities.remove(uri).is_some() {
            self.deleted_communities.push(uri.clone());
        }
    }

    /// E06.
    pub(super) fn announce_community_gone(&mut self, uri: &AtUri) {
        let event = Event::CommunityDeleted {
            community_uri: uri.clone(),
            owner_did: uri.authority(),
            rkey: uri.rkey(),
        };
        self.announce_to_community(uri, Topic::CommunityGone, &event);
    }

    /// I27, I28.
    pub(super) fn put_channel(&mut self, version: &Version, record: &Channel) {
        let community = AtUri::of(version.author, Collection::Community, &record.community);
        let before = self.working_set.channels.get(version.uri).cloned();
        let moved = before.as_ref().is_some_and(|row| row.community_uri != community);
        if self.working_set.community(&community).is_none() && (before.is_none() || moved) {
            self.delete_channel(version.uri);
            return self.hold(version, community.as_str());
        }
        if moved {
            self.delete_channel(version.uri);
        }
        let row = ChannelRow {
            uri: version.uri.clone(),
            community_uri: community.clone(),
            name: record.name.clone(),
            description: record.description.clone(),
            channel_type: record.channel_type.clone(),
            category_rkey: record.category.clone(),
            owner_only: record.owner_only,
            allowed_roles: listed(&record.allowed_roles),
            allowed_members: listed(&record.allowed_members),
            link_embeds: record.link_embeds,
            migrated_from: record.migrated_from.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.as_ref().map_or(version.received, |row| row.indexed_at),
        };
        // A change of the people whom a voice channel names is not announced, but some may have to leave (N15).
        let names_the_same = |old: &ChannelRow| {
            old.allowed_roles == row.allowed_roles && old.allowed_members == row.allowed_members
        };
        let same = before
            .as_ref()
            .is_some_and(|old| old.looks_like(&row) && (!is_voice(&row.channel_type) || names_the_same(old)));
        if before.as_ref().is_some_and(|old| (old.owner_only && !row.owner_only) || !names_the_same(old)) {
            self.ease(&community);
        }
        self.accept(version);
        self.working_set.channels.put(row.clone());
        if before.is_none() || moved {
            self.channels_placed.push((row.uri.clone(), community.clone()));
        }
        if self.working_set.community(&community).is_none() {
            return;
        }
        if same {
            if before.is_some_and(|old| !old.shows_the_same_to_newest(&row)) {
                self.announce_each(&community, Topic::Other, None, Some(&row.newest_event_in_full()));
            }
            return;
        }
        let newest = row.newest_event();
        let topic = Topic::ChannelShown(row.uri.clone());
        let event = Event::ChannelCreated {
            community_uri: community.clone(),
            rkey: row.uri.rkey(),
            uri: row.uri,
            name: row.name,
            description: row.description,
            channel_type: row.channel_type,
            category_rkey: row.category_rkey,
            owner_only: row.owner_only,
        };
        self.announce_with(&community, topic, &event, newest.as_ref());
        if before.is_none() || moved {
            self.release_after_channel(version.uri);
        }
    }

    /// I70b: hides its messages without events.
    pub(super) fn delete_channel(&mut self, uri: &AtUri) {
        let known = self.working_set.channel(uri).is_some();
        if let Some(row) = self.working_set.channels.remove(uri)
            && known
        {
            let event = Event::ChannelDeleted {
                community_uri: row.community_uri.clone(),
                uri: uri.clone(),
                rkey: uri.rkey(),
            };
            self.announce_to_community(&row.community_uri, Topic::ChannelGone(uri.clone()), &event);
        }
    }

    /// I27, I28.
    pub(super) fn put_category(&mut self, version: &Version, record: &Category) {
        let community = AtUri::of(version.author, Collection::Community, &record.community);
        let before = self.working_set.categories.get(version.uri).cloned();
        let moved = before.as_ref().is_some_and(|row| row.community_uri != community);
        if self.working_set.community(&community).is_none() && (before.is_none() || moved) {
            self.delete_category(version.uri);
            return self.hold(version, community.as_str());
        }
        if moved {
            self.delete_category(version.uri);
        }
        let row = CategoryRow {
            uri: version.uri.clone(),
            community_uri: community.clone(),
            name: record.name.clone(),
            channel_order: record.channel_order.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.as_ref().map_or(version.received, |row| row.indexed_at),
        };
        let same =
            before.as_ref().is_some_and(|old| CategoryRow { rev: row.rev.clone(), ..old.clone() } == row);
        self.accept(version);
        self.working_set.categories.put(row.clone());
        if same || self.working_set.community(&community).is_none() {
            return;
        }
        self.announce_to_community(
            &community,
            Topic::Other,
            &Event::CategoryCreated {
                community_uri: community.clone(),
                rkey: row.uri.rkey(),
                uri: row.uri,
                name: row.name,
                channel_order: verbatim(row.channel_order.as_deref()),
            },
        );
    }

    /// I70c: its channels become uncategorized without an event.
    pub(super) fn delete_category(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.categories.remove(uri)
            && self.working_set.community(&row.community_uri).is_some()
        {
            let event = Event::CategoryDeleted {
                community_uri: row.community_uri.clone(),
                uri: uri.clone(),
                rkey: uri.rkey(),
            };
            self.announce_to_community(&row.community_uri, Topic::Other, &event);
        }
    }

    /// Announces to everybody subscribed to the community.
    pub(super) fn announce_to_community(&mut self, community: &AtUri, topic: Topic, event: &Event) {
        self.announce(community, Audience::Community, topic, event);
    }

    /// The same, with a text of its own for the newest client if `event` does not say everything to it (N168).
    fn announce_with(
        &mut self,
        community: &AtUri,
        topic: Topic,
        event: &Event,
        newest: Option<&NewestEvent>,
    ) {
        match newest {
            None => self.announce_to_community(community, topic, event),
            Some(_) => self.announce_each(community, topic, Some(event), newest),
        }
    }

    pub(super) fn is_banned(&self, community: &AtUri, person: &Did) -> bool {
        self.working_set.bans.contains(&(community.clone(), person.clone()))
    }

    pub(super) fn membership_event(
        &self,
        community: &AtUri,
        member: &Did,
        membership_uri: Option<AtUri>,
    ) -> Membership {
        let person = self.working_set.person(member);
        Membership {
            community_uri: community.clone(),
            member_did: member.clone(),
            membership_uri,
            display_name: person.display_name,
            avatar_url: person.avatar_url,
        }
    }
}

/// A list as it is stored: nothing if it names nobody.
pub(super) fn listed<T: serde::Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| serde_json::to_string(list).ok()).flatten()
}
