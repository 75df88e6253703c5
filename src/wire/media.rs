//! Media types, as far as they decide what a browser does with a file.

/// Whether a browser may show bytes of this `Content-Type` in place (R21.5): images except SVG,
/// video, audio, plain text, PDF and fonts. Everything else (HTML, SVG, XML, scripts, unknown
/// types) is a download.
pub fn may_show(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    if subtype.is_empty() || subtype.contains([',', ' ', '/']) {
        return false; // not one type
    }
    match kind {
        // By prefix: `svg`, `svg+xml`, and any other type that a browser may read as SVG.
        "image" => !subtype.starts_with("svg") && !subtype.ends_with("xml"),
        "video" | "audio" | "font" => !subtype.ends_with("xml"),
        "text" => subtype == "plain",
        "application" => subtype == "pdf",
        _ => false,
    }
}

/// The `Content-Disposition` of a file that is saved under this name (RFC 6266, appendix D): once in full, and
/// once for clients that read only ASCII.
pub fn attachment(name: &str) -> String {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() && !"\"\\/%".contains(c);
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let mut full = String::new();
    for byte in name.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) => {
                full.push(char::from(byte))
            }
            byte => full.push_str(&format!("%{byte:02X}")),
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

#[cfg(test)]
mod tests {
    use super::{attachment, may_show};

    #[test]
    fn n160k_the_name_of_a_download() {
        for (name, expected) in [
            ("a b.png", r#"attachment; filename="a b.png"; filename*=UTF-8''a%20b.png"#),
            (
                "ä\"\\/\r\n%.txt",
                r#"attachment; filename="_______.txt"; filename*=UTF-8''%C3%A4%22%5C%2F%0D%0A%25.txt"#,
            ),
        ] {
            assert_eq!(attachment(name), expected);
        }
    }

    #[test]
    fn r21_5_b20_what_is_shown_in_place() {
        for (content_type, expected, why) in [
            ("image/png", true, "a picture"),
            ("IMAGE/JPEG; q=1", true, "case and parameters"),
            ("image/svg+xml", false, "SVG runs scripts"),
            ("image/SVG+XML; charset=utf-8", false, "in any case"),
            ("image/svg", false, "by another name"),
            ("image/x+xml", false, "XML in a picture's name"),
            ("video/mp4", true, "a film"),
            ("audio/ogg", true, "a sound"),
            ("font/woff2", true, "a font"),
            ("text/plain;charset=utf-8", true, "plain text"),
            ("application/pdf", true, "PDF"),
            ("text/html", false, "HTML"),
            ("text/xml", false, "XML"),
            ("application/xhtml+xml", false, "XHTML"),
            ("text/javascript", false, "a script"),
            ("application/octet-stream", false, "what nobody knows"),
            ("image/png, text/html", false, "two of them: a browser might take the other"),
            ("image", false, "half of one"),
            ("image/", false, "half of one"),
            ("", false, "nothing"),
        ] {
            assert_eq!(may_show(content_type), expected, "{content_type}: {why}");
        }
    }
}
