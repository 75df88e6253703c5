//! A relay's list of repositories that have records of a collection.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::ids::Did;
use super::json::{envelope, object};

/// The most repositories on a page, whatever the request said: the lexicon's own limit.
const ENTRIES_MAX: usize = 2_000;
/// The longest cursor, which is stored and sent back. Relays use some dozen characters.
const CURSOR_MAX: usize = 1_024;

/// A page of `com.atproto.sync.listReposByCollection`.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// The accounts whose repositories are listed.
    pub dids: BTreeSet<Did>,
    /// Invalid entries.
    pub dropped: u32,
    /// The cursor of the next page; absent on the last one.
    pub cursor: Option<String>,
}

/// Reads a page. `None` if it is invalid or too long. An invalid entry does not invalidate the
/// page, because a relay passes on what others gave it.
pub fn listed(text: &str) -> Option<Listed> {
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        repos: Vec<&'a RawValue>,
        cursor: Option<String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        did: String,
    }
    let fields: Fields = envelope(text)?;
    if fields.repos.len() > ENTRIES_MAX || fields.cursor.as_ref().is_some_and(|text| text.len() > CURSOR_MAX)
    {
        return None;
    }
    let mut page = Listed { dids: BTreeSet::new(), dropped: 0, cursor: fields.cursor };
    for entry in fields.repos {
        match object::<Entry>(entry.get())
            .and_then(|entry| Did::parse(&entry.did).ok())
            .filter(leads_somewhere)
        {
            Some(did) => drop(page.dids.insert(did)),
            None => page.dropped += 1,
        }
    }
    Some(page)
}

/// Accounts are `did:plc` or `did:web` (specification "DID").
fn leads_somewhere(did: &Did) -> bool {
    ["did:plc:", "did:web:"].iter().any(|method| did.as_str().starts_with(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_repositories() {
        let many = |count: usize| {
            let entries: Vec<String> = (0..count).map(|n| format!(r#"{{"did":"did:plc:{n}"}}"#)).collect();
            format!(r#"{{"repos":[{}]}}"#, entries.join(","))
        };
        let with_cursor = |length: usize| format!(r#"{{"repos":[],"cursor":"{}"}}"#, "c".repeat(length));
        for (text, expected, why) in [
            (r#"{"repos":[{"did":"did:plc:a"}],"cursor":"c"}"#.into(), Some((1, 0, true)), "a page"),
            (
                r#"{"repos":[{"did":"did:plc:a","more":1}]}"#.into(),
                Some((1, 0, false)),
                "the last, of more words",
            ),
            (r#"{"repos":[],"cursor":null}"#.into(), Some((0, 0, false)), "an empty one"),
            (
                r#"{"repos":[{"did":"did:plc:a"},{"did":"did:plc:a"}]}"#.into(),
                Some((1, 0, false)),
                "one twice",
            ),
            (
                r#"{"repos":[{"did":"did:plc:a"},{"did":"alice"},{"did":7},{},null,"did:plc:b",["did:plc:c"],
                    {"did":"did:key:zabc"},{"did":"did:web:example.com"}]}"#
                    .into(),
                Some((2, 7, false)),
                "entries that name nobody",
            ),
            (many(ENTRIES_MAX), Some((ENTRIES_MAX, 0, false)), "as many as may be"),
            (many(ENTRIES_MAX + 1), None, "more"),
            (with_cursor(CURSOR_MAX), Some((0, 0, true)), "a long cursor"),
            (with_cursor(CURSOR_MAX + 1), None, "a longer one"),
            (r#"{"repos":{"did":"did:plc:a"}}"#.into(), None, "no list"),
            (r#"{"repos":[],"cursor":7}"#.into(), None, "no cursor"),
            (r#"{"cursor":"c"}"#.into(), None, "nothing listed"),
            (r#"[[{"did":"did:plc:a"}]]"#.into(), None, "no object"),
            ("<html>".into(), None, "no JSON"),
            (String::new(), None, "nothing"),
        ] {
            let got = listed(&text).map(|page| (page.dids.len(), page.dropped, page.cursor.is_some()));
            assert_eq!(got, expected, "{why}");
        }
    }
}
