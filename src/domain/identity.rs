//! Who is behind a DID, and how long that is believed.

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

/// How long a document, and what was found out about its handle, is believed when nobody says
/// that it changed (K12: at most once a day).
const BELIEVED: i64 = 24 * 60 * 60 * 1_000_000;
/// How long it is believed that a handle cannot be checked: so long that a host in trouble is not
/// asked for each request.
const UNRESOLVED_BELIEVED: i64 = 30 * 1_000_000;

/// What a DID document said when it was last read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whose.
    pub did: Did,
    /// The handle it claims. Shown only where [`Identity::proven_handle`] says so.
    pub handle: Option<Handle>,
    /// What is known of that claim.
    pub handle_status: HandleStatus,
    /// When that was found out; `None`: not for this document.
    pub handle_checked_at: Option<Micros>,
    /// Where the repository and the blobs are; `None`: nowhere that may be asked (R21.6).
    pub pds: Option<Url>,
    /// The key that signs the repository.
    pub signing_key: Option<Multikey>,
    /// When the document was asked for. Not when the answer came: what the network said
    /// meanwhile is newer than the answer.
    pub resolved_at: Option<Micros>,
}

/// What is known of the claim to a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HandleStatus {
    /// The document names the handle, and the handle the DID.
    Valid,
    /// There is none, or it leads to somebody else or nowhere.
    Invalid,
    /// It could not be checked.
    Unresolved,
}

/// What one of the two ways to prove a handle came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It names this DID.
    Names(Did),
    /// It names none, or several.
    Nothing,
    /// Nobody answered, or not in a way that can be read.
    Failed,
}

impl Identity {
    /// What a document says that was asked for at `asked_at`. An address that may not be asked is
    /// none.
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

    /// Whether the document need not be read again.
    pub fn is_believed(&self, now: Micros) -> bool {
        self.resolved_at.is_some_and(|at| is_within(BELIEVED, at, now))
    }

    /// Whether the handle need not be checked again.
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

    /// What an earlier check found out about the same claim holds until there is another one.
    pub fn keep_check(&mut self, earlier: &Identity) {
        if self.handle.is_some() && self.handle == earlier.handle {
            self.handle_status = earlier.handle_status;
            self.handle_checked_at = earlier.handle_checked_at;
        }
    }
}

/// What was found out about somebody who is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// The handle that may be shown, or that none may; `None`: it could not be found out.
    pub handle: Option<Option<Handle>>,
    /// A profile, if one was missing and was found.
    pub profile: Option<LookedUp>,
}

/// The pause before the attempt after so many failures in a row: ten seconds, four times as long
/// each time, at most a day (K12).
pub fn pause_after(failures: i64) -> i64 {
    const FIRST: i64 = 10_000_000;
    let before = u32::try_from(failures.saturating_sub(1).max(0)).unwrap_or(u32::MAX);
    growing(FIRST, before.saturating_mul(2), BELIEVED)
}

fn is_within(span: i64, at: Micros, now: Micros) -> bool {
    now.0.saturating_sub(at.0) < span
}

/// Where a handle leads: DNS comes first, the file on its host second (specification "Handle").
/// The first rule that applies decides:
///   1. DNS names one DID: that one;
///   2. the file names one: that one, also if DNS failed, since most handles have no DNS record;
///   3. one of them failed: nobody knows;
///   4. otherwise nowhere.
pub fn led_to(dns: Proof, file: Proof) -> Proof {
    match (dns, file) {
        (Proof::Names(did), _) | (_, Proof::Names(did)) => Proof::Names(did),
        (Proof::Failed, _) | (_, Proof::Failed) => Proof::Failed,
        (Proof::Nothing, Proof::Nothing) => Proof::Nothing,
    }
}

/// What the claim of `did` to a handle is worth that leads where `proof` says.
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
        assert!(!one.is_checked(Micros(5)), "a claim that was not looked at");
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
