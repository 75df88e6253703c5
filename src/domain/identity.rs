//! The identity of a DID, and how long a stored one counts.

use serde::{Deserialize, Serialize};
use url::Url;

use super::hosts::{Reach, may_ask};
use super::pause::growing;
use crate::wire::did_document::DidDocument;
use crate::wire::handle::Handle;
use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::profile::LookedUp;
use crate::wire::time::Micros;

/// How long a document, and the result of verifying its handle, counts without a reported change
/// (K12: at most one lookup a day).
const BELIEVED: i64 = 24 * 60 * 60 * 1_000_000;
/// How long a failed verification counts: long enough that a failing host is not contacted for each
/// request.
const UNRESOLVED_BELIEVED: i64 = 30 * 1_000_000;

/// The contents of a DID document when it was last fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The DID.
    pub did: Did,
    /// The handle it claims. Shown only where [`Identity::proven_handle`] allows it.
    pub handle: Option<Handle>,
    /// The verification of that claim.
    pub handle_status: HandleStatus,
    /// When the claim was verified; `None` if it was not, for this document.
    pub handle_checked_at: Option<Micros>,
    /// The account's PDS; `None` if there is none that the service may contact (R21.6).
    pub pds: Option<Url>,
    /// The key that signs the repository.
    pub signing_key: Option<Multikey>,
    /// When the document was requested, not when it arrived: a change that the network reported in
    /// between is newer than the answer.
    pub resolved_at: Option<Micros>,
}

/// The verification of a claimed handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandleStatus {
    /// The document names the handle, and the handle the DID.
    Valid,
    /// There is no handle, or it resolves to another DID or to none.
    Invalid,
    /// It could not be verified.
    Unresolved,
}

/// The result of one of the two ways to verify a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It names this DID.
    Names(Did),
    /// It names no DID, or several.
    Nothing,
    /// There was no readable answer.
    Failed,
}

impl Identity {
    /// The contents of a document that was requested at `asked_at`. An address that the service
    /// must not contact is left out.
    pub fn of(did: &Did, document: DidDocument, reach: &Reach, asked_at: Micros) -> Self {
        Self {
            did: did.clone(),
            handle_status: if document.handle.is_some() {
                HandleStatus::Unresolved
            } else {
                HandleStatus::Invalid
            },
            handle_checked_at: document.handle.is_none().then_some(asked_at),
            handle: document.handle,
            pds: document.pds.filter(|url| may_ask(url, reach)),
            signing_key: document.signing_key,
            resolved_at: Some(asked_at),
        }
    }

    /// Whether the document need not be fetched again.
    pub fn is_believed(&self, now: Micros) -> bool {
        self.resolved_at.is_some_and(|at| is_within(BELIEVED, at, now))
    }

    /// Whether the handle need not be verified again.
    pub fn is_checked(&self, now: Micros) -> bool {
        let believed = match self.handle_status {
            HandleStatus::Valid | HandleStatus::Invalid => BELIEVED,
            HandleStatus::Unresolved => UNRESOLVED_BELIEVED,
        };
        self.is_believed(now) && self.handle_checked_at.is_some_and(|at| is_within(believed, at, now))
    }

    /// The handle, if it may be shown (O10).
    pub fn proven_handle(&self) -> Option<&Handle> {
        self.handle.as_ref().filter(|_| self.handle_status == HandleStatus::Valid)
    }

    /// Keeps an earlier verification of the same claim until there is a new one.
    pub fn keep_check(&mut self, earlier: &Identity) {
        if self.handle.is_some() && self.handle == earlier.handle {
            self.handle_status = earlier.handle_status;
            self.handle_checked_at = earlier.handle_checked_at;
        }
    }
}

/// The result of looking up a known person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The verified handle, or that there is none; `None` if that could not be determined.
    pub handle: Option<Option<Handle>>,
    /// A profile, if it was missing and was found.
    pub profile: Option<LookedUp>,
}

/// The pause after this many consecutive failures: ten seconds, four times as long each time, at
/// most a day (K12).
pub fn pause_after(failures: i64) -> i64 {
    const FIRST: i64 = 10_000_000;
    let before = u32::try_from(failures.saturating_sub(1).max(0)).unwrap_or(u32::MAX);
    growing(FIRST, before.saturating_mul(2), BELIEVED)
}

fn is_within(span: i64, at: Micros, now: Micros) -> bool {
    now.0.saturating_sub(at.0) < span
}

/// The DID that a handle resolves to: DNS takes precedence over the file on its host (specification
/// "Handle"). The first rule that applies decides:
///   1. if DNS names one DID, it is that one;
///   2. if the file names one, it is that one, even if DNS failed, because most handles have no DNS
///      record;
///   3. if one of them failed, the result is unknown;
///   4. otherwise there is none.
pub fn led_to(dns: Proof, file: Proof) -> Proof {
    match (dns, file) {
        (Proof::Names(did), _) | (_, Proof::Names(did)) => Proof::Names(did),
        (Proof::Failed, _) | (_, Proof::Failed) => Proof::Failed,
        (Proof::Nothing, Proof::Nothing) => Proof::Nothing,
    }
}

/// Verifies the claim of `did` to a handle that resolves to `proof`.
pub fn claim(did: &Did, proof: &Proof) -> HandleStatus {
    match proof {
        Proof::Names(named) if named == did => HandleStatus::Valid,
        Proof::Names(_) | Proof::Nothing => HandleStatus::Invalid,
        Proof::Failed => HandleStatus::Unresolved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(name: &str) -> Did {
        Did::parse(&format!("did:plc:{name}")).unwrap()
    }

    #[test]
    fn o10_a_handle_counts_if_it_leads_back() {
        let names = |name: &str| Proof::Names(did(name));
        for (dns, file, expected, why) in [
            (names("a"), Proof::Failed, HandleStatus::Valid, "DNS alone"),
            (names("a"), names("b"), HandleStatus::Valid, "DNS comes first"),
            (names("b"), names("a"), HandleStatus::Invalid, "DNS comes first, also where it says no"),
            (Proof::Nothing, names("a"), HandleStatus::Valid, "the file alone"),
            (Proof::Failed, names("a"), HandleStatus::Valid, "the file, while DNS is down"),
            (Proof::Nothing, names("b"), HandleStatus::Invalid, "somebody else's"),
            (Proof::Failed, names("b"), HandleStatus::Invalid, "somebody else's, while DNS is down"),
            (Proof::Nothing, Proof::Nothing, HandleStatus::Invalid, "nobody's"),
            (Proof::Nothing, Proof::Failed, HandleStatus::Unresolved, "its host is down"),
            (Proof::Failed, Proof::Nothing, HandleStatus::Unresolved, "DNS might have said so"),
            (Proof::Failed, Proof::Failed, HandleStatus::Unresolved, "nobody answers"),
        ] {
            let told = format!("{dns:?} {file:?}");
            assert_eq!(claim(&did("a"), &led_to(dns, file)), expected, "{told}: {why}");
        }
    }

    fn read(text: &str, at: i64) -> Identity {
        let document = DidDocument::parse(text, &did("a")).unwrap();
        Identity::of(&did("a"), document, &Reach::default(), Micros(at))
    }

    #[test]
    fn k12_believed_for_a_day() {
        const DAY: i64 = 86_400_000_000;
        let mut one = read(r#"{"id":"did:plc:a","alsoKnownAs":["at://a.test"]}"#, 5);
        assert!(one.is_believed(Micros(4 + DAY)) && !one.is_believed(Micros(5 + DAY)));
        assert!(!one.is_checked(Micros(5)), "a claim that was not checked");
        assert_eq!(one.proven_handle(), None, "O10");
        (one.handle_status, one.handle_checked_at) = (HandleStatus::Valid, Some(Micros(3)));
        assert!(one.is_checked(Micros(2 + DAY)) && !one.is_checked(Micros(3 + DAY)));
        assert_eq!(one.proven_handle().map(Handle::as_str), Some("a.test"));
        (one.handle_status, one.handle_checked_at) = (HandleStatus::Unresolved, Some(Micros(5)));
        assert!(
            one.is_checked(Micros(4 + 30_000_000)) && !one.is_checked(Micros(5 + 30_000_000)),
            "half a minute"
        );
        one.resolved_at = None;
        assert!(!one.is_believed(Micros(5)) && !one.is_checked(Micros(5)), "the network said it changed");
        let none = read(r#"{"id":"did:plc:a"}"#, 5);
        assert!(none.is_checked(Micros(5)), "no claim, nothing to check");
        assert_eq!((none.handle_status, none.proven_handle()), (HandleStatus::Invalid, None));
    }

    #[test]
    fn k12_pauses_grow_to_a_day() {
        let seconds: Vec<i64> = (0..10).map(|failures| pause_after(failures) / 1_000_000).collect();
        assert_eq!(seconds, [10, 10, 40, 160, 640, 2560, 10_240, 40_960, 86_400, 86_400]);
        assert_eq!(pause_after(i64::MAX), BELIEVED);
    }

    #[test]
    fn a_check_holds_for_the_same_claim_only() {
        let mut before = read(r#"{"id":"did:plc:a","alsoKnownAs":["at://a.test"]}"#, 5);
        (before.handle_status, before.handle_checked_at) = (HandleStatus::Valid, Some(Micros(6)));
        let mut same = read(r#"{"id":"did:plc:a","alsoKnownAs":["at://a.test"]}"#, 7);
        same.keep_check(&before);
        assert_eq!((same.handle_status, same.handle_checked_at), (HandleStatus::Valid, Some(Micros(6))));
        let mut other = read(r#"{"id":"did:plc:a","alsoKnownAs":["at://b.test"]}"#, 7);
        other.keep_check(&before);
        assert_eq!((other.handle_status, other.handle_checked_at), (HandleStatus::Unresolved, None));
        let mut none = read(r#"{"id":"did:plc:a"}"#, 7);
        none.keep_check(&read(r#"{"id":"did:plc:a"}"#, 5));
        assert_eq!((none.handle_status, none.handle_checked_at), (HandleStatus::Invalid, Some(Micros(7))));
    }

    #[test]
    fn r21_6_an_address_that_may_not_be_asked_is_none() {
        for (address, expected) in [
            ("https://pds.example.com", Some("https://pds.example.com/")),
            ("http://pds.example.com", None),
            ("https://127.0.0.1", None),
        ] {
            let service = format!(
                r##"[{{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"{address}"}}]"##
            );
            let identity = read(&format!(r#"{{"id":"did:plc:a","service":{service}}}"#), 0);
            assert_eq!(identity.pds.as_ref().map(Url::as_str), expected, "{address}");
        }
    }
}
