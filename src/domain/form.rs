//! The two forms of communities (contract N01), distinguished by the record itself.
//!
//! Nothing else decides which form a community has, and none can change it: a record's name is for good.

use super::rows::CommunityRow;
use crate::wire::ids::{AtUri, Collection, Did, Rkey};

/// How a community is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A record in its owner's repository, which may hold several.
    Old,
    /// The only community of a repository of its own.
    New,
}

impl Form {
    /// The form of a community. One rule: a community with the key `self` has the newest form (N01).
    pub fn of(community: &AtUri) -> Self {
        if community.is_itself() { Form::New } else { Form::Old }
    }
}

/// How a person becomes somebody who may take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// By a membership record alone (G6).
    Open,
    /// By the owner's approval of the membership (G5).
    ByApproval,
    /// By a record in the community's own repository (N12).
    ByMember,
}

impl CommunityRow {
    /// The first rule that applies decides:
    ///   1. the newest form has one way, whatever the record says about approval (N12);
    ///   2. otherwise the record says it (T09).
    pub fn admission(&self) -> Admission {
        match (Form::of(&self.uri), self.requires_approval_to_join) {
            (Form::New, _) => Admission::ByMember,
            (Form::Old, true) => Admission::ByApproval,
            (Form::Old, false) => Admission::Open,
        }
    }
}

/// The community that the account `did` is, if it is one.
pub fn community_of(did: &Did) -> AtUri {
    AtUri::of(did, Collection::Community, &Rkey::itself())
}
