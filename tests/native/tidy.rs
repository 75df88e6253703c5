//! Checks the rules of the code base: which layer may use which, what must not be in it, and the
//! names in the configuration against the names in the code. `docs/architecture.md` states them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Every Rust file under a folder.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no Rust files: has it moved?");
    found.sort();
    found
}

/// The code of a file without its tests, comments and attributes, line by line with numbers.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .filter(|(_, line)| !line.trim_start().starts_with("#["))
        .collect()
}

/// Reports every line of `folder` that `is_wrong`.
fn forbid(folder: &str, why: &str, is_wrong: impl Fn(&str) -> bool) {
    let wrong: Vec<String> = files(folder)
        .iter()
        .flat_map(|path| {
            let is_wrong = &is_wrong;
            code(path)
                .into_iter()
                .filter(move |(_, line)| is_wrong(line))
                .map(move |(n, line)| format!("{}:{n}: {}", path.display(), line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(wrong.is_empty(), "{folder}: {why}\n{}", wrong.join("\n"));
}

fn names_any(line: &str, words: &[&str]) -> bool {
    words.iter().any(|word| line.contains(word))
}

const LAYERS: [&str; 7] = ["wire", "domain", "storage", "pipeline", "platform", "durable", "api"];

/// Layers, from the lowest up, and the layers that they may use.
const ARROWS: [(&str, &[&str]); 6] = [
    ("src/wire", &["wire"]),
    ("src/domain", &["wire", "domain"]),
    ("src/storage", &["wire", "domain", "storage"]),
    ("src/platform", &["wire", "domain", "storage", "pipeline", "platform"]),
    ("durable", &["wire", "domain", "storage", "pipeline", "platform", "durable"]),
    ("src/api", &["wire", "domain", "storage", "pipeline", "platform", "durable", "api"]),
];

#[test]
fn arrows_point_downward() {
    for (folder, may_use) in ARROWS {
        let forbidden: Vec<String> = LAYERS
            .iter()
            .filter(|layer| !may_use.contains(layer))
            .map(|layer| format!("crate::{layer}"))
            .collect();
        forbid(folder, "uses a layer above it", |line| {
            forbidden.iter().any(|layer| line.contains(layer.as_str()))
        });
    }
    for path in [PathBuf::from("src/pipeline.rs")].into_iter().chain(files("src/pipeline")) {
        assert!(
            !code(&path).iter().any(|(_, line)| names_any(
                line,
                &["crate::platform", "crate::durable", "crate::api", "worker::"]
            )),
            "{} knows no platform: the native tests walk it",
            path.display()
        );
    }
}

#[test]
fn only_the_upper_layers_know_the_platform() {
    for folder in ["src/wire", "src/domain", "src/storage"] {
        forbid(folder, "knows the platform", |line| names_any(line, &["worker::", "wasm_bindgen", "js_sys"]));
    }
}

#[test]
fn rules_and_formats_do_not_wait() {
    for folder in ["src/wire", "src/domain"] {
        forbid(folder, "is async", |line| names_any(line, &["async ", ".await"]));
    }
}

#[test]
fn sql_stands_in_storage() {
    let sql = ["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "CREATE TABLE", "json_each"];
    for folder in ["src/wire", "src/domain", "src/pipeline", "src/platform", "durable", "src/api"] {
        forbid(folder, "holds SQL", |line| names_any(line, &sql));
    }
    let pipeline = code(Path::new("src/pipeline.rs"));
    assert!(!pipeline.iter().any(|(_, line)| names_any(line, &sql)), "src/pipeline.rs holds SQL");
}

/// SQLite fails on JSON that is nested deeper than 1,000 or is invalid, and with it the whole
/// statement: one row hides all others. So SQL parses only a statement's own parameters; it quotes
/// what is in a column, and Rust parses it (`storage::Inner`).
#[test]
fn sqlite_takes_no_stored_text_apart() {
    // `value` is what json_each returns for a parameter.
    let ours =
        ["json(iif(", "json('false')", "jsonb(value) AS value FROM json_each(?", "Param::json(", "fn json("];
    let takes_apart = [
        "json(",
        "jsonb(",
        "json_set(",
        "json_insert(",
        "json_replace(",
        "json_remove(",
        "json_patch(",
        "json_extract(",
        "json_type(",
        "json_valid(",
        "json_tree(",
        "json_array_length(",
    ];
    // The one-time step that migrates the rows of sessions: texts of this service, with keys in
    // them.
    let brought_over = ["$.subscriptions", "$.heard", "FROM departed WHERE"];
    forbid("src/storage", "takes a stored text apart", |line| {
        if names_any(line, &brought_over) {
            return false;
        }
        let rest = ours.iter().fold(line.to_owned(), |line, own| line.replace(own, ""));
        names_any(&rest, &takes_apart)
            || rest.split("json_each(").skip(1).any(|list| !list.starts_with('?'))
            // `value` is what json_each returns for a parameter.
            || rest.rsplit("->>").skip(1).any(|left| !left.trim_end().ends_with("value"))
    });
}

#[test]
fn one_clock_and_one_source_of_chance() {
    for folder in ["src", "durable"] {
        for path in files(folder) {
            if path.ends_with("platform/clock.rs") {
                continue;
            }
            for (n, line) in code(&path) {
                let wrong = names_any(
                    &line,
                    &["Date::now", "Instant::now", "SystemTime::now", "Utc::now", "Math::random"],
                );
                assert!(!wrong, "{}:{n} reads the clock or chance; platform::clock does", path.display());
            }
        }
    }
}

#[test]
fn statuses_stand_in_the_api() {
    for folder in ["src/wire", "src/domain", "src/storage", "src/platform"] {
        forbid(folder, "knows HTTP statuses", |line| {
            // These files read the answers of other hosts and of our own objects.
            names_any(line, &["with_status", "status_code"])
                && !line.contains("let status = response.status_code();")
        });
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for folder in ["src", "durable", "tests/native"] {
        for path in files(folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            let header = text.lines().take_while(|line| line.starts_with("//!")).count();
            assert!(header >= 1, "{} has no header", path.display());
            assert!(header <= 16, "{}: a header of {header} lines is a chapter", path.display());
            assert!(
                !["utils.rs", "helpers.rs", "common.rs"].iter().any(|name| path.ends_with(name)),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn configuration_and_code_name_the_same_objects() {
    let config = std::fs::read_to_string("wrangler.toml").unwrap();
    let addressed = std::fs::read_to_string("src/platform/objects.rs").unwrap();
    let root = std::fs::read_to_string("src/lib.rs").unwrap();
    let exported = root
        .lines()
        .find(|line| line.starts_with("pub use durable::"))
        .expect("the root exports the objects");
    for (binding, class) in [
        ("JETSTREAM", "Jetstream"),
        ("EDITIONS", "Editions"),
        ("IDENTITIES", "Identities"),
        ("REPO_SYNC", "RepoSync"),
        ("COMMUNITY", "Community"),
        ("GATEWAY", "Gateway"),
        ("VOICE_ROOM", "VoiceRoom"),
    ] {
        assert!(
            config.contains(&format!("name = \"{binding}\", class_name = \"{class}\"")),
            "wrangler.toml binds {class}"
        );
        assert!(
            config
                .lines()
                .any(|line| line.starts_with("new_sqlite_classes") && line.contains(&format!("\"{class}\""))),
            "wrangler.toml creates {class}"
        );
        assert!(addressed.contains(&format!("\"{binding}\"")), "src/platform/objects.rs names {binding}");
        assert!(
            exported.contains(class),
            "src/lib.rs exports {class}: a class that is not linked is missing at deploy"
        );
    }
}

#[test]
fn parts_of_objects_are_small() {
    for path in files("durable") {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() <= 300,
            "{} has {} lines: which part of the object is it?",
            path.display(),
            lines.len()
        );
        for (start, line) in lines.iter().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if line.contains("fn ") && !line.trim_start().starts_with("//") && line.ends_with('{') {
                let end = format!("{indent}}}");
                let length = lines[start..].iter().position(|line| *line == end).unwrap_or(0);
                assert!(length <= 80, "{}:{} has {length} lines", path.display(), start + 1);
            }
        }
    }
}

/// What a file uses of its own folder, by `super::` in a part and `self::` in the object.
#[test]
fn parts_of_objects_do_not_use_each_other_in_circles() {
    let mut uses: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in files("durable") {
        let folder = path.parent().unwrap().to_owned();
        let used = code(&path)
            .into_iter()
            .filter_map(|(_, line)| {
                let rest = line.trim_start().strip_prefix("use ")?;
                let rest = rest.strip_prefix("super::").or_else(|| rest.strip_prefix("self::"))?.to_owned();
                let name = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?.to_owned();
                Some(folder.join(format!("{name}.rs"))).filter(|part| part.exists())
            })
            .collect();
        uses.insert(path, used);
    }
    for start in uses.keys() {
        let mut reached: BTreeSet<&PathBuf> = BTreeSet::new();
        let mut next: Vec<&PathBuf> = uses[start].iter().collect();
        while let Some(path) = next.pop() {
            assert_ne!(path, start, "{} uses itself, by way of others", start.display());
            if reached.insert(path) {
                next.extend(uses.get(path).into_iter().flatten());
            }
        }
    }
}

#[test]
fn every_object_writes_every_handler() {
    for path in files("durable") {
        let text = std::fs::read_to_string(&path).unwrap();
        if text.lines().any(|line| line.trim() == "#[durable_object]") {
            for handler in [
                "async fn fetch",
                "async fn alarm",
                "async fn websocket_message",
                "async fn websocket_close",
                "async fn websocket_error",
            ] {
                assert!(
                    text.contains(handler),
                    "{}: {handler} is missing, and a missing handler panics (platform facts T4)",
                    path.display()
                );
            }
        }
    }
}

/// They are applied in the order of their names. Two files with one number would have no order; a
/// gap does no harm.
#[test]
fn migrations_have_a_number_each() {
    let mut numbers: Vec<String> = std::fs::read_dir("migrations")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            let number = name.strip_suffix(".sql").and_then(|name| name.split_once('_')).map(|(n, _)| n);
            let number = number.filter(|n| n.len() == 4 && n.bytes().all(|byte| byte.is_ascii_digit()));
            number.unwrap_or_else(|| panic!("{name}: four digits, then its subject")).to_owned()
        })
        .collect();
    numbers.sort();
    let twice: Vec<_> = numbers.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(numbers.len() >= 6 && twice.is_empty(), "{twice:?}");
}
