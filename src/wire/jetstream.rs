//! Frames of a Jetstream v1 `/subscribe` stream (platform facts 6.2).
//!
//! [`parse`] turns the text of one frame into a [`Frame`] or a counted [`ParseError`]; the stream
//! continues in both cases. `records` reads the record inside, because the fields depend on the
//! collection. Every text of the envelope has a syntax, and therefore a limit (J20).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::handle::Handle;
use super::ids::{AtUri, Collection, Did, Rkey};
use super::json;
use super::records::{CID_MAX, Invalid, Record};
use super::tid;
use super::time::Micros;

/// The longest frame that is read, in bytes. The network allows records of 1 MiB, so a longer frame
/// carries no valid record.
pub const FRAME_MAX: usize = 2 * 1024 * 1024;
/// The longest account status, in bytes. Those on the network have at most 20.
const STATUS_MAX: usize = 64;

/// One event of one repository.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The repository.
    pub did: Did,
    /// The position in the stream: strictly increasing within a repository, and the cursor.
    pub time: Micros,
    /// What happened.
    pub what: What,
}

/// What a frame reports.
#[derive(Clone, Debug)]
pub enum What {
    /// A record of a collection we index was written or deleted.
    Commit(Box<Commit>),
    /// The identity of the repository changed, or may have changed (I50).
    Identity {
        /// The handle that it now claims; this proves nothing.
        handle: Option<String>,
    },
    /// The account of the repository was activated or deactivated (I51–I53).
    Account {
        /// Whether the account is active.
        active: bool,
        /// Why it is not: `deleted`, `deactivated`, `takendown`, `suspended` or another word.
        status: Option<String>,
    },
    /// An event that the service ignores but that moves the cursor: another collection, or a kind
    /// that is newer than this build.
    Passing,
    /// An event with a known position in the stream whose contents are invalid. The service counts
    /// it and moves the cursor.
    Refused(ParseError),
}

impl Frame {
    /// Judges the frame at the time `now`: a revision too far ahead of the clock is refused,
    /// because every later version in that repository would look stale.
    #[must_use]
    pub fn at(self, now: Micros) -> Self {
        match &self.what {
            What::Commit(commit) if tid::is_ahead(&commit.rev, now) => {
                Self { what: What::Refused(ParseError::RevAhead), ..self }
            }
            _ => self,
        }
    }
}

/// A write to one record.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The record.
    pub uri: AtUri,
    /// Its collection.
    pub collection: Collection,
    /// Its key.
    pub rkey: Rkey,
    /// The revision of the repository: a TID; a newer one is greater as text.
    pub rev: String,
    /// The CID of the record that was written, if the frame has one.
    pub cid: Option<String>,
    /// The operation.
    pub write: Write,
}

/// What a commit did to its record.
#[derive(Clone, Debug)]
pub enum Write {
    /// The record is new or was replaced.
    Put {
        /// Whether the stream calls it a create; otherwise it is an update.
        is_create: bool,
        /// The record as it arrived.
        json: String,
        /// The parsed record.
        record: Result<Record, Invalid>,
    },
    /// The record was deleted.
    Delete,
}

/// Why a frame could not be read. The cursor moves on, because a later build could not read it
/// either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ParseError {
    /// Over [`FRAME_MAX`] bytes.
    TooLarge,
    /// Not JSON, or a field of the envelope is missing or has a wrong type.
    Malformed,
    /// The DID, time, revision, record key, CID, handle or status has invalid syntax.
    BadIdentifier,
    /// The revision is more than an hour ahead of the clock.
    RevAhead,
}

impl ParseError {
    /// The word under which refusals are counted.
    pub fn reason(self) -> &'static str {
        match self {
            ParseError::TooLarge => "frame_too_large",
            ParseError::Malformed => "frame_malformed",
            ParseError::BadIdentifier => "frame_bad_identifier",
            ParseError::RevAhead => "frame_rev_ahead",
        }
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    did: Cow<'a, str>,
    time_us: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    commit: Option<CommitFields<'a>>,
    #[serde(default)]
    identity: Option<IdentityFields>,
    #[serde(default)]
    account: Option<AccountFields>,
}

#[derive(Deserialize)]
struct IdentityFields {
    handle: Option<String>,
}

#[derive(Deserialize)]
struct AccountFields {
    active: bool,
    status: Option<String>,
}

#[derive(Deserialize)]
struct CommitFields<'a> {
    #[serde(borrow)]
    rev: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    collection: Cow<'a, str>,
    #[serde(borrow)]
    rkey: Cow<'a, str>,
    #[serde(borrow, default)]
    cid: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    record: Option<&'a RawValue>,
}

/// Greater numbers are not exact in JavaScript and in D1 (2^53). No clock reaches this.
const TIME_MAX: u64 = 1 << 53;

/// The position of a frame, even if the rest of it cannot be read.
pub fn time_of(text: &str) -> Option<Micros> {
    #[derive(Deserialize)]
    struct Position {
        time_us: u64,
    }
    if text.len() > FRAME_MAX {
        return None;
    }
    let position: Position = json::envelope(text)?;
    i64::try_from(position.time_us).ok().filter(|time| time.unsigned_abs() <= TIME_MAX).map(Micros)
}

/// Reads one frame. It returns an error only if the position of the frame is unknown; a frame with
/// a known position that cannot be read is [`What::Refused`].
pub fn parse(text: &str) -> Result<Frame, ParseError> {
    if text.len() > FRAME_MAX {
        return Err(ParseError::TooLarge);
    }
    // The record inside has its own depth limit (T23).
    let envelope: Envelope = json::envelope(text).ok_or(ParseError::Malformed)?;
    let did = Did::parse(&envelope.did).map_err(|_| ParseError::BadIdentifier)?;
    if envelope.time_us > TIME_MAX {
        return Err(ParseError::BadIdentifier);
    }
    let time = i64::try_from(envelope.time_us).map(Micros).map_err(|_| ParseError::BadIdentifier)?;
    let what = what(&did, envelope).unwrap_or_else(What::Refused);
    Ok(Frame { did, time, what })
}

fn what(did: &Did, envelope: Envelope) -> Result<What, ParseError> {
    match (envelope.kind.as_ref(), envelope.commit) {
        ("identity", _) => {
            let handle = envelope.identity.and_then(|fields| fields.handle);
            let is_one = handle.as_deref().is_none_or(|handle| Handle::parse(handle).is_some());
            if is_one { Ok(What::Identity { handle }) } else { Err(ParseError::BadIdentifier) }
        }
        ("account", _) => {
            let AccountFields { active, status } = envelope.account.ok_or(ParseError::Malformed)?;
            if status.as_ref().is_some_and(|status| status.len() > STATUS_MAX) {
                return Err(ParseError::BadIdentifier);
            }
            Ok(What::Account { active, status })
        }
        ("commit", Some(fields)) => {
            Ok(commit(did, &fields)?.map_or(What::Passing, |commit| What::Commit(Box::new(commit))))
        }
        ("commit", None) => Err(ParseError::Malformed),
        _ => Ok(What::Passing),
    }
}

fn commit(did: &Did, fields: &CommitFields) -> Result<Option<Commit>, ParseError> {
    let Some(collection) = Collection::from_nsid(&fields.collection) else { return Ok(None) };
    let rkey = Rkey::parse(&fields.rkey).map_err(|_| ParseError::BadIdentifier)?;
    if tid::time(&fields.rev).is_none() || !fields.cid.as_deref().is_none_or(is_cid) {
        return Err(ParseError::BadIdentifier);
    }
    let put = |is_create| {
        let json = fields.record.ok_or(ParseError::Malformed)?.get();
        let record = Record::parse(collection, did, json);
        // An invalid record is not kept: it may be too large.
        let json = if record.is_ok() { json.to_owned() } else { String::new() };
        Ok(Write::Put { is_create, json, record })
    };
    let write = match fields.operation.as_ref() {
        "create" => put(true)?,
        "update" => put(false)?,
        "delete" => Write::Delete,
        _ => return Err(ParseError::Malformed),
    };
    let uri = AtUri::of(did, collection, &rkey);
    let (rev, cid) = (fields.rev.clone().into_owned(), fields.cid.clone().map(Cow::into_owned));
    Ok(Some(Commit { uri, collection, rkey, rev, cid, write }))
}

/// Parameters that would make the stream unreadable or incomplete: the server would compress
/// frames, wait for a first message that the service does not send, or skip frames by size.
const UNUSABLE: [&str; 3] = ["compress", "requireHello", "maxMessageSizeBytes"];

fn is_unusable(name: &str, value: &str) -> bool {
    UNUSABLE.contains(&name) && !matches!(value, "false" | "0")
}

/// The parameters of the operator's URL that the service removes (J02).
pub fn left_out_of(base: &str) -> Vec<String> {
    let Ok(url) = url::Url::parse(base) else { return Vec::new() };
    url.query_pairs()
        .filter(|(name, value)| is_unusable(name, value))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// Whether a text may be a CID. The service does not use it, so it need not name anything.
pub fn is_cid(text: &str) -> bool {
    (1..=CID_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=".contains(&byte))
}

/// The URL to connect to (J02). It requests every collection of T04, whatever `base` contains.
/// Other parameters stay, each once, except for those that [`left_out_of`] names; `cursor` replaces
/// an existing one. `None` if `base` is not a URL.
pub fn subscribe_url(base: &str, cursor: Option<Micros>) -> Option<url::Url> {
    let mut url = url::Url::parse(base).ok()?;
    let mut pairs: Vec<(String, String)> =
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    pairs.retain(|(name, value)| !is_unusable(name, value));
    for collection in Collection::ALL {
        let pair = ("wantedCollections".to_owned(), collection.nsid().to_owned());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    if let Some(cursor) = cursor {
        pairs.retain(|(name, _)| name != "cursor");
        pairs.push(("cursor".to_owned(), cursor.0.to_string()));
    }
    let mut seen = std::collections::BTreeSet::new();
    pairs.retain(|pair| seen.insert(pair.clone()));
    url.query_pairs_mut().clear().extend_pairs(&pairs);
    Some(url)
}

/// The cursor in the operator's URL, from which a new service starts.
pub fn cursor_in(base: &str) -> Option<Micros> {
    let url = url::Url::parse(base).ok()?;
    let cursor = url.query_pairs().find_map(|(name, value)| (name == "cursor").then_some(value))?;
    cursor.parse().ok().filter(|cursor| *cursor >= 0).map(Micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, ParseError>, why: &str) {
        let got = parse(text).map(|frame| match frame.what {
            What::Commit(commit) => match commit.write {
                Write::Put { record: Err(_), .. } => "invalid record",
                Write::Put { is_create: true, .. } => "create",
                Write::Put { is_create: false, .. } => "update",
                Write::Delete => "delete",
            },
            What::Identity { .. } => "identity",
            What::Account { .. } => "account",
            What::Passing => "passing",
            What::Refused(ParseError::TooLarge) => "refused: too large",
            What::Refused(ParseError::Malformed) => "refused: malformed",
            What::Refused(ParseError::BadIdentifier) => "refused: identifier",
            What::Refused(ParseError::RevAhead) => "refused: ahead",
        });
        assert_eq!(got, expected, "{why}");
    }

    #[test]
    fn frames() {
        use ParseError::{BadIdentifier, Malformed};
        let message = |operation: &str, rest: &str| {
            format!(
                r#"{{"did":"did:plc:a","time_us":1725911162329308,"kind":"commit","commit":{{"rev":"3l3qo2vutsw2b","operation":"{operation}","collection":"social.colibri.message","rkey":"3k"{rest}}}}}"#
            )
        };
        let record = r#","record":{"text":"hi","channel":"c","createdAt":"2026-03-01T12:00:00Z"},"cid":"b""#;
        check(&message("create", record), Ok("create"), "a create");
        check(&message("update", record), Ok("update"), "an update");
        check(&message("delete", ""), Ok("delete"), "a delete carries no record");
        check(&message("create", r#","record":{"text":7}"#), Ok("invalid record"), "I03");
        check(&message("create", ""), Ok("refused: malformed"), "a create without a record");
        check(&message("purge", record), Ok("refused: malformed"), "an unknown operation");
        check(
            r#"{"did":"did:plc:a","time_us":1,"kind":"identity","identity":{"handle":"a.test"}}"#,
            Ok("identity"),
            "identity",
        );
        check(
            r#"{"did":"did:plc:a","time_us":1,"kind":"account","account":{"active":false,"status":"deactivated"}}"#,
            Ok("account"),
            "account",
        );
        check(
            r#"{"did":"did:plc:a","time_us":1,"kind":"account"}"#,
            Ok("refused: malformed"),
            "nothing about the account",
        );
        check(
            r#"{"did":"did:plc:a","time_us":1,"kind":"sync","cursor":9}"#,
            Ok("passing"),
            "a kind newer than this build",
        );
        check(
            r#"{"did":"did:plc:a","time_us":1,"kind":"commit","commit":{"rev":"1","operation":"create","collection":"app.bsky.feed.post","rkey":"x","record":{}}}"#,
            Ok("passing"),
            "a collection nobody asked for",
        );
        check(r#"{"did":"alice","time_us":1,"kind":"account"}"#, Err(BadIdentifier), "no DID");
        check(r#"{"did":"did:plc:a","time_us":-1,"kind":"account"}"#, Err(Malformed), "negative time");
        check(
            r#"{"did":"did:plc:a","time_us":9999999999999999,"kind":"x"}"#,
            Err(BadIdentifier),
            "a time past 2^53",
        );
        check(r#"{"did":"did:plc:a","time_us":1}"#, Err(Malformed), "no kind");
        check("[]", Err(Malformed), "not an object");
        check("\u{0}", Err(Malformed), "not JSON");
        check(&"[".repeat(100_000), Err(Malformed), "deep nesting");
    }

    /// J20: every text of the envelope, by its syntax, at its limit and beyond it. A refused frame
    /// keeps its position in the stream.
    #[test]
    fn j20_texts_of_the_envelope() {
        let commit = |rev: &str, rkey: &str, cid: &str| {
            format!(
                r#"{{"did":"did:plc:a","time_us":7,"kind":"commit","commit":{{"rev":{rev},"operation":"delete","collection":"social.colibri.message","rkey":{rkey},"cid":{cid}}}}}"#
            )
        };
        let quoted = |text: &str| format!("\"{text}\"");
        let (rev, rkey, cid) = (quoted("3l3qo2vutsw2b"), quoted("3k"), quoted("bafyreia"));
        let refused = Ok("refused: identifier");
        for (text, expected, why) in [
            (commit(&rev, &rkey, &cid), Ok("delete"), "as it should be"),
            (commit(&rev, &rkey, "null"), Ok("delete"), "a delete has no CID"),
            (commit(&quoted(""), &rkey, &cid), refused, "an empty revision"),
            (commit(&quoted("zz3l3qo2vutsw2b"), &rkey, &cid), refused, "a longer one"),
            (commit(&quoted("zzzzzzzzzzzzz"), &rkey, &cid), refused, "more than 64 bits"),
            (commit(&quoted(&"3".repeat(100_000)), &rkey, &cid), refused, "a revision without end"),
            (commit("7", &rkey, &cid), Err(ParseError::Malformed), "no text"),
            (commit(&rev, &quoted(&"k".repeat(512)), &cid), Ok("delete"), "the longest key"),
            (commit(&rev, &quoted(&"k".repeat(513)), &cid), refused, "one longer"),
            (commit(&rev, &quoted("a b"), &cid), refused, "no key"),
            (commit(&rev, &rkey, &quoted("")), refused, "an empty CID"),
            (commit(&rev, &rkey, &quoted(&"b".repeat(256))), Ok("delete"), "the longest CID"),
            (commit(&rev, &rkey, &quoted(&"b".repeat(257))), refused, "one longer"),
            (commit(&rev, &rkey, &quoted("../x")), refused, "no CID"),
        ] {
            check(&text, expected, why);
            let place = parse(&text).map(|frame| frame.time);
            assert!(expected.is_err() || place == Ok(Micros(7)), "{why}: its place counts");
        }
        let identity = |handle: &str| {
            format!(r#"{{"did":"did:plc:a","time_us":7,"kind":"identity","identity":{{"handle":{handle}}}}}"#)
        };
        let account = |status: &str| {
            format!(
                r#"{{"did":"did:plc:a","time_us":7,"kind":"account","account":{{"active":false,"status":{status}}}}}"#
            )
        };
        for (text, expected, why) in [
            (identity("null"), Ok("identity"), "it may be absent"),
            (identity(&quoted("handle.invalid")), Ok("identity"), "as the network says that there is none"),
            (identity(&quoted("a b")), refused, "no handle"),
            (identity(&quoted(&format!("{}.test", "a.".repeat(200)))), refused, "a long one"),
            (account("null"), Ok("account"), "no status"),
            (account(&quoted(&"s".repeat(64))), Ok("account"), "the longest status"),
            (account(&quoted(&"s".repeat(65))), refused, "one longer"),
        ] {
            check(&text, expected, why);
        }
        let now = Micros::parse("2024-09-09T20:00:00Z").unwrap();
        let reads = |rev: &str| parse(&commit(&quoted(rev), &rkey, &cid)).unwrap().at(now).what;
        assert!(matches!(reads("3l3qo2vutsw2b"), What::Commit(_)), "of its time");
        assert!(matches!(reads("3n2qp7zan4s2e"), What::Refused(ParseError::RevAhead)), "two years ahead");
    }

    #[test]
    fn j02_b26_the_url_asks_for_every_collection_once() {
        let query = |base: &str, cursor| {
            let url = subscribe_url(base, cursor).unwrap();
            url.query_pairs().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>()
        };
        let plain = query("wss://stream.example/subscribe", Some(Micros(5)));
        assert_eq!(plain.len(), Collection::ALL.len() + 1, "all collections and a cursor: {plain:?}");
        assert_eq!(plain.last().map(String::as_str), Some("cursor=5"));
        let given = query(
            "wss://stream.example/subscribe?wantedCollections=social.colibri.message&compress=false&cursor=1",
            Some(Micros(5)),
        );
        assert_eq!(given.iter().filter(|p| p.contains("colibri.message")).count(), 1, "none twice");
        assert!(given.contains(&"compress=false".to_owned()), "kept");
        assert_eq!(given.iter().filter(|p| p.starts_with("cursor=")).collect::<Vec<_>>(), ["cursor=5"]);
        assert!(subscribe_url("not a url", None).is_none());
        let unusable = "wss://stream.example/subscribe?compress=true&wantedDids=did:plc:a&requireHello=true&maxMessageSizeBytes=1000";
        let left = query(unusable, None);
        assert!(left.contains(&"wantedDids=did:plc:a".to_owned()), "kept");
        assert_eq!(
            left.len(),
            Collection::ALL.len() + 1,
            "what would make the stream unreadable is not: {left:?}"
        );
        assert_eq!(left_out_of(unusable), ["compress=true", "requireHello=true", "maxMessageSizeBytes=1000"]);
        assert!(left_out_of("wss://stream.example/subscribe?compress=false").is_empty());
    }

    #[test]
    fn the_position_of_a_frame_that_cannot_be_read() {
        for (text, expected, why) in [
            (r#"{"did":"alice","time_us":7,"kind":"account"}"#, Some(Micros(7)), "no DID"),
            (r#"{"time_us":7}"#, Some(Micros(7)), "nothing else"),
            (r#"{"type":"info"}"#, None, "no position"),
            (r#"{"time_us":-7}"#, None, "negative"),
            (r#"{"time_us":"7"}"#, None, "a text"),
            (r#"{"time_us":9999999999999999}"#, None, "past 2^53"),
            ("nonsense", None, "no JSON"),
        ] {
            assert_eq!(time_of(text), expected, "{why}");
        }
    }

    #[test]
    fn a_cursor_in_the_url() {
        for (base, expected, why) in [
            ("wss://stream.example/subscribe?cursor=1&compress=false", Some(Micros(1)), "named"),
            ("wss://stream.example/subscribe", None, "not named"),
            ("wss://stream.example/subscribe?cursor=", None, "empty"),
            ("wss://stream.example/subscribe?cursor=-1", None, "negative"),
            ("wss://stream.example/subscribe?cursor=99999999999999999999", None, "too large"),
            ("not a url", None, "no URL"),
        ] {
            assert_eq!(cursor_in(base), expected, "{why}");
        }
    }
}
