//! DID documents, as far as the service reads them.

use serde::Deserialize;
use url::Url;

use super::ids::Did;
use super::json::object;

/// A DID document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DidDocument {
    /// Where the account's repository and blobs are, if the document says so. Anybody can write
    /// anything here: whether it may be asked is a rule's (R21.6).
    pub pds: Option<Url>,
}

#[derive(Deserialize)]
struct Document {
    id: String,
    #[serde(default)]
    service: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    id: String,
    r#type: String,
    service_endpoint: String,
}

impl DidDocument {
    /// Reads the document of `did`. `None`: this is none of that DID.
    pub fn parse(text: &str, did: &Did) -> Option<Self> {
        let document: Document = object(text)?;
        if document.id != did.as_str() {
            return None;
        }
        // Services of other kinds may have other shapes, and are passed over.
        let pds = document.service.into_iter().find_map(|value| {
            let service: Service = serde_json::from_value(value).ok()?;
            let named = service.id == "#atproto_pds" || service.id == format!("{did}#atproto_pds");
            (named && service.r#type == "AtprotoPersonalDataServer").then_some(service.service_endpoint)
        });
        Some(Self { pds: pds.and_then(|address| Url::parse(&address).ok()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pds(text: &str) -> Option<Option<String>> {
        let did = Did::parse("did:plc:a").unwrap();
        DidDocument::parse(text, &did).map(|document| document.pds.map(String::from))
    }

    #[test]
    fn reads_where_the_repository_is() {
        let with = |service: &str| {
            format!(r#"{{"id":"did:plc:a","alsoKnownAs":["at://a.test"],"service":{service}}}"#)
        };
        let here = Some(Some("https://pds.test/".to_owned()));
        let service = |id: &str, kind: &str, endpoint: &str| {
            format!(r#"{{"id":"{id}","type":"{kind}","serviceEndpoint":{endpoint}}}"#)
        };
        let kind = "AtprotoPersonalDataServer";
        let own = service("#atproto_pds", kind, r#""https://pds.test""#);
        for (text, expected, why) in [
            (with(&format!("[{own}]")), here.clone(), "the usual form"),
            (
                with(&format!("[{}]", service("did:plc:a#atproto_pds", kind, r#""https://pds.test""#))),
                here.clone(),
                "the full name",
            ),
            (
                with(&format!(
                    r#"[{{"id":"x"}},7,{}, {own}]"#,
                    service("#other", "X", r#"["https://x.test"]"#)
                )),
                here,
                "among others",
            ),
            (
                with(&format!("[{}]", service("#atproto_pds", "Other", r#""https://pds.test""#))),
                Some(None),
                "another kind",
            ),
            (
                with(&format!("[{}]", service("#atproto_pds", kind, r#""nonsense""#))),
                Some(None),
                "no address",
            ),
            (with("[]"), Some(None), "none"),
            (r#"{"id":"did:plc:a"}"#.to_owned(), Some(None), "no list at all"),
            (format!(r#"{{"id":"did:plc:b","service":[{own}]}}"#), None, "of somebody else"),
            (with("{}"), None, "services that are no list"),
            ("<html>".to_owned(), None, "no JSON"),
            ("[]".to_owned(), None, "an array"),
            (String::new(), None, "empty"),
        ] {
            assert_eq!(pds(&text), expected, "{why}: {text}");
        }
    }
}
