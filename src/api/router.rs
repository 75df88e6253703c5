//! How a request finds its handler: the table of routes is data, so that tests and the reference of
//! the API can list every path with its methods and its rule.
//!
//! The order of checks is H03's: path (404), method (405 with `Allow`), then the handler, which
//! checks in this order: the caller (500, 401), the parameters and the body (413, 400, 422), the
//! resources (403, 404, 410).

use std::borrow::Cow;

use futures::future::LocalBoxFuture;

use super::error::ApiError;
use super::{Answer, Call};

/// One method of one path.
pub(super) struct Route {
    /// `GET` (which also answers `HEAD`, H09), `POST`, `PUT` or `DELETE`.
    pub(super) method: &'static str,
    /// The path. What is in braces matches any text without a slash: `{code}`. A segment has at most one pair.
    pub(super) path: &'static str,
    /// The rule of the contract, or a word for a route that the contract leaves open.
    pub(super) id: &'static str,
    /// The function that answers.
    pub(super) handler: Handler,
    /// Whether the response cache may hold its answers.
    pub(super) cached: Cached,
    /// The method of a lexicon, the only one that a token for the route may name (N150); none of `/api`.
    pub(super) own: &'static [&'static str],
}

/// Whether the response cache may hold the answers of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cached {
    /// It may (`cached`): they depend only on the address and the index, unless the handler says
    /// otherwise.
    Always,
    /// As long as the caller shows no proof (`cached_for_nobody`): a proof may show more (X42).
    ForNobody,
    /// It may not.
    Never,
}

/// A route's function.
pub(super) type Handler = for<'a> fn(&'a Call) -> LocalBoxFuture<'a, Answer>;

/// Builds the table of routes: `METHOD "path" ID handler`, and an optional `cached` or
/// `cached_for_nobody`. Any other word does not compile.
macro_rules! routes {
    (@cached) => { $crate::api::router::Cached::Never };
    (@cached cached) => { $crate::api::router::Cached::Always };
    (@cached cached_for_nobody) => { $crate::api::router::Cached::ForNobody };
    (@one $path:expr, $own:expr, $method:ident $id:ident $($handler:ident)::+ $($cached:ident)?) => {
        Route {
            method: stringify!($method),
            path: $path,
            id: stringify!($id),
            handler: |call| Box::pin($($handler)::+(call)),
            cached: routes!(@cached $($cached)?),
            own: $own,
        }
    };
    ($($method:ident $path:literal $id:ident $($handler:ident)::+ $($cached:ident)?;)*) => {
        &[$(routes!(@one $path, &[], $method $id $($handler)::+ $($cached)?)),*]
    };
}
pub(super) use routes;

/// Builds the table of the lexicons' methods: as [`routes`], with an NSID in the place of the path.
macro_rules! lexicons {
    ($($method:ident $nsid:literal $id:ident $($handler:ident)::+ $($cached:ident)?;)*) => {
        &[$(
            routes!(@one concat!("/xrpc/", $nsid), &[$nsid], $method $id $($handler)::+ $($cached)?)
        ),*]
    };
}
pub(super) use lexicons;

/// The methods that a token may name.
pub(super) struct Method {
    /// The rule of the route.
    pub(super) id: &'static str,
    /// The route's own method, through which somebody's PDS also reaches it (X10), and those that
    /// it shares with other routes (X09). An empty name is none.
    pub(super) names: &'static [&'static str],
}

/// Builds the table of methods: `RULE "own name"`, and shared ones.
macro_rules! methods {
    ($($id:ident $own:literal $($shared:ident)*;)*) => {
        &[$(Method { id: stringify!($id), names: &[$own, $($shared),*] }),*]
    };
}
pub(super) use methods;

/// The methods of a route.
pub(super) fn methods_of(methods: &'static [Method], id: &str) -> &'static [&'static str] {
    let names = methods.iter().find(|method| method.id == id).map_or(&[][..], |method| method.names);
    match names {
        ["", rest @ ..] => rest,
        names => names,
    }
}

/// The route of a method that a PDS forwards (X10), and the method itself, the only one that the
/// token may name. A PDS forwards `GET` and `POST` only, so `POST` also stands for `DELETE`.
pub(super) fn named(
    routes: &'static [Route],
    methods: &'static [Method],
    method: &str,
    name: &str,
) -> Result<(&'static Route, &'static [&'static str]), ApiError> {
    let found = methods
        .iter()
        .filter_map(|one| Some((one, one.names.get(..1)?)))
        .find(|(_, own)| !name.is_empty() && own.first() == Some(&name));
    let (found, own) = found.ok_or(ApiError::NotFound("there is no such method"))?;
    let route = routes.iter().find(|route| route.id == found.id).ok_or(ApiError::Internal)?;
    let is_read = route.method == "GET";
    match method {
        "GET" | "HEAD" if is_read => Ok((route, own)),
        "POST" if !is_read => Ok((route, own)),
        _ => Err(ApiError::MethodNotAllowed(allowed(std::iter::once(if is_read { "GET" } else { "POST" })))),
    }
}

/// The route of a request, and what matches its braces.
pub(super) fn find<'p>(
    routes: &'static [Route],
    method: &str,
    path: &'p str,
) -> Result<(&'static Route, Option<Cow<'p, str>>), ApiError> {
    let matched = || routes.iter().filter_map(|route| Some((route, segment(route.path, path)?)));
    if matched().next().is_none() {
        return Err(ApiError::NotFound("there is nothing at this path"));
    }
    let method = if method == "HEAD" { "GET" } else { method };
    match matched().find(|(route, _)| route.method == method) {
        Some((route, segment)) => Ok((route, (!segment.is_empty()).then_some(segment))),
        None => Err(ApiError::MethodNotAllowed(allowed(matched().map(|(route, _)| route.method)))),
    }
}

/// Whether `path` matches `pattern`, and the texts that match its braces, with slashes between them (empty if it
/// has none). An empty segment or a trailing slash makes another path (H09).
fn segment<'p>(pattern: &str, path: &'p str) -> Option<Cow<'p, str>> {
    if !pattern.contains('{') {
        return (pattern == path).then_some(Cow::Borrowed(""));
    }
    let mut found: Option<Cow<'p, str>> = None;
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let given = segments.next()?;
        let Some((before, (_, after))) =
            expected.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        else {
            if expected == given {
                continue;
            }
            return None;
        };
        let text = given.strip_prefix(before)?.strip_suffix(after).filter(|text| !text.is_empty())?;
        found = Some(match found {
            None => text.into(),
            Some(texts) => format!("{texts}/{text}").into(),
        });
    }
    found.filter(|_| segments.next().is_none())
}

/// The value of `Allow`.
fn allowed<'r>(methods: impl Iterator<Item = &'r str>) -> String {
    let mut allow = Vec::new();
    for method in methods {
        allow.push(method);
        if method == "GET" {
            allow.push("HEAD");
        }
    }
    allow.push("OPTIONS");
    allow.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &[Route] = routes! {
        GET    "/api/a"          R01 nothing;
        POST   "/api/a"          R02 nothing;
        GET    "/api/a/{x}"      R03 nothing;
        DELETE "/api/a/{x}"      R04 nothing;
        POST   "/api/a/{x}/use"  R05 nothing;
        GET    "/b/{x}/{y}.json" R06 nothing;
    };

    async fn nothing(_call: &Call) -> Answer {
        Err(ApiError::Internal)
    }

    #[test]
    fn h03_path_then_method() {
        for (method, path, expected, why) in [
            ("GET", "/api/a", "R01", "the path as it is"),
            ("HEAD", "/api/a", "R01", "H09: HEAD is GET"),
            ("POST", "/api/a", "R02", "another method of the same path"),
            ("DELETE", "/api/a/7", "R04 7", "a part of any text"),
            ("POST", "/api/a/7/use", "R05 7", "and a path below it"),
            ("DELETE", "/api/a", "405 GET, HEAD, POST, OPTIONS", "all methods of the path"),
            ("PROPFIND", "/api/a", "405 GET, HEAD, POST, OPTIONS", "a method nobody knows is no GET"),
            ("HEAD", "/api/a/7/use", "405 POST, OPTIONS", "no GET, no HEAD"),
            ("GET", "/api/a/", "404", "H09: a trailing slash is another path"),
            ("GET", "/api/a/7/", "404", "here too"),
            ("GET", "/api/a/7/8", "404", "one part, not two"),
            ("POST", "/api/a//use", "404", "not none either"),
            ("GET", "/b/7/8.json", "R06 7/8", "two parts"),
            ("GET", "/b/7/8.json.json", "R06 7/8.json", "the end of the segment counts"),
            ("GET", "/b/7/.json", "404", "no empty one"),
            ("GET", "/b/7/8", "404", "what follows the braces"),
            ("GET", "/b/7/8/9.json", "404", "and no more segments"),
            ("GET", "/api/A", "404", "paths have a case"),
            ("GET", "/", "404", "nothing here"),
            ("POST", "/nothing", "404", "404 beats 405"),
        ] {
            let got = match find(ROUTES, method, path) {
                Ok((route, Some(segment))) => format!("{} {segment}", route.id),
                Ok((route, None)) => route.id.to_owned(),
                Err(ApiError::MethodNotAllowed(allow)) => format!("405 {allow}"),
                Err(ApiError::NotFound(_)) => "404".to_owned(),
                Err(other) => format!("{other:?}"),
            };
            assert_eq!(got, expected, "{method} {path}: {why}");
        }
    }

    /// The reference, the fuzz tests and people's clients rely on these: a missing path or method
    /// breaks them.
    #[test]
    fn every_route_is_one() {
        let mut seen = std::collections::BTreeSet::new();
        for Route { method, path, id, own, .. } in super::super::every_route() {
            assert!(["GET", "POST", "PUT", "DELETE"].contains(method), "{method} {path}");
            assert!(
                own.is_empty() || ["GET", "POST"].contains(method),
                "{path}: a PDS forwards no other method"
            );
            assert_eq!(path.strip_prefix("/xrpc/").as_slice(), *own, "{path}");
            let alone = [
                "/",
                "/openapi.json",
                "/asyncapi.json",
                "/docs",
                "/console",
                "/metrics",
                "/.well-known/did.json",
            ];
            let roots = ["/api/", "/docs/", "/demo/", "/feed/", "/pages/", "/xrpc/"];
            assert!(alone.contains(path) || roots.iter().any(|root| path.starts_with(root)), "{path}");
            assert!(*path == "/" || !path.ends_with('/'), "{path}");
            assert!(
                path.split('/').all(|one| one.matches('{').count() <= 1),
                "{path}: one pair in a segment"
            );
            assert!(seen.insert((method, path)), "{method} {path} is listed twice");
            assert!(!id.is_empty());
        }
    }
}
