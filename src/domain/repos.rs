//! Which repositories the service knows, and when it reads one (K01, K03, K06).

use std::collections::BTreeSet;

use super::pause::growing;
use super::working_set::Changes;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::tid;
use crate::wire::time::Micros;

const SECOND: i64 = 1_000_000;

/// The first pause after a failure; each further one is twice as long (K03).
const PAUSE: i64 = 2 * SECOND;
/// The longest pause (K03: up to once an hour).
const PAUSE_MAX: i64 = 3600 * SECOND;
/// How long the service leaves a record to the stream, which delivers it as a new event. The
/// contents of a repository are committed once its newest commit is this old.
const STREAM_LEADS: i64 = 3 * SECOND;

/// Why a repository is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It became known (K01).
    New,
    /// The service missed a stretch of the stream (K05).
    Gap,
    /// Its identity changed, and perhaps its PDS (K11).
    Identity,
    /// Its account is active again (I53).
    Account,
    /// The gate may judge its author's records differently than when it refused some (G7).
    Gate,
    /// An authorised caller asked for it.
    Asked,
    /// Somebody looked up an unknown community.
    Lookup,
    /// A relay lists it.
    Found,
    /// Its events were left out, because it exceeded its points (K17).
    Points,
}

impl Reason {
    /// Its name in the database.
    pub fn word(self) -> &'static str {
        match self {
            Reason::New => "new",
            Reason::Gap => "gap",
            Reason::Identity => "identity",
            Reason::Account => "account",
            Reason::Gate => "gate",
            Reason::Asked => "asked",
            Reason::Lookup => "lookup",
            Reason::Found => "found",
            Reason::Points => "points",
        }
    }

    /// The reason with this name.
    pub fn named(word: &str) -> Option<Self> {
        use Reason::{Account, Asked, Found, Gap, Gate, Identity, Lookup, New, Points};
        [New, Gap, Identity, Account, Gate, Asked, Lookup, Found, Points]
            .into_iter()
            .find(|reason| reason.word() == word)
    }

    /// Whether the repository is read even if its revision is unchanged: the gate's verdicts may
    /// have changed without it, and of a deleted account the index has nothing left.
    pub fn reads_unchanged(self) -> bool {
        matches!(self, Reason::Gate | Reason::Asked | Reason::Account)
    }

    /// Whether it is only assumed that the repository has Colibri records. If it has none, it is
    /// left alone until somebody provides one.
    pub fn is_guess(self) -> bool {
        matches!(self, Reason::Lookup | Reason::Found | Reason::Points)
    }
}

/// The people whose repositories a commit makes known: owners and members (K01), the owner of an
/// unknown community that somebody wants to join, and people whose membership is approved. An
/// approval counts only if its author owns a community; that DID is the second one. Authors of
/// accepted messages are known already, because the gate requires a membership.
pub fn known_by(changes: &Changes) -> BTreeSet<(Did, Option<Did>)> {
    let owners = changes.communities.put.iter().map(|row| row.uri.authority());
    let members = changes.memberships.put.iter().map(|row| row.member_did.clone());
    let awaited = changes.held.put.iter().filter(|row| row.uri.is(Collection::Membership));
    let awaited = awaited.filter_map(|row| AtUri::parse(&row.waits_for).ok()).map(|uri| uri.authority());
    let approved =
        changes.approvals.put.iter().map(|row| (row.membership_uri.authority(), Some(row.uri.authority())));
    let admitted = changes.members.put.iter().map(|row| (row.member_did.clone(), Some(row.uri.authority())));
    owners.chain(members).chain(awaited).map(|did| (did, None)).chain(approved).chain(admitted).collect()
}

/// The pause after this many consecutive failures (at least one), in microseconds. `chance`, from 0
/// to 1, adds up to a quarter, so that simultaneous failures spread.
pub fn pause_after(failures: u32, chance: f64) -> i64 {
    let pause = growing(PAUSE, failures.saturating_sub(1), PAUSE_MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at most an hour")]
    let spread = (pause as f64 / 4.0 * chance.clamp(0.0, 1.0)) as i64;
    (pause + spread).min(PAUSE_MAX)
}

/// How long to wait before committing what was read at revision `rev`, in microseconds, so that the
/// stream delivers the newest records first.
pub fn wait_for_stream(rev: &str, now: Micros) -> i64 {
    let written = tid::time(rev).unwrap_or(Micros(0));
    written.0.saturating_add(STREAM_LEADS).saturating_sub(now.0).clamp(0, STREAM_LEADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k03_pauses_grow_up_to_an_hour() {
        for (failures, expected) in
            [(1, 2), (2, 4), (5, 32), (11, 2048), (12, 3600), (40, 3600), (u32::MAX, 3600)]
        {
            assert_eq!(pause_after(failures, 0.0), expected * SECOND, "{failures} failures");
            let spread = pause_after(failures, 1.0);
            assert!(spread >= expected * SECOND && spread <= 3600 * SECOND);
        }
        assert_eq!(pause_after(1, 1.0), 2_500_000);
    }

    #[test]
    fn what_was_written_just_now_is_left_to_the_stream() {
        let at = tid::time("3jzfcijpj2z2a").unwrap();
        for (age, expected, why) in [
            (0, STREAM_LEADS, "this moment"),
            (SECOND, 2 * SECOND, "a second ago"),
            (STREAM_LEADS, 0, "long enough ago"),
            (-3600 * SECOND, STREAM_LEADS, "a clock that is ahead"),
        ] {
            assert_eq!(wait_for_stream("3jzfcijpj2z2a", Micros(at.0 + age)), expected, "{why}");
        }
        assert_eq!(wait_for_stream("no revision", at), 0);
    }

    #[test]
    fn reasons_have_words() {
        for word in ["new", "gap", "identity", "account", "gate", "asked", "lookup", "found", "points"] {
            assert_eq!(Reason::named(word).map(Reason::word), Some(word));
        }
        assert_eq!(Reason::named("whim"), None);
    }
}
