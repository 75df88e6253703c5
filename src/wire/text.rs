//! Texts for display: how long they are in graphemes, and how they are cut.
//!
//! What a reader sees as one letter may be many characters: a flag, a family, a separate accent. A
//! text is cut between two letters, never inside one (I08).

use unicode_segmentation::UnicodeSegmentation;

/// The limits of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Letters as a reader counts them: the lexicon's `maxGraphemes`.
    pub letters: usize,
    /// Unicode characters.
    pub characters: usize,
    /// Bytes of UTF-8: the lexicon's `maxLength`.
    pub bytes: usize,
}

impl Limit {
    /// A limit in Unicode characters only.
    pub const fn characters(characters: usize) -> Self {
        Self { letters: usize::MAX, characters, bytes: usize::MAX }
    }

    /// The two limits of a lexicon.
    pub const fn lexicon(letters: usize, bytes: usize) -> Self {
        Self { letters, characters: usize::MAX, bytes }
    }

    fn holds(&self, letters: usize, characters: usize, bytes: usize) -> bool {
        letters <= self.letters && characters <= self.characters && bytes <= self.bytes
    }
}

/// As many whole letters of `text` as `limit` allows. If the first letter alone exceeds it (a base
/// with hundreds of accents), that letter is cut inside: otherwise nothing of the text would
/// remain.
pub fn cut(text: &str, limit: Limit) -> String {
    let end = end_of(text.grapheme_indices(true), limit);
    let end =
        if end == 0 { end_of(text.char_indices().map(|(at, _)| (at, letter(text, at))), limit) } else { end };
    text.get(..end).unwrap_or(text).to_owned()
}

/// Whether a reader sees `text` as one letter.
pub fn is_one_letter(text: &str) -> bool {
    let mut letters = text.graphemes(true);
    letters.next().is_some() && letters.next().is_none()
}

fn letter(text: &str, at: usize) -> &str {
    let rest = text.get(at..).unwrap_or_default();
    rest.get(..rest.chars().next().map_or(0, char::len_utf8)).unwrap_or_default()
}

/// The end of the last of the `pieces` that `limit` allows.
fn end_of<'t>(pieces: impl Iterator<Item = (usize, &'t str)>, limit: Limit) -> usize {
    let mut characters = 0;
    let mut end = 0;
    for (n, (at, piece)) in pieces.enumerate() {
        characters += piece.chars().count();
        if !limit.holds(n + 1, characters, at + piece.len()) {
            break;
        }
        end = at + piece.len();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i08_a_text_is_cut_between_two_letters() {
        let accents = format!("e{}", "\u{301}".repeat(40));
        for (text, limit, expected, why) in [
            ("", Limit::characters(3), "", "nothing to cut"),
            ("abc", Limit::characters(3), "abc", "as long as it may be"),
            ("abcd", Limit::characters(3), "abc", "a letter too long"),
            ("жжжж", Limit::characters(3), "жжж", "characters, not bytes"),
            ("ab👨‍👩‍👧", Limit::characters(6), "ab", "a family is five characters, and one letter"),
            ("ab👨‍👩‍👧", Limit::characters(7), "ab👨‍👩‍👧", "it fits"),
            ("a🇩🇪🇫🇷", Limit::characters(4), "a🇩🇪", "half a flag is another letter"),
            ("ae\u{301}", Limit::characters(2), "a", "an accent belongs to its base"),
            (
                "1\u{fe0f}\u{20e3}2",
                Limit::characters(2),
                "1\u{fe0f}",
                "the first letter is over the limit itself",
            ),
            (accents.as_str(), Limit::characters(3), "e\u{301}\u{301}", "a heap of accents"),
            ("👍🏽👍🏽", Limit::lexicon(1, 640), "👍🏽", "letters as a reader counts them"),
            ("👍🏽👍🏽", Limit::lexicon(9, 15), "👍🏽", "eight bytes each"),
            ("a\r\nb", Limit::characters(2), "a", "a line break is one"),
        ] {
            assert_eq!(cut(text, limit), expected, "{why}");
        }
    }

    #[test]
    fn a_letter_may_be_many_characters() {
        for (text, expected) in [
            ("a", true),
            ("", false),
            ("ab", false),
            ("🇩🇪", true),
            ("🇩\u{fe0f}🇪", false),
            ("👍\u{fe0f}🏽", true),
        ] {
            assert_eq!(is_one_letter(text), expected, "{text}");
        }
    }
}
