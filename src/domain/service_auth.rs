//! What makes a service-auth token a proof of who is asking (contract X04).
//!
//! [`Verification`] decides in the order in which things cost: what the token says is judged first,
//! then the key of its issuer is looked up, and only a signature that does not fit has the key
//! asked for anew, once. Whether the token was used before comes last, for that is stored.

use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::service_auth::{Claims, Malformed, ServiceToken};
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;

/// How far ahead a token may end, in seconds.
const AHEAD_MAX: i64 = 300;
/// How far clocks may differ, in seconds.
const SKEW: i64 = 30;
/// The name of the account's own key in its DID document: a token signed by another key of it is not
/// the account's.
const OWN_KEY: &str = "#atproto";
/// The longest fragment of an audience, in characters.
const FRAGMENT_MAX: usize = 64;
const SECOND: i64 = 1_000_000;

/// What a token must fit.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who we are (`SERVICE_DID`).
    pub service: &'a str,
    /// The methods that the token may be for: any of them will do.
    pub methods: &'a [&'a str],
    /// When.
    pub now: Micros,
}

/// Why a token proves nothing. All of them are 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read.
    Malformed(Malformed),
    /// `iss` is no account.
    Issuer,
    /// `aud` is another service.
    Audience,
    /// It ended.
    Expired,
    /// It ends too far ahead.
    TooLong,
    /// `iat` or `nbf` lies ahead.
    NotYet,
    /// It is for no method.
    NoMethod,
    /// It is for another method.
    Method,
    /// The document of its issuer has no key that can be used, or there is no such document.
    NoKey,
    /// Its issuer did not sign it.
    Signature,
    /// It was used before.
    Replayed,
}

impl Refusal {
    /// What to tell the caller.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Malformed(Malformed::TooLong) => "the token is longer than 4,096 characters",
            Refusal::Malformed(Malformed::Form) => "the token is not three parts of base64url",
            Refusal::Malformed(Malformed::Header) => "the token's header is not that of a JWT",
            Refusal::Malformed(Malformed::Algorithm) => "the token's alg must be ES256K or ES256",
            Refusal::Malformed(Malformed::Critical) => "the token's crit is not understood",
            Refusal::Malformed(Malformed::Claims) => {
                "the token's iss, aud, exp, iat, lxm or jti cannot be read"
            }
            Refusal::Issuer => "the token's iss is not the DID of an account",
            Refusal::Audience => "the token's aud is another service",
            Refusal::Expired => "the token's exp has passed",
            Refusal::TooLong => "the token's exp is more than 300 seconds ahead",
            Refusal::NotYet => "the token's iat or nbf lies in the future",
            Refusal::NoMethod => "the token's lxm is missing",
            Refusal::Method => "the token's lxm is another method",
            Refusal::NoKey => "the token's issuer has no signing key",
            Refusal::Signature => "the token's signature is not its issuer's",
            Refusal::Replayed => "the token was used before",
        }
    }
}

/// What a token proves, once its signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose it is.
    pub did: Did,
    /// What it is told from others by, if it says.
    pub jti: Option<String>,
    /// From when on it would be refused anyway.
    pub until: Micros,
}

/// What is to be done about a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits. What remains is whether the token was used before.
    Fits(Claim),
    /// It does not fit a key that is only remembered: the key may have changed.
    AskAnew,
    /// It proves nothing.
    Refused(Refusal),
}

/// A token that says the right things, whose signature is to be checked.
#[derive(Debug)]
pub struct Verification {
    token: ServiceToken,
    claim: Claim,
}

impl Verification {
    /// Reads a token and judges what it says. The first rule that applies decides:
    ///   1. what cannot be read ([`ServiceToken::parse`]) is none;
    ///   2. `iss` is a DID, with no fragment but that of the account's own key;
    ///   3. `aud` is this service, with or without a fragment;
    ///   4. `exp` has not passed, and is at most 300 s ahead; `iat` and `nbf`, where they are there,
    ///      are not ahead; clocks may differ by 30 s;
    ///   5. `lxm` is there, and is one of the methods asked for.
    pub fn begin(text: &str, asked: &Asked<'_>) -> Result<Self, Refusal> {
        let token = ServiceToken::parse(text).map_err(Refusal::Malformed)?;
        let Claims { iss, aud, exp, iat, nbf, lxm, jti } = &token.claims;
        let did = Did::parse(iss.strip_suffix(OWN_KEY).unwrap_or(iss)).map_err(|_| Refusal::Issuer)?;
        if !is_for(aud, asked.service) {
            return Err(Refusal::Audience);
        }
        let now = asked.now.0.div_euclid(SECOND);
        if now >= exp.saturating_add(SKEW) {
            return Err(Refusal::Expired);
        }
        if *exp > now.saturating_add(AHEAD_MAX + SKEW) {
            return Err(Refusal::TooLong);
        }
        if [iat, nbf].into_iter().flatten().any(|at| *at > now.saturating_add(SKEW)) {
            return Err(Refusal::NotYet);
        }
        let method = lxm.as_deref().ok_or(Refusal::NoMethod)?;
        if !asked.methods.contains(&method) {
            return Err(Refusal::Method);
        }
        let until = Micros(exp.saturating_add(SKEW).saturating_mul(SECOND));
        let claim = Claim { did, jti: jti.clone(), until };
        Ok(Self { token, claim })
    }

    /// Whose key decides.
    pub fn issuer(&self) -> &Did {
        &self.claim.did
    }

    /// What to do, by the key in the document of the issuer, if it has one. `is_fresh`: it was asked
    /// for just now, or may not be asked for again yet.
    pub fn on_key(&self, key: Option<&Multikey>, is_fresh: bool) -> Verdict {
        let key = key.and_then(|key| SigningKey::of_multikey(key.as_str()));
        match key {
            Some(key) if self.token.is_signed_by(&key) => Verdict::Fits(self.claim.clone()),
            _ if !is_fresh => Verdict::AskAnew,
            Some(_) => Verdict::Refused(Refusal::Signature),
            None => Verdict::Refused(Refusal::NoKey),
        }
    }
}

/// Whether an audience is this service: its DID, or that and a fragment, which names one of its
/// services.
fn is_for(audience: &str, service: &str) -> bool {
    let Some(rest) = audience.strip_prefix(service).filter(|_| !service.is_empty()) else { return false };
    rest.is_empty()
        || rest.strip_prefix('#').is_some_and(|fragment| {
            (1..=FRAGMENT_MAX).contains(&fragment.len())
                && fragment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}
