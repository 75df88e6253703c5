//! Service-auth tokens, which an account's server issues to identify the account to a service
//! (specification "XRPC" of the AT Protocol, contract X04).
//!
//! Promises: checks the length before anything else; accepts strict base64url only, so that a token
//! has one spelling; accepts two algorithms, and follows nothing else in the header. This module
//! only parses: `domain::service_auth` decides whether a token is valid.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::json::object;
use super::signing_key::{Algorithm, SigningKey};

/// The longest token, in characters. The longest DID, audience and method make about 1,600.
pub const TOKEN_MAX: usize = 4_096;
/// The longest `jti`, in characters; servers make 32.
const JTI_MAX: usize = 256;
/// A signature: r and s.
const SIGNATURE: usize = 64;

/// Why a text is not a service-auth token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`TOKEN_MAX`].
    TooLong,
    /// Not three parts of base64url without padding, or the third is not a signature.
    Form,
    /// The header is not a JSON object with an `alg`, or names another type of token.
    Header,
    /// `alg` is not one of the two algorithms.
    Algorithm,
    /// The header has a `crit`: it requires extensions, and the service supports none.
    Critical,
    /// A claim is missing, of a wrong type, or too long.
    Claims,
}

/// The contents of a token, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
    /// The key that its header names.
    pub kid: Option<String>,
    /// The claims.
    pub claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

/// The claims that the service uses. Times are seconds since 1970. Other claims are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// The issuer: an account.
    pub iss: String,
    /// The audience: a service.
    pub aud: String,
    /// When it expires.
    pub exp: i64,
    /// When it was issued.
    #[serde(default)]
    pub iat: Option<i64>,
    /// The time before which it is not valid.
    #[serde(default)]
    pub nbf: Option<i64>,
    /// The method that it is for.
    #[serde(default)]
    pub lxm: Option<String>,
    /// An identifier that is unique among the tokens of its issuer.
    #[serde(default)]
    pub jti: Option<String>,
    /// Whether it names somebody else for whom its issuer acts (RFC 8693, 4.1).
    #[serde(default, deserialize_with = "present")]
    pub act: bool,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Whether a field is present, with any value.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl ServiceToken {
    /// Reads a token. The first rule that applies decides:
    ///   1. a text over [`TOKEN_MAX`] is refused unread;
    ///   2. it has three parts of strict base64url, the third of which is a signature;
    ///   3. its header is a JSON object; `typ`, if present, is `JWT`;
    ///   4. its `alg` is `ES256K` or `ES256`;
    ///   5. it has no `crit`, which would require extensions that the service does not support.
    ///      Other pointers to a key than `kid` (`jku`, `jwk`, `x5u`, `x5c`) are ignored;
    ///   6. its claims are a JSON object with the types of [`Claims`], without duplicates.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > TOKEN_MAX {
            return Err(Malformed::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Malformed::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed::Form)?;
        let [header, claims, signature] =
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.decode(part));
        let (Ok(header), Ok(claims), Ok(signature)) = (header, claims, signature) else {
            return Err(Malformed::Form);
        };
        if signature.len() != SIGNATURE {
            return Err(Malformed::Form);
        }
        let header: Header = read(&header).ok_or(Malformed::Header)?;
        if header.typ.is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Malformed::Header);
        }
        let algorithm = match header.alg.as_str() {
            "ES256K" => Algorithm::Es256k,
            "ES256" => Algorithm::Es256,
            _ => return Err(Malformed::Algorithm),
        };
        if header.crit {
            return Err(Malformed::Critical);
        }
        let claims: Claims = read(&claims).ok_or(Malformed::Claims)?;
        if claims.jti.as_ref().is_some_and(|jti| jti.is_empty() || jti.chars().count() > JTI_MAX) {
            return Err(Malformed::Claims);
        }
        Ok(Self { algorithm, kid: header.kid, claims, signed: signed.to_owned(), signature })
    }

    /// Whether `key` made the signature, with the algorithm that the header names.
    pub fn is_signed_by(&self, key: &SigningKey) -> bool {
        key.algorithm() == self.algorithm && key.verifies(self.signed.as_bytes(), &self.signature)
    }
}

/// Reads a part of a token: UTF-8 with a JSON object.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    object(std::str::from_utf8(bytes).ok()?)
}
