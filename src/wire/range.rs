//! The `Range` header (RFC 9110, 14.1.2).

use std::fmt;

/// One requested range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// From the first to the second, inclusive.
    Between(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// The last bytes, by number.
    Last(u64),
}

/// Reads a header that requests exactly one byte range. Several ranges, another unit and an
/// unreadable header are ignored, as if there were no header (R21.3).
pub fn single(header: &str) -> Option<Range> {
    let (unit, range) = header.trim().split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let digits = |text: &str| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !digits(first) || !digits(last) {
        return None;
    }
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Some(Range::Between(first, last)),
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => None, // reversed, or both numbers missing
        (Ok(first), Err(_)) => Some(Range::From(first)),
        (Err(_), Ok(last)) => Some(Range::Last(last)),
    }
}

impl Range {
    /// The first and last byte of this range in a file of `size` bytes; `None` if it lies outside.
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let end = size.checked_sub(1)?;
        let (first, last) = match self {
            Range::Between(first, last) => (first, last.min(end)),
            Range::From(first) => (first, end),
            Range::Last(0) => return None,
            Range::Last(count) => (size.saturating_sub(count), end),
        };
        (first <= end).then_some((first, last))
    }
}

/// The header for this range.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Range::Between(first, last) => write!(f, "bytes={first}-{last}"),
            Range::From(first) => write!(f, "bytes={first}-"),
            Range::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::single;

    #[test]
    fn r21_3_one_range_or_none() {
        for (header, expected, why) in [
            ("bytes=0-499", Some("bytes=0-499"), "from and to"),
            ("bytes=500-", Some("bytes=500-"), "from there on"),
            ("bytes=-500", Some("bytes=-500"), "the last"),
            (" Bytes = 0-0 ", Some("bytes=0-0"), "blanks and case"),
            ("bytes=0-1,5-6", None, "several"),
            ("bytes=5-1", None, "backwards"),
            ("bytes=-", None, "nothing"),
            ("bytes=a-b", None, "no numbers"),
            ("bytes=0-1\r\nX: y", None, "something behind it"),
            ("bytes=99999999999999999999-", None, "beyond every size"),
            ("lines=0-1", None, "another unit"),
            ("bytes", None, "no range at all"),
            ("", None, "empty"),
        ] {
            assert_eq!(
                single(header).map(|range| range.to_string()).as_deref(),
                expected,
                "{header:?}: {why}"
            );
        }
    }

    #[test]
    fn r21_3_where_a_range_lies() {
        for (header, size, expected, why) in [
            ("bytes=0-9", 100, Some((0, 9)), "inside"),
            ("bytes=0-0", 1, Some((0, 0)), "one byte"),
            ("bytes=90-200", 100, Some((90, 99)), "over the end"),
            ("bytes=99-", 100, Some((99, 99)), "the last byte"),
            ("bytes=100-", 100, None, "behind the end"),
            ("bytes=100-200", 100, None, "behind the end"),
            ("bytes=-10", 100, Some((90, 99)), "the last ten"),
            ("bytes=-200", 100, Some((0, 99)), "more than there are"),
            ("bytes=-0", 100, None, "none"),
            ("bytes=0-", 0, None, "of nothing"),
            ("bytes=-5", 0, None, "of nothing"),
            ("bytes=0-999999999999999999", 5, Some((0, 4)), "large"),
        ] {
            assert_eq!(single(header).unwrap().within(size), expected, "{header} of {size}: {why}");
        }
    }
}
