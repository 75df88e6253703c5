//! Decides whether a service-auth token proves the caller's DID (contract X04).
//!
//! [`Verification`] checks in the order of costs: first the claims, then the signature with the
//! issuer's key; only after an invalid signature is the key fetched again, once. Whether the token
//! was used before comes last, because that is stored.

use crate::wire::ids::Did;
use crate::wire::multikey::Multikey;
use crate::wire::service_auth::{Claims, Malformed, ServiceToken};
use crate::wire::signing_key::SigningKey;
use crate::wire::time::Micros;

/// How far ahead a token may expire, in seconds.
const AHEAD_MAX: i64 = 300;
/// How far clocks may differ, in seconds.
const SKEW: i64 = 30;
/// The id of the account's own key in its DID document: a token signed with another of its keys is
/// not the account's.
const OWN_KEY: &str = "#atproto";
/// The longest fragment of an audience, in characters.
const FRAGMENT_MAX: usize = 64;
const SECOND: i64 = 1_000_000;

/// The requirements for a token.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// This service (`SERVICE_DID`).
    pub service: &'a str,
    /// The methods that the token may name; any one is enough.
    pub methods: &'a [&'a str],
    /// The current time.
    pub now: Micros,
}

/// Why a token is invalid. All of these are 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be parsed.
    Malformed(Malformed),
    /// `iss` is not an account.
    Issuer,
    /// `kid` names another key than the account's own.
    Kid,
    /// `act`: a service acts for somebody with it.
    OnBehalf,
    /// `aud` names another service.
    Audience,
    /// It has expired.
    Expired,
    /// It expires too far ahead.
    TooLong,
    /// `iat` or `nbf` is in the future.
    NotYet,
    /// It names no method.
    NoMethod,
    /// It names another method.
    Method,
    /// The issuer's document has no usable key, or does not exist.
    NoKey,
    /// Its issuer did not sign it.
    Signature,
    /// It was used before.
    Replayed,
}

impl Refusal {
    /// The message for the caller.
    pub fn sentence(self) -> &'static str {
        match self {
            Refusal::Malformed(Malformed::TooLong) => "the token is longer than 4,096 characters",
            Refusal::Malformed(Malformed::Form) => "the token is not three parts of base64url",
            Refusal::Malformed(Malformed::Header) => "the token's header is not that of a JWT",
            Refusal::Malformed(Malformed::Algorithm) => "the token's alg must be ES256K or ES256",
            Refusal::Malformed(Malformed::Critical) => "the token's crit is not supported",
            Refusal::Malformed(Malformed::Claims) => {
                "the token's iss, aud, exp, iat, lxm or jti cannot be read"
            }
            Refusal::Issuer => "the token's iss is not the DID of an account",
            Refusal::Kid => "the token's kid is not the account's own key",
            Refusal::OnBehalf => "the token's act is not supported: a token is for its issuer alone",
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

/// What a valid token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The DID of the caller.
    pub did: Did,
    /// The unique id of the token, if it has one.
    pub jti: Option<String>,
    /// From when on it would be refused anyway.
    pub until: Micros,
}

/// What to do after checking a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is valid. It remains to check whether the token was used before.
    Fits(Claim),
    /// It is invalid with a cached key: the key may have changed.
    AskAnew,
    /// The token is refused.
    Refused(Refusal),
}

/// A token with valid claims, whose signature must be checked.
#[derive(Debug)]
pub struct Verification {
    token: ServiceToken,
    claim: Claim,
}

impl Verification {
    /// Parses a token and checks its claims. The first rule that applies decides:
    ///   1. an unreadable token ([`ServiceToken::parse`]) is refused;
    ///   2. `iss` must be a DID, without a fragment other than the account's own key; `kid`, if present, must
    ///      name that key, and there must be no `act`;
    ///   3. `aud` must be this service, with or without a fragment;
    ///   4. `exp` must be in the future by at most 300 s; `iat` and `nbf`, if present, must not be
    ///      in the future; clocks may differ by 30 s;
    ///   5. `lxm` must be present, and be one of the accepted methods.
    pub fn begin(text: &str, asked: &Asked<'_>) -> Result<Self, Refusal> {
        let token = ServiceToken::parse(text).map_err(Refusal::Malformed)?;
        let Claims { iss, aud, exp, iat, nbf, lxm, jti, act } = &token.claims;
        let did = Did::parse(iss.strip_suffix(OWN_KEY).unwrap_or(iss)).map_err(|_| Refusal::Issuer)?;
        let is_own = |kid: &String| kid.strip_prefix(did.as_str()).unwrap_or(kid) == OWN_KEY;
        if !token.kid.as_ref().is_none_or(is_own) {
            return Err(Refusal::Kid);
        }
        if *act {
            return Err(Refusal::OnBehalf);
        }
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

    /// The DID whose key decides.
    pub fn issuer(&self) -> &Did {
        &self.claim.did
    }

    /// What to do, given the key in the issuer's document, if it has one. `is_fresh`: the document
    /// was fetched just now, or must not be fetched again yet.
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

/// Whether an audience is this service: its DID, alone or with a fragment that names one of its
/// services.
fn is_for(audience: &str, service: &str) -> bool {
    let Some(rest) = audience.strip_prefix(service).filter(|_| !service.is_empty()) else { return false };
    rest.is_empty()
        || rest.strip_prefix('#').is_some_and(|fragment| {
            (1..=FRAGMENT_MAX).contains(&fragment.len())
                && fragment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}
