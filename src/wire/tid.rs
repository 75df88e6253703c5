//! Timestamp identifiers (TIDs), the format of revisions and of most record keys: 13 characters
//! whose text order is their time order.

use super::time::Micros;

/// The digits, in order of value.
const DIGITS: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";
/// The length: 65 bits, of which the first is padding and the second the sign; both are zero.
const LENGTH: usize = 13;

/// The time of a TID. `None` if the text is not one.
pub fn time(text: &str) -> Option<Micros> {
    if text.len() != LENGTH {
        return None;
    }
    let mut number = 0_u128;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        number = number << 5 | u128::try_from(digit).ok()?;
    }
    // 53 bits of microseconds, then 10 bits that distinguish writers.
    let number = i64::try_from(number).ok()?;
    Some(Micros(number >> 10))
}

/// How far ahead of the clock a revision may be, in microseconds. Clocks of hosts differ by
/// seconds. A revision in the far future would make every later version of a record look stale.
const AHEAD_MAX: i64 = 3_600_000_000;

/// The first TID of a time; for a time before 1970, the first of all.
fn first(time: Micros) -> String {
    let number = u64::try_from(time.0).unwrap_or(0).saturating_mul(1 << 10);
    let digit = |n: u32| {
        let at = usize::try_from(number >> (5 * n) & 31).unwrap_or(0);
        DIGITS.get(at).map_or('2', |byte| char::from(*byte))
    };
    (0..13).rev().map(digit).collect()
}

/// Whether a revision is more than an hour ahead of the clock. Revisions are compared as text, so
/// this also works for a text that is not a TID.
pub fn is_ahead(rev: &str, now: Micros) -> bool {
    rev > first(Micros(now.0.saturating_add(AHEAD_MAX))).as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_ahead_of_the_clock() {
        let now = Micros::parse("2026-11-20T13:33:59.847Z").unwrap();
        let tid = |minutes: i64| first(Micros(now.0 + minutes * 60_000_000));
        assert_eq!(time(&tid(0)), Some(now), "there and back");
        assert_eq!(first(Micros(-5)), "2222222222222");
        for (rev, expected, why) in [
            (tid(0), false, "now"),
            (tid(-1_000_000), false, "long ago"),
            (tid(59), false, "a clock that is wrong"),
            (tid(61), true, "too far"),
            (tid(500_000), true, "in a year"),
            ("zzzzzzzzzzzzz".into(), true, "no TID, and behind all of them"),
            ("3l22222222221".into(), false, "no TID, and before"),
            (String::new(), false, "nothing"),
        ] {
            assert_eq!(is_ahead(&rev, now), expected, "{rev}: {why}");
        }
    }

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
