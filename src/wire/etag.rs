//! Entity tags (RFC 9110, 8.8.3 and 13.1.2), for conditional reads (H12).

/// Whether `If-None-Match: <header>` names `tag`, a strong tag with its quotes. The comparison is
/// weak, as the RFC requires for this header: `W/"x"` names `"x"`. `*` names every tag. An
/// unreadable header names none: a complete answer is never wrong.
pub fn names(header: &str, tag: &str) -> bool {
    if header.trim() == "*" {
        return true;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        rest = rest.strip_prefix("W/").unwrap_or(rest);
        // A tag may contain commas, so the list is split at the quotes.
        let Some(opened) = rest.strip_prefix('"') else { return false };
        let Some((inside, behind)) = opened.split_once('"') else { return false };
        if tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(inside) {
            return true;
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn h12_if_none_match() {
        for (header, expected, why) in [
            (r#""a,b""#, true, "the tag itself, with a comma in it"),
            (r#"W/"a,b""#, true, "weak: an edge that compresses makes it so"),
            (r#""x", "a,b""#, true, "in a list"),
            (r#""x",W/"a,b" , "y""#, true, "in a list with blanks or without"),
            (r#", ,"a,b""#, true, "empty elements are allowed"),
            ("*", true, "anything"),
            (" * ", true, "anything, with blanks"),
            (r#""x""#, false, "another tag"),
            (r#""a""#, false, "a part of it"),
            ("a,b", false, "no quotes, no tag"),
            (r#"w/"a,b""#, false, "the W is a capital"),
            (r#""x" *"#, false, "a star inside a list is no star"),
            (r#""a,b"#, false, "never closed"),
            (r#""x"; "a,b""#, false, "another separator"),
            ("", false, "nothing"),
        ] {
            assert_eq!(names(header, r#""a,b""#), expected, "{header}: {why}");
        }
    }
}
