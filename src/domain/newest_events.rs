//! What the newest client learns of communities, channels and roles beyond clients of March 2026 (contract N168).
//!
//! An event has a text of its own for the newest client only if that says more. Otherwise its text for clients of
//! March 2026 is translated ([`NewestEvent::of_march`]).

use super::rows::{ChannelRow, CommunityRow, RoleRow};
use crate::wire::bodies::verbatim;
use crate::wire::ids::{AtUri, Collection};
use crate::wire::records::Override;
use crate::wire::subscribe_events::{ChannelEvent, CommunityEvent, NewestEvent, RoleEvent, named_in};
use crate::wire::views::{Blob, OverrideView, channel_type};

impl CommunityRow {
    /// What only the newest client shows.
    fn only_newest(&self) -> (Option<&str>, Option<bool>) {
        (self.banner.as_deref(), self.link_embeds)
    }

    /// Whether the two say the same to the newest client, if they look the same to others.
    pub fn shows_the_same_to_newest(&self, other: &Self) -> bool {
        self.only_newest() == other.only_newest()
    }

    /// Its event, if that says more than the one of March 2026.
    pub fn newest_event(&self) -> Option<NewestEvent> {
        (self.only_newest() != (None, None)).then(|| self.newest_event_in_full())
    }

    /// Its event.
    pub fn newest_event_in_full(&self) -> NewestEvent {
        let order = verbatim(self.category_order.as_deref());
        NewestEvent::CommunityEvent(CommunityEvent::Upsert {
            uri: self.uri.clone(),
            name: self.name.clone(),
            description: self.description.clone().unwrap_or_default(),
            picture: self.shown_picture().and_then(Blob::read).map(Box::new),
            banner: self.banner.as_deref().and_then(Blob::read).map(Box::new),
            category_order: named_in(order.as_deref(), &self.uri.authority(), Collection::Category),
            requires_approval_to_join: self.requires_approval_to_join,
            link_embeds: self.link_embeds,
        })
    }
}

impl ChannelRow {
    /// What only the newest client shows.
    fn only_newest(&self) -> (Option<&str>, Option<&str>, Option<bool>) {
        (self.allowed_roles.as_deref(), self.allowed_members.as_deref(), self.link_embeds)
    }

    /// Whether the two say the same to the newest client, if they look the same to others.
    pub fn shows_the_same_to_newest(&self, other: &Self) -> bool {
        self.only_newest() == other.only_newest()
    }

    /// Its event, if that says more than the one of March 2026.
    pub fn newest_event(&self) -> Option<NewestEvent> {
        (self.only_newest() != (None, None, None)).then(|| self.newest_event_in_full())
    }

    /// Its event.
    pub fn newest_event_in_full(&self) -> NewestEvent {
        let owner = self.uri.authority();
        let roles = verbatim(self.allowed_roles.as_deref());
        let members = self.allowed_members.as_deref();
        let category = self.category_rkey.as_deref();
        NewestEvent::ChannelEvent(ChannelEvent::Upsert {
            uri: self.uri.clone(),
            community: self.community_uri.clone(),
            category: category.and_then(|name| AtUri::named(name, &owner, Collection::Category)),
            name: self.name.clone(),
            description: self.description.clone(),
            r#type: channel_type(&self.channel_type),
            owner_only: self.owner_only,
            allowed_roles: named_in(roles.as_deref(), &owner, Collection::Role),
            allowed_members: members.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default(),
            link_embeds: self.link_embeds,
        })
    }
}

impl RoleRow {
    /// Whether the two say the same to clients.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let (rev, indexed_at) = (other.rev.clone(), other.indexed_at);
        Self { rev, indexed_at, ..self.clone() } == *other
    }

    /// Its exceptions for channels, as clients see them.
    pub fn shown_overrides(&self) -> Vec<OverrideView> {
        let view = |one: Override| OverrideView {
            channel: AtUri::of(&self.uri.authority(), Collection::Channel, &one.channel),
            allow: one.allow,
            deny: one.deny,
        };
        self.exceptions().into_iter().map(view).collect()
    }

    /// Its event.
    pub fn newest_event(&self) -> NewestEvent {
        NewestEvent::RoleEvent(RoleEvent::Upsert {
            uri: self.uri.clone(),
            community: self.community_uri.clone(),
            name: self.name.clone(),
            color: self.color.clone(),
            permissions: self.rights(),
            position: self.position,
            hoisted: self.hoisted,
            mentionable: self.mentionable,
            protected: self.protected,
            channel_overrides: self.shown_overrides(),
        })
    }
}
