//! Memberships and approvals (section 8.7).
//!
//! Both only change rows. The difference between the person's standing before and after is
//! announced (I45), so their order does not matter (I41).

use super::super::announcement::{Audience, Topic};
use super::super::rows::{ApprovalRow, MembershipRow};
use super::super::standing::{MemberChange, change, standing};
use super::{Fold, Version};
use crate::wire::events::{Event, PersonIfKnown};
use crate::wire::ids::{AtUri, Did};
use crate::wire::records::{Approval, Membership};

impl Fold {
    /// I40–I43; held while the community is unknown (I42).
    pub(super) fn put_membership(&mut self, version: &Version, record: &Membership) {
        let before = self.working_set.memberships.get(version.uri).cloned();
        let moved = before.as_ref().is_some_and(|row| row.community_uri != record.community);
        if moved {
            self.delete_membership(version.uri);
        }
        if self.working_set.community(&record.community).is_none() && (before.is_none() || moved) {
            return self.hold(version, record.community.as_str());
        }
        let row = MembershipRow {
            uri: version.uri.clone(),
            member_did: version.author.clone(),
            community_uri: record.community.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.filter(|_| !moved).map_or(version.received, |row| row.indexed_at),
            hidden: !self.working_set.is_active(version.author),
        };
        self.unsettle(version.uri);
        self.working_set.people.know(version.author);
        self.with_standing(&record.community, version.author, |fold| fold.working_set.memberships.put(row));
    }

    pub(super) fn delete_membership(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.memberships.get(uri).cloned() {
            self.with_standing(&row.community_uri, &row.member_did, |fold| {
                fold.working_set.memberships.remove(uri);
            });
        }
    }

    /// I40–I42. Everybody's approvals are stored, but only the owner's count.
    pub(super) fn put_approval(&mut self, version: &Version, record: &Approval) {
        if self
            .working_set
            .approvals
            .get(version.uri)
            .is_some_and(|row| row.membership_uri != record.membership)
        {
            self.delete_approval(version.uri);
        }
        let row = ApprovalRow {
            uri: version.uri.clone(),
            membership_uri: record.membership.clone(),
            community_uri: record.community.clone(),
            rev: version.rev.to_owned(),
            indexed_at: self
                .working_set
                .approvals
                .get(version.uri)
                .map_or(version.received, |row| row.indexed_at),
        };
        self.unsettle(version.uri);
        self.with_membership(&record.membership, |fold| fold.working_set.approvals.put(row));
    }

    pub(super) fn delete_approval(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.approvals.get(uri).cloned() {
            self.with_membership(&row.membership_uri, |fold| {
                fold.working_set.approvals.remove(uri);
            });
        }
    }

    /// Runs `act` on an approval of `membership`; announces a change only if that membership is
    /// known.
    fn with_membership(&mut self, membership: &AtUri, act: impl FnOnce(&mut Self)) {
        match self.working_set.memberships.get(membership).cloned() {
            Some(row) => self.with_standing(&row.community_uri, &row.member_did, act),
            None => act(self),
        }
    }

    /// Runs `act`, and announces how it changed the standing of `person` in `community`, by the
    /// table of I45. A person who lost their last membership receives `community_deleted` privately
    /// (E06b).
    pub(super) fn with_standing(&mut self, community: &AtUri, person: &Did, act: impl FnOnce(&mut Self)) {
        let change = self.standing_changed(community, person, act);
        self.announce_change(community, person, change);
    }

    /// Runs `act`, and returns what to announce to the others: nothing in an unknown community or
    /// about a banned person, otherwise by the table of I45.
    pub(super) fn standing_changed(
        &mut self,
        community: &AtUri,
        person: &Did,
        act: impl FnOnce(&mut Self),
    ) -> Option<MemberChange> {
        let before = standing(&self.working_set, community, person);
        act(self);
        let after = standing(&self.working_set, community, person);
        let requires_approval = self.working_set.community(community)?.requires_approval_to_join;
        if self.is_banned(community, person) {
            return None;
        }
        change(&before, &after, requires_approval)
    }

    pub(super) fn announce_change(&mut self, community: &AtUri, person: &Did, change: Option<MemberChange>) {
        let left = |fold: &Self| Event::MemberLeft {
            community_uri: community.clone(),
            member_did: person.clone(),
            person: PersonIfKnown(fold.working_set.person(person)),
        };
        match change {
            None => {}
            Some(MemberChange::Pending(membership)) => {
                let event = Event::MemberPending(self.membership_event(community, person, membership));
                let asks =
                    self.working_set.community(community).is_some_and(|row| row.requires_approval_to_join);
                let topic = if asks { Topic::MemberOut(person.clone()) } else { Topic::Other };
                self.tell(community, topic, &event);
            }
            Some(MemberChange::Joined(membership)) => {
                let event = Event::MemberJoined(self.membership_event(community, person, membership));
                self.tell(community, Topic::Other, &event);
            }
            Some(MemberChange::Demoted) => {
                let event = left(self);
                self.tell(community, Topic::MemberOut(person.clone()), &event);
            }
            Some(MemberChange::Gone) => {
                let event = left(self);
                self.tell(community, Topic::MemberOut(person.clone()), &event);
                let private = Event::CommunityDeleted {
                    community_uri: community.clone(),
                    owner_did: community.authority(),
                    rkey: community.rkey(),
                };
                self.announce(community, Audience::Private(person.clone()), Topic::Other, &private);
            }
        }
    }
}
