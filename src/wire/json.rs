//! Reading JSON objects that come from outside.

use serde::Deserialize;

/// Reads a JSON object into `T`. A JSON array is refused: serde would fill a struct from its
/// elements by position, and nobody on this network means that.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    if text.trim_ascii_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
}
