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

#[cfg(test)]
mod tests {
    use super::may_show;

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
