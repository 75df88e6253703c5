//! The answers of a PDS about a repository: its newest commit, pages of its records, its refusals.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ids::{AtUri, Collection, Did, Rkey};
use super::json::{envelope, object};

/// Why a host does not show a repository, by the name of its error. `None` for an error that says
/// nothing about the account.
pub fn absence(error: &str) -> Option<&'static str> {
    match error {
        "RepoDeactivated" => Some("deactivated"),
        "RepoTakendown" => Some("takendown"),
        "RepoSuspended" => Some("suspended"),
        "RepoNotFound" => Some("not_found"),
        _ => None,
    }
}

/// The name of the error in an unsuccessful answer.
pub fn error_name(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    object::<Refusal>(text).map(|refusal| refusal.error)
}

/// The revision in an answer to `com.atproto.sync.getLatestCommit`.
pub fn latest_rev(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Latest {
        rev: String,
    }
    object::<Latest>(text).map(|latest| latest.rev).filter(|rev| !rev.is_empty() && rev.len() <= 64)
}

/// A page of `com.atproto.repo.listRecords`.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// Key, CID and JSON of each record.
    pub records: Vec<(Rkey, String, String)>,
    /// The cursor of the next page; absent on the last one.
    pub cursor: Option<String>,
}

/// Reads a page of `collection` in the repository of `did`. `None` if it is invalid. A record with
/// a wrong address (one with a handle included) invalidates the whole page: the reader would
/// otherwise take it for deleted.
pub fn page(text: &str, did: &Did, collection: Collection) -> Option<Page> {
    #[derive(Deserialize)]
    struct Listed<'a> {
        uri: String,
        cid: String,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        records: Vec<Listed<'a>>,
        cursor: Option<String>,
    }
    let fields: Fields = envelope(text)?;
    let records = fields.records.iter().map(|listed| {
        let uri = AtUri::parse(&listed.uri).ok()?;
        let belongs = uri.authority() == *did && uri.is(collection);
        belongs.then(|| (uri.rkey(), listed.cid.clone(), listed.value.get().to_owned()))
    });
    Some(Page { records: records.collect::<Option<Vec<_>>>()?, cursor: fields.cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let did = Did::parse("did:plc:a").unwrap();
        let listed = |uri: &str| format!(r#"{{"uri":"{uri}","cid":"b","value":{{"x":1}}}}"#);
        let own = listed("at://did:plc:a/social.colibri.message/1");
        for (text, expected, why) in [
            (format!(r#"{{"records":[{own}],"cursor":"1"}}"#), Some((1, true)), "a page"),
            (format!(r#"{{"records":[{own},{own}]}}"#), Some((2, false)), "the last page"),
            (r#"{"records":[]}"#.into(), Some((0, false)), "an empty one"),
            (
                format!(r#"{{"records":[{}]}}"#, listed("at://did:plc:b/social.colibri.message/1")),
                None,
                "of somebody else",
            ),
            (
                format!(r#"{{"records":[{}]}}"#, listed("at://did:plc:a/social.colibri.channel/1")),
                None,
                "of another collection",
            ),
            (
                format!(r#"{{"records":[{own},{}]}}"#, listed("at://a.test/social.colibri.message/2")),
                None,
                "named by a handle",
            ),
            (format!(r#"{{"records":[{own}],"cursor":null}}"#), Some((1, false)), "the last, and says so"),
            (format!(r#"{{"records":[{own}],"cursor":""}}"#), Some((1, true)), "an empty cursor is one"),
            (format!(r#"{{"records":[{}]}}"#, listed("at://nobody")), None, "no record"),
            (r#"{"records":[{"uri":"x"}]}"#.into(), None, "without its value"),
            (r#"{"cursor":"1"}"#.into(), None, "no list"),
            ("[]".into(), None, "no object"),
            ("<html>".into(), None, "no JSON"),
        ] {
            let got = page(&text, &did, Collection::Message);
            assert_eq!(got.map(|page| (page.records.len(), page.cursor.is_some())), expected, "{why}");
        }
    }

    #[test]
    fn refusals_and_revisions() {
        assert_eq!(error_name(r#"{"error":"RepoNotFound","message":"m"}"#).as_deref(), Some("RepoNotFound"));
        assert_eq!(error_name("<html>"), None);
        assert_eq!(absence("RepoDeactivated"), Some("deactivated"));
        assert_eq!(absence("InvalidRequest"), None);
        assert_eq!(latest_rev(r#"{"cid":"b","rev":"3k"}"#).as_deref(), Some("3k"));
        for bad in ["{}", r#"{"rev":7}"#, r#"{"rev":""}"#, "[]", "x"] {
            assert_eq!(latest_rev(bad), None, "{bad}");
        }
    }
}
