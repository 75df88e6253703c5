//! A person's standing in a community, and the effect of its changes (I40–I45).
//!
//! The order of memberships and approvals does not matter (I41): a standing is computed from the
//! records, and an event is the difference of two standings.

use super::form::{Admission, Form};
use super::roles::{Of, admission};
use super::rows::{ApprovalRow, MembershipRow, member_group};
use super::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};

/// A standing (T08). A ban is a separate flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The authority of the community (T05).
    Owner,
    /// They may take part, by the membership that is named, if it is known which.
    Approved(Option<AtUri>),
    /// They have memberships, none of them approved: the lowest one is named (I44).
    Pending(AtUri),
    /// No membership.
    None,
}

/// What the others learn of a change of standing (I45, N30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// `member_pending`, with the membership that decides.
    Pending(AtUri),
    /// `member_joined`, with the membership that decides.
    Joined(Option<AtUri>),
    /// `member_left`; the person still has a membership.
    Demoted,
    /// `member_left`, then privately `community_deleted`: the last membership ended.
    Gone,
    /// As [`MemberChange::Demoted`] of somebody who never took part: the newest client does not learn of it.
    Refused,
    /// As [`MemberChange::Gone`] of somebody who never took part: the newest client does not learn of it.
    Withdrawn,
    /// As [`MemberChange::Gone`], then `member_pending` with a membership that still exists.
    PutOut(AtUri),
}

/// The standing of `person` in `community`. The first rule that applies decides:
///   1. the authority of the community is the owner;
///   2. in the old form a membership that an existing approval of the owner names is approved, in the
///      newest form a person with an admission by the community is (N12);
///   3. any other membership is pending;
///   4. otherwise there is none.
///
/// Of several memberships the lowest AT-URI counts (I44); in the newest form the one that the
/// admission names, if it exists.
pub fn standing(working_set: &WorkingSet, community: &AtUri, person: &Did) -> Standing {
    standing_by(working_set, community, person, Of::ThoseThere)
}

/// The standing of `author` when a record of theirs is judged: as [`standing`], but including
/// memberships that are hidden because the account is inactive. Records written in that time are
/// judged as if the account were active, and are hidden with the others (I51).
pub fn standing_of_author(working_set: &WorkingSet, community: &AtUri, author: &Did) -> Standing {
    standing_by(working_set, community, author, Of::Everybody)
}

fn standing_by(working_set: &WorkingSet, community: &AtUri, person: &Did, of: Of) -> Standing {
    if community.authority() == *person {
        return Standing::Owner;
    }
    let group = member_group(community, person);
    let memberships =
        || working_set.memberships.group(&group).filter(|row| of == Of::Everybody || !row.hidden);
    match Form::of(community) {
        Form::Old => {
            if let Some(row) = memberships().find(|row| is_approved(working_set, row)) {
                return Standing::Approved(Some(row.uri.clone()));
            }
        }
        Form::New => {
            if let Some(row) = admission(working_set, community, person, of) {
                let named = memberships().find(|one| row.from_membership.as_ref() == Some(&one.uri));
                return Standing::Approved(named.or(memberships().next()).map(|one| one.uri.clone()));
            }
        }
    }
    match memberships().next() {
        Some(row) => Standing::Pending(row.uri.clone()),
        None => Standing::None,
    }
}

/// Whether a membership is approved (I40): an approval names it, the approval's author owns the
/// membership's community, and if the approval names a community at all, it is that one.
fn is_approved(working_set: &WorkingSet, membership: &MembershipRow) -> bool {
    working_set.approvals.group(membership.uri.as_str()).any(|approval| counts(approval, membership))
}

fn counts(approval: &ApprovalRow, membership: &MembershipRow) -> bool {
    approval.uri.authority() == membership.community_uri.authority()
        && approval.community_uri.as_ref().is_none_or(|uri| *uri == membership.community_uri)
}

/// The tables of I45 and N30, without bans (changes of a banned person publish nothing).
pub fn change(before: &Standing, after: &Standing, by: Admission) -> Option<MemberChange> {
    use Standing::{Approved, None as Nothing, Owner, Pending};
    match (before, after) {
        (Owner, _) | (_, Owner) => None,
        (Nothing, Nothing) | (Pending(_), Pending(_)) | (Approved(_), Approved(_)) => None,
        (Nothing, Pending(uri)) => Some(MemberChange::Pending(uri.clone())),
        (Nothing | Pending(_), Approved(uri)) => Some(MemberChange::Joined(uri.clone())),
        (Approved(_), Pending(uri)) => Some(match by {
            Admission::Open => MemberChange::Pending(uri.clone()),
            Admission::ByApproval => MemberChange::Demoted,
            Admission::ByMember => MemberChange::PutOut(uri.clone()),
        }),
        (Pending(_), Nothing) if by != Admission::Open => Some(MemberChange::Withdrawn),
        (Pending(_) | Approved(_), Nothing) => Some(MemberChange::Gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::time::Micros;

    const COMMUNITY: &str = "at://did:plc:owner/social.colibri.community/c";

    fn uri(text: &str) -> AtUri {
        AtUri::parse(text).unwrap()
    }

    fn membership(rkey: &str) -> MembershipRow {
        MembershipRow {
            uri: uri(&format!("at://did:plc:m/social.colibri.membership/{rkey}")),
            member_did: Did::parse("did:plc:m").unwrap(),
            community_uri: uri(COMMUNITY),
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        }
    }

    fn approval(author: &str, rkey: &str, community: Option<&str>) -> ApprovalRow {
        ApprovalRow {
            uri: uri(&format!("at://did:plc:{author}/social.colibri.approval/{rkey}")),
            membership_uri: membership(rkey).uri,
            community_uri: community.map(uri),
            rev: "1".into(),
            indexed_at: Micros(0),
        }
    }

    #[test]
    fn i40_who_counts_as_approved() {
        let other = "at://did:plc:owner/social.colibri.community/other";
        for (memberships, approvals, expected, why) in [
            (vec![], vec![], "none", "nothing"),
            (vec![], vec![approval("owner", "a", None)], "none", "an approval alone"),
            (vec!["a"], vec![], "pending a", "a membership alone"),
            (vec!["a"], vec![approval("owner", "a", None)], "approved a", "the owner approved it"),
            (vec!["a"], vec![approval("m", "a", None)], "pending a", "B-01: approving oneself"),
            (vec!["a"], vec![approval("stranger", "a", None)], "pending a", "B-02: a stranger"),
            (
                vec!["a"],
                vec![approval("owner", "a", Some(COMMUNITY))],
                "approved a",
                "it names the community",
            ),
            (vec!["a"], vec![approval("owner", "a", Some(other))], "pending a", "it names another community"),
            (vec!["a", "b"], vec![approval("owner", "b", None)], "approved b", "one of two is approved"),
            (vec!["b", "a"], vec![], "pending a", "the lowest is named (I44)"),
        ] {
            let mut working_set = WorkingSet::default();
            memberships.iter().for_each(|rkey| working_set.memberships.seed(membership(rkey)));
            approvals.into_iter().for_each(|row| working_set.approvals.seed(row));
            let got = match standing(&working_set, &uri(COMMUNITY), &Did::parse("did:plc:m").unwrap()) {
                Standing::Owner => "owner".into(),
                Standing::None => "none".into(),
                Standing::Pending(uri) => format!("pending {}", uri.rkey()),
                Standing::Approved(uri) => format!("approved {}", uri.unwrap().rkey()),
            };
            assert_eq!(got, expected, "{why}");
        }
    }

    #[test]
    fn i45_transitions() {
        let m = membership("a").uri;
        let (none, pending, approved) =
            (Standing::None, Standing::Pending(m.clone()), Standing::Approved(Some(m.clone())));
        let (to_pending, joined) = (MemberChange::Pending(m.clone()), MemberChange::Joined(Some(m.clone())));
        let put_out = MemberChange::PutOut(m);
        for (before, after, in_approval, in_open) in [
            (&none, &pending, Some(&to_pending), Some(&to_pending)),
            (&none, &approved, Some(&joined), Some(&joined)),
            (&pending, &approved, Some(&joined), Some(&joined)),
            (&approved, &pending, Some(&MemberChange::Demoted), Some(&to_pending)),
            (&pending, &none, Some(&MemberChange::Withdrawn), Some(&MemberChange::Gone)),
            (&approved, &none, Some(&MemberChange::Gone), Some(&MemberChange::Gone)),
            (&none, &none, None, None),
            (&pending, &pending, None, None),
            (&approved, &approved, None, None),
            (&Standing::Owner, &Standing::Owner, None, None),
        ] {
            let told = |by| change(before, after, by);
            assert_eq!(
                told(Admission::ByApproval).as_ref(),
                in_approval,
                "{before:?} to {after:?}, approval"
            );
            assert_eq!(told(Admission::Open).as_ref(), in_open, "{before:?} to {after:?}, open");
            let is_put_out = (before, after) == (&approved, &pending);
            let in_newest = if is_put_out { Some(&put_out) } else { in_approval };
            assert_eq!(told(Admission::ByMember).as_ref(), in_newest, "{before:?} to {after:?}, newest form");
        }
    }
}
