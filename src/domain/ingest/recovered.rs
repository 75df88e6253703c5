//! Applies a reconciliation's findings to the index (section 9).
//!
//! Most findings are records that the index has unchanged, and live events may be newer; for new
//! records the rules of the stream apply.

use serde_json::Value;

use super::super::reconciliation::{Finding, Found};
use super::super::rows::Outcome;
use super::super::sidebar::named;
use super::members::overrides;
use super::structure::listed;
use super::{Fold, Version};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::jetstream::{Commit, Write};
use crate::wire::records::{About, ReadUpTo, Record};

/// The status of an account that does not return (I52).
const DELETED: &str = "deleted";

impl Fold {
    /// Applies one finding.
    pub(super) fn recover(&mut self, found: &Found) {
        match &found.what {
            Finding::Record(commit) => self.recover_record(&found.did, commit),
            Finding::Account { active, status, at } => {
                // An unchanged account is no news, and its rows need not be checked.
                if self.working_set.is_active(&found.did) != *active {
                    self.account(&found.did, *active, status.as_deref(), *at);
                }
            }
        }
    }

    /// Applies one record, or its absence. The first rule that applies decides:
    ///   1. a deleted account has no records (I52);
    ///   2. a decision at a newer revision stays (K09);
    ///   3. a deletion removes what the index has, whatever its author's status (I06);
    ///   4. a record that was deleted at this very revision stays deleted; a reaction to a deleted
    ///      message is gone for good (I22, I71), as is a membership that a moderator ended, until
    ///      it is written anew (R31);
    ///   5. an invalid version is refused and keeps the earlier one (I03);
    ///   6. a version equal to the index changes nothing (K11);
    ///   7. otherwise the rules of its collection apply. The gate judges again what it refused
    ///      before (G7).
    fn recover_record(&mut self, author: &Did, commit: &Commit) {
        let uri = &commit.uri;
        let decided = self.working_set.decided_rev(uri);
        if self.is_deleted_account(author) || decided.is_some_and(|decided| commit.rev.as_str() < decided) {
            return;
        }
        let decided_now = decided == Some(commit.rev.as_str());
        let json = if let Write::Put { json, .. } = &commit.write { json.as_str() } else { "" };
        let cid = commit.cid.as_deref();
        let version = Version { uri, author, rev: &commit.rev, cid, json, received: self.clock };
        match &commit.write {
            Write::Delete if self.holds(author, uri) => self.delete(&version),
            Write::Delete => {}
            Write::Put { .. }
                if self.was(uri, Outcome::Orphaned)
                    || self.was(uri, Outcome::Kicked)
                    || (decided_now && self.was(uri, Outcome::Deleted)) => {}
            Write::Put { record: Err(invalid), .. } => {
                if !decided_now {
                    self.refuse(&version, invalid.reason());
                    self.note_rev(&version);
                }
            }
            Write::Put { record: Ok(record), .. } if self.says_the_same(&version, record) => {}
            Write::Put { record: Ok(record), .. } => self.put(&version, record, false),
        }
    }

    fn is_deleted_account(&self, did: &Did) -> bool {
        self.working_set
            .people
            .get(did)
            .is_some_and(|person| person.account_status.as_deref() == Some(DELETED))
    }

    /// Whether the index has something of this record that a deletion removes.
    fn holds(&self, author: &Did, uri: &AtUri) -> bool {
        if uri.is(Collection::Profile) {
            return self.working_set.people.get(author).is_some_and(|person| person.profile_rev.is_some());
        }
        self.has_row(uri) || self.working_set.held.get(uri).is_some()
    }

    /// Whether the index has this record with the same contents, applied or held. JSON is compared
    /// by meaning: the order of its keys is arbitrary.
    fn says_the_same(&self, version: &Version, record: &Record) -> bool {
        let (working_set, uri) = (&self.working_set, version.uri);
        if let Some(row) = working_set.held.get(uri) {
            return same_json(Some(&row.record), Some(version.json));
        }
        match record {
            Record::Message(new) => working_set.messages.get(uri).is_some_and(|row| {
                row.text == new.text
                    && row.channel == new.channel
                    && row.parent == new.parent
                    && same_json(row.facets.as_deref(), new.facets.as_deref())
                    && same_json(row.attachments.as_deref(), new.attachments.as_deref())
                    && same_json(row.suppressed_embeds.as_deref(), new.suppressed_embeds.as_deref())
                    && (row.edited || !new.edited)
            }),
            // I23: the first version of a reaction stays.
            Record::Reaction(_) => working_set.reactions.get(uri).is_some(),
            Record::Community(new) => working_set.communities.get(uri).is_some_and(|row| {
                row.name == new.name
                    && row.description == new.description
                    && row.requires_approval_to_join == new.requires_approval_to_join
                    && (&row.migrated_to, &row.migrated_from) == (&new.migrated_to, &new.migrated_from)
                    && (&row.link_embeds, &row.appview) == (&new.link_embeds, &new.appview)
                    && same_json(row.banner.as_deref(), new.banner.as_deref())
                    && same_json(row.picture.as_deref(), new.picture.as_deref())
                    && same_json(row.category_order.as_deref(), new.category_order.as_deref())
            }),
            Record::Channel(new) => working_set.channels.get(uri).is_some_and(|row| {
                row.community_uri == AtUri::of(version.author, Collection::Community, &new.community)
                    && row.name == new.name
                    && row.description == new.description
                    && row.channel_type == new.channel_type
                    && row.category_rkey == new.category
                    && row.owner_only == new.owner_only
                    && row.link_embeds == new.link_embeds
                    && row.migrated_from == new.migrated_from
                    && row.allowed_roles == listed(&new.allowed_roles)
                    && row.allowed_members == listed(&new.allowed_members)
            }),
            Record::Category(new) => working_set.categories.get(uri).is_some_and(|row| {
                row.community_uri == AtUri::of(version.author, Collection::Community, &new.community)
                    && row.name == new.name
                    && same_json(row.channel_order.as_deref(), new.channel_order.as_deref())
            }),
            Record::Membership(new) => {
                working_set.memberships.get(uri).is_some_and(|row| row.community_uri == new.community)
            }
            Record::Approval(new) => working_set.approvals.get(uri).is_some_and(|row| {
                row.membership_uri == new.membership && row.community_uri == new.community
            }),
            Record::Member(new) => working_set.members.get(uri).is_some_and(|row| {
                row.member_did == new.subject
                    && row.role_keys() == new.roles
                    && row.nickname == new.nickname
                    && row.from_membership == new.from_membership
            }),
            Record::Role(new) => working_set.roles.get(uri).is_some_and(|row| {
                (&row.name, &row.color, row.position) == (&new.name, &new.color, new.position)
                    && (row.hoisted, row.mentionable, row.protected)
                        == (new.hoisted, new.mentionable, new.protected)
                    && serde_json::from_str(&row.permissions).ok() == Some(new.permissions)
                    && row.channel_overrides == overrides(new)
            }),
            Record::Moderation(new) => working_set.moderations.get(uri).is_some_and(|row| {
                let subject = match &new.about {
                    About::Person(did) => did.as_str(),
                    About::Message(uri) | About::Embeds(uri) => uri.as_str(),
                    About::Nothing => "",
                };
                (row.action.as_str(), row.subject.as_str()) == (new.action.as_str(), subject)
                    && (&row.reason, &row.created_by) == (&new.reason, &new.created_by)
                    && row.created_at == new.created_at
                    && same_json(row.embeds.as_deref(), new.embeds.as_deref())
            }),
            Record::Actor(new) => {
                let order = working_set.actors.get(uri).map(|row| named(row.communities.as_deref()));
                order.as_ref() == Some(&new.communities)
                    && working_set.people.get(version.author).is_some_and(|person| {
                        person.status_text.as_deref() == Some(&new.status) && person.emoji == new.emoji
                    })
            }
            // I38: the read position never moves back.
            Record::ChannelRead(new) => working_set.channel_reads.get(uri).is_some_and(|row| {
                row.channel_uri == new.channel
                    && match &new.cursor {
                        ReadUpTo::Time(time) => row.cursor_uri.is_none() && row.cursor_at >= *time,
                        ReadUpTo::Message(message) => row.cursor_uri.as_ref() == Some(message),
                    }
            }),
            Record::ActorProfile(new) => working_set.actor_profiles.get(uri).is_some_and(|row| {
                (&row.display_name, &row.description) == (&new.profile.display_name, &new.profile.description)
                    && same_json(row.avatar.as_deref(), new.avatar.as_deref())
                    && same_json(row.banner.as_deref(), new.banner.as_deref())
                    && same_json(row.theme.as_deref(), new.theme.as_deref())
                    && (row.sync_bluesky, &row.presence_service) == (new.sync_bluesky, &new.presence_service)
                    && row.preferred_badge == new.preferred_badge
            }),
            Record::Mute(new) => working_set.mutes.get(uri).is_some_and(|row| row.subject == new.subject),
            Record::Preference(new) => {
                working_set.preferences.get(uri).is_some_and(|row| row.level == new.level)
            }
            Record::Profile(new) => working_set.people.get(version.author).is_some_and(|person| {
                person.bluesky_looks() == new.clone().into() && person.is_bot == new.is_bot
            }),
        }
    }
}

/// Whether two JSON texts have the same meaning, or are both absent.
fn same_json(one: Option<&str>, other: Option<&str>) -> bool {
    let value = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other
        || matches!((one.and_then(value), other.and_then(value)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::same_json;

    #[test]
    fn k11_json_is_compared_as_what_it_means() {
        for (one, other, expected, why) in [
            (None, None, true, "both absent"),
            (Some("[]"), None, false, "W08: an empty list is not an absent one"),
            (
                Some(r#"{"a":1,"b":[{"c":2,"d":3}]}"#),
                Some(r#"{ "b": [{"d":3,"c":2}], "a": 1 }"#),
                true,
                "order of keys",
            ),
            (Some("[1,2]"), Some("[2,1]"), false, "order of a list"),
            (Some("nonsense"), Some("nonsense"), true, "the same text"),
            (Some("nonsense"), Some("rubbish"), false, "no JSON on both sides proves nothing"),
        ] {
            assert_eq!(same_json(one, other), expected, "{why}");
        }
    }
}
