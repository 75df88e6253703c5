//! Answers of strangers' hosts never panic (invariant 4): DID documents, keys, handles, DNS,
//! profiles, pages of a relay, and the headers of their requests. Seed and number of cases as in
//! `fuzz`.

use colibri_edge::domain::hosts::{Reach, document_of, file_of, may_ask};
use colibri_edge::domain::identity::Identity;
use colibri_edge::wire::cid::Cid;
use colibri_edge::wire::did_document::DidDocument;
use colibri_edge::wire::handle::{Handle, did_in_file, dids_in_dns};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::multikey::Multikey;
use colibri_edge::wire::profile::LookedUp;
use colibri_edge::wire::rate_limit::Headers;
use colibri_edge::wire::relay::listed;
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::{etag, media, range};

use super::fuzz::{Dice, broken, from_environment};

const ANSWERS: [&str; 8] = [
    r##"{"@context":["https://www.w3.org/ns/did/v1"],"id":"did:plc:alice","alsoKnownAs":["at://alice.test","https://x"],"verificationMethod":[{"id":"did:plc:alice#atproto","type":"Multikey","controller":"did:plc:alice","publicKeyMultibase":"zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc"}],"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.example.com"}]}"##,
    r##"{"id":"did:plc:alice","verificationMethod":[{"id":"#atproto","type":"EcdsaSecp256k1VerificationKey2019","publicKeyMultibase":"zQYEBzXeuTM9UR3rfvNag6L3RNAs5pQZyYPsomTsgQhsxLdEgCrPTLgFna8yqCnxPpNT7DBk6Ym3dgPKNu86vt9GR"}],"service":[{"id":"did:plc:alice#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://user:pw@127.0.0.1:8080/x?y#z"}]}"##,
    r#"{"Status":0,"Answer":[{"name":"_atproto.alice.test","type":16,"TTL":300,"data":"\"did=did:plc:alice\""},{"type":16,"data":"\"did=\" \"did:web:x\""}]}"#,
    r#"{"did":"did:plc:alice","handle":"alice.test","displayName":"A","description":"d","avatar":"https://cdn.test/img/avatar/plain/did:plc:alice/bafkreiavatar@jpeg"}"#,
    r#"{"repos":[{"did":"did:plc:alice"},{"did":"did:web:x.test","more":1},{"did":"did:key:z"},7],"cursor":"c:1"}"#,
    r#""did:plc:alice" "did:web:localhost%3A2583" "alice.example.com" "zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo" "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku""#,
    r#""bytes=0-499" "W/\"x\", *" "image/svg+xml; q=1" "120" "Fri, 31 Dec 1999 23:59:59 GMT" "0" "1767225700""#,
    r#""https://pds.example.com" "http://127.0.0.1:2583" "https://[::ffff:127.0.0.1]" "https://xn--bcher-kva.example:8443/a/../b" "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR""#,
];

fn read_everything(input: &str, did: &Did) -> bool {
    let document = DidDocument::parse(input, did);
    let understood = document.is_some();
    if let Some(document) = document {
        let identity = Identity::of(did, document, &Reach::default(), Micros(0));
        assert!(identity.pds.as_ref().is_none_or(|pds| may_ask(pds, &Reach::default())), "{identity:?}");
        assert!(identity.proven_handle().is_none(), "nothing is proven by a document");
        let text = serde_json::to_string(&identity).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), identity, "it comes back as it was");
    }
    let _ = (dids_in_dns(input), did_in_file(input), LookedUp::parse(input, did));
    if let Some(page) = listed(input) {
        assert!(page.dids.len() + page.dropped as usize <= input.len() / 2, "{page:?}");
    }
    for part in input.split('"').take(40) {
        if let Some(handle) = Handle::parse(part) {
            assert!(file_of(&handle, &Reach::default()).is_none_or(|url| may_ask(&url, &Reach::default())));
        }
        if let Ok(did) = Did::parse(part) {
            let web = did.as_str().starts_with("did:web:");
            let url = document_of(&did, "https://plc.test", &Reach::default());
            assert!(url.is_none_or(|url| !web || may_ask(&url, &Reach::default())), "{did}");
        }
        for kind in ["Multikey", "EcdsaSecp256k1VerificationKey2019", "EcdsaSecp256r1VerificationKey2019"] {
            if let Some(key) = Multikey::of_method(kind, part) {
                assert!(Multikey::parse(key.as_str()).is_some(), "{part}: whatever is read is a Multikey");
            }
        }
        let cid = Cid::parse(part).and_then(|cid| cid.sha256());
        let headers = Headers { retry_after: Some(part), remaining: Some("0"), reset: Some(part) };
        let _ = (cid, headers.rest_until(Micros(0)), etag::names(part, "\"x\""), media::may_show(part));
        let _ = range::single(part).map(|range| (range.within(0), range.within(500), range.within(u64::MAX)));
        if let Ok(url) = url::Url::parse(part) {
            let _ = may_ask(
                &url,
                &Reach { insecure: vec!["127.0.0.1:2583".into()], own: vec!["a.test:443".into()] },
            );
        }
    }
    understood
}

#[test]
fn no_answer_of_a_stranger_panics() {
    let (cases, seed) = from_environment(20_000);
    let mut dice = Dice(seed);
    let did = Did::parse("did:plc:alice").unwrap();
    let mut understood = 0;
    for case in 0..cases {
        let input = broken(&mut dice, &ANSWERS);
        match std::panic::catch_unwind(|| read_everything(&input, &did)) {
            Ok(read) => understood += usize::from(read),
            Err(_) => panic!("case {case} of seed {seed} panicked: {input:?}"),
        }
    }
    assert!(understood * 100 > cases, "{understood} of {cases} inputs were documents");
    assert!(understood < cases, "nothing was broken");
}
