//! Service-auth tokens: how an account tells a service, through its own server, who is asking
//! (specification "XRPC" of the AT Protocol, contract X04).
//!
//! Promises: what is read is bounded before it is looked at; base64url is strict, so that a token
//! has one spelling; the header names one of two algorithms and nothing that it says is followed.
//! Nothing is believed here: `domain::service_auth` judges what a token says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::json::object;
use super::signing_key::{Algorithm, SigningKey};

/// The longest token that is read, in characters. A DID, an audience and a method of the longest
/// kinds make about 1,600.
pub const TOKEN_MAX: usize = 4_096;
/// The longest `jti`, in characters: servers make 32.
const JTI_MAX: usize = 256;
/// A signature: r and s.
const SIGNATURE: usize = 64;

/// Why a text is no service-auth token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than [`TOKEN_MAX`].
    TooLong,
    /// Not three parts of base64url without padding, or the third is no signature.
    Form,
    /// The header is no JSON object with an `alg`, or the token is of another kind.
    Header,
    /// `alg` is neither of the two.
    Algorithm,
    /// The header demands (`crit`) what this service does not know.
    Critical,
    /// A claim is missing, of a wrong type, or too long.
    Claims,
}

/// What a token says, before anything of it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// How it says it is signed.
    pub algorithm: Algorithm,
    /// What it says.
    pub claims: Claims,
    signed: String,
    signature: Vec<u8>,
}

/// The claims that count. Times are seconds since 1970; others are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Claims {
    /// Who says so: an account.
    pub iss: String,
    /// To which service.
    pub aud: String,
    /// Until when.
    pub exp: i64,
    /// Since when.
    #[serde(default)]
    pub iat: Option<i64>,
    /// Not before.
    #[serde(default)]
    pub nbf: Option<i64>,
    /// For which method.
    #[serde(default)]
    pub lxm: Option<String>,
    /// What tells this token from every other of its issuer.
    #[serde(default)]
    pub jti: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Whether a field is there, whatever its value.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl ServiceToken {
    /// Reads a token. The first rule that applies decides:
    ///   1. one over [`TOKEN_MAX`] is not looked at;
    ///   2. it has three parts of strict base64url, the third of which is a signature;
    ///   3. its header is a JSON object; `typ`, if it is there, is `JWT`;
    ///   4. its `alg` is `ES256K` or `ES256`;
    ///   5. it has no `crit`, which would demand what is not known here. Where to find a key
    ///      (`kid`, `jku`, `jwk`, `x5u`, `x5c`) is not the token's to say, and passed over;
    ///   6. its claims are a JSON object with the types of [`Claims`], none of them twice.
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
        Ok(Self { algorithm, claims, signed: signed.to_owned(), signature })
    }

    /// Whether `key` made the signature. What the token says of its curve must be so.
    pub fn is_signed_by(&self, key: &SigningKey) -> bool {
        key.algorithm() == self.algorithm && key.verifies(self.signed.as_bytes(), &self.signature)
    }
}

/// A part of a token: UTF-8, and a JSON object.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    object(std::str::from_utf8(bytes).ok()?)
}
