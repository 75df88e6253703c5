//! Points in time in records, frames, bodies and the database.
//!
//! There is one type, microseconds since 1970 (UTC), because Jetstream counts in them and message
//! order needs more than milliseconds. Only the platform reads the clock.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// The longest time text, in bytes: the AT Protocol's own limit.
const TEXT_MAX: usize = 64;

/// The years 0000 to 9999; text forms outside of them would not sort.
const EARLIEST: i64 = -62_167_219_200_000_000;
const LATEST: i64 = 253_402_300_799_999_999;

/// How far other clocks may be ahead, in microseconds: one hour, which tolerates a clock that
/// ignores daylight saving time.
const AHEAD_MAX: i64 = 3_600_000_000;

impl Micros {
    /// A time from milliseconds since 1970, the unit of JavaScript's clock.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Milliseconds since 1970, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whether this is more than an hour ahead of `now`, which is more than clocks differ. The
    /// service ignores such a time from outside.
    pub fn is_ahead_of(self, now: Self) -> bool {
        self.0 > now.0.saturating_add(AHEAD_MAX)
    }

    /// Reads a time as the AT Protocol defines it (H06): RFC 3339 with any offset and any number of
    /// fraction digits, but with capital `T` and `Z`, no blank, no leap second, no offset `-00:00`,
    /// no year before 0 and at most 64 bytes. Every browser can read the times that this accepts.
    pub fn parse(text: &str) -> Option<Self> {
        if !has_shape(text) {
            return None;
        }
        let instant = DateTime::parse_from_rfc3339(text).ok()?.timestamp_micros();
        (instant >= EARLIEST).then(|| Self(instant.min(LATEST)))
    }

    /// The format of answers (H10): `2026-03-01T12:00:00.000Z`.
    pub fn shown(self) -> String {
        self.rfc3339(SecondsFormat::Millis)
    }

    /// The format that sorts messages (T13): as [`Micros::shown`], with six fraction digits.
    pub fn sortable(self) -> String {
        self.rfc3339(SecondsFormat::Micros)
    }

    fn rfc3339(self, digits: SecondsFormat) -> String {
        DateTime::<Utc>::from_timestamp_micros(self.0.clamp(EARLIEST, LATEST))
            .unwrap_or(DateTime::UNIX_EPOCH)
            .to_rfc3339_opts(digits, true)
    }
}

/// Whether a text has the shape `dddd-dd-ddTdd:dd:dd`, an optional fraction, and `Z` or an offset
/// other than `-00:00`. It does not check the ranges of the numbers, except for the leap second.
fn has_shape(text: &str) -> bool {
    let is_like = |text: &str, form: &str| {
        text.len() == form.len()
            && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let (Some((instant, rest)), true) = (text.split_at_checked(19), text.len() <= TEXT_MAX) else {
        return false;
    };
    let offset = match rest.strip_prefix('.') {
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
            if offset.len() == fraction.len() {
                return false;
            }
            offset
        }
        None => rest,
    };
    is_like(instant, "dddd-dd-ddTdd:dd:dd")
        && !instant.ends_with(":60")
        && (offset == "Z" || is_like(offset, "+dd:dd") || is_like(offset, "-dd:dd") && offset != "-00:00")
}

/// Stored and sent as text with six fraction digits: an admin can read the column, and text order
/// is time order.
impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.sortable())
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h06_reads_any_offset_and_fraction() {
        for (text, shown) in [
            ("2026-03-01T12:00:00Z", Some("2026-03-01T12:00:00.000Z")),
            ("2026-03-01T14:00:00.123456789+02:00", Some("2026-03-01T12:00:00.123Z")),
            ("2026-03-01T12:00:00.1234567890123Z", Some("2026-03-01T12:00:00.123Z")),
            ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00.000Z")),
            ("0000-01-01T00:00:00-14:00", Some("0000-01-01T14:00:00.000Z")),
            ("9999-12-31T23:59:59-14:00", Some("9999-12-31T23:59:59.999Z")),
            ("2026-03-01T12:00:00.12345678901234567890+00:00", Some("2026-03-01T12:00:00.123Z")),
            ("2026-03-01T12:00:00+23:59", Some("2026-02-28T12:01:00.000Z")),
        ] {
            assert_eq!(Micros::parse(text).map(Micros::shown).as_deref(), shown, "{text}");
        }
    }

    /// Some browser cannot read each of these, or some other service refuses it.
    #[test]
    fn h06_what_the_at_protocol_calls_no_time_is_none() {
        let of = |digits: usize| format!("2026-03-01T12:00:00.{}Z", "1".repeat(digits));
        let long = of(44);
        for (text, why) in [
            ("", "nothing"),
            ("yesterday", "words"),
            ("2026-03-01", "a day"),
            ("1772366400", "a number"),
            ("2026-03-01T12:00:00", "no offset"),
            ("2026-03-01T12:00Z", "no seconds"),
            ("2026-13-01T12:00:00Z", "a 13th month"),
            ("2026-02-30T12:00:00Z", "a day that is not"),
            ("2026-03-01T24:00:00Z", "a 24th hour"),
            ("2016-12-31T23:59:60Z", "a leap second"),
            ("2026-03-01T12:00:60Z", "a 60th second"),
            ("2026-03-01t12:00:00Z", "a small t"),
            ("2026-03-01T12:00:00z", "a small z"),
            ("2026-03-01 12:00:00Z", "a blank"),
            ("2026-03-01T12:00:00Z ", "a blank behind"),
            ("2026-03-01T12:00:00\u{2212}02:00", "another minus"),
            ("2026-03-01T12:00:00-00:00", "an offset that is none"),
            ("2026-03-01T12:00:00+0000", "an offset without colon"),
            ("2026-03-01T12:00:00+24:00", "an offset of a day"),
            ("2026-03-01T12:00:00+02:60", "an offset of 60 minutes"),
            ("2026-03-01T12:00:00.Z", "a fraction of no digits"),
            ("2026-03-01T12:00:00,5Z", "a comma"),
            ("2026-03-01T12:00:00.5.5Z", "two fractions"),
            ("２０２６-03-01T12:00:00Z", "other digits"),
            ("-000001-01-01T00:00:00Z", "a year before"),
            ("0000-01-01T00:00:00+14:00", "a year before, by its offset"),
            ("+012026-01-01T00:00:00Z", "a year of six digits"),
            (long.as_str(), "65 bytes"),
        ] {
            assert_eq!(Micros::parse(text), None, "{why}: {text}");
        }
        assert!(Micros::parse(&of(43)).is_some(), "64 bytes");
    }

    #[test]
    fn text_order_is_time_order() {
        let early = Micros(1_772_366_400_000_001);
        let late = Micros(1_772_366_400_000_010);
        assert!(early.sortable() < late.sortable());
        assert_eq!(Micros::parse(&early.sortable()), Some(early));
    }
}
