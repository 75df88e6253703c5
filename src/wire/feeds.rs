//! A channel as a feed: Atom (RFC 4287) and JSON Feed 1.1 (R80, R81).
//!
//! Every text in it is a stranger's. XML 1.0 has characters that it cannot contain, however they are written, and one
//! of them would end the feed for every reader: U+FFFD takes their place.
//!
//! The addresses in a feed are relative to its own, because no answer may depend on the `Host` that somebody sends.

use std::fmt::Write as _;

use serde::Serialize;

use super::ids::{AtUri, Did};
use super::time::Micros;

/// The longest title of an entry, in characters.
const TITLE_MAX: usize = 80;

/// A channel, for people who read it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// The channel.
    pub channel: AtUri,
    /// Its name.
    pub name: String,
    /// What it is about.
    pub description: Option<String>,
    /// The name of its community.
    pub community_name: String,
    /// When the channel was indexed.
    pub since: Micros,
    /// Messages, newest first.
    pub entries: Vec<Entry>,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its record.
    pub uri: AtUri,
    /// Who wrote it.
    pub author: Did,
    /// How the author is called.
    pub author_name: String,
    /// The words. Empty if the message has only attachments.
    pub text: String,
    /// Its sort instant (T13).
    pub published: Micros,
    /// When it was edited last, or `published`.
    pub updated: Micros,
}

impl Entry {
    /// The first line, cut.
    fn title(&self) -> String {
        let line = self.text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("(no text)");
        let mut chars = line.chars();
        let mut title: String = chars.by_ref().take(TITLE_MAX).collect();
        if chars.next().is_some() {
            title.push('…');
        }
        title
    }
}

impl Feed {
    fn title(&self) -> String {
        format!("{} – {}", self.name, self.community_name)
    }

    fn updated(&self) -> Micros {
        self.entries.iter().map(|entry| entry.updated).max().unwrap_or(self.since)
    }

    /// As Atom. `own` is its address, beginning with a slash.
    pub fn atom(&self, own: &str) -> String {
        let mut xml = String::from(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n",
        );
        element(&mut xml, "id", &iri(&self.channel));
        element(&mut xml, "title", &self.title());
        if let Some(about) = self.description.as_deref().filter(|about| !about.is_empty()) {
            element(&mut xml, "subtitle", about);
        }
        element(&mut xml, "updated", &self.updated().shown());
        let _ = writeln!(xml, "<link rel=\"self\" type=\"application/atom+xml\" href=\"{}\"/>", escaped(own));
        element(&mut xml, "generator", "colibri-edge");
        for entry in &self.entries {
            xml.push_str("<entry>\n");
            element(&mut xml, "id", &iri(&entry.uri));
            element(&mut xml, "title", &entry.title());
            xml.push_str("<author>");
            element(&mut xml, "name", &entry.author_name);
            element(&mut xml, "uri", entry.author.as_str());
            xml.push_str("</author>\n");
            element(&mut xml, "published", &entry.published.shown());
            element(&mut xml, "updated", &entry.updated.shown());
            element(&mut xml, "content", &entry.text);
            xml.push_str("</entry>\n");
        }
        xml.push_str("</feed>\n");
        xml
    }

    /// As JSON Feed. `None` never happens: texts and times are always JSON.
    pub fn json(&self) -> Option<String> {
        let items = self.entries.iter().map(|entry| Item {
            id: entry.uri.as_str(),
            content_text: &entry.text,
            date_published: entry.published.shown(),
            date_modified: entry.updated.shown(),
            authors: [Author { name: &entry.author_name }],
        });
        let feed = JsonFeed {
            version: "https://jsonfeed.org/version/1.1",
            title: self.title(),
            description: self.description.as_deref(),
            items: items.collect(),
        };
        serde_json::to_string(&feed).ok()
    }
}

#[derive(Serialize)]
struct JsonFeed<'a> {
    version: &'static str,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: &'a str,
    content_text: &'a str,
    date_published: String,
    date_modified: String,
    authors: [Author<'a>; 1],
}

#[derive(Serialize)]
struct Author<'a> {
    name: &'a str,
}

/// An AT-URI as RFC 3986 wants it: the colons of a DID would begin a port.
fn iri(uri: &AtUri) -> String {
    let text = uri.as_str().strip_prefix("at://").unwrap_or_default();
    let (authority, path) = text.split_once('/').unwrap_or((text, ""));
    format!("at://{}/{path}", authority.replace('%', "%25").replace(':', "%3A"))
}

fn element(xml: &mut String, name: &str, text: &str) {
    let _ = writeln!(xml, "<{name}>{}</{name}>", escaped(text));
}

/// A text as the content of an element or of an attribute with quotes. See the module.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\r' => safe.push_str("&#13;"), // a parser would make it a line feed
            '\t' | '\n' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => safe.push(char),
            _ => safe.push('\u{fffd}'),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r80_what_xml_forbids_never_stands_in_it() {
        for (text, expected) in [
            ("a & b <c> \"d\" ]]>", "a &amp; b &lt;c&gt; &quot;d&quot; ]]&gt;"),
            (
                "\u{0}\u{8}\u{b}\u{c}\u{1b}\u{fffe}\u{ffff}",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("\t\n\r", "\t\n&#13;"),
            ("🦜 \u{7f}\u{85}\u{2028}", "🦜 \u{7f}\u{85}\u{2028}"),
        ] {
            assert_eq!(escaped(text), expected, "{text:?}");
        }
    }

    #[test]
    fn r80_an_id_is_an_address() {
        let uri = AtUri::parse("at://did:web:a.test%3A80/social.colibri.message/3k:x").unwrap();
        assert_eq!(iri(&uri), "at://did%3Aweb%3Aa.test%253A80/social.colibri.message/3k:x");
    }
}
