//! The `Range` header (RFC 9110, 14.1.2).

/// The value of `Range` to pass on: that of exactly one byte range. Several ranges, another unit
/// or anything that cannot be read is as if no range had been asked for (R21.3).
pub fn single(header: &str) -> Option<String> {
    let (unit, range) = header.trim().split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let digits = |text: &str| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !digits(first) || !digits(last) {
        return None;
    }
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Err(_), Err(_)) => None,                      // "-": neither is there
        (Ok(first), Ok(last)) if last < first => None, // backwards
        _ => Some(format!("bytes={first}-{last}")),
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
            assert_eq!(single(header).as_deref(), expected, "{header:?}: {why}");
        }
    }
}
