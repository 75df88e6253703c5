//! Authenticates callers, and decides for which community they may act (contract X01–X13): the only
//! place that does.
//!
//! A guarded handler calls this before it reads a parameter or the body, so that 401 precedes 413,
//! 400 and 422 (H03). `domain::moderation` decides what the caller may do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use worker::{Env, Request};

use super::error::ApiError;
use super::params::Query;
use super::{Call, sockets};
use crate::domain::auth_mode::AuthMode;
use crate::domain::form::Form;
use crate::domain::moderation::{Caller, Once, Proof};
use crate::domain::roles::may;
use crate::domain::service_auth::{Asked, Claim, Verdict, Verification};
use crate::domain::socket_token::{SocketTokens, Vouched};
use crate::durable::gateway::commands::{Proved, UseToken};
use crate::platform::clock::now;
use crate::platform::identity::{signer, signer_anew};
use crate::platform::objects::{call as ask, gateway_of};
use crate::platform::{config, log};
use crate::storage::proofs::{self, Noted};
use crate::storage::used_tokens::Use;
use crate::storage::{facts, moderators};
use crate::wire::ids::{AtUri, Did};
use crate::wire::permissions::Permission;
use crate::wire::time::Micros;

/// 🔑: admits the holder of the API key (X01).
pub(super) fn operator(call: &Call) -> Result<(), ApiError> {
    if config::api_key(&call.env).is_none() {
        return Err(ApiError::NotConfigured(NO_KEY)); // X02: whatever the caller sends
    }
    match read(call) {
        Shown::Key => Ok(()),
        Shown::Token(_) | Shown::Nothing => Err(ApiError::AuthRequired(MISSING)),
    }
}

/// Admits the holder of the API key or of the metrics token (R47). A server that has neither refuses everybody.
pub(super) fn scraper(call: &Call) -> Result<(), ApiError> {
    let (key, token) = (config::api_key(&call.env), config::metrics_token(&call.env));
    if key.is_none() && token.is_none() {
        return Err(ApiError::NotConfigured("this server has neither an API key nor a METRICS_TOKEN"));
    }
    if is_scraper(call) { Ok(()) } else { Err(ApiError::AuthRequired(SCRAPE)) }
}

/// Whether the caller holds the API key or the metrics token.
pub(super) fn is_scraper(call: &Call) -> bool {
    let header = call.header("authorization");
    let shows = |secret: Option<&str>| shown(secret, header.as_deref()) == Shown::Key;
    shows(config::api_key(&call.env).as_deref()) || shows(config::metrics_token(&call.env).as_deref())
}

/// 🔑👤: admits the holder of the API key, or a person with a proof of their own (X03): a
/// service-auth JWT or a socket token. On a server without a key only such a person is admitted, and anybody
/// else gets a 500 (X02).
pub(super) async fn moderator(call: &Call) -> Result<Caller, ApiError> {
    let admitted = match read(call) {
        Shown::Key => Ok(Caller::Operator),
        Shown::Token(token) => verify(call, &token).await.map(|(did, _)| Caller::Person(did)),
        // A ticket opens sockets only (X12).
        Shown::Nothing => match bearer(call).filter(|proof| is_socket_token(call, proof)) {
            Some(proof) => vouched(call, &proof).await.map(|(did, _)| Caller::Person(did)),
            None => Err(ApiError::AuthRequired(MISSING)),
        },
    };
    let has_key = config::api_key(&call.env).is_some();
    match admitted {
        Err(ApiError::AuthRequired(_) | ApiError::NoProof(_)) if !has_key => {
            Err(ApiError::NotConfigured(NO_KEY))
        }
        admitted => admitted,
    }
}

/// The person whom a caller names: the key may name anybody, a proof only its own person.
pub(super) fn named_by(caller: &Caller, did: Did) -> Result<Did, ApiError> {
    match caller {
        Caller::Person(person) if *person != did => Err(ApiError::Forbidden(NOT_YOUR_DID)),
        _ => Ok(did),
    }
}

/// 👤: admits a person with a service-auth JWT of their own (X12).
pub(super) async fn person(call: &Call) -> Result<Did, ApiError> {
    let header = call.header("authorization");
    match header.as_deref().and_then(|header| header.strip_prefix("Bearer ")) {
        Some(token) if looks_like_jwt(token) => {
            let (did, _) = verify(call, token).await?;
            call.keeps.is_for_its_caller();
            call.door.know(Caller::Person(did.clone()));
            Ok(did)
        }
        _ => Err(ApiError::AuthRequired("the header Authorization must be: Bearer and a service-auth token")),
    }
}

/// The caller who reads what is for members only: a holder of the API key, or a person with a proof of their
/// own, as in [`moderator`] (X41). Without a key on the server, proofs count all the same.
pub(super) async fn reader(call: &Call) -> Result<Caller, ApiError> {
    let caller = match bearer(call) {
        _ if shows_key(&call.request, &call.env) => Caller::Operator,
        Some(proof) if looks_like_jwt(&proof) => Caller::Person(verify(call, &proof).await?.0),
        Some(proof) if is_socket_token(call, &proof) => Caller::Person(vouched(call, &proof).await?.0),
        _ => return Err(ApiError::AuthRequired(MEMBERS_ONLY)),
    };
    call.keeps.is_for_its_caller();
    call.door.know(caller.clone());
    Ok(caller)
}

/// The caller of a route that everybody may read, but that shows more to some (X42). An invalid proof counts as
/// none.
pub(super) async fn reader_if_any(call: &Call) -> Result<Option<Caller>, ApiError> {
    if call.header("authorization").is_none() {
        return Ok(None);
    }
    call.keeps.is_for_its_caller();
    match reader(call).await {
        Ok(caller) => Ok(Some(caller)),
        Err(ApiError::AuthRequired(_) | ApiError::NoProof(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a caller is this person, or may know all that is known of anybody.
pub(super) fn is_themselves(caller: Option<&Caller>, did: &Did) -> bool {
    match caller {
        Some(Caller::Operator) => true,
        Some(Caller::Person(person)) => person == did,
        Some(Caller::Service) | None => false,
    }
}

fn is_socket_token(call: &Call, proof: &str) -> bool {
    let opened = socket_tokens(call).and_then(|tokens| tokens.open(proof, now()));
    opened.is_some_and(|vouched| vouched.once.is_none())
}

/// The kind of proof of a caller whom [`moderator`] admitted (X22).
pub(super) fn proof_of(call: &Call, caller: &Caller) -> Proof {
    match caller {
        Caller::Operator => Proof::ApiKey,
        Caller::Person(_) if bearer(call).is_some_and(|proof| looks_like_jwt(&proof)) => Proof::ServiceAuth,
        Caller::Person(_) => Proof::SocketToken,
        Caller::Service => Proof::None,
    }
}

/// The `Idempotency-Key` of a request, with a hash of the request (X23).
pub(super) fn once(call: &Call, asked: &str) -> Result<Option<Once>, ApiError> {
    let Some(key) = call.header("idempotency-key") else { return Ok(None) };
    if key.is_empty() || key.len() > KEY_MAX || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::BadRequest(
            "the header Idempotency-Key must have 1 to 255 visible ASCII characters",
        ));
    }
    let request = URL_SAFE_NO_PAD.encode(Sha256::digest(asked));
    Ok(Some(Once { key, request }))
}

/// The longest `Idempotency-Key`.
const KEY_MAX: usize = 255;

fn bearer(call: &Call) -> Option<String> {
    in_authorization(&call.request)
}

fn in_authorization(request: &Request) -> Option<String> {
    request.headers().get("authorization").ok()??.strip_prefix("Bearer ").map(str::to_owned)
}

/// The proof that a request shows, wherever one may stand (X03, X06).
fn anywhere(request: &Request) -> Option<String> {
    in_authorization(request).or_else(|| sockets::proof(request, &Query::of(&request.url().ok()?)))
}

/// Whether a request shows what may be a proof, as far as the request itself shows that (C14).
pub(super) fn may_prove(request: &Request, env: &Env) -> bool {
    anywhere(request).is_some_and(|proof| {
        looks_like_jwt(&proof) || tokens(env).is_some_and(|tokens| tokens.open(&proof, now()).is_some())
    })
}

/// Has the proof of a request hold before anything else, where its address has nothing left (C14). This does
/// not use the proof up.
pub(super) async fn settle(call: &Call) -> Result<(), ApiError> {
    if !call.spends.is_in_doubt() {
        return Ok(());
    }
    let proof = anywhere(&call.request).unwrap_or_default();
    let held = if looks_like_jwt(&proof) {
        fits(call, &proof).await.map(|claim| claim.did)
    } else {
        read_token(call, &proof).await.map(|(vouched, _)| vouched.did)
    };
    match held {
        Ok(did) => call.spends.prove(&did),
        Err(ApiError::Fault(fault)) => Err(ApiError::Fault(fault)),
        Err(_) => call.spends.refuse(),
    }
}

/// Whether a request has the API key: such requests are not limited (H14).
pub(super) fn shows_key(request: &Request, env: &Env) -> bool {
    let header = request.headers().get("authorization").ok().flatten();
    shown(config::api_key(env).as_deref(), header.as_deref()) == Shown::Key
}

/// Whether the caller may act for the community `named`: as its owner or a moderator (X20), in the
/// newest form also by a role that permits `what` (N23). A text that cannot name a community has none
/// of them.
pub(super) async fn may_act_for(
    call: &Call,
    caller: &Caller,
    named: &str,
    what: Permission,
) -> Result<(), ApiError> {
    if must_own(caller, named).is_ok() {
        return Ok(());
    }
    if let (Caller::Person(did), Ok(community)) = (caller, AtUri::parse(named))
        && (moderators::moderates(&call.db()?, &community, did, now()).await?
            || may_by_role(call, &community, did, what).await?)
    {
        return Ok(());
    }
    Err(ApiError::Forbidden(NOT_YOURS))
}

/// Whether the caller may read the audit log (R34): the owner, in the newest form also by a role (N23).
pub(super) async fn may_view_log(call: &Call, caller: &Caller, named: &str) -> Result<(), ApiError> {
    match (must_own(caller, named), caller, AtUri::parse(named)) {
        (Err(_), Caller::Person(did), Ok(community))
            if may_by_role(call, &community, did, Permission::ModerationViewLog).await? =>
        {
            Ok(())
        }
        (owns, ..) => owns,
    }
}

async fn may_by_role(call: &Call, community: &AtUri, did: &Did, what: Permission) -> Result<bool, ApiError> {
    if Form::of(community) == Form::Old {
        return Ok(false);
    }
    let facts = facts::standing_in(&call.db()?, community, did, now()).await?;
    Ok(facts.community(community).is_some() && may(&facts, community, did, what))
}

/// Whether the caller may do what only the owner of the community `named` may do.
pub(super) fn must_own(caller: &Caller, named: &str) -> Result<(), ApiError> {
    let may = match AtUri::parse(named) {
        Ok(community) => caller.owns(&community),
        Err(_) => *caller == Caller::Operator,
    };
    if may { Ok(()) } else { Err(ApiError::Forbidden(NOT_YOURS)) }
}

/// The person whom a socket's proof identifies (X06, X07). The first rule that applies decides:
///   1. a proof that cannot be verified is refused;
///   2. a proof of another person than the one that the socket names is refused;
///   3. the socket acts for the person of its proof.
pub(super) async fn proven(call: &Call, named: Option<&Did>, proof: &str) -> Result<(Did, Noted), ApiError> {
    let proved = if looks_like_jwt(proof) { verify(call, proof).await } else { vouched(call, proof).await };
    if proved.is_err() {
        call.spends.prove_nothing()?;
    }
    let (did, noted) = proved?;
    if named.is_some_and(|named| *named != did) {
        return Err(ApiError::Forbidden("the proof belongs to another did"));
    }
    Ok((did, noted))
}

/// Signs and verifies socket tokens and tickets (R25, X12), if the server has a secret.
pub(super) fn socket_tokens(call: &Call) -> Option<SocketTokens> {
    tokens(&call.env)
}

fn tokens(env: &Env) -> Option<SocketTokens> {
    let before = config::token_secret_previous(env);
    SocketTokens::new(&config::token_secret(env)?, before.as_deref())
}

/// Whether a DID ever showed a proof to this service (X13), and whether it is erased (I57).
pub(super) async fn noted(call: &Call, did: &Did) -> Result<Noted, ApiError> {
    Ok(proofs::find(&call.db()?, did).await?)
}

/// 403 for a person without rights in the community (X03, X20).
pub(super) const NOT_YOURS: &str = "the proof is of nobody who may act for this community";
/// 403 for a person who asks about somebody else.
pub(super) const NOT_YOUR_DID: &str = "the token is of another did";
/// 500 while the server has no API key (X02).
pub(super) const NO_KEY: &str = "this server has no API key configured";
/// 401 for a caller who reads what is for members only without a proof.
pub(super) const MEMBERS_ONLY: &str = "this community is for members only: the header Authorization must be: \
    Bearer and the proof of a member, or the API key; the shipped web client shows none";
const SCRAPE: &str = "the header Authorization must be: Bearer and the API key or the METRICS_TOKEN";
const MISSING: &str = "the header Authorization must be: Bearer and the API key";

/// The contents of the `Authorization` header.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// The API key.
    Key,
    /// A text in the form of a JWT, not verified yet.
    Token(String),
    /// Neither.
    Nothing,
}

fn read(call: &Call) -> Shown {
    shown(config::api_key(&call.env).as_deref(), call.header("authorization").as_deref())
}

/// Parses the header: the scheme, spelled exactly `Bearer`, one blank, and the proof. Without a `key` nobody
/// has it.
fn shown(key: Option<&str>, header: Option<&str>) -> Shown {
    match header.and_then(|header| header.strip_prefix("Bearer ")) {
        Some(proof) if key.is_some_and(|key| same(proof, key)) => Shown::Key,
        Some(proof) if looks_like_jwt(proof) => Shown::Token(proof.to_owned()),
        _ => Shown::Nothing,
    }
}

/// Compares two texts in a time that does not depend on where they differ (X01). It compares
/// digests, because comparing the texts would reveal their length.
fn same(given: &str, key: &str) -> bool {
    let digest = |text: &str| {
        Hmac::<Sha256>::new_from_slice(b"colibri-edge api key").map(|mac| mac.chain_update(text))
    };
    match (digest(given), digest(key)) {
        (Ok(given), Ok(key)) => given.verify_slice(&key.finalize().into_bytes()).is_ok(),
        _ => false, // HMAC accepts a key of any length
    }
}

/// Three parts of base64url with dots between them.
fn looks_like_jwt(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

/// X04: the person of a service-auth JWT, which is used up by this. They pay before that, so a token that
/// comes too early stays good.
async fn verify(call: &Call, token: &str) -> Result<(Did, Noted), ApiError> {
    let claim = fits(call, token).await?;
    call.spends.prove(&claim.did)?;
    used(call, &claim).await?;
    let noted = noted(call, &claim.did).await?;
    note(call, &claim.did, &noted).await?;
    Ok((claim.did, noted))
}

/// X04: what a service-auth JWT proves. The first rule that applies decides:
///   1. while `SERVICE_DID` is unset, no token can be for this service;
///   2. its claims and its signature must be valid (`domain::service_auth`); a stored document may
///      be older than the key, so it is fetched again once.
async fn fits(call: &Call, token: &str) -> Result<Claim, ApiError> {
    let service = config::service_did(&call.env).ok_or(ApiError::AuthRequired(NO_TOKENS))?;
    let asked = Asked { service: service.as_str(), methods: call.methods, now: now() };
    let verification = Verification::begin(token, &asked).map_err(ApiError::NoProof)?;
    let (db, outside) = (call.db()?, call.outside()?);
    let issuer = verification.issuer();
    call.spends.claim(issuer)?;
    let unresolved = |unresolved: crate::platform::identity::Unresolved| match unresolved.into_fault() {
        Some(fault) => ApiError::Fault(fault),
        None => ApiError::Internal, // an account that does not exist has no key
    };
    let remembered = signer(&db, issuer, &outside).await.map_err(unresolved)?;
    let mut verdict = verification.on_key(remembered.key.as_ref(), remembered.is_fresh);
    if verdict == Verdict::AskAnew {
        let anew = signer_anew(&db, issuer, &outside, &remembered).await.map_err(unresolved)?;
        verdict = verification.on_key(anew.unwrap_or(remembered).key.as_ref(), true);
    }
    match verdict {
        Verdict::Fits(claim) => Ok(claim),
        Verdict::Refused(refusal) => Err(ApiError::NoProof(refusal)),
        Verdict::AskAnew => Err(ApiError::Internal),
    }
}

/// Uses up the `jti` of a token (X04). The stored value is a digest, which is short whatever the
/// `jti`.
async fn used(call: &Call, claim: &Claim) -> Result<(), ApiError> {
    let Some(jti) = &claim.jti else { return Ok(()) };
    let digest: String = Sha256::digest(jti).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    use_token(call, &claim.did, format!("jwt {digest}"), claim.until).await
}

async fn use_token(call: &Call, did: &Did, token: String, ends: Micros) -> Result<(), ApiError> {
    let home = gateway_of(did, config::sockets(&call.env).gateway_shards);
    match ask(&call.env, &home, &UseToken { did: did.clone(), token, ends }).await? {
        Use::First => Ok(()),
        Use::Again => Err(ApiError::AuthRequired("the proof was used before")),
        Use::TooMany => Err(ApiError::RateLimited(60)),
    }
}

/// The person of a socket token or ticket of this service (R25, R26, X12). They pay, and then a ticket is
/// used up.
async fn vouched(call: &Call, proof: &str) -> Result<(Did, Noted), ApiError> {
    let (Vouched { did, once, .. }, noted) = read_token(call, proof).await?;
    call.spends.prove(&did)?;
    if let Some((number, ends)) = once {
        use_token(call, &did, format!("ticket {number}"), ends).await?;
    }
    note(call, &did, &noted).await?;
    Ok((did, noted))
}

/// What a socket token or ticket says, and what is noted of its person. The first rule that applies decides:
///   1. one that this service did not sign, or that has expired, is no proof;
///   2. one made before the person's last revocation is no proof.
async fn read_token(call: &Call, proof: &str) -> Result<(Vouched, Noted), ApiError> {
    let invalid = || ApiError::AuthRequired("the proof is not valid, or has expired");
    let opened = socket_tokens(call).and_then(|tokens| tokens.open(proof, now()));
    let vouched = opened.ok_or_else(invalid)?;
    call.spends.claim(&vouched.did)?;
    let noted = noted(call, &vouched.did).await?;
    // In milliseconds, the precision of tokens: one made in the millisecond of the revocation is
    // revoked.
    if noted.revoked_at.is_some_and(|at| vouched.issued_at.millis() <= at.millis()) {
        return Err(invalid());
    }
    Ok((vouched, noted))
}

/// Stores that a person showed a proof (X13), once a day, before the proof counts. In `mixed` mode
/// the first proof closes sockets that only claimed the DID.
async fn note(call: &Call, did: &Did, noted: &Noted) -> Result<(), ApiError> {
    if !noted.is_stale(now()) {
        return Ok(());
    }
    proofs::prove(&call.db()?, did, now()).await?;
    let sockets = config::sockets(&call.env);
    if sockets.mode == AuthMode::Mixed && !noted.proven {
        let proved = Proved { did: did.clone() };
        if let Err(fault) = ask(&call.env, &gateway_of(did, sockets.gateway_shards), &proved).await {
            log::fault(&fault, "unproven sockets of this person stay open until they close");
        }
    }
    Ok(())
}

const NO_TOKENS: &str = "the token cannot be verified: this server has no SERVICE_DID";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x01_the_header_is_read_exactly() {
        let jwt = "eyJhbGciOiJFUzI1NksifQ.eyJpc3MiOiJkaWQ6cGxjOmEifQ.c2ln";
        for (header, expected, why) in [
            (Some("Bearer secret".to_owned()), Shown::Key, "the key"),
            (None, Shown::Nothing, "no header"),
            (Some(String::new()), Shown::Nothing, "an empty one"),
            (Some("secret".into()), Shown::Nothing, "no scheme"),
            (Some("bearer secret".into()), Shown::Nothing, "the scheme is spelled exactly Bearer"),
            (Some("BEARER secret".into()), Shown::Nothing, "the scheme is spelled exactly Bearer"),
            (Some("Bearer  secret".into()), Shown::Nothing, "one blank"),
            (Some("Bearer secre".into()), Shown::Nothing, "a part of it"),
            (Some("Bearer secrets".into()), Shown::Nothing, "more than it"),
            (Some("Bearer Secret".into()), Shown::Nothing, "another case"),
            (Some("Basic secret".into()), Shown::Nothing, "another scheme"),
            (Some("Bearer a.b".into()), Shown::Nothing, "two parts are no JWT"),
            (Some("Bearer a.b.c=".into()), Shown::Nothing, "a JWT has no padding"),
            (Some("Bearer a..c".into()), Shown::Nothing, "no empty part"),
            (Some(format!("Bearer {jwt}")), Shown::Token(jwt.into()), "a JWT"),
        ] {
            assert_eq!(shown(Some("secret"), header.as_deref()), expected, "{why}");
        }
        assert_eq!(shown(Some("a.b.c"), Some("Bearer a.b.c")), Shown::Key, "a key may look like a JWT");
    }
}
