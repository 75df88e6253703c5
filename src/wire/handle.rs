//! Handles: the DNS names of accounts, and how they are proven (specification "Handle" of the AT
//! Protocol).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::Did;
use super::json::{entries, object};

/// A handle, in lower case. The type does not say whether the handle belongs to anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Handle(String);

/// The longest DNS name, and the longest label of one (RFC 1035, 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The type of a TXT record (RFC 1035, 3.3.14).
const TXT: u16 = 16;

impl Handle {
    /// Reads a handle.
    pub fn parse(text: &str) -> Option<Self> {
        let label_ok = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let (_, top) = text.rsplit_once('.')?;
        let ok = text.len() <= NAME_MAX
            && text.split('.').all(label_ok)
            && top.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
        ok.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a handle"))
    }
}

/// Reads the DIDs from a JSON answer about the TXT records of `_atproto.<handle>` (DNS over HTTPS
/// in the format of Cloudflare and Google). `None` if the text is not a complete answer, which is a
/// failure of that server. A name that does not exist gives no DIDs. An unreadable record is
/// skipped, because it cannot be one of the AT Protocol.
pub fn dids_in_dns(text: &str) -> Option<Vec<Did>> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Status")]
        status: u16,
        #[serde(rename = "TC", default)]
        is_cut: bool,
        #[serde(rename = "Answer", default, deserialize_with = "entries")]
        records: Vec<serde_json::Value>,
    }
    #[derive(Deserialize)]
    struct Record {
        r#type: u16,
        data: String,
    }
    /// Codes of RFC 1035, 4.1.1: no error, and a name that does not exist.
    const ANSWERED: [u16; 2] = [0, 3];
    let answer: Answer = object(text)?;
    if answer.is_cut || !ANSWERED.contains(&answer.status) {
        return None;
    }
    let records = answer.records.into_iter().filter_map(|record| serde_json::from_value(record).ok());
    let of_txt = records.filter(|record: &Record| record.r#type == TXT);
    let mut dids: Vec<Did> = of_txt
        .filter_map(|record| Did::parse(txt_value(&record.data).trim().strip_prefix("did=")?.trim()).ok())
        .collect();
    dids.sort();
    dids.dedup();
    Some(dids)
}

/// The text of a TXT record: either bare, or one or several quoted strings to concatenate.
fn txt_value(data: &str) -> String {
    if !data.starts_with('"') {
        return data.to_owned();
    }
    data.split('"').skip(1).step_by(2).collect()
}

/// The DID in the answer of `https://<handle>/.well-known/atproto-did`.
pub fn did_in_file(text: &str) -> Option<Did> {
    Did::parse(text.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_handle() {
        let long = format!("{}.test", "a.".repeat(124) + "a");
        for (text, expected, why) in [
            ("alice.example.com", Some("alice.example.com"), "the usual form"),
            ("Alice.Example.COM", Some("alice.example.com"), "a name has no case"),
            ("8.cn", Some("8.cn"), "a digit as a label"),
            ("xn--ls8h.test", Some("xn--ls8h.test"), "another script"),
            ("a-b.c", Some("a-b.c"), "a hyphen inside"),
            ("alice", None, "one label"),
            ("alice.", None, "the root written out"),
            (".alice.test", None, "an empty label"),
            ("a..test", None, "an empty label"),
            ("-a.test", None, "a hyphen in front"),
            ("a-.test", None, "a hyphen behind"),
            ("a_b.test", None, "another character"),
            ("127.0.0.1", None, "the top label begins with a digit"),
            ("a.b:8080", None, "a port"),
            ("a.b/c", None, "a path"),
            ("user@a.b", None, "a name in it"),
            ("bücher.test", None, "not ASCII"),
            ("", None, "empty"),
            (long.as_str(), None, "254 characters"),
            (&format!("{}.test", "a".repeat(64)), None, "a long label"),
        ] {
            assert_eq!(Handle::parse(text).as_ref().map(Handle::as_str), expected, "{text}: {why}");
        }
    }

    #[test]
    fn o10_what_dns_says() {
        let answer = |records: &str| format!(r#"{{"Status":0,"Answer":[{records}]}}"#);
        let txt = |data: &str| format!(r#"{{"name":"_atproto.a.test","type":16,"TTL":60,"data":{data}}}"#);
        for (text, expected, why) in [
            (answer(&txt(r#""\"did=did:plc:a\"""#)), Some(vec!["did:plc:a"]), "in quotes"),
            (answer(&txt(r#""did=did:plc:a""#)), Some(vec!["did:plc:a"]), "bare"),
            (answer(&txt(r#""\"did=did:\" \"plc:a\"""#)), Some(vec!["did:plc:a"]), "in two strings"),
            (
                answer(&format!(
                    r#"{},{},{{"type":5,"data":"did=did:plc:c"}}"#,
                    txt(r#""v=spf1 -all""#),
                    txt(r#""did=did:plc:a""#)
                )),
                Some(vec!["did:plc:a"]),
                "among others",
            ),
            (
                answer(&format!("{},{}", txt(r#""did=did:plc:b""#), txt(r#""did=did:plc:a""#))),
                Some(vec!["did:plc:a", "did:plc:b"]),
                "two of them",
            ),
            (
                answer(&format!("{},{}", txt(r#""did=did:plc:a""#), txt(r#""did=did:plc:a""#))),
                Some(vec!["did:plc:a"]),
                "the same twice",
            ),
            (answer(&txt(r#""did=nonsense""#)), Some(vec![]), "no DID"),
            (answer(""), Some(vec![]), "no records"),
            (r#"{"Status":0}"#.into(), Some(vec![]), "no list"),
            (r#"{"Status":0,"Answer":null}"#.into(), Some(vec![]), "no list"),
            (r#"{"Status":0,"Answer":"x"}"#.into(), Some(vec![]), "no list"),
            (
                answer(&format!(r#"null,{{"type":"TXT"}},{}"#, txt(r#""did=did:plc:a""#))),
                Some(vec!["did:plc:a"]),
                "among records of other shapes",
            ),
            (
                format!(r#"{{"Status":0,"TC":true,"Answer":[{}]}}"#, txt(r#""did=did:plc:a""#)),
                None,
                "a part of the answer",
            ),
            (r#"{"Status":3}"#.into(), Some(vec![]), "no such name"),
            (r#"{"Status":2}"#.into(), None, "the server failed"),
            (r#"{"Answer":[]}"#.into(), None, "no status"),
            ("<html>".into(), None, "no JSON"),
            (String::new(), None, "empty"),
        ] {
            let got = dids_in_dns(&text);
            let got = got.as_ref().map(|dids| dids.iter().map(Did::as_str).collect::<Vec<_>>());
            assert_eq!(got, expected, "{why}: {text}");
        }
    }

    #[test]
    fn o10_what_the_file_says() {
        for (text, expected, why) in [
            ("did:plc:a", Some("did:plc:a"), "the DID"),
            ("did:plc:a\n", Some("did:plc:a"), "with a line end"),
            ("  did:plc:a \r\n", Some("did:plc:a"), "with blanks"),
            ("did:plc:a did:plc:b", None, "two of them"),
            ("<html>did:plc:a</html>", None, "a page"),
            ("", None, "empty"),
        ] {
            assert_eq!(did_in_file(text).as_ref().map(Did::as_str), expected, "{text:?}: {why}");
        }
    }
}
