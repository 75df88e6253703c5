//! Request bodies (H08): JSON whatever the `Content-Type`, at most 64 KiB, read once; errors name
//! the field.
//!
//! A body is read as it arrives and never buffered beyond its limit, whatever `Content-Length`
//! says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::TryStreamExt as _;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use url::Url;
use worker::ByteStream;

use super::error::ApiError;
use super::params::checked_reason;
use crate::domain::restarting::Scope;
use crate::domain::urgency::Rhythm;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::json::is_too_deep;
use crate::wire::time::Micros;
use crate::wire::web_push::Subscription;
use crate::wire::webhooks::secret_in;

/// The longest body in bytes (H08).
pub(super) const BODY_MAX: usize = 64 * 1024;
/// How many bytes of a longer body are read and dropped before the answer. If a server answers
/// while the caller still sends, the connection is cut, and the caller sees that instead of the
/// 413.
const DRAIN_MAX: usize = 16 * 1024 * 1024;

/// The longest address.
const URL_MAX: usize = 2_048;
/// The most words of a list.
const WORDS_MAX: usize = 50;

/// Why something is reported (R86), in the words of `com.atproto.moderation.defs`.
const REPORT_REASONS: [&str; 6] = ["spam", "violation", "misleading", "sexual", "rude", "other"];
/// The longest comment, in characters.
const COMMENT_MAX: usize = 1_000;

/// The fields of a body.
#[derive(Debug)]
pub(super) struct Body {
    fields: BTreeMap<String, Box<RawValue>>,
}

/// Reads a body to its end.
pub(super) async fn read(stream: Option<ByteStream>) -> Result<Body, ApiError> {
    let mut bytes = Vec::new();
    let mut length = 0_usize;
    if let Some(mut stream) = stream {
        // The caller disconnected, so nobody receives this error.
        let gone = |_| ApiError::BadRequest("the body could not be read");
        while let Some(chunk) = stream.try_next().await.map_err(gone)? {
            length = length.saturating_add(chunk.len());
            if length > DRAIN_MAX {
                break;
            }
            if length <= BODY_MAX {
                bytes.extend_from_slice(&chunk);
            }
        }
    }
    if length > BODY_MAX { Err(ApiError::PayloadTooLarge) } else { Body::parse(&bytes) }
}

type Checked<T> = Result<T, ApiError>;

impl Body {
    /// The first rule that applies decides:
    ///   1. a body that is not JSON is refused (400);
    ///   2. a body that is not an object, repeats a field, or is nested too deeply (T23), is
    ///      refused (422);
    ///   3. unknown fields are ignored, whatever they contain.
    fn parse(bytes: &[u8]) -> Checked<Self> {
        let json: &RawValue =
            serde_json::from_slice(bytes).map_err(|_| ApiError::BadRequest("the body is not JSON"))?;
        if is_too_deep(json.get()) {
            return Err(ApiError::Invalid("the body is nested too deeply".into()));
        }
        serde_json::from_str(json.get()).map_err(|_| {
            ApiError::Invalid("the body must be a JSON object that names each field once".into())
        })
    }

    /// An optional field of type `T`; `null` counts as missing.
    fn optional<T: DeserializeOwned>(&self, name: &str, what: &str) -> Checked<Option<T>> {
        let Some(json) = self.fields.get(name).filter(|json| json.get() != "null") else { return Ok(None) };
        match serde_json::from_str(json.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ApiError::Invalid(format!("{name} must be {what}"))),
        }
    }

    fn required<T: DeserializeOwned>(&self, name: &str, what: &str) -> Checked<T> {
        self.optional(name, what)?.ok_or_else(|| ApiError::Invalid(format!("{name} is required")))
    }

    /// R63: what is restarted.
    pub(super) fn scope(&self, name: &str) -> Checked<Scope> {
        self.required(name, "sockets, calls, stream or all")
    }

    /// A required DID.
    pub(super) fn did(&self, name: &str) -> Checked<Did> {
        self.required(name, "a DID (did:…)")
    }

    /// A required AT-URI. It is malformed only if it does not begin with `at://` (T03).
    pub(super) fn at_uri(&self, name: &str) -> Checked<String> {
        let what = "an AT-URI (at://…)";
        let text: String = self.required(name, what)?;
        if text.starts_with("at://") {
            Ok(text)
        } else {
            Err(ApiError::Invalid(format!("{name} must be {what}")))
        }
    }

    /// The AT-URI of a community, known or not: for operations that need its owner even while the
    /// community is unknown. A URI that can never name a community is refused.
    pub(super) fn community(&self, name: &str) -> Checked<AtUri> {
        AtUri::parse(&self.at_uri(name)?)
            .ok()
            .filter(|uri| uri.is(Collection::Community))
            .ok_or_else(|| ApiError::Invalid(format!("{name} must be the AT-URI of a community")))
    }

    /// A required text.
    pub(super) fn text(&self, name: &str) -> Checked<String> {
        self.required(name, "a text")
    }

    /// An optional text.
    pub(super) fn optional_text(&self, name: &str) -> Checked<Option<String>> {
        self.optional(name, "a text")
    }

    /// The optional reason for an action (X22).
    pub(super) fn reason(&self) -> Checked<Option<String>> {
        checked_reason(self.optional("reason", "a text")?.filter(|text: &String| !text.is_empty()))
    }

    /// An optional time, which must be after `now`.
    pub(super) fn time_ahead(&self, name: &str, now: Micros) -> Checked<Option<Micros>> {
        let what = "an RFC 3339 time that lies ahead";
        match self.optional(name, what)? {
            Some(at) if at <= now => Err(ApiError::Invalid(format!("{name} must be {what}"))),
            at => Ok(at),
        }
    }

    /// A required list of DIDs; order and repetition do not matter.
    pub(super) fn dids(&self, name: &str, max: usize) -> Checked<BTreeSet<Did>> {
        let what = format!("a list of at most {max} DIDs (did:…)");
        let dids: BTreeSet<Did> = self.required(name, &what)?;
        if dids.len() > max { Err(ApiError::Invalid(format!("{name} must be {what}"))) } else { Ok(dids) }
    }

    /// An optional AT-URI, as [`Self::at_uri`].
    pub(super) fn optional_at_uri(&self, name: &str) -> Checked<Option<String>> {
        self.optional::<String>(name, "an AT-URI (at://…)")?.map(|_| self.at_uri(name)).transpose()
    }

    /// R59: a rhythm, or `null`; it must be there.
    pub(super) fn rhythm(&self, name: &str) -> Checked<Option<Rhythm>> {
        if !self.fields.contains_key(name) {
            return Err(ApiError::Invalid(format!("{name} is required")));
        }
        self.optional(name, "silent, quiet, engaged, busy or null")
    }

    /// A required absolute address of at most [`URL_MAX`] characters.
    pub(super) fn url(&self, name: &str) -> Checked<Url> {
        let what = format!("an address of at most {URL_MAX} characters");
        let text: String = self.required(name, &what)?;
        let url = Url::parse(&text).ok().filter(|url| url.as_str().len() <= URL_MAX);
        url.ok_or_else(|| ApiError::Invalid(format!("{name} must be {what}")))
    }

    /// An optional list of at most [`WORDS_MAX`] words such as types of events.
    pub(super) fn words(&self, name: &str) -> Checked<Vec<String>> {
        let what = format!("a list of at most {WORDS_MAX} words with underscores");
        let words: Vec<String> = self.optional(name, &what)?.unwrap_or_default();
        let is_word = |word: &String| {
            (1..=64).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        if words.len() <= WORDS_MAX && words.iter().all(is_word) {
            Ok(words)
        } else {
            Err(ApiError::Invalid(format!("{name} must be {what}")))
        }
    }

    /// An optional secret of a webhook, in base64.
    pub(super) fn secret(&self, name: &str) -> Checked<Option<String>> {
        let what = "whsec_ and 24 to 64 bytes in base64";
        let Some(text) = self.optional::<String>(name, what)? else { return Ok(None) };
        secret_in(&text).map(Some).ok_or_else(|| ApiError::Invalid(format!("{name} must be {what}")))
    }

    /// R67: the subscription of a browser, as its `toJSON` writes it.
    pub(super) fn subscription(&self, name: &str) -> Checked<Subscription> {
        let what = "the subscription of a browser: endpoint, keys.p256dh, keys.auth";
        let subscription: Subscription = self.required(name, what)?;
        match subscription.is_valid() {
            true => Ok(subscription),
            false => Err(ApiError::Invalid(format!("{name} must be {what}"))),
        }
    }

    /// An optional DID.
    pub(super) fn optional_did(&self, name: &str) -> Checked<Option<Did>> {
        self.optional(name, "a DID (did:…)")
    }

    /// As [`Body::community`], if it is there.
    pub(super) fn optional_community(&self, name: &str) -> Checked<Option<AtUri>> {
        Ok(if self.optional_at_uri(name)?.is_some() { Some(self.community(name)?) } else { None })
    }

    /// Why something is reported (R86): one of [`REPORT_REASONS`].
    pub(super) fn report_reason(&self, name: &str) -> Checked<&'static str> {
        let what = REPORT_REASONS.join(", ");
        let given: String = self.required(name, &what)?;
        let known = REPORT_REASONS.into_iter().find(|reason| *reason == given);
        known.ok_or_else(|| ApiError::Invalid(format!("{name} must be one of {what}")))
    }

    /// An optional text of at most [`COMMENT_MAX`] characters.
    pub(super) fn comment(&self, name: &str) -> Checked<Option<String>> {
        let what = format!("a text of at most {COMMENT_MAX} characters");
        match self.optional::<String>(name, &what)?.filter(|text| !text.is_empty()) {
            Some(text) if text.chars().count() > COMMENT_MAX => {
                Err(ApiError::Invalid(format!("{name} must be {what}")))
            }
            text => Ok(text),
        }
    }

    /// As [`Body::count`], which must be there.
    pub(super) fn required_count(&self, name: &str, max: i64) -> Checked<i64> {
        self.count(name, max)?.ok_or_else(|| ApiError::Invalid(format!("{name} is required")))
    }

    /// Yes or no, which must be there.
    pub(super) fn bool(&self, name: &str) -> Checked<bool> {
        self.required(name, "true or false")
    }

    /// An optional integer. One too long for an i64 counts as out of range on its side.
    pub(super) fn whole(&self, name: &str) -> Checked<Option<i64>> {
        self.number(name, "a whole number")
    }

    /// An optional integer from 1 to `max`.
    pub(super) fn count(&self, name: &str, max: i64) -> Checked<Option<i64>> {
        let what = format!("a whole number from 1 to {max}");
        match self.number(name, &what)? {
            Some(number) if !(1..=max).contains(&number) => {
                Err(ApiError::Invalid(format!("{name} must be {what}")))
            }
            number => Ok(number),
        }
    }

    /// JSON has one kind of number: `10`, `10.0` and `1e1` are equal.
    fn number(&self, name: &str, what: &str) -> Checked<Option<i64>> {
        let Some(number) = self.optional::<serde_json::Number>(name, what)? else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "a cast of a float ends at the ends of an i64")]
        let whole = |number: f64| (number.fract() == 0.0).then_some(number as i64);
        match number.as_i64().or_else(|| number.as_f64().and_then(whole)) {
            Some(number) => Ok(Some(number)),
            None => Err(ApiError::Invalid(format!("{name} must be {what}"))),
        }
    }
}

/// An object with unique field names. Values stay text: an unused one is not parsed, however deep
/// it is.
impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(<A::Error as de::Error>::custom("a field occurs twice"));
                    }
                }
                Ok(Body { fields })
            }
        }
        d.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<T: fmt::Debug>(got: Checked<T>) -> String {
        match got {
            Ok(value) => format!("{value:?}"),
            Err(ApiError::BadRequest(sentence)) => format!("400 {sentence}"),
            Err(ApiError::Invalid(sentence)) => format!("422 {sentence}"),
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn h08_what_is_a_body() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let nested = format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60));
        for (bytes, expected, why) in [
            (&b""[..], "400", "nothing"),
            (b"{", "400", "half of one"),
            (b"{}x", "400", "something behind it"),
            (b"{\"a\":\"\xff\"}", "400", "not UTF-8"),
            (b"{\"a\":\"\x00\"}", "400", "a NUL that is not escaped"),
            (b"{'a':1}", "400", "not quite JSON"),
            (b"did=did:plc:a", "400", "a form"),
            (b"[]", "422", "a list"),
            (b"null", "422", "nothing, in JSON"),
            (b"\"text\"", "422", "a text"),
            (b"{\"a\":1,\"a\":1}", "422", "a field twice"),
            (b"{\"a\":1,\"\\u0061\":1}", "422", "twice, spelled differently"),
            (b" {\"a\":1} \n", "ok", "blanks around it"),
            (deep.as_bytes(), "422", "nested too deeply, where nobody looks (T23)"),
            (nested.as_bytes(), "ok", "an unknown field is not taken apart"),
        ] {
            let got = Body::parse(bytes)
                .map(|_| ())
                .map_or_else(|error| answer::<()>(Err(error)), |()| "ok".into());
            assert!(got.starts_with(expected), "{why}: {got}");
        }
    }

    #[test]
    fn h08_fields_are_refused_by_name() {
        let body = |text: &str| Body::parse(text.as_bytes()).unwrap();
        let nested = format!("{{\"d\":{}1{}}}", "[".repeat(60), "]".repeat(60));
        for (got, expected) in [
            (answer(body("{}").did("d")), "422 d is required"),
            (answer(body(r#"{"d":null}"#).did("d")), "422 d is required"),
            (answer(body(r#"{"d":""}"#).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(r#"{"d":7}"#).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(r#"{"d":["did:plc:a"]}"#).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(r#"{"d":"did:plc:a\u0000"}"#).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(r#"{"d":"\ud800"}"#).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(&nested).did("d")), "422 d must be a DID (did:…)"),
            (answer(body(r#"{"d":"did:plc:a"}"#).did("d")), "Did(\"did:plc:a\")"),
            (answer(body(r#"{"u":"3k"}"#).at_uri("u")), "422 u must be an AT-URI (at://…)"),
            (answer(body(r#"{"u":"at://x"}"#).at_uri("u")), "\"at://x\""),
            (answer(body(r#"{"u":"3k"}"#).community("u")), "422 u must be an AT-URI (at://…)"),
            (answer(body(r#"{"u":"at://x"}"#).community("u")), "422 u must be the AT-URI of a community"),
            (
                answer(body(r#"{"u":"at://did:plc:a/social.colibri.channel/k"}"#).community("u")),
                "422 u must be the AT-URI of a community",
            ),
            (
                answer(body(r#"{"u":"at://did:plc:a/social.colibri.community/c"}"#).community("u")),
                "AtUri(\"at://did:plc:a/social.colibri.community/c\")",
            ),
        ] {
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn r17_b23_max_uses() {
        for (json, expected) in [
            ("{}", "None"),
            (r#"{"n":null}"#, "None"),
            (r#"{"n":1}"#, "Some(1)"),
            (r#"{"n":2147483647}"#, "Some(2147483647)"),
            (r#"{"n":0}"#, "422"),
            (r#"{"n":-1}"#, "422"),
            (r#"{"n":2147483648}"#, "422"),
            (r#"{"n":1.5}"#, "422"),
            (r#"{"n":1e3}"#, "Some(1000)"),
            (r#"{"n":7.0}"#, "Some(7)"),
            (r#"{"n":-0.0}"#, "422"),
            (r#"{"n":1e300}"#, "422"),
            (r#"{"n":1e400}"#, "422"),
            (r#"{"n":99999999999999999999999}"#, "422"),
            (r#"{"n":"1"}"#, "422"),
            (r#"{"n":true}"#, "422"),
            (r#"{"n":[]}"#, "422"),
        ] {
            let got = answer(Body::parse(json.as_bytes()).unwrap().count("n", i64::from(i32::MAX)));
            assert!(got.starts_with(expected), "{json}: {got}");
        }
    }

    #[test]
    fn r25_a_whole_number_may_be_far_out_of_range() {
        for (json, expected) in [
            (r#"{"n":60}"#, "Some(60)"),
            (r#"{"n":-1e30}"#, "Some(-9223372036854775808)"),
            (r#"{"n":99999999999999999999999}"#, "Some(9223372036854775807)"),
            (r#"{"n":1.5}"#, "422 n must be a whole number"),
            (r#"{"n":"60"}"#, "422 n must be a whole number"),
        ] {
            assert_eq!(answer(Body::parse(json.as_bytes()).unwrap().whole("n")), expected, "{json}");
        }
    }
}
