//! DID documents, as far as the service reads them.

use serde::Deserialize;
use url::Url;

use super::handle::Handle;
use super::ids::Did;
use super::json::{entries, object};
use super::multikey::Multikey;
use super::xrpc::endpoint;

/// A DID document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DidDocument {
    /// The handle it claims: the first entry of `alsoKnownAs` that is `at://` and a handle. This
    /// proves nothing (O10).
    pub handle: Option<Handle>,
    /// The key that signs the repository.
    pub signing_key: Option<Multikey>,
    /// The origin of the account's PDS, if the document names one. Anybody can write any address
    /// here; R21.6 decides whether the service may contact it.
    pub pds: Option<Url>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    id: String,
    #[serde(default, deserialize_with = "entries")]
    also_known_as: Vec<serde_json::Value>,
    #[serde(default, deserialize_with = "entries")]
    verification_method: Vec<serde_json::Value>,
    #[serde(default, deserialize_with = "entries")]
    service: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Method {
    id: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    public_key_multibase: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    id: String,
    r#type: String,
    service_endpoint: String,
}

impl DidDocument {
    /// Reads the document of `did`. `None` if it is not a document of that DID.
    pub fn parse(text: &str, did: &Did) -> Option<Self> {
        let document: Document = object(text)?;
        if document.id != did.as_str() {
            return None;
        }
        // Entries of other kinds may have other shapes, and are skipped.
        let named = |id: &str, name: &str| id == name || id.strip_prefix(did.as_str()) == Some(name);
        let pds = document.service.into_iter().find_map(|value| {
            let service: Service = serde_json::from_value(value).ok()?;
            (named(&service.id, "#atproto_pds") && service.r#type == "AtprotoPersonalDataServer")
                .then_some(service.service_endpoint)
        });
        // The first entry of that name counts, readable or not. Otherwise what this service can
        // parse would choose the key of a document that names two.
        let method = document.verification_method.into_iter().find_map(|value| {
            let method: Method = serde_json::from_value(value).ok()?;
            named(&method.id, "#atproto").then_some(method)
        });
        let mut names = document.also_known_as.iter().filter_map(serde_json::Value::as_str);
        Some(Self {
            handle: names.find_map(|name| Handle::parse(name.strip_prefix("at://")?)),
            signing_key: method
                .and_then(|method| Multikey::of_method(&method.r#type, &method.public_key_multibase)),
            pds: pds.and_then(|address| endpoint(&address)),
        })
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
            (with("{}"), Some(None), "services that are no list"),
            (with("null"), Some(None), "nor these"),
            (with(&format!("{own:?}")), Some(None), "nor these"),
            (with(&own), Some(None), "one that is in no list"),
            (
                format!(
                    r#"{{"id":"did:plc:a","alsoKnownAs":null,"verificationMethod":"x","service":[{own}]}}"#
                ),
                Some(Some("https://pds.test/".to_owned())),
                "another field that is no list costs that field",
            ),
            (
                with(&format!("[{}]", service("#atproto_pds", kind, r#""https://pds.test/api/blob?x=1#y""#))),
                Some(Some("https://pds.test/".to_owned())),
                "an endpoint is an origin",
            ),
            (
                with(&format!("[{}]", service("#atproto_pds", kind, r#""https://u:p@pds.test""#))),
                Some(None),
                "a name in it",
            ),
            ("<html>".to_owned(), None, "no JSON"),
            ("[]".to_owned(), None, "an array"),
            (String::new(), None, "empty"),
        ] {
            assert_eq!(pds(&text), expected, "{why}: {text}");
        }
    }

    #[test]
    fn reads_the_claimed_handle() {
        let did = Did::parse("did:plc:a").unwrap();
        for (names, expected, why) in [
            (r#"["at://a.test"]"#, Some("a.test"), "the usual form"),
            (r#"["at://A.Test"]"#, Some("a.test"), "a name has no case"),
            (
                r#"["https://x.test", 7, "at://a.test", "at://b.test"]"#,
                Some("a.test"),
                "the first of its kind",
            ),
            (r#"["at://a.test/x", "at://b.test"]"#, Some("b.test"), "the first is none"),
            (
                r#"["at://did:plc:b", "at://", "at://c_c.test", null, {}, "at://b.test"]"#,
                Some("b.test"),
                "nor are these",
            ),
            (r#"["at://handle.invalid", "at://b.test"]"#, Some("handle.invalid"), "one that leads nowhere"),
            ("null", None, "no list"),
            (r#""at://a.test""#, None, "no list"),
            (r#"{"0":"at://a.test"}"#, None, "no list"),
            (r#"["at://did:plc:a"]"#, None, "no handle"),
            (r#"["a.test"]"#, None, "no at://"),
            ("[]", None, "none"),
        ] {
            let text = format!(r#"{{"id":"did:plc:a","alsoKnownAs":{names}}}"#);
            let handle = DidDocument::parse(&text, &did).unwrap().handle;
            assert_eq!(handle.as_ref().map(Handle::as_str), expected, "{names}: {why}");
        }
    }

    #[test]
    fn reads_the_signing_key() {
        let did = Did::parse("did:plc:a").unwrap();
        let key = "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc";
        let method = |id: &str, kind: &str, key: &str| {
            format!(
                r#"{{"id":"{id}","type":"{kind}","controller":"did:plc:a","publicKeyMultibase":"{key}"}}"#
            )
        };
        let own = method("did:plc:a#atproto", "Multikey", key);
        for (methods, expected, why) in [
            (own.clone(), Some(key), "the usual form"),
            (method("#atproto", "Multikey", key), Some(key), "the short name"),
            (
                format!(r##"{{"id":7}},7,{}, {own}"##, method("#other", "Multikey", "z")),
                Some(key),
                "among others",
            ),
            (
                format!(r##"{{"id":"#atproto","publicKeyJwk":{{}}}},{own}"##),
                None,
                "the first counts, without a key",
            ),
            (method("did:plc:b#atproto", "Multikey", key), None, "of somebody else"),
            (method("#atproto", "JsonWebKey2020", key), None, "another kind"),
            (format!("{},{own}", method("#atproto", "Multikey", "zzz")), None, "the first counts"),
            (String::new(), None, "none"),
        ] {
            let text = format!(r#"{{"id":"did:plc:a","verificationMethod":[{methods}]}}"#);
            let found = DidDocument::parse(&text, &did).unwrap().signing_key;
            assert_eq!(found.as_ref().map(Multikey::as_str), expected, "{why}: {text}");
        }
    }
}
