//! Requests that workerd would answer badly: methods that it passes to nobody, or does not know.
//!
//! It treats `CONNECT` as a tunnel, for which the Worker has no handler: a 500 and an exception in
//! the log, which anybody could cause. It answers unknown methods itself, not in the form of the
//! service (contract H02).

/// Methods that workerd passes to the Worker, which itself answers all but a few with 405.
const GIVEN: [&[u8]; 28] = [
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"PATCH",
    b"PURGE",
    b"OPTIONS",
    b"TRACE",
    b"COPY",
    b"LOCK",
    b"MKCOL",
    b"MOVE",
    b"PROPFIND",
    b"PROPPATCH",
    b"SEARCH",
    b"UNLOCK",
    b"ACL",
    b"REPORT",
    b"MKACTIVITY",
    b"CHECKOUT",
    b"MERGE",
    b"MSEARCH",
    b"NOTIFY",
    b"SUBSCRIBE",
    b"UNSUBSCRIBE",
    b"QUERY",
    b"BAN",
];

/// The answer to a request that is refused here.
pub const ANSWER: &[u8] = b"HTTP/1.1 405 Method Not Allowed\r\n\
    Content-Type: application/json\r\n\
    Allow: GET, HEAD, POST, DELETE, OPTIONS\r\n\
    Access-Control-Allow-Origin: *\r\n\
    Cache-Control: no-store\r\n\
    Content-Length: 76\r\n\
    Connection: close\r\n\r\n\
    {\"error\":\"MethodNotAllowed\",\"message\":\"this path does not take this method\"}";

/// Where in these bytes a refused request begins. Requests may follow each other in one packet: behind one
/// that is not refused, whose head is complete and which has no body, the next one begins. `is_first` as for
/// [`refuses`].
pub fn refused_from(bytes: &[u8], is_first: bool) -> Option<usize> {
    let mut from = 0;
    loop {
        let rest = bytes.get(from..)?;
        if refuses(rest, is_first || from > 0) {
            return Some(from);
        }
        from += bodiless(rest)?;
    }
}

/// The length of the request that these bytes begin with, if all of its head is there and no body follows.
fn bodiless(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let length = bytes.windows(END.len()).position(|piece| piece == END)? + END.len();
    let head = bytes.get(..length)?.to_ascii_lowercase();
    let mut lines = head.split(|byte| *byte == b'\n');
    let is_request = lines.next()?.windows(8).any(|piece| piece == b" http/1.");
    let has_body = |line: &[u8]| {
        [&b"content-length:"[..], b"transfer-encoding:", b"upgrade:"]
            .iter()
            .any(|name| line.starts_with(name))
    };
    (is_request && !lines.any(has_body)).then_some(length)
}

/// Whether a request that begins with these bytes is refused. `is_first`: nothing came before them,
/// so they must be the beginning of a request; later, only bytes that look like the whole first
/// line of a `CONNECT` count as one.
pub fn refuses(bytes: &[u8], is_first: bool) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let Some(space) = line.iter().position(|byte| *byte == b' ') else { return false };
    let (method, rest) = line.split_at(space);
    if method == b"CONNECT" {
        return is_first || rest.windows(8).any(|piece| piece == b" HTTP/1.");
    }
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    is_first && !method.is_empty() && method.iter().all(is_token) && !GIVEN.contains(&method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        for (bytes, first, later, why) in [
            ("GET / HTTP/1.1\r\n", false, false, "a request"),
            ("PROPFIND / HTTP/1.1\r\n", false, false, "the Worker answers 405"),
            ("CONNECT example.com:443 HTTP/1.1\r\n", true, true, "a tunnel"),
            ("CONNECT example", true, false, "a piece of one, or of a body"),
            ("FOO / HTTP/1.1\r\n", true, false, "no method"),
            ("get / HTTP/1.1\r\n", true, false, "methods have a case"),
            ("GE", false, false, "not all of it is there"),
            ("\u{1}\u{2} x", false, false, "no HTTP: workerd says so"),
            ("", false, false, "nothing"),
        ] {
            assert_eq!(refuses(bytes.as_bytes(), true), first, "{why}");
            assert_eq!(refuses(bytes.as_bytes(), false), later, "{why}");
        }
    }

    #[test]
    fn requests_in_one_packet() {
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let connect = "CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 90\r\n\r\n";
        let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
        let at = |before: &[&str], later: &str| {
            let bytes = [before.concat().as_str(), later].concat();
            (refused_from(bytes.as_bytes(), true), before.concat().len())
        };
        for before in [&[][..], &[get], &[get, get, get]] {
            for refused in [connect, "FOO / HTTP/1.1\r\n\r\n", "CONNECT example"] {
                let (found, expected) = at(before, refused);
                assert_eq!(found, Some(expected), "{refused} behind {}", before.len());
            }
            assert_eq!(at(before, get).0, None);
        }
        assert_eq!(at(&[post], connect).0, None, "a body may say anything");
        assert_eq!(at(&[upgrade], connect).0, None, "and so may a socket");
        assert_eq!(at(&["GET / HTTP/1.1\r\nHost"], connect).0, None, "a head that is not complete");
        assert_eq!(refused_from(get.repeat(2).as_bytes(), false), None);
        let later = [get, connect].concat();
        assert_eq!(
            refused_from(later.as_bytes(), false),
            Some(get.len()),
            "also on a connection that has asked before"
        );
        assert_eq!(refused_from(b"", true), None);
    }

    #[test]
    fn the_answer_has_the_length_it_says() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
