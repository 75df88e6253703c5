//! Blocks and bans: what moderators decide (R03, R08, R09).
//!
//! Both outlive what they concern (T10, T11): they are marks beside the records, which no event
//! of the stream sets or lifts.

use super::super::moderation::{Decision, Measure, Ruling};
use super::super::standing::{MemberChange, Standing, standing};
use super::Fold;
use crate::wire::ids::{AtUri, Did};

impl Fold {
    /// Applies a decision. The first rule that applies decides:
    ///   1. the owner cannot be banned, whoever asks for it;
    ///   2. who has no say there changes nothing (X03);
    ///   3. otherwise the rules of the measure.
    pub(super) fn decide(&mut self, decision: &Decision) -> Ruling {
        if let Measure::Ban(community, member) = &decision.what
            && community.authority() == *member
        {
            return Ruling::IsOwner;
        }
        match decision.what.owner(&self.working_set) {
            Some(owner) if !decision.caller.may_moderate(&owner) => Ruling::Forbidden,
            _ => match &decision.what {
                Measure::Block(message) => self.block(message),
                Measure::Ban(community, member) => self.ban(community, member),
                Measure::Unban(community, member) => self.unban(community, member),
            },
        }
    }

    /// R03. The first rule that applies decides:
    ///   1. a block stands for good (T11);
    ///   2. a message that is not known cannot be blocked (T07);
    ///   3. otherwise it is, and E02 is sent if it was visible.
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

    /// R08. The first rule that applies decides:
    ///   1. a ban that stands is not made again;
    ///   2. otherwise it counts from now on, or from the moment the community is known. Whoever
    ///      listens to the community hears `member_left` (I45).
    fn ban(&mut self, community: &AtUri, member: &Did) -> Ruling {
        if !self.working_set.bans.insert((community.clone(), member.clone())) {
            return Ruling::Stood;
        }
        if self.working_set.community(community).is_some() {
            self.announce_change(community, member, Some(MemberChange::Demoted));
        }
        Ruling::Made
    }

    /// R09. A standing approval counts again at once. Who has a membership is back, and told as if
    /// it were new (I45): who may take part joins, who still waits for an approval is pending.
    fn unban(&mut self, community: &AtUri, member: &Did) -> Ruling {
        if !self.working_set.bans.remove(&(community.clone(), member.clone())) {
            return Ruling::NothingThere;
        }
        let Some(row) = self.working_set.community(community) else { return Ruling::Made };
        let change = match standing(&self.working_set, community, member) {
            Standing::Pending(membership) if row.requires_approval_to_join => {
                Some(MemberChange::Pending(membership))
            }
            Standing::Approved(membership) | Standing::Pending(membership) => {
                Some(MemberChange::Joined(membership))
            }
            Standing::Owner | Standing::None => None,
        };
        self.announce_change(community, member, change);
        Ruling::Made
    }
}
