//! Compares every operation of the document with the source of its handler: the parameters and
//! fields that it reads and how, who may call it, and how it fails.
//!
//! The tests read the source as text: the handler's function and the functions of its file that it
//! calls. That is crude and sufficient: handlers name each parameter where they read it, by the
//! method for its type. A read that no handler reaches fails the test, so none can hide.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Document;

/// Files whose functions other files call to read parameters.
const SHARED: [&str; 2] = ["sockets", "pages"];

/// The functions at the top level of a file and of the shared files that it uses, without blanks.
fn functions(file: &str) -> BTreeMap<String, String> {
    let mut found = own_functions(file);
    let text = std::fs::read_to_string(format!("src/api/{file}.rs")).unwrap();
    for shared in SHARED.iter().filter(|shared| text.contains(&format!("use super::{shared}::"))) {
        for (name, body) in own_functions(shared) {
            found.entry(name).or_insert(body);
        }
    }
    found
}

fn own_functions(file: &str) -> BTreeMap<String, String> {
    let path = format!("src/api/{file}.rs");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut found = BTreeMap::new();
    let mut open: Option<(String, String)> = None;
    for line in text.split("#[cfg(test)]").next().unwrap().lines() {
        let declared = line.split_once("fn ").filter(|_| !line.starts_with([' ', '/']));
        if let Some((_, rest)) = declared.filter(|_| open.is_none()) {
            let name = rest.split(['(', '<']).next().unwrap().to_owned();
            open = Some((name, String::new()));
        }
        if let Some((_, body)) = &mut open {
            body.extend(line.split("//").next().unwrap().split_whitespace());
        }
        let ends = line == "}" || (line.starts_with(|c: char| !c.is_whitespace()) && line.ends_with('}'));
        if ends && let Some((name, body)) = open.take() {
            found.insert(name, body);
        }
    }
    found
}

/// What a handler does, directly or through functions of its file.
#[derive(Default)]
struct Handler {
    reached: BTreeSet<String>,
    text: String,
}

impl Handler {
    fn of(functions: &BTreeMap<String, String>, name: &str) -> Self {
        let mut handler = Self::default();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            if !handler.reached.insert(name.clone()) {
                continue;
            }
            let body = functions.get(&name).unwrap_or_else(|| panic!("there is no function {name}"));
            handler.text.push_str(body);
            open.extend(functions.keys().filter(|other| calls(body, other)).cloned());
        }
        handler
    }

    fn has(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// `(kind, name)` of each `object.kind("name"…)`.
    fn reads(&self, object: &str) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for read in self.text.split(&format!("{object}.")).skip(1) {
            let Some((kind, rest)) = read.split_once('(') else { continue };
            let name = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(name, _)| name);
            if !kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
                continue;
            }
            // Only `Query` knows the cursor's name.
            found.insert((kind.to_owned(), name.unwrap_or(kind).to_owned()));
        }
        found
    }
}

/// Whether a text calls a function of its own file.
fn calls(text: &str, name: &str) -> bool {
    text.split(&format!("{name}(")).collect::<Vec<_>>().windows(2).any(|two| {
        // Blanks are removed: `return name(` is a call.
        let keyword = ["return", "match", "if"].into_iter().find(|word| two[0].ends_with(word));
        let before = two[0].strip_suffix(keyword.unwrap_or_default()).unwrap_or(two[0]);
        !before.ends_with("fn") && !before.ends_with(|c: char| c.is_alphanumeric() || "_.:".contains(c))
    })
}

/// The documentation of a parameter that is read this way: whether it is required, and its schema
/// (`null` for any).
fn parameter(kind: &str) -> (bool, Value) {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match kind {
        "did" => (true, named("Did")),
        "optional_did" => (false, named("Did")),
        "rkey" => (true, named("Rkey")),
        "at_uri" => (true, named("AtUri")),
        "optional_at_uri" => (false, named("AtUri")),
        "at_uri_or_rkey" => (true, named("UriOrRkey")),
        "did_or_handle" => (true, named("DidOrHandle")),
        "handle" => (true, json!({ "type": "string" })),
        "cid" => (true, named("Cid")),
        "cursor" => (false, named("Cursor")),
        "time" => (false, named("Timestamp")),
        "limit" => (false, json!({ "type": "integer" })),
        "flag" => (false, json!({ "type": "string" })),
        "bool" => (false, json!({ "type": "boolean" })),
        "optional" => (false, Value::Null),
        "required" => (true, Value::Null),
        "reason" => (false, json!({ "type": "string" })),
        other => panic!("teach this test what a parameter is that is read by Query::{other}"),
    }
}

/// The documentation of a body field that is read this way.
fn field(kind: &str) -> (bool, Value) {
    let named = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    match kind {
        "did" => (true, named("Did")),
        "at_uri" => (true, named("AtUri")),
        "community" => (true, named("CommunityUri")),
        "reason" | "time_ahead" => (false, json!({ "type": ["string", "null"] })),
        "text" => (true, json!({ "type": "string" })),
        "optional_text" => (false, json!({ "type": ["string", "null"] })),
        "dids" => (true, json!({ "type": "array" })),
        "subscription" => (true, named("PushSubscription")),
        "optional_at_uri" => (false, named("AtUri")),
        "rhythm" => (true, json!({ "type": ["string", "null"] })),
        "optional_did" => (false, named("Did")),
        "optional_community" => (false, named("CommunityUri")),
        "comment" => (false, json!({ "type": ["string", "null"] })),
        "report_reason" => (true, json!({ "type": "string" })),
        "required_count" => (true, json!({ "type": "integer" })),
        "url" => (true, json!({ "type": "string" })),
        "words" => (false, json!({ "type": ["array", "null"] })),
        "secret" => (false, json!({ "type": ["string", "null"] })),
        "bool" => (true, json!({ "type": "boolean" })),
        "scope" => (true, named("RestartScope")),
        "whole" | "count" => (false, json!({ "type": ["integer", "null"] })),
        other => panic!("teach this test what a field is that is read by Body::{other}"),
    }
}

/// The part of a schema that follows from the way the code reads the value.
fn essence(schema: &Value) -> Value {
    // Or none, if it may be null.
    match schema.get("$ref").or_else(|| schema.get("anyOf")?.get(0)?.get("$ref")) {
        Some(place) => json!({ "$ref": place }),
        None => json!({ "type": schema["type"] }),
    }
}

fn compare(
    at: &str,
    expected: &BTreeMap<String, (bool, Value)>,
    documented: &BTreeMap<String, (bool, Value)>,
) {
    for (name, (required, schema)) in expected {
        let Some((also, shown)) = documented.get(name) else {
            panic!("{at} reads {name}, which the document does not have")
        };
        assert_eq!(required, also, "{at}: whether {name} is required");
        assert!(
            schema.is_null() || *schema == essence(shown),
            "{at}: {name} is {schema}, documented as {shown}"
        );
    }
    for name in documented.keys() {
        assert!(expected.contains_key(name), "{at}: {name} is in the document, and nobody reads it");
    }
}

/// Statuses that a shared function can return and this operation cannot, which the source alone
/// does not show.
const NEVER: [(&str, &str, &str); 0] = [];

fn statuses(rule: &str, handler: &Handler, reads: bool) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = ["429", "500", "503"].map(String::from).into();
    for (sign, statuses) in [
        ("ApiError::BadRequest", &["400"][..]),
        ("ApiError::Invalid(", &["422"]),
        ("ApiError::NotFound", &["404"]),
        ("ApiError::Forbidden", &["403"]),
        ("ApiError::NotEnabled", &["403"]),
        ("ApiError::NotHub", &["421"]),
        ("ApiError::Gone", &["410"]),
        ("ApiError::InvalidRange", &["416"]),
        ("ApiError::Upstream", &["502"]),
        ("ApiError::InvalidState", &["400"]),
        ("identity::leads_to(", &["403", "502"]),
        ("identity::of_did(", &["403", "404", "502"]),
        ("authority::once(", &["400", "422"]),
        ("authority::operator(", &["401"]),
        ("authority::scraper(", &["401"]),
        ("authority::moderator(", &["401", "403"]),
        ("authority::person(", &["401", "403"]),
        // Of a community for members only (X41).
        ("call.db_about(", &["401", "403"]),
        ("authority::proven(", &["401", "403"]),
        ("call.outside()", &["403"]),
        ("call.body()", &["400", "413", "422"]),
    ] {
        if handler.has(sign) {
            found.extend(statuses.iter().map(|status| (*status).to_owned()));
        }
    }
    if reads {
        found.insert("422".into());
    }
    for (_, status, _) in NEVER.iter().filter(|(of, ..)| *of == rule) {
        assert!(found.remove(*status), "{rule}: {status} need not be left out");
    }
    found
}

/// A status as the lexicons have it (N157).
fn of_lexicon(status: &str) -> String {
    let same = match status {
        "422" => "400",
        "410" => "404",
        status => status,
    };
    same.to_owned()
}

/// The handler of each route, from the tables: file and function, by method and path.
fn handlers() -> BTreeMap<String, (String, String)> {
    let mut found = BTreeMap::new();
    let tables = [("mod.rs", "routes! {"), ("xrpc.rs", "lexicons! {")].map(|(file, table)| {
        let text = std::fs::read_to_string(format!("src/api/{file}")).unwrap();
        text.split(table).nth(1).unwrap().split("};").next().unwrap().to_owned()
    });
    for route in tables.iter().flat_map(|table| table.split(';')).map(str::trim) {
        if route.is_empty() {
            continue;
        }
        let words: Vec<&str> = route.split_whitespace().collect();
        let ([method, path, _, handler] | [method, path, _, handler, "cached" | "cached_for_nobody"]) =
            words[..]
        else {
            panic!("{route}")
        };
        let (file, function) = handler.rsplit_once("::").unwrap();
        let below = format!("xrpc/{file}");
        let is_below = !route.contains("\"/") && std::fs::exists(format!("src/api/{below}.rs")).unwrap();
        let file = if is_below { below } else { file.replace("::", "/") };
        let path = path.trim_matches('"');
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/xrpc/{path}") };
        found.insert(format!("{method} {path}"), (file, function.to_owned()));
    }
    found
}

#[test]
fn every_parameter_is_documented_as_it_is_read() {
    let document = Document::read();
    let handlers = handlers();
    let mut reached: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for operation in document.operations() {
        let at = format!("{} {} ({})", operation.method, operation.path, operation.rule);
        let route = format!("{} {}", operation.method, operation.path);
        let (file, function) = handlers.get(&route).unwrap_or_else(|| panic!("{at} is no route"));
        let functions = functions(file);
        let handler = Handler::of(&functions, function);
        reached.entry(file.clone()).or_default().extend(handler.reached.clone());

        let mut expected: BTreeMap<String, (bool, Value)> =
            handler.reads("query").into_iter().map(|(kind, name)| (name, parameter(&kind))).collect();
        if handler.has("list.answer") {
            // `List` itself reads these two.
            expected.insert("limit".into(), parameter("limit"));
            expected.insert("cursor".into(), parameter("cursor"));
        }
        let fails_by = expected.values().any(|(required, schema)| {
            *required || schema.get("$ref").is_some() || schema["type"] == "integer"
        });
        // `reply`, which adds the tag, answers the reads.
        let tagged = [
            "shown(call,",
            "tagged(call,",
            "typed(call,",
            "ending_in(call,",
            "list.answer",
            "list.page(",
            "list.whole(",
        ];
        let tagged = tagged.iter().any(|sign| handler.has(sign));
        if tagged || handler.has("header(\"if-none-match\")") {
            expected.insert("If-None-Match".into(), (false, Value::Null));
        }
        if handler.has("authority::once(") {
            expected.insert("Idempotency-Key".into(), (false, Value::Null));
        }
        if handler.has("header(\"range\")") {
            expected.insert("Range".into(), (false, Value::Null));
        }
        let documented = operation.spec["parameters"].as_array().into_iter().flatten();
        let documented = documented
            .map(|one| document.resolve(one))
            .filter(|one| one["in"] != "path")
            .map(|one| {
                (one["name"].as_str().unwrap().into(), (one["required"] == true, one["schema"].clone()))
            })
            .collect();
        compare(&at, &expected, &documented);

        let body = &operation.spec["requestBody"]["content"]["application/json"]["schema"];
        let (fields, required) = document.fields(body);
        let documented =
            fields.iter().map(|(name, one)| ((*name).into(), (required.contains(name), (*one).clone())));
        let expected = handler.reads("body").into_iter().map(|(kind, name)| (name, field(&kind))).collect();
        compare(&format!("the body of {at}"), &expected, &documented.collect());

        let security: Vec<&str> = operation.spec["security"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| one.as_object().unwrap().keys())
            .map(String::as_str)
            .collect();
        let guards: &[&str] = match ["operator", "moderator", "person"]
            .map(|name| handler.has(&format!("authority::{name}(")))
        {
            [true, ..] => &["ApiKey"],
            _ if handler.has("authority::scraper(") => &["ApiKey"],
            // Optional: the answer to the key is newer (R66).
            _ if handler.has("authority::is_scraper(") => {
                assert_eq!(operation.spec["security"][0], json!({}), "{at}: the key is not needed");
                &["ApiKey"]
            }
            [_, true, _] => &["ApiKey", "ServiceAuth"],
            [.., true] => &["ServiceAuth"],
            // Optional: `security` begins with an empty one (X41, X42).
            _ if handler.has("call.db_about(") || handler.has("authority::reader_if_any(") => {
                assert_eq!(operation.spec["security"][0], json!({}), "{at}: a proof is not always needed");
                &["ApiKey", "ServiceAuth"]
            }
            _ => &[],
        };
        assert_eq!(security, guards, "{at}: who may call it");

        let documented: BTreeSet<String> = operation.spec["responses"]
            .as_object()
            .unwrap()
            .keys()
            .filter(|status| status.as_str() >= "400")
            .cloned()
            .collect();
        let mut expected = statuses(&operation.rule, &handler, fails_by);
        if operation.path.starts_with("/xrpc/") {
            expected = expected.iter().map(|status| of_lexicon(status)).collect();
        }
        assert_eq!(documented, expected, "{at}: with what it fails");
        let again = operation.spec["responses"].get("304").is_some();
        assert_eq!(again, tagged || handler.has("if-none-match"), "{at}: 304");
        let paged = operation.spec["responses"]["200"]["headers"].get("Colibri-Cursor").is_some();
        assert_eq!(paged, handler.has("List{"), "{at}: Colibri-Cursor");
    }
    for (file, reached) in reached {
        for (name, text) in own_functions(&file) {
            let reads = text.contains("query.") || text.contains("body.");
            assert!(!reads || reached.contains(&name), "{file}::{name} reads what no handler asks it for");
        }
    }
}
