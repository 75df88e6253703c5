//! Reading JSON objects that come from outside.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The maximum nesting of JSON from outside (T23). The service wraps what it keeps again, by about
/// ten levels in all: in an event, in `parent_message`, in the lists of the outbox and of calls
/// between objects. Other readers have limits too: serde_json stops at 128, SQLite's JSON at 1,000.
/// Records that people write have less than ten levels.
pub const DEPTH_MAX: usize = 64;

/// Whether JSON is nested deeper than [`DEPTH_MAX`]. The result is meaningless for a text that is
/// not JSON.
pub fn is_too_deep(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                // Skip to the end of the string; an escaped quote does not end it.
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// Reads a JSON object into `T`, unless it is nested too deeply (T23). Refuses a JSON array, from
/// which serde would fill a struct by position; nobody on this network means that.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if is_too_deep(text) { None } else { envelope(text) }
}

/// Reads an object that carries JSON of others, which the caller checks one by one: an entry that
/// is nested too deeply must not spoil the page or frame that contains it. The parser skips unknown
/// fields without recursion.
pub(super) fn envelope<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if text.trim_ascii_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// Reads a list whose entries are of any kind. A value that is not a list gives no entries: a field
/// with a wrong type costs only that field (`deserialize_with`, with `default`).
pub(super) fn entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Value>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    })
}

/// The same JSON in ASCII. Runtimes store such a text as one byte per letter and copy it as it is.
/// A single other letter doubles the size of the text, and each boundary then encodes and decodes
/// it.
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
            // Characters beyond ASCII contain no zero unit.
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
    fn t23_depth() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for (text, expected, why) in [
            (nested(DEPTH_MAX), false, "as deep as may be"),
            (nested(DEPTH_MAX + 1), true, "one deeper"),
            (nested(100_000), true, "absurdly deep"),
            (format!("[{}]", vec!["[{}]"; 500].join(",")), false, "wide is not deep"),
            (format!(r#"{{"a":"{}"}}"#, "[".repeat(500)), false, "brackets in a string"),
            (format!(r#"{{"a":"\"{}"}}"#, "{".repeat(500)), false, "behind an escaped quote"),
            (format!(r#"{{"a":"\\","b":{}}}"#, nested(DEPTH_MAX)), true, "a string may end in a backslash"),
            (format!(r#"{{"a":{}}}"#, nested(DEPTH_MAX - 1)), false, "objects and lists count alike"),
            ("]]]]".into(), false, "no JSON"),
            (r#""\"#.into(), false, "an open string"),
            (String::new(), false, "nothing"),
        ] {
            assert_eq!(is_too_deep(&text), expected, "{why}");
        }
        assert!(object::<serde_json::Value>(&format!(r#"{{"a":{}}}"#, nested(DEPTH_MAX))).is_none());
        assert!(envelope::<serde::de::IgnoredAny>(&format!(r#"{{"a":{}}}"#, nested(100_000))).is_some());
    }

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
