//! Service-auth tokens (X04): each kind of invalid token is refused for its own reason, and both
//! curves pass the vectors of Wycheproof.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use colibri_edge::domain::service_auth::{Asked, Claim, Refusal, Verdict, Verification};
use colibri_edge::storage::used_tokens::{self, Use};
use colibri_edge::storage::{Statement, Store};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::multikey::Multikey;
use colibri_edge::wire::service_auth::{Malformed, TOKEN_MAX};
use colibri_edge::wire::signing_key::SigningKey;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::{Value, json};

use super::sqlite::Sqlite;

const NOW: i64 = 1_772_366_400;
const SERVICE: &str = "did:web:api.example.com";
const METHOD: &str = "social.colibri.community.moderate";
const OTHER_METHOD: &str = "social.colibri.sync.subscribeEvents";

/// A person's key.
#[derive(Clone)]
enum Key {
    K256(k256::ecdsa::SigningKey),
    P256(p256::ecdsa::SigningKey),
}

impl Key {
    fn k256(seed: u8) -> Self {
        Key::K256(k256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn p256(seed: u8) -> Self {
        Key::P256(p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Key::K256(_) => "ES256K",
            Key::P256(_) => "ES256",
        }
    }

    fn public(&self) -> Multikey {
        let (code, point) = match self {
            Key::K256(key) => ([0xe7, 0x01], key.verifying_key().to_encoded_point(true).as_bytes().to_vec()),
            Key::P256(key) => ([0x80, 0x24], key.verifying_key().to_encoded_point(true).as_bytes().to_vec()),
        };
        Multikey::parse(&multikey(code, &point)).unwrap()
    }

    /// The two signatures of a message: the one with the lower S, and its twin.
    fn sign(&self, message: &str) -> [Vec<u8>; 2] {
        match self {
            Key::K256(key) => {
                use k256::ecdsa::signature::Signer;
                let made: k256::ecdsa::Signature = key.sign(message.as_bytes());
                let low = made.normalize_s().unwrap_or(made);
                let (r, s) = low.split_scalars();
                let high = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
                [low.to_bytes().to_vec(), high.to_bytes().to_vec()]
            }
            Key::P256(key) => {
                use p256::ecdsa::signature::Signer;
                let made: p256::ecdsa::Signature = key.sign(message.as_bytes());
                let low = made.normalize_s().unwrap_or(made);
                let (r, s) = low.split_scalars();
                let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
                [low.to_bytes().to_vec(), high.to_bytes().to_vec()]
            }
        }
    }
}

fn multikey(code: [u8; 2], point: &[u8]) -> String {
    format!("z{}", bs58::encode([&code, point].concat()).into_string())
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token of these two texts, signed whatever they contain.
fn signed(key: &Key, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let [low, _] = key.sign(&message);
    format!("{message}.{}", base64url(low))
}

fn header(key: &Key) -> Value {
    json!({ "typ": "JWT", "alg": key.alg() })
}

fn claims(name: &str, jti: &str) -> Value {
    json!({ "iss": format!("did:plc:{name}"), "aud": SERVICE, "exp": NOW + 60, "iat": NOW, "lxm": METHOD, "jti": jti })
}

/// The world of the test: cached keys, and the current documents.
struct World {
    remembered: BTreeMap<&'static str, Option<Multikey>>,
    current: BTreeMap<&'static str, Option<Multikey>>,
    used: Sqlite,
    /// How often a document was fetched again.
    asked_anew: u32,
    /// Whether it may be fetched again.
    may_ask: bool,
}

impl World {
    fn new() -> Self {
        let used = Sqlite::new();
        used_tokens::SCHEMA.iter().for_each(|sql| used.exec(sql));
        let kay = Some(Key::k256(1).public());
        let pia = Some(Key::p256(2).public());
        let (old, new) = (Some(Key::k256(3).public()), Some(Key::p256(4).public()));
        let remembered = [("kay", kay.clone()), ("pia", pia.clone()), ("rot", old), ("non", None)];
        let current = [("kay", kay), ("pia", pia), ("rot", new), ("non", None)];
        Self { remembered: remembered.into(), current: current.into(), used, asked_anew: 0, may_ask: true }
    }

    fn key(keys: &BTreeMap<&'static str, Option<Multikey>>, did: &Did) -> Option<Multikey> {
        keys.get(did.as_str().rsplit_once(':').unwrap().1).cloned().flatten()
    }

    /// As the service does it.
    fn verify(&mut self, token: &str, methods: &[&str]) -> Result<Did, Refusal> {
        let now = Micros(NOW * 1_000_000);
        let verification = Verification::begin(token, &Asked { service: SERVICE, methods, now })?;
        let did = verification.issuer().clone();
        let mut verdict = verification.on_key(Self::key(&self.remembered, &did).as_ref(), !self.may_ask);
        if verdict == Verdict::AskAnew {
            self.asked_anew += 1;
            verdict = verification.on_key(Self::key(&self.current, &did).as_ref(), true);
        }
        match verdict {
            Verdict::Fits(claim) => match self.use_once(&claim, now) {
                Use::Again => Err(Refusal::Replayed),
                Use::First | Use::TooMany => Ok(claim.did),
            },
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::AskAnew => panic!("asked twice"),
        }
    }

    fn use_once(&self, claim: &Claim, now: Micros) -> Use {
        let run = |statement: &Statement| {
            block_on(self.used.write(std::slice::from_ref(statement))).map(|mut rows| rows.remove(0))
        };
        let Some(jti) = &claim.jti else { return Use::First };
        used_tokens::use_once(run, &claim.did, jti, claim.until, now).unwrap()
    }
}

/// A change of one claim or header field; `Null` removes it.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
        value => object[name] = value,
    }
    object
}

#[test]
fn x04_what_is_a_proof() {
    let (kay, pia) = (Key::k256(1), Key::p256(2));
    let mut world = World::new();
    for (name, key, change, value, why) in [
        ("kay", &kay, "jti", json!("1"), "secp256k1"),
        ("pia", &pia, "jti", json!("1"), "P-256, and the same jti of somebody else"),
        (
            "kay",
            &kay,
            "aud",
            json!(format!("{SERVICE}#colibri_appview")),
            "the service's name in the audience",
        ),
        ("kay", &kay, "iss", json!("did:plc:kay#atproto"), "the account's own key named"),
        ("kay", &kay, "exp", json!(NOW + 300), "as far ahead as may be"),
        ("kay", &kay, "exp", json!(NOW + 330), "and by a clock that is ahead"),
        ("kay", &kay, "exp", json!(NOW - 29), "ended, by a clock that is behind"),
        ("kay", &kay, "iat", json!(NOW + 30), "made by a clock that is ahead"),
        ("kay", &kay, "iat", Value::Null, "an old server's, without iat"),
        ("kay", &kay, "nbf", json!(NOW), "valid from now on"),
        ("kay", &kay, "jti", json!("x".repeat(256)), "the longest jti"),
        ("kay", &kay, "sub", json!({ "anything": [1] }), "claims nobody asks for"),
    ] {
        let jti = format!("{change}{value}");
        let token =
            signed(key, &header(key).to_string(), &with(claims(name, &jti), change, value).to_string());
        assert_eq!(
            world.verify(&token, &[METHOD]).map(|did| did.to_string()),
            Ok(format!("did:plc:{name}")),
            "{why}"
        );
    }
    let other = with(claims("kay", "m"), "lxm", json!(OTHER_METHOD)).to_string();
    let token = signed(&kay, &header(&kay).to_string(), &other);
    assert!(world.verify(&token, &[METHOD, OTHER_METHOD]).is_ok(), "any of the methods of a route");
    for (n, (field, value)) in [
        ("typ", Value::Null),
        ("typ", json!("jwt")),
        ("kid", json!("#atproto")),
        ("kid", json!("did:plc:kay#atproto")),
        ("jku", json!("http://127.0.0.1:9/keys")),
        ("cty", json!("x")),
    ]
    .into_iter()
    .enumerate()
    {
        let token = signed(
            &kay,
            &with(header(&kay), field, value).to_string(),
            &claims("kay", &format!("h{n}")).to_string(),
        );
        assert!(world.verify(&token, &[METHOD]).is_ok(), "{field} is not followed, whatever it says");
    }
    assert_eq!(world.asked_anew, 0, "nobody's document was asked for anew");
    let (old, new) = (Key::k256(3), Key::p256(4));
    let token = signed(&new, &header(&new).to_string(), &claims("rot", "new").to_string());
    assert!(world.verify(&token, &[METHOD]).is_ok(), "a key that changed, also its curve");
    assert_eq!(world.asked_anew, 1);
    let token = signed(&old, &header(&old).to_string(), &claims("rot", "old").to_string());
    assert!(
        world.verify(&token, &[METHOD]).is_ok(),
        "the old one, for as long as the document is remembered"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn x04_what_is_no_proof() {
    use Refusal::*;
    let (kay, pia, stranger) = (Key::k256(1), Key::p256(2), Key::k256(9));
    let good = signed(&kay, &header(&kay).to_string(), &claims("kay", "good").to_string());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let claim = |name: &str, value: Value| {
        signed(&kay, &header(&kay).to_string(), &with(claims("kay", "c"), name, value).to_string())
    };
    let head_with = |name: &str, value: Value| {
        signed(&kay, &with(header(&kay), name, value).to_string(), &claims("kay", "h").to_string())
    };
    let headers_of = |alg: &str| head_with("alg", json!(alg));
    let by = |key: &Key, name: &str| signed(key, &header(key).to_string(), &claims(name, "b").to_string());
    let of_texts = |header: &str, claims: &str| signed(&kay, header, claims);
    let plain_claims = claims("kay", "t").to_string();
    let plain_header = header(&kay).to_string();
    let high = |key: &Key, name: &str| {
        let message =
            format!("{}.{}", base64url(header(key).to_string()), base64url(claims(name, "hi").to_string()));
        let [_, high] = key.sign(&message);
        format!("{message}.{}", base64url(high))
    };
    let with_signature = |bytes: &[u8]| format!("{message}.{}", base64url(bytes));
    let form = Malformed(self::Malformed::Form);
    let algorithm = Malformed(self::Malformed::Algorithm);
    let of_header = Malformed(self::Malformed::Header);
    let of_claims = Malformed(self::Malformed::Claims);
    // The order of the group of secp256k1, which r and s cannot exceed.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
        0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
    ];
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let table: Vec<(&str, String, Refusal)> = vec![
        // Format
        ("nothing", String::new(), form),
        ("one part", head.to_owned(), form),
        ("two parts", message.to_owned(), form),
        ("four parts", format!("{good}.{signature}"), form),
        ("five parts, as an encrypted token has", format!("{good}.a.b"), form),
        ("an empty header", format!(".{body}.{signature}"), of_header),
        ("an empty signature", format!("{message}."), form),
        ("padding", format!("{good}="), form),
        ("padding in the header", format!("{head}==.{body}.{signature}"), form),
        (
            "base64 of the other alphabet",
            format!("{head}.{body}.{}", signature.replace(['-', '_'], "+") + "+"),
            form,
        ),
        ("a blank in front", format!(" {good}"), form),
        ("a line end behind", format!("{good}\n"), form),
        ("bits left over in the last letter", format!("{head}.{body}.{}B", &signature[..85]), form),
        ("no ASCII", format!("{head}.é.{signature}"), form),
        ("a NUL", format!("{head}.\0.{signature}"), form),
        ("over the bound", "a".repeat(TOKEN_MAX + 1), Malformed(self::Malformed::TooLong)),
        (
            "over the bound, and otherwise good",
            claim("pad", json!("x".repeat(TOKEN_MAX))),
            Malformed(self::Malformed::TooLong),
        ),
        ("a megabyte", format!("{good}.{}", "a".repeat(1_000_000)), Malformed(self::Malformed::TooLong)),
        // Header
        ("a header that is no JSON", format!("{}.{body}.{signature}", base64url("hello")), of_header),
        ("a header that is a list", of_texts(r#"["ES256K"]"#, &plain_claims), of_header),
        ("a header that is no UTF-8", format!("{}.{body}.{signature}", base64url([0xff, 0xfe])), of_header),
        (
            "a header with something behind it",
            of_texts(&format!("{plain_header}x"), &plain_claims),
            of_header,
        ),
        ("no alg", head_with("alg", Value::Null), of_header),
        ("alg is a list", head_with("alg", json!(["ES256K"])), of_header),
        ("alg twice", of_texts(r#"{"alg":"none","alg":"ES256K"}"#, &plain_claims), of_header),
        (
            "alg twice, once in disguise",
            of_texts(r#"{"\u0061lg":"none","alg":"ES256K"}"#, &plain_claims),
            of_header,
        ),
        ("another kind of token: an access token", head_with("typ", json!("at+jwt")), of_header),
        ("a refresh token", head_with("typ", json!("refresh+jwt")), of_header),
        ("a DPoP proof", head_with("typ", json!("dpop+jwt")), of_header),
        ("alg: none", headers_of("none"), algorithm),
        ("alg: none, without a signature", format!("{}.{body}.", base64url(r#"{"alg":"none"}"#)), form),
        ("alg: None", headers_of("None"), algorithm),
        ("an empty alg", headers_of(""), algorithm),
        ("alg: HS256, which would take the public key for a secret", headers_of("HS256"), algorithm),
        ("alg: RS256", headers_of("RS256"), algorithm),
        ("alg: ES384", headers_of("ES384"), algorithm),
        ("alg: EdDSA", headers_of("EdDSA"), algorithm),
        ("alg in another case", headers_of("es256k"), algorithm),
        ("alg with a blank", headers_of("ES256K "), algorithm),
        ("crit", head_with("crit", json!(["b64"])), Malformed(self::Malformed::Critical)),
        ("crit, empty", head_with("crit", json!([])), Malformed(self::Malformed::Critical)),
        // Claims
        ("claims that are no JSON", of_texts(&plain_header, "hello"), of_claims),
        ("claims that are a list", of_texts(&plain_header, "[]"), of_claims),
        ("no iss", claim("iss", Value::Null), of_claims),
        ("no aud", claim("aud", Value::Null), of_claims),
        ("no exp", claim("exp", Value::Null), of_claims),
        ("aud is a list", claim("aud", json!([SERVICE])), of_claims),
        ("exp is a text", claim("exp", json!((NOW + 60).to_string())), of_claims),
        ("exp is a fraction", claim("exp", json!(NOW as f64 + 60.5)), of_claims),
        (
            "exp beyond every number",
            of_texts(&plain_header, &plain_claims.replace(&(NOW + 60).to_string(), "1e400")),
            of_claims,
        ),
        ("exp twice", of_texts(&plain_header, &plain_claims.replacen('{', r#"{"exp":1,"#, 1)), of_claims),
        ("an empty jti", claim("jti", json!("")), of_claims),
        ("a long jti", claim("jti", json!("x".repeat(257))), of_claims),
        ("jti is a number", claim("jti", json!(7)), of_claims),
        ("lxm is a list", claim("lxm", json!([METHOD])), of_claims),
        ("nested too deeply", claim("x", (0..70).fold(json!(1), |inner, _| json!([inner]))), of_claims),
        // Issuer
        ("iss is no DID", claim("iss", json!("kay.test")), Issuer),
        ("an empty iss", claim("iss", json!("")), Issuer),
        ("another key of the account", claim("iss", json!("did:plc:kay#atproto_labeler")), Issuer),
        ("an empty fragment", claim("iss", json!("did:plc:kay#")), Issuer),
        ("two fragments", claim("iss", json!("did:plc:kay#atproto#atproto")), Issuer),
        ("a path in iss", claim("iss", json!("did:plc:kay/../pia")), Issuer),
        // Audience
        ("another service", claim("aud", json!("did:web:other.example.com")), Audience),
        ("one whose name begins like ours", claim("aud", json!(format!("{SERVICE}.evil.com"))), Audience),
        ("a name within our name", claim("aud", json!("did:web:api.example")), Audience),
        ("our host, not our DID", claim("aud", json!("https://api.example.com")), Audience),
        ("in another case", claim("aud", json!(SERVICE.to_uppercase())), Audience),
        ("an empty fragment of aud", claim("aud", json!(format!("{SERVICE}#"))), Audience),
        ("a fragment that is none", claim("aud", json!(format!("{SERVICE}#a b"))), Audience),
        ("an empty aud", claim("aud", json!("")), Audience),
        // Times
        ("ended", claim("exp", json!(NOW - 30)), Expired),
        ("ended long ago", claim("exp", json!(0)), Expired),
        ("ended before there was time", claim("exp", json!(i64::MIN)), Expired),
        ("too far ahead", claim("exp", json!(NOW + 331)), TooLong),
        ("for ever", claim("exp", json!(i64::MAX)), TooLong),
        ("in milliseconds", claim("exp", json!((NOW + 60) * 1_000)), TooLong),
        ("of the future", claim("iat", json!(NOW + 31)), NotYet),
        ("not before later", claim("nbf", json!(NOW + 31)), NotYet),
        // Method
        ("no lxm", claim("lxm", Value::Null), NoMethod),
        ("another method", claim("lxm", json!(OTHER_METHOD)), Method),
        ("every method", claim("lxm", json!("*")), Method),
        ("an empty lxm", claim("lxm", json!("")), Method),
        ("a method that begins like ours", claim("lxm", json!(format!("{METHOD}s"))), Method),
        ("in another case", claim("lxm", json!(METHOD.to_uppercase())), Method),
        // Signature
        ("signed by a stranger", by(&stranger, "kay"), Signature),
        ("signed by another account", by(&pia, "kay"), Signature),
        (
            "the stranger's key in the header",
            {
                let header = json!({ "alg": "ES256K", "jwk": { "kty": "EC", "crv": "secp256k1" }, "x5u": "https://evil.example.com" });
                signed(&stranger, &header.to_string(), &claims("kay", "jwk").to_string())
            },
            Signature,
        ),
        (
            "kid that names the stranger",
            {
                let header = with(header(&stranger), "kid", json!("did:plc:stranger#atproto"));
                signed(&stranger, &header.to_string(), &claims("kay", "kid").to_string())
            },
            Kid,
        ),
        (
            "kid that names a file",
            {
                let header = with(header(&stranger), "kid", json!("../../dev/null"));
                signed(&stranger, &header.to_string(), &claims("kay", "file").to_string())
            },
            Kid,
        ),
        (
            "N151: kid that names another key of the account",
            {
                let header = with(header(&kay), "kid", json!("did:plc:kay#atproto_labeler"));
                signed(&kay, &header.to_string(), &claims("kay", "labeler").to_string())
            },
            Kid,
        ),
        ("N151: in the name of somebody else", claim("act", json!({ "sub": "did:plc:pia" })), OnBehalf),
        (
            "jku that leads to the stranger's keys",
            {
                let header = with(header(&stranger), "jku", json!("https://evil.example.com/keys"));
                signed(&stranger, &header.to_string(), &claims("kay", "jku").to_string())
            },
            Signature,
        ),
        (
            "a key that the account no longer has",
            {
                let gone = Key::k256(8);
                signed(&gone, &header(&gone).to_string(), &claims("rot", "gone").to_string())
            },
            Signature,
        ),
        ("an account without a key", by(&kay, "non"), NoKey),
        ("nobody", by(&kay, "nobody"), NoKey),
        ("ES256 said of a key of secp256k1", headers_of("ES256"), Signature),
        (
            "ES256K said of a key of P-256",
            { signed(&pia, r#"{"alg":"ES256K"}"#, &claims("pia", "curve").to_string()) },
            Signature,
        ),
        ("the higher S of secp256k1", high(&kay, "kay"), Signature),
        ("the higher S of P-256", high(&pia, "pia"), Signature),
        (
            "a claim changed after signing",
            {
                format!(
                    "{head}.{}.{signature}",
                    base64url(with(claims("kay", "good"), "exp", json!(NOW + 61)).to_string())
                )
            },
            Signature,
        ),
        (
            "the header changed after signing",
            { format!("{}.{body}.{signature}", base64url(r#"{"typ":"JWT","alg":"ES256K"}"#)) },
            Signature,
        ),
        (
            "the issuer changed after signing",
            { format!("{head}.{}.{signature}", base64url(claims("pia", "good").to_string())) },
            Signature,
        ),
        ("a signature of zeros", with_signature(&[0; 64]), Signature),
        ("a signature of ones", with_signature(&[0xff; 64]), Signature),
        ("s is the order of the group", with_signature(&[&bytes[..32], &order].concat()), Signature),
        ("r is the order of the group", with_signature(&[&order, &bytes[32..]].concat()), Signature),
        ("s is zero", with_signature(&[&bytes[..32], &[0; 32]].concat()), Signature),
        ("r and s change places", with_signature(&[&bytes[32..], &bytes[..32]].concat()), Signature),
        ("one bit of it", with_signature(&[&bytes[..63], &[bytes[63] ^ 1]].concat()), Signature),
        ("a signature that is cut", with_signature(&bytes[..63]), form),
        ("a signature that is longer", with_signature(&[bytes.clone(), vec![0]].concat()), form),
        (
            "a signature in DER",
            {
                let der = k256::ecdsa::Signature::from_slice(&bytes).unwrap().to_der();
                with_signature(der.as_bytes())
            },
            form,
        ),
    ];
    assert!(table.len() >= 60, "{}", table.len());
    let mut world = World::new();
    for (why, token, refusal) in &table {
        assert_eq!(world.verify(token, &[METHOD]), Err(*refusal), "{why}");
    }
    let bad = table.iter().filter(|(_, _, refusal)| matches!(refusal, Signature | NoKey)).count();
    assert_eq!(
        world.asked_anew,
        u32::try_from(bad).unwrap(),
        "only a signature has a document asked for anew, once"
    );
    assert!(world.used.look("SELECT 1 FROM used_tokens").is_empty(), "and nothing of it is remembered");
    world.may_ask = false;
    for (why, token, refusal) in &table {
        assert_eq!(
            world.verify(token, &[METHOD]),
            Err(*refusal),
            "{why}, while no document may be asked for"
        );
    }
    assert_eq!(world.asked_anew, u32::try_from(bad).unwrap());
    assert_eq!(
        world.verify(&good, &[METHOD]),
        Ok(Did::parse("did:plc:kay").unwrap()),
        "the good one is good after all that"
    );
}

#[test]
fn x04_a_token_is_used_once() {
    let kay = Key::k256(1);
    let mut world = World::new();
    let token = |jti: &str, exp: i64| {
        signed(&kay, &header(&kay).to_string(), &with(claims("kay", jti), "exp", json!(exp)).to_string())
    };
    let first = token("a", NOW + 60);
    assert!(world.verify(&first, &[METHOD]).is_ok());
    for (why, text) in [
        ("the same", first.clone()),
        ("another token with its jti", token("a", NOW + 90)),
        ("as another service of ours", {
            let claims = with(claims("kay", "a"), "aud", json!(format!("{SERVICE}#x")));
            signed(&kay, &header(&kay).to_string(), &claims.to_string())
        }),
    ] {
        assert_eq!(world.verify(&text, &[METHOD, OTHER_METHOD]), Err(Refusal::Replayed), "{why}");
    }
    assert!(world.verify(&token("b", NOW + 60), &[METHOD]).is_ok());
}

#[test]
fn x04_what_is_remembered_of_tokens_is_bounded_and_ends() {
    let world = World::new();
    let did = |name: &str| Did::parse(&format!("did:plc:{name}")).unwrap();
    let at = |seconds: i64| Micros(seconds * 1_000_000);
    let use_once = |name: &str, jti: String, until: i64, now: i64| {
        world.use_once(&Claim { did: did(name), jti: Some(jti), until: at(until) }, at(now))
    };
    for n in 0..used_tokens::OWN_MAX {
        assert_eq!(use_once("kay", n.to_string(), 90, 0), Use::First);
    }
    assert_eq!(use_once("kay", "more".into(), 90, 0), Use::TooMany, "one person's are bounded");
    assert_eq!(use_once("kay", "0".into(), 90, 0), Use::Again, "and none of them is forgotten for it");
    assert_eq!(use_once("pia", "0".into(), 90, 0), Use::First, "others have room");
    assert_eq!(use_once("kay", "0".into(), 180, 89), Use::Again);
    assert_eq!(use_once("kay", "0".into(), 180, 90), Use::First, "refused by its end by now, and forgotten");
    assert_eq!(world.used.look("SELECT count(*) FROM used_tokens"), ["1"]);
    let room = |own, all| used_tokens::Remembered { own, all }.has_room();
    let (full, few) = (used_tokens::ALL_MAX, used_tokens::FEW);
    assert!(
        room(few, full - 1) && !room(few, full) && room(few - 1, full),
        "in a full object those with few are spared"
    );
    assert!(!room(0, 2 * full), "up to a bound");
}

/// Vectors of Wycheproof (tests/fixtures/wycheproof): of the signatures that they call valid,
/// exactly those with the lower S are valid here, and no others.
#[test]
fn x04_both_curves_pass_wycheproof() {
    const HALF_K256: &str = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0";
    const HALF_P256: &str = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
    for (name, code, half, at_least) in
        [("secp256k1", [0xe7, 0x01], HALF_K256, 60), ("secp256r1", [0x80, 0x24], HALF_P256, 60)]
    {
        let file = format!("tests/fixtures/wycheproof/ecdsa_{name}_sha256_p1363.jsonl");
        let (mut valid, mut high, mut invalid) = (0, 0, 0);
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let vector: Value = serde_json::from_str(line).unwrap();
            let bytes = |field: &str| hex(vector[field].as_str().unwrap());
            let point = bytes("key");
            let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
            let key = SigningKey::of_multikey(&multikey(code, &compressed)).unwrap();
            let signature = vector["sig"].as_str().unwrap();
            let is_low = signature.len() == 128 && &signature[64..] <= half;
            let is_valid = vector["result"] == "valid";
            assert_eq!(key.verifies(&bytes("msg"), &bytes("sig")), is_valid && is_low, "{name}: {vector}");
            match (is_valid, is_low) {
                (true, true) => valid += 1,
                (true, false) => high += 1,
                (false, _) => invalid += 1,
            }
        }
        assert!(
            valid >= at_least && high >= at_least && invalid >= at_least,
            "{name}: {valid} {high} {invalid}"
        );
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
