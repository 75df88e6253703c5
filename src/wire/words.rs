//! The words of a text, by which messages are found (R55).
//!
//! Unicode says where words begin and end (UAX 29). It makes every Chinese character, every Japanese one but Katakana,
//! and every emoji a word of its own, so that a phrase finds such a text wherever it stands in a sentence; a tokenizer
//! of SQLite's takes the whole sentence for a word (`unicode61`), or finds nothing shorter than three characters
//! (`trigram`). Words have neither capitals nor variation selectors.

use std::fmt::Write as _;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::emoji;
use super::ids::{AtUri, Did};

/// The most characters of a word that count.
const WORD_MAX: usize = 64;
/// The most characters of a query (R55).
pub const QUERY_MAX: usize = 200;
/// The most words of a query.
pub const WORDS_MAX: usize = 16;
/// A beginning of a word has so many characters at least.
const PREFIX_MIN: usize = 3;
/// What marks a place or an author among the words. No word has it: it is neither a letter nor an emoji.
const MARK: char = '\u{e000}';

/// A word, and where it stands in the text, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// As it is compared.
    pub word: String,
    /// In the text.
    pub at: Range<usize>,
}

/// The words of a text, in order.
pub fn words(text: &str) -> Vec<Word> {
    let mut found = Vec::new();
    for (start, segment) in text.split_word_bound_indices() {
        let mut from = start;
        for piece in segment.split_inclusive(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric()) {
            let bare = piece.trim_end_matches(|c: char| c.is_ascii() && !c.is_ascii_alphanumeric());
            if bare.chars().any(char::is_alphanumeric) || emoji::is_one(bare) {
                found.push(Word { word: compared(bare), at: from..from + bare.len() });
            }
            from += piece.len();
        }
    }
    found
}

fn compared(word: &str) -> String {
    let letters = word.chars().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}'));
    letters.flat_map(char::to_lowercase).take(WORD_MAX).collect()
}

/// A message as it is stored for searching: its words, where it is, and whose it is.
pub fn stored(text: &str, channel: &AtUri, author: &Did) -> String {
    let mut stored = String::with_capacity(text.len() + 64);
    for word in words(text) {
        stored.push_str(&word.word);
        stored.push(' ');
    }
    stored.push_str(&place('o', channel.authority().as_str()));
    stored.push(' ');
    stored.push_str(&place('a', author.as_str()));
    stored
}

/// A word for a place or a person: a hash (FNV-1a), because the words of a message name nobody.
fn place(kind: char, name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut text = String::from(MARK);
    text.push(kind);
    _ = write!(text, "{hash:016x}");
    text
}

/// What is searched for: phrases, all of which a message has. What stands together in the query, without a blank, is
/// a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query(Vec<Phrase>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Phrase {
    words: Vec<String>,
    /// Whether the last word may be the beginning of one (`*`). The index finds a word sooner.
    begins: bool,
}

impl Phrase {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = words(text).into_iter().map(|word| word.word).collect();
        let long = words.last()?.chars().count() >= PREFIX_MIN;
        Some(Self { words, begins: long && text.ends_with('*') })
    }

    fn is_at(&self, place: &[Word]) -> bool {
        self.words.iter().zip(place).enumerate().all(|(n, (wanted, found))| {
            let begins = self.begins && n + 1 == self.words.len();
            *wanted == found.word || (begins && found.word.starts_with(wanted.as_str()))
        })
    }
}

impl Query {
    /// Reads a query; `None` if it is too long, or has no word or too many.
    pub fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > QUERY_MAX {
            return None;
        }
        let phrases: Vec<_> = text.split_whitespace().filter_map(Phrase::parse).collect();
        let many = phrases.iter().map(|phrase| phrase.words.len()).sum::<usize>();
        (1..=WORDS_MAX).contains(&many).then_some(Self(phrases))
    }

    /// The same for FTS5, in the community of `owner`, by `author` if one is named.
    pub fn expression(&self, owner: &Did, author: Option<&Did>) -> String {
        let mut text = format!("\"{}\"", place('o', owner.as_str()));
        if let Some(author) = author {
            _ = write!(text, " AND \"{}\"", place('a', author.as_str()));
        }
        for phrase in &self.0 {
            let begins = if phrase.begins { "*" } else { "" };
            _ = write!(text, " AND \"{}\"{begins}", phrase.words.join(" "));
        }
        text
    }

    /// Where the phrases stand in a text, in order and apart.
    pub fn marks(&self, text: &str) -> Vec<Range<usize>> {
        let words = words(text);
        let mut found: Vec<Range<usize>> = Vec::new();
        for phrase in &self.0 {
            for place in words.windows(phrase.words.len()) {
                if let [first, .., last] | [first @ last] = place
                    && phrase.is_at(place)
                {
                    found.push(first.at.start..last.at.end);
                }
            }
        }
        found.sort_by_key(|range| (range.start, range.end));
        found.dedup_by(|next, before| {
            let touches = next.start < before.end;
            if touches {
                before.end = before.end.max(next.end);
            }
            touches
        });
        found
    }

    /// Whether a text has every phrase: what FTS5 finds.
    pub fn is_in(&self, text: &str) -> bool {
        let words = words(text);
        self.0.iter().all(|phrase| words.windows(phrase.words.len()).any(|place| phrase.is_at(place)))
    }
}

/// The part of a text around its first mark, of about this many characters before and after it, and the marks in it.
pub fn snippet<'t>(text: &'t str, marks: &[Range<usize>]) -> (&'t str, Vec<Range<usize>>) {
    const BEFORE: usize = 60;
    const AFTER: usize = 200;
    let first = marks.first().map_or(0, |mark| mark.start);
    let bounds: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
    let here = bounds.partition_point(|at| *at < first);
    let start = bounds.get(here.saturating_sub(BEFORE)).copied().unwrap_or(0);
    let end = bounds.get(here + AFTER).copied().unwrap_or(text.len());
    let inside = marks.iter().filter(|mark| mark.start >= start && mark.end <= end);
    let marks = inside.map(|mark| mark.start - start..mark.end - start).collect();
    (text.get(start..end).unwrap_or(text), marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u70_words_of_every_script() {
        for (text, expected) in [
            ("Hello, world!", vec!["hello", "world"]),
            ("can't foo_bar x.org", vec!["can", "t", "foo", "bar", "x", "org"]),
            ("Привет, МИР", vec!["привет", "мир"]),
            ("مرحبا بالعالم", vec!["مرحبا", "بالعالم"]),
            ("日本語を話す", vec!["日", "本", "語", "を", "話", "す"]),
            ("안녕하세요 세계", vec!["안녕하세요", "세계"]),
            ("ok👍🏽👍\u{fe0f} 👨‍👩‍👧🇩🇪", vec!["ok", "👍🏽", "👍", "👨‍👩‍👧", "🇩🇪"]),
            ("… — ()\u{e000}", vec![]),
            ("v2 3,14", vec!["v2", "3", "14"]),
        ] {
            let found = words(text);
            assert_eq!(found.iter().map(|word| word.word.as_str()).collect::<Vec<_>>(), expected, "{text}");
            for word in found {
                assert_eq!(compared(&text[word.at]), word.word);
            }
        }
    }

    #[test]
    fn u71_a_query_and_its_marks() {
        for (query, text, expected) in [
            ("hello", "Hello, hello!", vec![(0, 5), (7, 12)]),
            ("wor*", "hello world", vec![(6, 11)]),
            ("wor", "hello world", vec![]),
            ("wo*", "hello world", vec![]),
            ("本語", "日本語", vec![(3, 9)]),
            ("語日", "日本語", vec![]),
            ("well-known", "a well known thing", vec![(2, 12)]),
            ("known well", "a well known thing", vec![(2, 6), (7, 12)]),
            ("👍", "ok👍\u{fe0f}", vec![(2, 9)]),
        ] {
            let query = Query::parse(query).unwrap();
            let marks: Vec<_> = query.marks(text).into_iter().map(|at| (at.start, at.end)).collect();
            assert_eq!(marks, expected, "{query:?}");
            assert_eq!(query.is_in(text), !expected.is_empty(), "{query:?}");
        }
        for none in ["", "  ", "…", &"a".repeat(QUERY_MAX + 1), &"a ".repeat(WORDS_MAX + 1)] {
            assert_eq!(Query::parse(none), None);
        }
        let did = Did::parse("did:plc:a").unwrap();
        let text = Query::parse("\"OR\" x*-well*").unwrap().expression(&did, None);
        assert!(text.ends_with(" AND \"or\" AND \"x well\"*"), "only words are searched for: {text}");
    }

    #[test]
    fn u71_a_snippet_is_around_its_first_mark() {
        let text = format!("{}needle {}", "é".repeat(300), "x".repeat(500));
        let text = text.replace("éneedle", "é needle");
        let marks = Query::parse("needle").unwrap().marks(&text);
        let (snippet, inside) = snippet(&text, &marks);
        assert_eq!(snippet.chars().count(), 260);
        assert_eq!(&snippet[inside[0].clone()], "needle");
        assert_eq!(super::snippet("short", &[]), ("short", vec![]));
    }
}
