//! The gate: whether this person may post in this channel (section 8.2).
//!
//! The same function judges creates, edits and every later re-evaluation, live or from a repository
//! (invariant 8).

use super::rows::{ChannelRow, CommunityRow};
use super::standing::{Standing, standing, standing_of_author};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did, Rkey};

/// The gate's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The message belongs in this channel.
    Accepted(AtUri),
    /// The message is refused and not stored (G7).
    Refused(Refused),
    /// The channel or its community is unknown: hold the message (G1).
    Held,
}

/// Why the gate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// G2.
    Banned,
    /// G3.
    OwnerOnly,
    /// G5: the community requires approval, and the author has none.
    NotApproved,
    /// G6: the author has no membership.
    NotAMember,
}

impl Refused {
    /// The word under which refusals are counted.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::Banned => "author_banned",
            Refused::OwnerOnly => "channel_owner_only",
            Refused::NotApproved => "author_not_approved",
            Refused::NotAMember => "author_not_a_member",
        }
    }
}

/// Whether a message of `author` that names `channel` is accepted, and where (T20, G1–G6):
///   1. if no channel matches, it is held;
///   2. if one matches, that channel's rules decide;
///   3. if several match, it goes to the one whose rules accept the author, if there is exactly
///      one; otherwise the rules of the channel that was indexed first decide.
///
/// The gate ignores whether the author's account is active: what they write while it is inactive is
/// stored hidden, and shown when it is active again (I51).
pub fn admit(working_set: &WorkingSet, author: &Did, channel: &str) -> Verdict {
    let candidates = candidates(working_set, channel);
    let Some((first, _)) = candidates.first() else { return Verdict::Held };
    let mut accepting = candidates
        .iter()
        .filter(|(channel, community)| may_post(working_set, author, channel, community).is_ok());
    let chosen = match (accepting.next(), accepting.next()) {
        (Some((only, _)), None) => only,
        _ => first,
    };
    let Some((channel, community)) = working_set.channel(&chosen.uri) else { return Verdict::Held };
    match may_post(working_set, author, channel, community) {
        Ok(()) => Verdict::Accepted(channel.uri.clone()),
        Err(refused) => Verdict::Refused(refused),
    }
}

fn candidates<'w>(working_set: &'w WorkingSet, channel: &str) -> Vec<(&'w ChannelRow, &'w CommunityRow)> {
    if let Ok(uri) = AtUri::parse(channel) {
        working_set.channel(&uri).into_iter().collect()
    } else if let Ok(rkey) = Rkey::parse(channel) {
        working_set.channels_with_rkey(&rkey)
    } else {
        Vec::new()
    }
}

/// Whether `author` may post in `channel`. The first rule that applies decides:
///   1. a banned person may not, whoever they are (G2);
///   2. in an owner-only channel only the owner may (G3);
///   3. the owner may (G4);
///   4. in an approval community only approved members may (G5);
///   5. in an open community every member may, approved or pending (G6).
fn may_post(
    working_set: &WorkingSet,
    author: &Did,
    channel: &ChannelRow,
    community: &CommunityRow,
) -> Result<(), Refused> {
    if working_set.bans.contains(&(community.uri.clone(), author.clone())) {
        Err(Refused::Banned)
    } else if channel.owner_only && community.uri.authority() != *author {
        Err(Refused::OwnerOnly)
    } else {
        may_take_part(&standing_of_author(working_set, &community.uri, author), community)
    }
}

/// Whether `person` may react in `community`: as [`may_post`], without rule 2 (I20).
pub fn may_react(working_set: &WorkingSet, person: &Did, community: &CommunityRow) -> Result<(), Refused> {
    if working_set.bans.contains(&(community.uri.clone(), person.clone())) {
        Err(Refused::Banned)
    } else {
        may_take_part(&standing_of_author(working_set, &community.uri, person), community)
    }
}

/// Whether `person` may be in a voice channel of `community` (V02): as [`may_react`], but a person
/// whose account is inactive may not (I51).
pub fn may_be_present(
    working_set: &WorkingSet,
    person: &Did,
    community: &CommunityRow,
) -> Result<(), Refused> {
    may_react(working_set, person, community)?;
    may_take_part(&standing(working_set, &community.uri, person), community)
}

/// G4–G6.
fn may_take_part(standing: &Standing, community: &CommunityRow) -> Result<(), Refused> {
    match standing {
        Standing::Owner | Standing::Approved(_) => Ok(()),
        _ if community.requires_approval_to_join => Err(Refused::NotApproved),
        Standing::Pending(_) => Ok(()),
        Standing::None => Err(Refused::NotAMember),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rows::{ApprovalRow, MembershipRow};
    use crate::wire::time::Micros;

    fn uri(text: &str) -> AtUri {
        AtUri::parse(text).unwrap()
    }

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    /// A community of `owner` with one channel `k`, indexed at `at`.
    fn community(
        working_set: &mut WorkingSet,
        owner: &str,
        requires_approval: bool,
        owner_only: bool,
        at: i64,
    ) {
        let community_uri = uri(&format!("at://did:plc:{owner}/social.colibri.community/c"));
        working_set.communities.seed(CommunityRow {
            uri: community_uri.clone(),
            name: "n".into(),
            description: None,
            picture: None,
            category_order: None,
            requires_approval_to_join: requires_approval,
            rev: "1".into(),
            indexed_at: Micros(at),
            hidden: false,
        });
        working_set.channels.seed(ChannelRow {
            uri: uri(&format!("at://did:plc:{owner}/social.colibri.channel/k")),
            community_uri,
            name: "n".into(),
            description: None,
            channel_type: "text".into(),
            category_rkey: None,
            owner_only,
            rev: "1".into(),
            indexed_at: Micros(at),
        });
    }

    fn member(working_set: &mut WorkingSet, name: &str, owner: &str, approved: bool) {
        let membership_uri = uri(&format!("at://did:plc:{name}/social.colibri.membership/{owner}"));
        working_set.memberships.seed(MembershipRow {
            uri: membership_uri.clone(),
            member_did: did(name),
            community_uri: uri(&format!("at://did:plc:{owner}/social.colibri.community/c")),
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        });
        if approved {
            working_set.approvals.seed(ApprovalRow {
                uri: uri(&format!("at://did:plc:{owner}/social.colibri.approval/{name}")),
                membership_uri,
                community_uri: None,
                rev: "1".into(),
                indexed_at: Micros(0),
            });
        }
    }

    #[test]
    fn g1_to_g6() {
        let ok = Ok(());
        for (author, approval_community, owner_only, banned, expected, why) in [
            ("approved", true, false, true, Err(Refused::Banned), "G2: banned though approved"),
            ("owner", true, false, true, Err(Refused::Banned), "G2: comes first, whoever it is"),
            ("approved", true, true, false, Err(Refused::OwnerOnly), "G3"),
            ("owner", true, true, false, ok, "G3: the owner in an owner-only channel"),
            ("owner", true, false, false, ok, "G4"),
            ("approved", true, false, false, ok, "G5"),
            ("pending", true, false, false, Err(Refused::NotApproved), "G5: pending"),
            ("stranger", true, false, false, Err(Refused::NotApproved), "G5: no membership"),
            ("approved", false, false, false, ok, "G6: approved"),
            ("pending", false, false, false, ok, "G6: pending"),
            ("stranger", false, false, false, Err(Refused::NotAMember), "G6: no membership"),
        ] {
            let mut working_set = WorkingSet::default();
            community(&mut working_set, "owner", approval_community, owner_only, 1);
            member(&mut working_set, "approved", "owner", true);
            member(&mut working_set, "pending", "owner", false);
            if banned {
                working_set
                    .bans
                    .insert((uri("at://did:plc:owner/social.colibri.community/c"), did(author)), None);
            }
            let expected = match expected {
                Ok(()) => Verdict::Accepted(uri("at://did:plc:owner/social.colibri.channel/k")),
                Err(refused) => Verdict::Refused(refused),
            };
            assert_eq!(admit(&working_set, &did(author), "k"), expected, "{why}");
        }
    }

    #[test]
    fn g1_unknown_channel_or_community_is_held() {
        let mut working_set = WorkingSet::default();
        assert_eq!(admit(&working_set, &did("owner"), "k"), Verdict::Held, "no channel");
        community(&mut working_set, "owner", false, false, 1);
        let known = "at://did:plc:owner/social.colibri.channel/k";
        assert_eq!(admit(&working_set, &did("owner"), known), Verdict::Accepted(uri(known)), "by AT-URI");
        working_set.communities.remove(&uri("at://did:plc:owner/social.colibri.community/c"));
        assert_eq!(admit(&working_set, &did("owner"), "k"), Verdict::Held, "B-07: community deleted");
        assert_eq!(admit(&working_set, &did("owner"), known), Verdict::Held, "B-07: by AT-URI too");
    }

    #[test]
    fn t20_a_shared_rkey_goes_where_the_author_passes() {
        let mut working_set = WorkingSet::default();
        community(&mut working_set, "late", false, false, 2);
        community(&mut working_set, "early", true, true, 1);
        member(&mut working_set, "bob", "late", false);
        let late = uri("at://did:plc:late/social.colibri.channel/k");
        assert_eq!(
            admit(&working_set, &did("bob"), "k"),
            Verdict::Accepted(late.clone()),
            "T20.3: the only one that accepts"
        );
        assert_eq!(
            admit(&working_set, &did("stranger"), "k"),
            Verdict::Refused(Refused::OwnerOnly),
            "T20.4: none accepts, so the one indexed first decides"
        );
        working_set.bans.insert((uri("at://did:plc:early/social.colibri.community/c"), did("bob")), None);
        assert_eq!(
            admit(&working_set, &did("bob"), "k"),
            Verdict::Accepted(late),
            "B-04: banned there, still only here"
        );
        community(&mut working_set, "third", false, false, 0);
        member(&mut working_set, "bob", "third", false);
        let third = uri("at://did:plc:third/social.colibri.channel/k");
        assert_eq!(
            admit(&working_set, &did("bob"), "k"),
            Verdict::Accepted(third),
            "T20.4: several accept, indexed first"
        );
    }
}
