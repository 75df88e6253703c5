//! Why the service does not work, and what to do, as a sentence for its operator.

use url::Url;

/// The longest part of a text from elsewhere in a sentence, in characters.
const SHOWN: usize = 160;

/// Why the stream at `url` (`JETSTREAM_URL`) is not read, by what the runtime says.
///
/// A host without an address is an "internal error" to the runtime (workerd 2026-11), and a port
/// where nobody listens a lost connection.
pub fn of_stream(url: &str, error: &str) -> String {
    let place = Url::parse(url).ok().and_then(|url| {
        let host = url.host_str()?;
        Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    });
    let Some(place) = place else {
        return format!(
            "JETSTREAM_URL is not an address ({}); it must be like wss://host/subscribe",
            cut(url)
        );
    };
    let error = error.strip_prefix("Error: ").unwrap_or(error);
    if error.contains("internal error") || error.contains("lookup") || error.contains("DNS") {
        return format!(
            "no connection to {place} can be opened: there is probably no such host (JETSTREAM_URL)"
        );
    }
    if error.contains("connection lost") || error.contains("refused") {
        return format!("nothing answers at {place} (JETSTREAM_URL), or it cuts the connection");
    }
    format!("the stream of {place} cannot be read: {}", cut(error))
}

/// Why nothing can be read from or written to the database.
pub fn of_database(error: &str) -> String {
    of_storage("the database does not answer", error)
}

/// Why the object that reads the stream does not answer. Without room on the disk it does not even
/// start (workerd 2026-11: "database or disk is full: SQLITE_FULL").
pub fn of_reader(error: &str) -> String {
    of_storage("the reader of the stream does not answer", error)
}

/// Whether an error says that the disk is full.
pub fn is_full(error: &str) -> bool {
    ["SQLITE_FULL", "disk is full", "No space left"].iter().any(|sign| error.contains(sign))
}

fn of_storage(what: &str, error: &str) -> String {
    if is_full(error) {
        return "the disk is full, so nothing can be stored; make room for the service".to_owned();
    }
    format!("{what}: {}", cut(error.strip_prefix("Error: ").unwrap_or(error)))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_a_sentence_of_its_own() {
        for (url, error, sentence) in [
            (
                "not a url",
                "JETSTREAM_URL is no URL",
                "JETSTREAM_URL is not an address (not a url); it must be like wss://host/subscribe",
            ),
            (
                "wss://nosuch.invalid/subscribe",
                "Error: internal error; reference = c9o4",
                "no connection to nosuch.invalid can be opened: there is probably no such host (JETSTREAM_URL)",
            ),
            (
                "ws://127.0.0.1:9/subscribe",
                "Error: Network connection lost.",
                "nothing answers at 127.0.0.1:9 (JETSTREAM_URL), or it cuts the connection",
            ),
            ("wss://a.example/", "Error: 404", "the stream of a.example cannot be read: 404"),
        ] {
            assert_eq!(of_stream(url, error), sentence);
        }
        for error in
            ["D1_ERROR: database or disk is full: SQLITE_FULL", "SQLITE_FULL", "No space left on device"]
        {
            assert!(of_database(error).starts_with("the disk is full"), "{error}");
            assert_eq!(of_reader(error), of_database(error));
            assert_eq!(of_reader(error), of_database(error));
        }
        assert_eq!(of_database("Error: D1_ERROR: gone"), "the database does not answer: D1_ERROR: gone");
        assert_eq!(of_reader("gone"), "the reader of the stream does not answer: gone");
        assert_eq!(of_reader("gone"), "the reader of the stream does not answer: gone");
        assert!(of_database(&"x".repeat(1000)).len() < 250);
    }
}
