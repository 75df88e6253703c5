//! The gate: whether this person may post in this channel (section 8.2).
//!
//! The same function judges creates, edits and every later re-evaluation, live or from a repository
//! (invariant 8).

use super::form::Admission;
use super::roles::{is_protected, roles_of};
use super::rows::{ChannelRow, CommunityRow, member_group};
use super::standing::{Standing, standing, standing_of_author};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::time::Micros;

/// How long an admission may arrive after the membership that asks for it (N12).
const ON_ITS_WAY: i64 = 120 * 1_000_000;

/// The gate's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The message belongs in this channel.
    Accepted(AtUri),
    /// The message is refused and not stored (G7).
    Refused(Refused),
    /// The channel or its community is unknown: hold the message (G1).
    Held,
    /// The author's admission may be on its way: wait for it (N12). What is waited for is named as
    /// [`awaited`] names it.
    Awaits(String),
}

/// Why the gate refuses a record, or does not accept it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum No {
    /// For good.
    Refused(Refused),
    /// As [`Verdict::Awaits`].
    Awaits(String),
}

/// Why the gate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// G2, N11.
    Banned,
    /// G3, N13.
    OwnerOnly,
    /// G5: the community requires approval, and the author has none.
    NotApproved,
    /// G6, N12: the author has no membership, or no admission.
    NotAMember,
    /// N14: the channel names who may post, and not the author.
    NotNamed,
}

impl Refused {
    /// The word under which refusals are counted.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::Banned => "author_banned",
            Refused::OwnerOnly => "channel_owner_only",
            Refused::NotApproved => "author_not_approved",
            Refused::NotAMember => "author_not_a_member",
            Refused::NotNamed => "author_not_named_by_channel",
        }
    }
}

/// The name under which a record waits for the admission of `person`: no record has it.
pub fn awaited(community: &AtUri, person: &Did) -> String {
    member_group(community, person)
}

/// Whether a message of `author` that arrived at `at` and names `channel` is accepted, and where (T20,
/// G1–G6, N10–N15):
///   1. if no channel matches, it is held;
///   2. if one matches, that channel's rules decide;
///   3. if several match, it goes to the one whose rules accept the author, if there is exactly
///      one; otherwise the rules of the channel that was indexed first decide.
///
/// The gate ignores whether the author's account is active: what they write while it is inactive is
/// stored hidden, and shown when it is active again (I51).
pub fn admit(working_set: &WorkingSet, author: &Did, channel: &str, at: Micros) -> Verdict {
    let candidates = candidates(working_set, channel);
    let Some((first, _)) = candidates.first() else { return Verdict::Held };
    let mut accepting = candidates
        .iter()
        .filter(|(channel, community)| may_post(working_set, author, channel, community, at).is_ok());
    let chosen = match (accepting.next(), accepting.next()) {
        (Some((only, _)), None) => only,
        _ => first,
    };
    let Some((channel, community)) = working_set.channel(&chosen.uri) else { return Verdict::Held };
    match may_post(working_set, author, channel, community, at) {
        Ok(()) => Verdict::Accepted(channel.uri.clone()),
        Err(No::Refused(refused)) => Verdict::Refused(refused),
        Err(No::Awaits(name)) => Verdict::Awaits(name),
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

/// Whether `author` may post in `channel`. The first rule that applies decides; which of the two
/// tables, the community's form does (N01).
///
/// In the old form:
///   1. a banned person may not (G2);
///   2. in an owner-only channel only the owner may (G3);
///   3. the owner may (G4);
///   4. in an approval community only approved members may (G5);
///   5. in an open community every member may, approved or pending (G6).
///
/// In the newest form:
///   1. the community's account may (N10);
///   2. a banned person may not (N11);
///   3. who is not admitted may not, or waits for the admission (N12);
///   4. who holds a protected role may (N13);
///   5. in an owner-only channel nobody else may (N13);
///   6. in a channel that names people or roles those may (N14);
///   7. everybody else may where it names nobody (N14).
fn may_post(
    working_set: &WorkingSet,
    author: &Did,
    channel: &ChannelRow,
    community: &CommunityRow,
    at: Micros,
) -> Result<(), No> {
    let is_account = community.uri.authority() == *author;
    if community.admission() == Admission::ByMember {
        may_react(working_set, author, community, at)?;
        return if is_account { Ok(()) } else { is_named(working_set, author, channel).map_err(No::Refused) };
    }
    if is_banned(working_set, author, community) {
        Err(No::Refused(Refused::Banned))
    } else if channel.owner_only && !is_account {
        Err(No::Refused(Refused::OwnerOnly))
    } else {
        may_take_part(&standing_of_author(working_set, &community.uri, author), community)
            .map_err(No::Refused)
    }
}

/// N13, N14.
fn is_named(working_set: &WorkingSet, author: &Did, channel: &ChannelRow) -> Result<(), Refused> {
    let roles = roles_of(working_set, &channel.community_uri, author);
    if is_protected(&roles) {
        Ok(())
    } else if channel.owner_only {
        Err(Refused::OwnerOnly)
    } else if channel.is_restricted() && !channel.names(author, roles) {
        Err(Refused::NotNamed)
    } else {
        Ok(())
    }
}

/// Whether `person` may react in `community`: as [`may_post`], without what the channel asks (I20,
/// N15).
pub fn may_react(
    working_set: &WorkingSet,
    person: &Did,
    community: &CommunityRow,
    at: Micros,
) -> Result<(), No> {
    let is_account = community.uri.authority() == *person;
    let by_member = community.admission() == Admission::ByMember;
    if is_banned(working_set, person, community) && !(by_member && is_account) {
        return Err(No::Refused(Refused::Banned));
    }
    let standing = standing_of_author(working_set, &community.uri, person);
    match may_take_part(&standing, community) {
        Err(Refused::NotAMember) if by_member && may_be_on_its_way(working_set, person, community, at) => {
            Err(No::Awaits(awaited(&community.uri, person)))
        }
        other => other.map_err(No::Refused),
    }
}

fn is_banned(working_set: &WorkingSet, person: &Did, community: &CommunityRow) -> bool {
    working_set.bans.contains(&(community.uri.clone(), person.clone()))
}

/// Whether the admission of `person` may still arrive at `at` (N12): they wrote their membership just now,
/// or the community's repository, which would contain it, was never read.
fn may_be_on_its_way(working_set: &WorkingSet, person: &Did, community: &CommunityRow, at: Micros) -> bool {
    let is_recent =
        |row: &crate::domain::rows::MembershipRow| at.0.saturating_sub(row.indexed_at.0) < ON_ITS_WAY;
    community.unread || working_set.memberships.group(&member_group(&community.uri, person)).any(is_recent)
}

/// Whether `person` may be in the voice channel `channel` of `community` (V02, N15): as [`may_react`],
/// in the newest form as [`may_post`]; but whose account is not active is not there (I51).
pub fn may_be_present(
    working_set: &WorkingSet,
    person: &Did,
    channel: &ChannelRow,
    community: &CommunityRow,
) -> Result<(), No> {
    let at = Micros(i64::MAX); // nobody waits at the door of a call
    match community.admission() {
        Admission::ByMember => may_post(working_set, person, channel, community, at)?,
        Admission::Open | Admission::ByApproval => may_react(working_set, person, community, at)?,
    }
    may_take_part(&standing(working_set, &community.uri, person), community).map_err(No::Refused)
}

/// G4–G6, N10, N12.
fn may_take_part(standing: &Standing, community: &CommunityRow) -> Result<(), Refused> {
    match (standing, community.admission()) {
        (Standing::Owner | Standing::Approved(_), _) | (Standing::Pending(_), Admission::Open) => Ok(()),
        (_, Admission::ByApproval) => Err(Refused::NotApproved),
        (_, Admission::Open | Admission::ByMember) => Err(Refused::NotAMember),
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
            banner: None,
            link_embeds: None,
            migrated_to: None,
            migrated_from: None,
            appview: None,
            rev: "1".into(),
            indexed_at: Micros(at),
            hidden: false,
            unread: false,
        });
        working_set.channels.seed(ChannelRow {
            uri: uri(&format!("at://did:plc:{owner}/social.colibri.channel/k")),
            community_uri,
            name: "n".into(),
            description: None,
            channel_type: "text".into(),
            category_rkey: None,
            owner_only,
            allowed_roles: None,
            allowed_members: None,
            link_embeds: None,
            migrated_from: None,
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
            ("owner", true, false, true, Err(Refused::Banned), "G2: comes first, even for the owner"),
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
            assert_eq!(admit(&working_set, &did(author), "k", Micros(0)), expected, "{why}");
        }
    }

    #[test]
    fn g1_unknown_channel_or_community_is_held() {
        let mut working_set = WorkingSet::default();
        assert_eq!(admit(&working_set, &did("owner"), "k", Micros(0)), Verdict::Held, "no channel");
        community(&mut working_set, "owner", false, false, 1);
        let known = "at://did:plc:owner/social.colibri.channel/k";
        assert_eq!(
            admit(&working_set, &did("owner"), known, Micros(0)),
            Verdict::Accepted(uri(known)),
            "by AT-URI"
        );
        working_set.communities.remove(&uri("at://did:plc:owner/social.colibri.community/c"));
        assert_eq!(
            admit(&working_set, &did("owner"), "k", Micros(0)),
            Verdict::Held,
            "B-07: community deleted"
        );
        assert_eq!(
            admit(&working_set, &did("owner"), known, Micros(0)),
            Verdict::Held,
            "B-07: by AT-URI too"
        );
    }

    #[test]
    fn t20_a_shared_rkey_goes_where_the_author_passes() {
        let mut working_set = WorkingSet::default();
        community(&mut working_set, "late", false, false, 2);
        community(&mut working_set, "early", true, true, 1);
        member(&mut working_set, "bob", "late", false);
        let late = uri("at://did:plc:late/social.colibri.channel/k");
        assert_eq!(
            admit(&working_set, &did("bob"), "k", Micros(0)),
            Verdict::Accepted(late.clone()),
            "T20.3: the only one that accepts"
        );
        assert_eq!(
            admit(&working_set, &did("stranger"), "k", Micros(0)),
            Verdict::Refused(Refused::OwnerOnly),
            "T20.4: none accepts, so the one indexed first decides"
        );
        working_set.bans.insert((uri("at://did:plc:early/social.colibri.community/c"), did("bob")), None);
        assert_eq!(
            admit(&working_set, &did("bob"), "k", Micros(0)),
            Verdict::Accepted(late),
            "B-04: banned there, still only here"
        );
        community(&mut working_set, "third", false, false, 0);
        member(&mut working_set, "bob", "third", false);
        let third = uri("at://did:plc:third/social.colibri.channel/k");
        assert_eq!(
            admit(&working_set, &did("bob"), "k", Micros(0)),
            Verdict::Accepted(third),
            "T20.4: several accept, indexed first"
        );
    }

    /// A community of the newest form with a channel `k`, whose people are what their names say.
    fn newest(owner_only: bool, lists: &str, unread: bool) -> WorkingSet {
        use crate::domain::rows::{MemberRow, RoleRow};
        let mut working_set = WorkingSet::default();
        community(&mut working_set, "nest", true, owner_only, 1);
        let place = uri("at://did:plc:nest/social.colibri.community/self");
        let old = uri("at://did:plc:nest/social.colibri.community/c");
        let row = working_set.communities.remove(&old).unwrap();
        working_set.communities.seed(CommunityRow { uri: place.clone(), unread, ..row });
        let channel = uri("at://did:plc:nest/social.colibri.channel/k");
        let row = working_set.channels.remove(&channel).unwrap();
        working_set.channels.seed(ChannelRow {
            community_uri: place.clone(),
            allowed_roles: lists.contains("roles").then(|| r#"["mod"]"#.into()),
            allowed_members: lists.contains("members").then(|| r#"["did:plc:plain"]"#.into()),
            ..row
        });
        for (name, protected) in [("owner", true), ("mod", false)] {
            working_set.roles.seed(RoleRow {
                uri: uri(&format!("at://did:plc:nest/social.colibri.role/{name}")),
                did: did("nest"),
                community_uri: place.clone(),
                name: name.into(),
                color: None,
                permissions: r#"["channel.update"]"#.into(),
                position: 1,
                hoisted: false,
                mentionable: false,
                protected,
                channel_overrides: None,
                rev: "1".into(),
                indexed_at: Micros(0),
            });
        }
        let people = [
            ("protected", "owner"),
            ("moderator", "mod"),
            ("plain", "none"),
            ("other", ""),
            ("banned", "owner"),
        ];
        for (name, role) in people {
            working_set.members.seed(MemberRow {
                uri: uri(&format!("at://did:plc:nest/social.colibri.member/{name}")),
                member_did: did(name),
                community_uri: place.clone(),
                roles: format!("[{role:?}]"),
                nickname: None,
                from_membership: None,
                withdrawn: false,
                hidden: false,
                rev: "1".into(),
                indexed_at: Micros(0),
            });
        }
        for (name, at) in [("fresh", 10_000_000), ("pending", 0)] {
            working_set.memberships.seed(MembershipRow {
                uri: uri(&format!("at://did:plc:{name}/social.colibri.membership/m")),
                member_did: did(name),
                community_uri: place.clone(),
                rev: "1".into(),
                indexed_at: Micros(at),
                hidden: false,
            });
        }
        working_set.bans.insert((place.clone(), did("banned")), None);
        working_set.bans.insert((place, did("nest")), None);
        working_set
    }

    const NEST: [&str; 9] =
        ["nest", "protected", "moderator", "plain", "other", "banned", "fresh", "pending", "stranger"];

    /// The table of the newest form: everybody, in each kind of channel. Yes, no (and why), or wait.
    #[test]
    fn n10_to_n15() {
        let in_short = |verdict: Result<(), No>| match verdict {
            Ok(()) => "yes",
            Err(No::Awaits(_)) => "wait",
            Err(No::Refused(Refused::Banned)) => "banned",
            Err(No::Refused(Refused::OwnerOnly)) => "owner",
            Err(No::Refused(Refused::NotNamed)) => "named",
            Err(No::Refused(_)) => "member",
        };
        let at = Micros(120_000_000);
        for (owner_only, lists, unread, expected) in [
            (false, "", false, "yes yes yes yes yes banned wait member member"),
            (false, "", true, "yes yes yes yes yes banned wait wait wait"),
            (true, "", false, "yes yes owner owner owner banned wait member member"),
            (false, "roles", false, "yes yes yes named named banned wait member member"),
            (false, "members", false, "yes yes named yes named banned wait member member"),
            (false, "roles members", false, "yes yes yes yes named banned wait member member"),
            (true, "roles members", false, "yes yes owner owner owner banned wait member member"),
        ] {
            let working_set = newest(owner_only, lists, unread);
            let channel = uri("at://did:plc:nest/social.colibri.channel/k");
            let (channel, home) = working_set.channel(&channel).unwrap();
            let of = |ask: &dyn Fn(&Did) -> Result<(), No>| -> String {
                NEST.iter().map(|name| in_short(ask(&did(name)))).collect::<Vec<_>>().join(" ")
            };
            let why = format!("owner_only={owner_only} lists={lists:?} unread={unread}");
            let posts = of(&|who| may_post(&working_set, who, channel, home, at));
            assert_eq!(posts, expected, "{why}");
            let reacts = of(&|who| may_react(&working_set, who, home, at));
            assert_eq!(reacts, expected.replace("owner", "yes").replace("named", "yes"), "N15: {why}");
            let speaks = of(&|who| may_be_present(&working_set, who, channel, home));
            let waits_not = if unread { expected.into() } else { expected.replace("wait", "member") };
            assert_eq!(speaks, waits_not, "N15, voice: {why}");
        }
    }
}
