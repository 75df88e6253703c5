//! Moderators' decisions: blocks, bans, kicks, who moderates and who reads (R03, R08, R09, R30–R32, R45).
//!
//! Blocks and bans outlive their subjects (T10, T11): they are stored beside the records, and no
//! event of the stream sets or lifts them.

use std::collections::BTreeSet;

use super::super::announcement::Topic;
use super::super::form::Admission;
use super::super::moderation::{Caller, Decision, Measure, Ruling, may_decide};
use super::super::rows::{ApprovalRow, MemberRow, MembershipRow, Outcome, SettledRow, member_group};
use super::super::standing::{MemberChange, Standing, standing};
use super::{Fold, Ruled};
use crate::wire::events::Event;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

impl Fold {
    /// Applies a decision. The first rule that applies decides:
    ///   1. nobody can ban or kick the owner;
    ///   2. a caller without rights there changes nothing (X03, X20);
    ///   3. an unknown community has no moderators and no setting, and only the operator bans from it:
    ///      anybody could prove to own what they invent (R08, R32, R45);
    ///   4. otherwise the rules of the measure apply.
    ///
    /// It notes the result, and for the audit log the community (X22).
    pub(super) fn decide(&mut self, decision: &Decision) {
        let community = decision.what.community(&self.working_set);
        let ruling = self.rule(decision, community.as_ref());
        let acted_in = community.filter(|_| ruling == Ruling::Made);
        self.rulings.push(Ruled { ruling, acted_in });
    }

    fn rule(&mut self, decision: &Decision, community: Option<&AtUri>) -> Ruling {
        if decision.what.is_against_owner() {
            return Ruling::IsOwner;
        }
        if let Some(community) = community
            && !may_decide(&self.working_set, &decision.caller, community, &decision.what)
        {
            return Ruling::Forbidden;
        }
        let is_known = community.is_some_and(|uri| self.working_set.community(uri).is_some());
        match &decision.what {
            Measure::Moderators(..) | Measure::MembersOnly(..) if !is_known => return Ruling::NothingThere,
            Measure::Ban(..) if !is_known && decision.caller != Caller::Operator => {
                return Ruling::NothingThere;
            }
            _ => {}
        }
        match &decision.what {
            Measure::Block(message) => self.block(message),
            Measure::Unblock(message) => self.unblock(message),
            Measure::Ban(community, member, until) => self.ban(community, member, *until),
            Measure::Unban(community, member) => self.unban(community, member),
            Measure::EndBan(community, member) => self.end_ban(community, member),
            Measure::Kick(community, member) => self.kick(community, member),
            Measure::Moderators(community, people) => self.moderators(community, people),
            Measure::MembersOnly(community, on) => self.members_only(community, *on),
        }
    }

    /// R03. The first rule that applies decides:
    ///   1. a block stays until it is lifted (T11);
    ///   2. an unknown message cannot be blocked (T07);
    ///   3. otherwise it is blocked, and E02 is sent if it was visible.
    fn block(&mut self, uri: &AtUri) -> Ruling {
        if self.working_set.blocks.contains(uri) {
            return Ruling::Stood;
        }
        let Some(message) = self.working_set.messages.get(uri).cloned() else { return Ruling::NothingThere };
        if self.working_set.channel(&message.channel_uri).is_none() {
            return Ruling::NothingThere;
        }
        if self.working_set.visible(&message) {
            self.announce_gone(&message);
        }
        self.working_set.blocks.insert(uri.clone());
        Ruling::Made
    }

    /// R30. The first rule that applies decides:
    ///   1. an unknown message cannot be unblocked (T07), because its community is unknown;
    ///   2. nor can one that is not blocked;
    ///   3. otherwise the block is lifted. If the message is visible, E01 is sent, and what waits
    ///      for it is released.
    fn unblock(&mut self, uri: &AtUri) -> Ruling {
        let Some(message) = self.working_set.messages.get(uri).cloned() else { return Ruling::NothingThere };
        if self.working_set.channel(&message.channel_uri).is_none() || !self.working_set.blocks.remove(uri) {
            return Ruling::NothingThere;
        }
        if self.working_set.visible(&message) {
            self.announce_shown_again(&message);
        }
        self.release_after_message(uri);
        Ruling::Made
    }

    /// R08. The first rule that applies decides:
    ///   1. a ban that exists with the same end does nothing;
    ///   2. a new end for an existing ban is stored without an event, even if the old end has come
    ///      and its event was not published yet (R09);
    ///   3. otherwise the ban counts from now on, or from the moment the community becomes known.
    ///      Subscribers of the community receive `member_left` (I45).
    fn ban(&mut self, community: &AtUri, member: &Did, until: Option<Micros>) -> Ruling {
        let place = (community.clone(), member.clone());
        let change = self.put_out_by_ban(community, member);
        let is_known = self.working_set.bans.contains(&place) || self.working_set.bans.is_over(&place);
        if !self.working_set.bans.insert(place, until) {
            return Ruling::Stood;
        }
        if !is_known && self.working_set.community(community).is_some() {
            self.announce_change(community, member, Some(change));
        }
        Ruling::Made
    }

    /// A ban expired (T10): as R09, unless it was extended in the meantime.
    fn end_ban(&mut self, community: &AtUri, member: &Did) -> Ruling {
        if self.working_set.bans.is_over(&(community.clone(), member.clone())) {
            self.unban(community, member)
        } else {
            Ruling::NothingThere
        }
    }

    /// R31, N41. The first rule that applies decides:
    ///   1. a person with neither a membership nor an admission there cannot be kicked;
    ///   2. otherwise these end, and the approvals of the memberships. All are settled, so that
    ///      neither the stream nor a repository brings them back; what their authors write from now
    ///      on counts. `member_left` is published as if the person had left (I45).
    fn kick(&mut self, community: &AtUri, member: &Did) -> Ruling {
        let group = member_group(community, member);
        let memberships: Vec<MembershipRow> = self.working_set.memberships.group(&group).cloned().collect();
        let members: Vec<MemberRow> = self.working_set.members.group(&group).cloned().collect();
        if memberships.is_empty() && members.is_empty() {
            return Ruling::NothingThere;
        }
        let approvals: Vec<ApprovalRow> = memberships
            .iter()
            .flat_map(|row| self.working_set.approvals.group(row.uri.as_str()))
            .cloned()
            .collect();
        self.with_standing(community, member, |fold| {
            for row in memberships {
                fold.working_set.memberships.remove(&row.uri);
                fold.end(row.uri, row.rev);
            }
            for row in members {
                fold.working_set.members.remove(&row.uri);
                fold.end(row.uri, row.rev);
            }
            for row in approvals {
                fold.working_set.approvals.remove(&row.uri);
                fold.end(row.uri, row.rev);
            }
        });
        Ruling::Made
    }

    fn end(&mut self, uri: AtUri, rev: String) {
        let settled_at = self.clock;
        let outcome = Outcome::Kicked;
        self.working_set.settled.put(SettledRow { uri, outcome, rev, settled_at, lasting: true });
    }

    /// R32. An unchanged list does nothing.
    fn moderators(&mut self, community: &AtUri, people: &BTreeSet<Did>) -> Ruling {
        let before = self.working_set.moderators.iter().filter(|(at, _)| at == community);
        if before.map(|(_, did)| did).eq(people.iter()) {
            return Ruling::Stood;
        }
        // For later decisions of the same batch.
        self.working_set.moderators.retain(|(at, _)| at != community);
        self.working_set.moderators.extend(people.iter().map(|did| (community.clone(), did.clone())));
        Ruling::Made
    }

    /// R45. What is set already is not set again. Otherwise it counts from this event on (E17): only
    /// members receive later events.
    fn members_only(&mut self, community: &AtUri, on: bool) -> Ruling {
        if self.working_set.members_only.contains(community) == on {
            return Ruling::Stood;
        }
        // For what follows in the same batch.
        if on {
            self.working_set.members_only.insert(community.clone());
        } else {
            self.working_set.members_only.remove(community);
        }
        let event = Event::MembersOnly { community_uri: community.clone(), members_only: on };
        self.announce_to_community(community, Topic::MembersOnly(on), &event);
        Ruling::Made
    }

    /// R09. An existing approval counts again at once. A person with a membership returns as if it
    /// were new (I45): they join if they may take part, and are pending if they still wait for an
    /// approval.
    fn unban(&mut self, community: &AtUri, member: &Did) -> Ruling {
        let place = (community.clone(), member.clone());
        let is_by_record = self.working_set.bans.is_by_record(&place);
        match (self.working_set.bans.remove(&place), is_by_record) {
            (true, false) => {}
            (true, true) => return Ruling::Made, // still banned
            (false, true) => return Ruling::ByRecord,
            (false, false) => return Ruling::NothingThere,
        }
        let Some(row) = self.working_set.community(community) else { return Ruling::Made };
        let change = match standing(&self.working_set, community, member) {
            Standing::Pending(membership) if row.admission() != Admission::Open => {
                Some(MemberChange::Pending(membership))
            }
            Standing::Pending(membership) => Some(MemberChange::Joined(Some(membership))),
            Standing::Approved(membership) => Some(MemberChange::Joined(membership)),
            Standing::Owner | Standing::None => None,
        };
        self.announce_change(community, member, change);
        Ruling::Made
    }
}
