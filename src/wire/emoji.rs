//! Decides which texts are one emoji, and which emoji look the same to people (8.4).
//!
//! Unicode lists emoji with and without variation selectors (U+FE0F "as a picture", U+FE0E "as
//! text"), but not every spelling that pickers write. Two spellings that differ only in selectors
//! look the same, so comparisons ignore selectors.

use super::text::is_one_letter;

const AS_TEXT: char = '\u{fe0e}';
const AS_PICTURE: char = '\u{fe0f}';

/// Whether a text is exactly one emoji, with or without selectors: without them it is in the list
/// of Unicode, it is one grapheme, and no selector follows another directly (otherwise a text of
/// thousands of selectors would count as an emoji).
pub fn is_one(text: &str) -> bool {
    let is_selector = |letter: char| matches!(letter, AS_TEXT | AS_PICTURE);
    let doubled =
        text.chars().zip(text.chars().skip(1)).any(|(one, next)| is_selector(one) && is_selector(next));
    !doubled && emojis::get(&compared(text)).is_some() && is_one_letter(text)
}

/// The form of an emoji that comparisons use: the emoji without selectors. The migration that added
/// `shape` to the table of reactions computes the same in SQL.
pub fn compared(text: &str) -> String {
    text.replace([AS_TEXT, AS_PICTURE], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_and_nothing_else() {
        for (text, why) in [
            ("👍", "as listed"),
            ("👍\u{fe0f}", "a selector that Unicode does not list here"),
            ("👍🏽", "a skin tone"),
            ("👍🏽\u{fe0f}", "and a selector behind it"),
            ("👍\u{fe0f}🏽", "or before it"),
            ("❤", "without its selector"),
            ("❤\u{fe0f}", "with it"),
            ("❤\u{fe0e}", "as text"),
            ("1\u{fe0f}\u{20e3}", "a keycap"),
            ("1\u{20e3}", "a keycap without selector"),
            ("🏳\u{200d}🌈", "a joined one without selector"),
            ("👩🏽\u{200d}❤\u{200d}💋\u{200d}👨🏿", "two skin tones, without selector"),
            ("🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}", "a flag of tags"),
            ("🇩🇪", "a flag of two letters"),
            ("🇩🇪\u{fe0f}", "with a selector"),
            ("🫩", "Unicode 16"),
        ] {
            assert!(is_one(text), "{why}: {text}");
        }
        for (text, why) in [
            ("", "nothing"),
            ("a", "a letter"),
            ("1", "a digit"),
            ("1\u{fe0f}", "a digit as a picture, without its cap"),
            ("\u{fe0f}", "a selector alone"),
            ("\u{fe0f}👍", "a selector of nothing"),
            ("👍\u{fe0f}\u{fe0f}", "two selectors"),
            ("🇩\u{fe0f}🇪", "two letters, no flag"),
            ("👩\u{200d}\u{fe0f}💻", "the joiner joins nothing"),
            ("👍👍", "two"),
            ("👍 ", "a blank"),
            ("\u{200b}👍", "a blank nobody sees"),
            ("\u{202e}👍", "a turn of direction"),
            (":thumbsup:", "a name"),
        ] {
            assert!(!is_one(text), "{why}: {text}");
        }
    }

    /// Otherwise two different emoji would count as one.
    #[test]
    fn no_two_emoji_differ_in_selectors_only() {
        let mut seen = std::collections::BTreeMap::new();
        for emoji in emojis::iter()
            .flat_map(|emoji| std::iter::once(emoji).chain(emoji.skin_tones().into_iter().flatten()))
        {
            let other = seen.insert(compared(emoji.as_str()), emoji.as_str());
            assert!(other.is_none_or(|other| other == emoji.as_str()), "{emoji} {other:?}");
            assert!(is_one(emoji.as_str()) && is_one(&compared(emoji.as_str())), "{emoji}");
        }
        assert!(seen.len() > 3000, "{}", seen.len());
    }
}
