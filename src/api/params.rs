//! Query parameters: read once; errors name the parameter (H04–H07).

use serde::de::DeserializeOwned;

use super::cursor;
use super::error::ApiError;
use crate::domain::moderation::REASON_MAX;
use crate::wire::cid::Cid;
use crate::wire::handle::Handle;
use crate::wire::ids::{Did, Rkey};
use crate::wire::time::Micros;

/// The query of a request. The first of several parameters with one name counts (H07).
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

type Checked<T> = Result<T, ApiError>;

/// A person, by DID or handle.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Who {
    Did(Did),
    Handle(Handle),
}

impl Query {
    pub(super) fn of(url: &url::Url) -> Self {
        Self {
            pairs: url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// Whether the flag is present, with any value (H07).
    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A flag of a lexicon, `true` or `false`; a missing one is `false`.
    pub(super) fn bool(&self, name: &str) -> Checked<bool> {
        match self.optional(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::Invalid(format!("{name} must be true or false"))),
        }
    }

    /// An optional parameter; an empty one counts as missing.
    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A required parameter (H04).
    pub(super) fn required(&self, name: &str) -> Checked<&str> {
        self.optional(name).ok_or_else(|| ApiError::Invalid(format!("{name} is required")))
    }

    /// A required DID.
    pub(super) fn did(&self, name: &str) -> Checked<Did> {
        parse_did(name, self.required(name)?)
    }

    /// An optional DID.
    pub(super) fn optional_did(&self, name: &str) -> Checked<Option<Did>> {
        self.optional(name).map(|value| parse_did(name, value)).transpose()
    }

    /// The optional reason for an action (X22): at most [`REASON_MAX`] characters.
    pub(super) fn reason(&self) -> Checked<Option<String>> {
        checked_reason(self.optional("reason").map(str::to_owned))
    }

    /// A required DID or handle.
    pub(super) fn did_or_handle(&self, name: &str) -> Checked<Who> {
        let value = self.required(name)?;
        let did = Did::parse(value).ok().map(Who::Did);
        did.or_else(|| Handle::parse(value).map(Who::Handle))
            .ok_or_else(|| ApiError::Invalid(format!("{name} must be a DID (did:…) or a handle")))
    }

    /// A required handle.
    pub(super) fn handle(&self, name: &str) -> Checked<Handle> {
        Handle::parse(self.required(name)?)
            .ok_or_else(|| ApiError::Invalid(format!("{name} must be a handle")))
    }

    /// A required record key.
    pub(super) fn rkey(&self, name: &str) -> Checked<Rkey> {
        Rkey::parse(self.required(name)?)
            .map_err(|_| ApiError::Invalid(format!("{name} must be a record key")))
    }

    /// A required AT-URI. It is malformed only if it does not begin with `at://` (T03).
    pub(super) fn at_uri(&self, name: &str) -> Checked<&str> {
        let value = self.required(name)?;
        if value.starts_with("at://") {
            Ok(value)
        } else {
            Err(ApiError::Invalid(format!("{name} must be an AT-URI (at://…)")))
        }
    }

    /// An AT-URI that may be missing.
    pub(super) fn optional_at_uri(&self, name: &str) -> Checked<Option<&str>> {
        self.optional(name).map(|_| self.at_uri(name)).transpose()
    }

    /// A required AT-URI or record key.
    pub(super) fn at_uri_or_rkey(&self, name: &str) -> Checked<&str> {
        let value = self.required(name)?;
        if value.starts_with("at://") || Rkey::parse(value).is_ok() {
            Ok(value)
        } else {
            Err(ApiError::Invalid(format!("{name} must be a record key or an AT-URI (at://…)")))
        }
    }

    /// A required CID.
    pub(super) fn cid(&self, name: &str) -> Checked<Cid> {
        Cid::parse(self.required(name)?).ok_or_else(|| ApiError::Invalid(format!("{name} must be a CID")))
    }

    /// The cursor of `list` with the arguments `about` (H40). An empty cursor is invalid: if it
    /// meant "from the beginning", a client's mistake would become an endless loop.
    pub(super) fn cursor<P: DeserializeOwned>(&self, list: &'static str, about: &str) -> Checked<Option<P>> {
        self.get("cursor").map(|text| cursor::read(list, about, text)).transpose()
    }

    /// An integer, clamped to its range (H05).
    pub(super) fn limit(&self, name: &str, default: i64, max: i64) -> Checked<i64> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let digits = value.strip_prefix('-').unwrap_or(value);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ApiError::Invalid(format!("{name} must be a whole number")));
        }
        // A number too long for an i64 counts as out of range on its side.
        let number = value.parse().unwrap_or(if value.starts_with('-') { i64::MIN } else { i64::MAX });
        Ok(number.clamp(1, max))
    }

    /// A time (H06), as text and as parsed; a blank in place of `+` is read as `+`.
    pub(super) fn time(&self, name: &str) -> Checked<Option<(String, Micros)>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let written = value.replace(' ', "+");
        match Micros::parse(&written) {
            Some(instant) => Ok(Some((written, instant))),
            None => Err(ApiError::Invalid(format!("{name} must be an RFC 3339 time"))),
        }
    }
}

/// Refuses a reason that is too long.
pub(super) fn checked_reason(reason: Option<String>) -> Checked<Option<String>> {
    if reason.as_ref().is_some_and(|text| text.chars().count() > REASON_MAX) {
        return Err(ApiError::Invalid(format!("reason must have at most {REASON_MAX} characters")));
    }
    Ok(reason)
}

fn parse_did(name: &str, value: &str) -> Checked<Did> {
    Did::parse(value).map_err(|_| ApiError::Invalid(format!("{name} must be a DID (did:…)")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&url::Url::parse(&format!("http://x/?{text}")).unwrap())
    }

    fn sentence<T: std::fmt::Debug>(result: Checked<T>) -> String {
        match result {
            Err(ApiError::Invalid(sentence)) => sentence,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn h05_limits_are_clamped() {
        for (text, expected) in [
            ("", 50),
            ("limit=7", 7),
            ("limit=0", 1),
            ("limit=-3", 1),
            ("limit=101", 100),
            ("limit=99999999999999999999999", 100),
            ("limit=-99999999999999999999999", 1),
            ("limit=3&limit=4", 3),
        ] {
            assert_eq!(query(text).limit("limit", 50, 100).unwrap(), expected, "{text}");
        }
        for text in ["limit=", "limit=a", "limit=1.5", "limit=+1", "limit=0x1", "limit=-"] {
            assert_eq!(
                sentence(query(text).limit("limit", 50, 100)),
                "limit must be a whole number",
                "{text}"
            );
        }
    }

    #[test]
    fn h06_a_blank_is_a_plus() {
        let time = query("before=2026-03-01T14:00:00+02:00").time("before").unwrap();
        let (written, instant) = time.unwrap();
        assert_eq!(instant.shown(), "2026-03-01T12:00:00.000Z");
        assert_eq!(written, "2026-03-01T14:00:00+02:00", "R01: it may be a created_at");
        assert_eq!(sentence(query("before=").time("before")), "before must be an RFC 3339 time");
    }

    #[test]
    fn h04_what_is_wrong_is_named() {
        for (got, expected) in [
            (sentence(query("").did("did")), "did is required"),
            (sentence(query("did=").did("did")), "did is required"),
            (sentence(query("did=alice").did("did")), "did must be a DID (did:…)"),
            (sentence(query("id=").did_or_handle("id")), "id is required"),
            (sentence(query("id=alice").did_or_handle("id")), "id must be a DID (did:…) or a handle"),
            (sentence(query("id=did:plc:").did_or_handle("id")), "id must be a DID (did:…) or a handle"),
            (sentence(query("rkey=a/b").rkey("rkey")), "rkey must be a record key"),
            (sentence(query("community=c").at_uri("community")), "community must be an AT-URI (at://…)"),
            (
                sentence(query("channel=a%20b").at_uri_or_rkey("channel")),
                "channel must be a record key or an AT-URI (at://…)",
            ),
        ] {
            assert_eq!(got, expected);
        }
        assert!(query("all=false").flag("all"), "H07: whatever its value");
        assert!(
            query("did=").optional_did("did").unwrap().is_none(),
            "an empty optional parameter is missing"
        );
    }
}
