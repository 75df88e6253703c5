//! Reading JSON objects that come from outside.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Reads a JSON object into `T`. A JSON array is refused: serde would fill a struct from its
/// elements by position, and nobody on this network means that.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if text.trim_ascii_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// Reads a list whose entries are of any kind. What is no list has no entries: a field that somebody
/// filled with something else is lost, and nothing but that field (`deserialize_with`, with `default`).
pub(super) fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    })
}

/// JSON in letters of ASCII alone, with the same meaning. Runtimes keep such a text in one byte a
/// letter and copy it as it is, while a single other letter makes all of it two, to be encoded
/// and decoded at each border.
pub fn ascii(json: String) -> String {
    if json.is_ascii() {
        return json;
    }
    let mut text = String::with_capacity(json.len() * 2);
    let mut rest = json.as_str();
    while let Some(at) = rest.find(|letter: char| !letter.is_ascii()) {
        let (plain, other) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(plain);
        let mut letters = other.chars();
        for unit in letters.next().map_or([0; 2], |letter| {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units);
            units
        }) {
            // Beyond ASCII no letter has a zero in it.
            if unit != 0 {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
        rest = letters.as_str();
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_means_the_same() {
        for text in ["", "plain", "när kommer du 🌿", "🌿", "雨雨", "\u{80}\u{ffff}\u{10000}", "\"\\ é \n"]
        {
            let json = serde_json::to_string(text).unwrap();
            let plain = ascii(json);
            assert!(plain.is_ascii(), "{plain}");
            assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), text);
        }
        assert_eq!(ascii("\"🌿\"".into()), r#""\ud83c\udf3f""#);
    }
}
