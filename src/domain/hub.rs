//! Who writes into the repository of a community (contract N173–N175).
//!
//! A community of the newest form names the AppView that holds its credentials. This service holds none,
//! so it writes for nobody; what a caller is answered depends on whom the community names.

use super::roles::{Of, admission};
use super::working_set::WorkingSet;
use crate::domain::form::Form;
use crate::wire::ids::{AtUri, Did};

/// The AppView of a community that names none (N160g, N173).
pub const DEFAULT: &str = "did:web:api.colibri.social";

/// Why this service does not write for a community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another service does: this one.
    Elsewhere(Did),
    /// Nobody could, except this service, which has no credentials.
    NotEnabled,
}

/// Decides what a caller who may write is answered. `named` is what the community's record names, and
/// `service` the DID of this service. The first rule that applies decides:
///   1. a community of the old form has no such service: its owner writes it;
///   2. one that names this service is not written;
///   3. any other is written by the service that it names, or by [`DEFAULT`].
pub fn refusal(community: &AtUri, named: Option<&Did>, service: Option<&Did>) -> Refusal {
    if Form::of(community) == Form::Old {
        return Refusal::NotEnabled;
    }
    let default = || Did::parse(DEFAULT).ok();
    match named.cloned().or_else(default) {
        Some(hub) if service != Some(&hub) => Refusal::Elsewhere(hub),
        _ => Refusal::NotEnabled,
    }
}

/// Whether somebody who took back all their memberships is still in the community: by an admission that no
/// membership asked for, which only the community can end (N17).
pub fn stays(facts: &WorkingSet, community: &AtUri, person: &Did) -> bool {
    admission(facts, community, person, Of::Everybody).is_some_and(|row| row.from_membership.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n173_n174_who_writes() {
        let did = |text: &str| Did::parse(text).unwrap();
        let (ours, other, default) = (did("did:web:us.test"), did("did:web:other.test"), did(DEFAULT));
        let newest = AtUri::parse("at://did:plc:nest/social.colibri.community/self").unwrap();
        let old = AtUri::parse("at://did:plc:alice/social.colibri.community/c").unwrap();
        for (community, named, service, expected, why) in [
            (&newest, Some(&other), Some(&ours), Refusal::Elsewhere(other.clone()), "the one it names"),
            (&newest, None, Some(&ours), Refusal::Elsewhere(default.clone()), "it names none"),
            (&newest, Some(&ours), Some(&ours), Refusal::NotEnabled, "this one"),
            (&newest, None, Some(&default), Refusal::NotEnabled, "this one is the default"),
            (&newest, Some(&other), None, Refusal::Elsewhere(other.clone()), "this one has no DID"),
            (&old, Some(&other), Some(&ours), Refusal::NotEnabled, "the old form has no such service"),
        ] {
            assert_eq!(refusal(community, named, service), expected, "{why}");
        }
    }
}
