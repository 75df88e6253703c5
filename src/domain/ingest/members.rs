//! Memberships and approvals (section 8.7), admissions and roles (section 12).
//!
//! All only change rows. The difference between the person's standing before and after is
//! announced (I45, N30), so their order does not matter (I41).

use super::super::announcement::{Audience, Topic};
use super::super::form::{Admission, Form, community_of};
use super::super::gate::awaited;
use super::super::roles::{Of, admission};
use super::super::rows::{
    ApprovalRow, CommunityRow, MemberRow, MembershipRow, Outcome, RoleRow, member_group,
};
use super::super::standing::{MemberChange, Standing, change, standing};
use super::{Fold, Version};
use crate::wire::events::{Event, PersonIfKnown};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::records::{Approval, Member, Membership, Role};
use crate::wire::subscribe_events::{self, NewestEvent};

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
        self.accept(version);
        self.working_set.people.know(version.author);
        self.with_standing(&record.community, version.author, |fold| {
            fold.working_set.memberships.put(row);
            fold.withdraw(&record.community, version.author, version.uri, false);
        });
        self.release_after_admission(&record.community, version.author);
    }

    pub(super) fn delete_membership(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.memberships.get(uri).cloned() {
            self.with_standing(&row.community_uri, &row.member_did, |fold| {
                fold.working_set.memberships.remove(uri);
                fold.withdraw(&row.community_uri, &row.member_did, uri, true);
            });
        } else {
            // Never seen, but an admission may name it.
            let named = |row: &&MemberRow| row.from_membership.as_ref() == Some(uri);
            for row in self.working_set.members.iter().filter(named).cloned().collect::<Vec<_>>() {
                self.with_standing(&row.community_uri, &row.member_did, |fold| {
                    fold.withdraw(&row.community_uri, &row.member_did, uri, true);
                });
            }
        }
    }

    /// N17: the admissions that name the membership `uri` of `person` are noted as withdrawn, or as
    /// asked for again.
    fn withdraw(&mut self, community: &AtUri, person: &Did, uri: &AtUri, withdrawn: bool) {
        if Form::of(community) == Form::Old {
            return;
        }
        let group = member_group(community, person);
        let named: Vec<MemberRow> = self
            .working_set
            .members
            .group(&group)
            .filter(|row| row.from_membership.as_ref() == Some(uri) && row.withdrawn != withdrawn)
            .cloned()
            .collect();
        for row in named {
            self.working_set.members.put(MemberRow { withdrawn, ..row });
        }
    }

    /// N12, N16, N17; held while the community is not known (I60). An admission makes its person known
    /// (K01) and releases their records that waited for it.
    pub(super) fn put_member(&mut self, version: &Version, record: &Member) {
        let community = community_of(version.author);
        let before = self.working_set.members.get(version.uri).cloned();
        let moved = before.as_ref().is_some_and(|row| row.member_did != record.subject);
        if moved {
            self.delete_member(version.uri);
        }
        if self.working_set.community(&community).is_none() && (before.is_none() || moved) {
            return self.hold(version, community.as_str());
        }
        // The admission of an erased person is the community's record; it is stored hidden (I55).
        let is_erased = self.working_set.erased.contains(&record.subject);
        let is_elsewhere = |row: &MembershipRow| row.community_uri != community;
        let withdrawn = record.from_membership.as_ref().is_some_and(|uri| {
            self.was(uri, Outcome::Deleted) || self.working_set.memberships.get(uri).is_some_and(is_elsewhere)
        });
        let row = MemberRow {
            uri: version.uri.clone(),
            member_did: record.subject.clone(),
            community_uri: community.clone(),
            roles: serde_json::to_string(&record.roles).unwrap_or_else(|_| "[]".into()),
            nickname: record.nickname.clone(),
            from_membership: record.from_membership.clone(),
            withdrawn,
            hidden: is_erased || !self.working_set.is_active(&record.subject),
            rev: version.rev.to_owned(),
            indexed_at: before.filter(|_| !moved).map_or(version.received, |row| row.indexed_at),
        };
        self.accept(version);
        if !is_erased {
            self.working_set.people.know(&record.subject);
        }
        let took_part = self.takes_part(&community, &record.subject);
        self.with_standing(&community, &record.subject, |fold| fold.working_set.members.put(row));
        if !took_part && self.takes_part(&community, &record.subject) {
            self.admitted.insert(record.subject.clone());
        }
        self.release_after_admission(&community, &record.subject);
    }

    fn takes_part(&self, community: &AtUri, person: &Did) -> bool {
        matches!(standing(&self.working_set, community, person), Standing::Owner | Standing::Approved(_))
    }

    pub(super) fn delete_member(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.members.get(uri).cloned() {
            self.with_standing(&row.community_uri, &row.member_did, |fold| {
                fold.working_set.members.remove(uri);
            });
        }
    }

    /// N12: judges what a person wrote before their admission arrived.
    fn release_after_admission(&mut self, community: &AtUri, person: &Did) {
        if Form::of(community) == Form::New && self.takes_part(community, person) {
            self.release(&awaited(community, person));
        }
    }

    /// N20: what a role permits counts from now on. Only the newest client gets an event (N31, N168).
    pub(super) fn put_role(&mut self, version: &Version, record: &Role) {
        let community = community_of(version.author);
        let before = self.working_set.roles.get(version.uri).cloned();
        if self.working_set.community(&community).is_none() && before.is_none() {
            return self.hold(version, community.as_str());
        }
        let row = RoleRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            community_uri: community,
            name: record.name.clone(),
            color: record.color.clone(),
            permissions: serde_json::to_string(&record.permissions).unwrap_or_else(|_| "[]".into()),
            position: record.position,
            hoisted: record.hoisted,
            mentionable: record.mentionable,
            protected: record.protected,
            channel_overrides: overrides(record),
            rev: version.rev.to_owned(),
            indexed_at: before.as_ref().map_or(version.received, |row| row.indexed_at),
        };
        self.accept(version);
        if before.as_ref().is_none_or(|old| !old.protected) && row.protected {
            self.ease(&row.community_uri);
        }
        let same = before.is_some_and(|old| old.says_the_same(&row));
        if !same && self.working_set.community(&row.community_uri).is_some() {
            self.announce_each(&row.community_uri, Topic::Other, None, Some(&row.newest_event()));
        }
        self.working_set.roles.put(row);
    }

    pub(super) fn delete_role(&mut self, uri: &AtUri) {
        let Some(row) = self.working_set.roles.remove(uri) else { return };
        if self.working_set.community(&row.community_uri).is_some() {
            let (uri, community) = (uri.clone(), row.community_uri.clone());
            let gone = subscribe_events::RoleEvent::Delete { uri, community };
            let gone = NewestEvent::RoleEvent(gone);
            self.announce_each(&row.community_uri, Topic::Other, None, Some(&gone));
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
        self.accept(version);
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
        let before = self.shown_as_member(community, person);
        let change = self.standing_changed(community, person, act);
        let is_same_member = change.is_none() && !self.is_banned(community, person);
        let joined = matches!(change, Some(MemberChange::Joined(_))) && Form::of(community) == Form::Old;
        if joined {
            self.let_in(person);
        }
        self.announce_change(community, person, change);
        let after = self.shown_as_member(community, person);
        if is_same_member && before.is_some() && after.is_some() && before != after {
            self.announce_roles(community, person);
        }
    }

    /// What the newest client shows of an admitted person's admission: the roles and the nickname.
    fn shown_as_member(&self, community: &AtUri, person: &Did) -> Option<(String, Option<String>)> {
        if Form::of(community) == Form::Old {
            return None;
        }
        let row = admission(&self.working_set, community, person, Of::ThoseThere)?;
        Some((row.roles.clone(), row.nickname.clone()))
    }

    /// N168: the roles or the nickname of a member changed.
    fn announce_roles(&mut self, community: &AtUri, person: &Did) {
        if self.working_set.community(community).is_none() {
            return;
        }
        let (of, member) = (community.clone(), self.newest_member(community, person));
        let updated = subscribe_events::MemberEvent::RolesUpdated { community: of, member };
        self.announce_each(community, Topic::Other, None, Some(&NewestEvent::MemberEvent(updated)));
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
        let admission = self.working_set.community(community)?.admission();
        if self.is_banned(community, person) {
            return None;
        }
        change(&before, &after, admission)
    }

    pub(super) fn announce_change(&mut self, community: &AtUri, person: &Did, change: Option<MemberChange>) {
        match change {
            None => {}
            Some(MemberChange::Pending(membership)) => self.announce_pending(community, person, membership),
            Some(MemberChange::Joined(membership)) => self.announce_joined(community, person, membership),
            Some(MemberChange::Demoted) => self.announce_left(community, person, true),
            Some(MemberChange::Refused) => self.announce_left(community, person, false),
            Some(MemberChange::Gone) => self.announce_gone_for(community, person, true),
            Some(MemberChange::Withdrawn) => self.announce_gone_for(community, person, false),
            Some(MemberChange::PutOut(membership)) => {
                self.announce_gone_for(community, person, true);
                self.announce_pending(community, person, membership);
            }
        }
    }

    fn announce_joined(&mut self, community: &AtUri, person: &Did, membership: Option<AtUri>) {
        let join = self.newest_join(community, person, membership.clone());
        let event = Event::MemberJoined(self.membership_event(community, person, membership.clone()));
        self.announce_each(community, Topic::MemberIn(person.clone()), Some(&event), Some(&join));
        if membership.is_some() {
            self.announce_resolved(community, person, membership);
        }
    }

    /// N168: somebody does not wait for an admission any more.
    fn announce_resolved(&mut self, community: &AtUri, person: &Did, membership: Option<AtUri>) {
        if self.asks_for_admission(community) {
            let (community_uri, did) = (community.clone(), person.clone());
            let event =
                subscribe_events::ApplicationEvent::Resolve { community: community_uri, did, membership };
            self.announce_application(community, event);
        }
    }

    fn asks_for_admission(&self, community: &AtUri) -> bool {
        let asks = |row: &CommunityRow| row.admission() != Admission::Open;
        self.working_set.community(community).is_some_and(asks)
    }

    /// A person who is pending in an open community takes part already: the newest client gets a `join`.
    fn announce_pending(&mut self, community: &AtUri, person: &Did, membership: AtUri) {
        let asks = self.asks_for_admission(community);
        let join = (!asks).then(|| self.newest_join(community, person, Some(membership.clone())));
        let event = Event::MemberPending(self.membership_event(community, person, Some(membership.clone())));
        let topic = if asks { Topic::MemberOut(person.clone()) } else { Topic::MemberIn(person.clone()) };
        self.announce_each(community, topic, Some(&event), join.as_ref());
        if asks {
            let at = self.working_set.memberships.get(&membership).map_or(self.clock, |row| row.indexed_at);
            let shown = self.working_set.person(person);
            let event = subscribe_events::ApplicationEvent::create(community, person, &shown, membership, at);
            self.announce_application(community, event);
        }
    }

    /// A member, as the newest client learns of them.
    fn newest_join(&self, community: &AtUri, person: &Did, membership: Option<AtUri>) -> NewestEvent {
        let member = self.newest_member(community, person);
        NewestEvent::MemberEvent(subscribe_events::MemberEvent::Join {
            community: community.clone(),
            membership,
            member,
        })
    }

    fn newest_member(&self, community: &AtUri, person: &Did) -> Box<subscribe_events::Member> {
        let admission = admission(&self.working_set, community, person, Of::ThoseThere);
        let keys = admission.map(MemberRow::role_keys).unwrap_or_default();
        let role = |key| AtUri::of(&community.authority(), Collection::Role, key);
        let nickname = admission.and_then(|row| row.nickname.clone());
        let shown = self.working_set.person(person);
        let roles = keys.iter().map(role).collect();
        Box::new(subscribe_events::Member::of(person, &shown, roles, nickname))
    }

    fn announce_left(&mut self, community: &AtUri, person: &Did, took_part: bool) {
        let event = Event::MemberLeft {
            community_uri: community.clone(),
            member_did: person.clone(),
            person: PersonIfKnown(self.working_set.person(person)),
        };
        let topic = Topic::MemberOut(person.clone());
        if took_part {
            self.announce_to_community(community, topic, &event);
        } else {
            self.announce_each(community, topic, Some(&event), None);
            let membership = match standing(&self.working_set, community, person) {
                Standing::Pending(membership) => Some(membership), // it stands behind a ban
                _ => None,
            };
            self.announce_resolved(community, person, membership);
        }
    }

    /// What others learn when somebody with this standing is banned.
    pub(super) fn put_out_by_ban(&self, community: &AtUri, person: &Did) -> MemberChange {
        let is_open = |row: &CommunityRow| row.admission() == Admission::Open;
        match standing(&self.working_set, community, person) {
            Standing::Approved(_) => MemberChange::Demoted,
            Standing::Pending(_) if self.working_set.community(community).is_some_and(is_open) => {
                MemberChange::Demoted
            }
            Standing::Pending(_) | Standing::None | Standing::Owner => MemberChange::Refused,
        }
    }

    /// E13, then E06b.
    fn announce_gone_for(&mut self, community: &AtUri, person: &Did, took_part: bool) {
        self.announce_left(community, person, took_part);
        let private = Event::CommunityDeleted {
            community_uri: community.clone(),
            owner_did: community.authority(),
            rkey: community.rkey(),
        };
        self.announce(community, Audience::Private(person.clone()), Topic::Other, &private);
    }
}

/// The exceptions of a role as they are stored.
pub(super) fn overrides(record: &Role) -> Option<String> {
    (!record.overrides.is_empty()).then(|| serde_json::to_string(&record.overrides).ok()).flatten()
}
