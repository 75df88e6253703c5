//! How long a host asks to be left alone: `Retry-After` (RFC 9110, 10.2.3) and the `RateLimit-*`
//! headers of AT Protocol servers.

use chrono::DateTime;

use super::time::Micros;

/// Headers of a response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `Retry-After`: seconds, or a date.
    pub retry_after: Option<&'a str>,
    /// `RateLimit-Remaining`: how many more requests the host accepts.
    pub remaining: Option<&'a str>,
    /// `RateLimit-Reset`: when it accepts requests again. A PDS writes seconds since 1970, other
    /// servers the seconds until then.
    pub reset: Option<&'a str>,
}

/// A greater number of seconds is a point in time (after 2001), not a duration (over 31 years).
const SECONDS_ARE_A_TIME: i64 = 1_000_000_000;

impl Headers<'_> {
    /// The time before which the service must not ask the host again, as of `now`; `None` if the
    /// host does not say.
    pub fn rest_until(&self, now: Micros) -> Option<Micros> {
        let asked = self.retry_after.and_then(|text| after(text, now));
        let is_used_up = self.remaining.and_then(number) == Some(0);
        let reset = self
            .reset
            .filter(|_| is_used_up)
            .and_then(number)
            .map(|seconds| if seconds >= SECONDS_ARE_A_TIME { at(seconds) } else { later(now, seconds) });
        asked.into_iter().chain(reset).max().filter(|until| *until > now)
    }
}

fn after(text: &str, now: Micros) -> Option<Micros> {
    match number(text) {
        Some(seconds) => Some(later(now, seconds)),
        None => Some(Micros(DateTime::parse_from_rfc2822(text.trim()).ok()?.timestamp_micros())),
    }
}

fn number(text: &str) -> Option<i64> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(i64::MAX))
}

fn at(seconds: i64) -> Micros {
    Micros(seconds.saturating_mul(1_000_000))
}

fn later(now: Micros, seconds: i64) -> Micros {
    Micros(now.0.saturating_add(at(seconds).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k07_how_long_a_host_asks_to_be_left_alone() {
        const NOW: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        for (retry_after, remaining, reset, expected, why) in [
            ("", "", "", None, "nothing said"),
            ("30", "", "", Some(30), "seconds"),
            (" 30 ", "", "", Some(30), "with blanks"),
            ("0", "", "", None, "at once"),
            ("Thu, 01 Jan 2026 00:01:00 GMT", "", "", Some(60), "a date"),
            ("Wed, 31 Dec 2025 00:00:00 GMT", "", "", None, "a date that is over"),
            ("soon", "", "", None, "nonsense"),
            ("-5", "", "", None, "nonsense"),
            ("99999999999999999999", "", "", Some(i64::MAX), "for ever"),
            ("", "0", "1767225700", Some(100), "used up, until a time"),
            ("", "0", "100", Some(100), "used up, for so long"),
            ("", "7", "100", None, "not used up"),
            ("", "", "100", None, "nothing said about what is left"),
            ("", "0", "", None, "used up, and nobody knows how long"),
            ("10", "0", "100", Some(100), "the longer of both"),
        ] {
            let headers =
                Headers { retry_after: some(retry_after), remaining: some(remaining), reset: some(reset) };
            let got = headers.rest_until(at(NOW)).map(|until| match until.0 {
                i64::MAX => i64::MAX,
                until => until / 1_000_000 - NOW,
            });
            assert_eq!(got, expected, "{retry_after:?} {remaining:?} {reset:?}: {why}");
        }
    }
}
