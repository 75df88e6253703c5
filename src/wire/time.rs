//! Points in time as they stand in records, frames, bodies and the database.
//!
//! One type, microseconds since 1970 (UTC), because Jetstream counts so and message order
//! needs more than milliseconds. Reading the clock is the platform's business.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// The years 0000 to 9999, outside of which the text forms would not sort.
const EARLIEST: i64 = -62_167_219_200_000_000;
const LATEST: i64 = 253_402_300_799_999_999;

impl Micros {
    /// From milliseconds since 1970, the unit of JavaScript's clock.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Milliseconds since 1970, rounded down.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads RFC 3339 with any offset and any number of fraction digits (H06).
    pub fn parse(text: &str) -> Option<Self> {
        let instant = DateTime::parse_from_rfc3339(text).ok()?;
        Some(Self(instant.timestamp_micros().clamp(EARLIEST, LATEST)))
    }

    /// The form the service shows (H10): `2026-03-01T12:00:00.000Z`.
    pub fn shown(self) -> String {
        self.rfc3339(SecondsFormat::Millis)
    }

    /// The form that sorts messages (T13): as [`Micros::shown`], with six fraction digits.
    pub fn sortable(self) -> String {
        self.rfc3339(SecondsFormat::Micros)
    }

    fn rfc3339(self, digits: SecondsFormat) -> String {
        DateTime::<Utc>::from_timestamp_micros(self.0.clamp(EARLIEST, LATEST))
            .unwrap_or(DateTime::UNIX_EPOCH)
            .to_rfc3339_opts(digits, true)
    }
}

/// Stored and sent as text with six fraction digits, so that an admin can read the column and
/// text order is time order.
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
            ("0000-01-01T00:00:00+14:00", Some("0000-01-01T00:00:00.000Z")),
            ("9999-12-31T23:59:59-14:00", Some("9999-12-31T23:59:59.999Z")),
            ("2026-03-01", None),
            ("2026-13-01T12:00:00Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(Micros::parse(text).map(Micros::shown).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn text_order_is_time_order() {
        let early = Micros(1_772_366_400_000_001);
        let late = Micros(1_772_366_400_000_010);
        assert!(early.sortable() < late.sortable());
        assert_eq!(Micros::parse(&early.sortable()), Some(early));
    }
}
