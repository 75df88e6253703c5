//! Cursors (H40): opaque to clients, typed in the service. A cursor contains the position of a
//! page's last row in the order of its list, and an identifier of the list.
//!
//! A list is an endpoint (R12) with its arguments (one community). A cursor of another endpoint, or
//! of the same endpoint with other arguments, is refused. The next page starts at a position, never
//! at a count, so rows that appear or disappear between two pages cause no repetition and no
//! omission.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ApiError;

/// Writes the cursor of `list` with the arguments `about`, after the row at `place`.
pub(super) fn write<P: Serialize>(list: &'static str, about: &str, place: &P) -> String {
    // Positions consist of texts and numbers, so serialising them cannot fail.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&(list, mark(about), place)).unwrap_or_default())
}

/// Reads a cursor of `list` with the arguments `about`.
pub(super) fn read<P: DeserializeOwned>(list: &'static str, about: &str, text: &str) -> Result<P, ApiError> {
    #[derive(Deserialize)]
    struct Written<P>(String, u32, P);
    let written = URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Written<P>>(&bytes).ok())
        .filter(|Written(of, marked, _)| of == list && *marked == mark(about));
    match written {
        Some(Written(_, _, place)) => Ok(place),
        None => Err(ApiError::Invalid("cursor is not a cursor of this list".into())),
    }
}

/// A short hash of a list's arguments (FNV-1a): it keeps honest clients from mixing up cursors, and
/// protects nothing.
fn mark(about: &str) -> u32 {
    about.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Place = (String, i64);

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn h40_cursors_come_back_as_they_went() {
        let place: Place = ("2026-03-01T12:00:00.000000Z".into(), 7);
        let cursor = write("R12", "at://c", &place);
        assert_eq!(read::<Place>("R12", "at://c", &cursor).unwrap(), place);
        for (text, why) in [
            (String::new(), "empty"),
            ("nonsense".into(), "no cursor"),
            ("\0".into(), "not base64"),
            (encoded("nonsense"), "no JSON inside"),
            (encoded(r#"["R12"]"#), "half of one"),
            (encoded(r#"["R12",1,["a","b"]]"#), "a place of another type"),
            (write("R14", "at://c", &place), "another list"),
            (write("R12", "at://d", &place), "the same list of another community"),
            (format!("{cursor}AAAA"), "with something behind it"),
            ("A".repeat(10_000), "long"),
        ] {
            assert!(read::<Place>("R12", "at://c", &text).is_err(), "{why}");
        }
    }
}
