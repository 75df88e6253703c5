//! Timestamp identifiers, the form of revisions and of most record keys: 13 characters that sort
//! as text like the times they stand for.

use super::time::Micros;

/// The digits, in the order of their values.
const DIGITS: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
/// Its 65 bits begin with a zero that is no digit's, and the number's own sign bit is zero.
const LENGTH: usize = 13;

/// The time a TID stands for. `None` if the text is none.
pub fn time(text: &str) -> Option<Micros> {
    if text.len() != LENGTH {
        return None;
    }
    let mut number = 0_u128;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        number = number << 5 | u128::try_from(digit).ok()?;
    }
    // 53 bits of microseconds, then 10 that tell writers apart.
    let number = i64::try_from(number).ok()?;
    Some(Micros(number >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tid_says() {
        for (text, expected, why) in [
            ("3jzfcijpj2z2a", Some("2023-06-30T15:03:01.887Z"), "an example of the specification"),
            ("3n2qp7zan4s2e", Some("2026-11-20T13:33:59.847Z"), "of the local network"),
            ("2222222222222", Some("1970-01-01T00:00:00.000Z"), "the first"),
            ("kjzfcijpj2z2a", None, "the sign bit"),
            ("zzzzzzzzzzzzz", None, "more than 64 bits"),
            ("3jzfcijpj2z21", None, "a digit that is none"),
            ("3JZFCIJPJ2Z2A", None, "another case"),
            ("3jzfcijpj2z2", None, "short"),
            ("3jzfcijpj2z2aa", None, "long"),
            ("0000000000000", None, "digits that are none"),
            ("äjzfcijpj2z2", None, "not ASCII"),
            ("", None, "empty"),
        ] {
            assert_eq!(time(text).map(Micros::shown).as_deref(), expected, "{text}: {why}");
        }
    }
}
