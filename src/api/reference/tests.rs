//! Compares the document with the code, in both directions. A failing test names what is missing in
//! `openapi.json`, or what is only there; `source` reads the handlers, `bodies` the types.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::super::error::ApiError;
use super::super::router::{methods_of, named};
use super::super::{METHODS, ROUTES, every_route, xrpc};
use super::DOCUMENT;
use crate::wire::ids::Did;

mod bodies;
mod sockets;
mod source;

/// One method of one path of the document.
struct Operation {
    method: String,
    path: String,
    rule: String,
    spec: Value,
}

struct Document(Value);

impl Document {
    fn read() -> Self {
        Self(serde_json::from_str(DOCUMENT).unwrap())
    }

    /// Follows a `$ref`, if it is one.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(place) => {
                let found = self.0.pointer(place.strip_prefix('#').unwrap());
                self.resolve(found.unwrap_or_else(|| panic!("{place} leads nowhere")))
            }
            None => value,
        }
    }

    fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().unwrap();
        let mut found = Vec::new();
        for (path, methods) in paths {
            for (method, spec) in methods.as_object().unwrap() {
                found.push(Operation {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    rule: spec["x-rule"].as_str().unwrap().to_owned(),
                    spec: spec.clone(),
                });
            }
        }
        found
    }

    fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// The fields of an object and of its parts, and which of them are required.
    fn fields<'a>(&'a self, schema: &'a Value) -> (BTreeMap<&'a str, &'a Value>, BTreeSet<&'a str>) {
        let schema = self.resolve(schema);
        let (mut fields, mut required) = (BTreeMap::new(), BTreeSet::new());
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (more, always) = self.fields(part);
            fields.extend(more);
            required.extend(always);
        }
        let own = schema["properties"].as_object();
        fields.extend(own.into_iter().flatten().map(|(name, field)| (name.as_str(), field)));
        required
            .extend(schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()));
        (fields, required)
    }

    /// Whether a schema allows `null`.
    fn nullable(&self, schema: &Value) -> bool {
        let schema = self.resolve(schema);
        match (&schema["type"], schema["anyOf"].as_array()) {
            (Value::Array(types), _) => types.iter().any(|name| name == "null"),
            (_, Some(any)) => any.iter().any(|one| one["type"] == "null"),
            (name, None) => name == "null",
        }
    }

    /// The schema without its `null`.
    fn substance<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let schema = self.resolve(schema);
        match schema["anyOf"].as_array() {
            Some(any) => self.substance(any.iter().find(|one| one["type"] != "null").unwrap()),
            None => schema,
        }
    }

    /// Fails if a value other than `null` does not match the schema.
    fn check(&self, schema: &Value, value: &Value, at: &str) {
        let schema = self.substance(schema);
        let types: Vec<&str> = match &schema["type"] {
            Value::String(name) => vec![name],
            Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
            _ if schema["allOf"].is_array() => vec!["object"],
            _ => panic!("{at}: a schema without a type"),
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(types.contains(&is), "{at} is {is}, documented as {types:?}");
        if let Some(only) = schema.get("const") {
            assert_eq!(value, only, "{at}");
        }
        if let Some(allowed) = schema["enum"].as_array() {
            assert!(allowed.contains(value), "{at}: {value} is none of {allowed:?}");
        }
        match value {
            Value::Array(items) if schema["items"].is_object() => {
                for item in items {
                    self.check(&schema["items"], item, &format!("{at}[]"));
                }
            }
            Value::Object(object) if schema["additionalProperties"].is_object() => {
                for (name, value) in object {
                    self.check(&schema["additionalProperties"], value, &format!("{at}.{name}"));
                }
            }
            Value::Object(object) => self.check_fields(schema, object, at),
            _ => {}
        }
    }

    /// Fails unless these values have the fields of the schema: each in some value, `null` exactly where the schema
    /// allows it, and absent from some value exactly where it is not required.
    fn describes(&self, schema: &Value, values: &[Value], name: &str) {
        let (fields, required) = self.fields(schema);
        for value in values {
            self.check(schema, value, name);
        }
        for (field, described) in fields {
            let seen: Vec<Option<&Value>> = values.iter().map(|value| value.get(field)).collect();
            let with = seen.iter().flatten().any(|value| !value.is_null());
            assert!(with, "{name}.{field} is in the document, but in no {name}");
            assert_eq!(
                seen.iter().flatten().any(|value| value.is_null()),
                self.nullable(described),
                "{name}.{field}: whether it can be null"
            );
            assert_eq!(
                seen.iter().all(Option::is_some),
                required.contains(field),
                "{name}.{field}: whether it is always there"
            );
        }
    }

    fn check_fields(&self, schema: &Value, object: &Map<String, Value>, at: &str) {
        let (fields, required) = self.fields(schema);
        if fields.is_empty() {
            return; // an object that others define
        }
        let got: BTreeSet<&str> = object.keys().map(String::as_str).collect();
        let unknown: Vec<_> = got.iter().filter(|name| !fields.contains_key(**name)).collect();
        assert!(unknown.is_empty(), "{at}: the document does not have {unknown:?}");
        let missing: Vec<_> = required.difference(&got).collect();
        assert!(missing.is_empty(), "{at}: documented as always there, and is not: {missing:?}");
        for (name, value) in object {
            let field = fields[name.as_str()];
            if value.is_null() {
                assert!(self.nullable(field), "{at}.{name} is null, which the document does not say");
            } else {
                self.check(field, value, &format!("{at}.{name}"));
            }
        }
    }
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, inside) in object {
                match inside.as_str() {
                    Some(place) if name == "$ref" => drop(found.insert(place.to_owned())),
                    _ => references(inside, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_documented_and_no_other() {
    let documented: BTreeSet<String> = Document::read()
        .operations()
        .iter()
        .map(|operation| format!("{} {} {}", operation.method, operation.path, operation.rule))
        .collect();
    let routes: BTreeSet<String> =
        every_route().map(|route| format!("{} {} {}", route.method, route.path, route.id)).collect();
    let missing: Vec<_> = routes.difference(&documented).collect();
    let extra: Vec<_> = documented.difference(&routes).collect();
    assert!(missing.is_empty(), "routes that openapi.json does not have: {missing:?}");
    assert!(extra.is_empty(), "openapi.json has what is no route: {extra:?}");
}

#[test]
fn the_document_holds_together() {
    let document = Document::read();
    assert_eq!(document.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document.0["info"]["title"], env!("CARGO_PKG_NAME"));
    let mut used = BTreeSet::new();
    references(&document.0, &mut used);
    for place in &used {
        assert!(document.0.pointer(&place[1..]).is_some(), "{place} leads nowhere");
    }
    for (kind, components) in document.0["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let place = format!("#/components/{kind}/{name}");
            // A 405 is an answer of the path, not of any of its methods.
            let of_no_operation = kind == "securitySchemes" || name == "MethodNotAllowed";
            assert!(of_no_operation || used.contains(&place), "{place} is used nowhere");
        }
    }
    let tags: BTreeSet<&str> =
        document.0["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for Operation { method, path, spec, .. } in document.operations() {
        let id = spec["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{method} {path}: the operationId is taken");
        assert!(tags.contains(spec["tags"][0].as_str().unwrap()), "{method} {path}: an unknown tag");
        assert!(spec["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
        let braces = path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
        let documented = spec["parameters"].as_array().into_iter().flatten();
        let documented = documented.map(|one| document.resolve(one)).filter(|one| one["in"] == "path");
        let documented = documented.filter_map(|one| one["name"].as_str());
        assert!(documented.eq(braces), "{method} {path}: its path");
    }
}

/// X09, X10: the methods of tokens; every operation that accepts a token has some.
#[test]
fn x09_methods_of_tokens_are_documented_as_they_are_checked() {
    let mut own_names = BTreeSet::new();
    for Operation { method, path, rule, spec } in Document::read().operations() {
        let at = format!("{method} {path}");
        let of_lexicon = xrpc::METHODS.iter().find(|route| route.path == path);
        let names = of_lexicon.map_or_else(|| methods_of(METHODS, &rule), |route| route.own);
        let documented: Vec<&str> =
            spec["x-lxm"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(documented, names, "{at}: x-lxm");
        let takes_tokens = spec["security"].to_string().contains("ServiceAuth")
            || ["R23", "R24", "ice"].contains(&rule.as_str());
        assert!(!takes_tokens || !names.is_empty(), "{at} takes tokens of no method");
        let own = METHODS.iter().find(|one| one.id == rule).and_then(|one| one.names.first());
        let own = of_lexicon.map_or(own, |route| route.own.first());
        if let Some(name) = own.filter(|name| !name.is_empty()) {
            assert!(own_names.insert((*name).to_owned()), "{name} is the method of two routes");
            assert!(
                of_lexicon.is_some()
                    || named(ROUTES, METHODS, if method == "GET" { "GET" } else { "POST" }, name).is_ok(),
                "{at}"
            );
        }
    }
    for one in METHODS {
        assert!(ROUTES.iter().any(|route| route.id == one.id), "{} is no route", one.id);
    }
}

/// People write their clients after the examples.
#[test]
fn examples_are_what_the_document_says() {
    let document = Document::read();
    let mut seen = 0;
    for Operation { method, path, spec, .. } in document.operations() {
        let at = format!("{method} {path}");
        let bodies = spec["responses"].as_object().unwrap().values().map(|one| document.resolve(one));
        for body in bodies.chain(spec.get("requestBody")) {
            for media in body["content"].as_object().into_iter().flatten().map(|(_, media)| media) {
                if let Some(example) = media.get("example") {
                    document.check(&media["schema"], example, &at);
                    seen += 1;
                }
            }
        }
        for parameter in spec["parameters"].as_array().into_iter().flatten() {
            let parameter = document.resolve(parameter);
            let name = parameter["name"].as_str().unwrap();
            match parameter.get("example") {
                Some(example) => document.check(&parameter["schema"], example, &format!("{at} {name}")),
                None => assert_ne!(parameter["required"], true, "{at}: {name} needs an example"),
            }
        }
    }
    assert!(seen > 100, "{seen} examples");
}

/// H20: each error with its status and code; only `ApiError` defines them.
#[test]
fn h20_errors_are_the_table() {
    let document = Document::read();
    let all = [
        ("BadRequest", ApiError::BadRequest("")),
        ("Invalid", ApiError::Invalid(String::new())),
        ("InvalidState", ApiError::InvalidState("")),
        ("AuthRequired", ApiError::AuthRequired("")),
        ("Forbidden", ApiError::Forbidden("")),
        ("NotEnabled", ApiError::NotEnabled("")),
        ("NotCommunityHub", ApiError::NotHub(Did::parse("did:web:a.test").unwrap())),
        ("NotFound", ApiError::NotFound("")),
        ("MethodNotAllowed", ApiError::MethodNotAllowed(String::new())),
        ("Gone", ApiError::Gone("")),
        ("PayloadTooLarge", ApiError::PayloadTooLarge),
        ("InvalidRange", ApiError::InvalidRange(None)),
        ("RateLimited", ApiError::RateLimited(1)),
        ("NotConfigured", ApiError::NotConfigured(super::super::authority::NO_KEY)),
        ("InternalError", ApiError::Internal),
        ("UpstreamFailure", ApiError::Upstream("")),
        ("Unavailable", crate::storage::Fault::new("testing", "nothing").into()),
    ];
    let responses = document.0["components"]["responses"].as_object().unwrap();
    let mut statuses = BTreeMap::new();
    let mut codes = BTreeSet::new();
    for (name, error) in &all {
        let (status, code, _) = error.parts();
        let response = responses.get(*name).unwrap_or_else(|| panic!("{name} is not in the document"));
        assert_eq!(response["content"]["application/json"]["example"]["error"], code, "{name}");
        let description = response["description"].as_str().unwrap();
        assert!(description.starts_with(&format!("{status}: ")), "{name}: {description}");
        statuses.insert(format!("#/components/responses/{name}"), status);
        codes.insert(code);
    }
    assert_eq!(responses.len(), all.len() + 1, "and 304, and no other");
    let documented = document.schema("Error")["properties"]["error"]["enum"].as_array().unwrap();
    assert_eq!(documented.iter().map(|code| code.as_str().unwrap()).collect::<BTreeSet<_>>(), codes);
    for Operation { method, path, spec, .. } in document.operations() {
        for (status, response) in spec["responses"].as_object().unwrap() {
            if let Some(expected) = response["$ref"].as_str().and_then(|place| statuses.get(place)) {
                assert_eq!(status, &expected.to_string(), "{method} {path}");
            }
        }
    }
}
