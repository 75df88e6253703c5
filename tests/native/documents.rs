//! Checks the documents against the code: every cited rule is defined, every variable is
//! documented, and every path and command that a document names exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The letters of rules; each section of the contract has one.
const LETTERS: &str = "THXORAQEPVSIGJKCWNU";

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below `folder` with one of these endings, except what tools put there.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("node_modules") && !path.ends_with("artifacts") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<PathBuf> {
    let mut found = files("docs", &[".md"]);
    found.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(PathBuf::from));
    found
}

/// Words of letters, digits and the characters in `also`.
fn words<'a>(text: &'a str, also: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(move |c: char| !c.is_ascii_alphanumeric() && !also.contains(c)).filter(|word| !word.is_empty())
}

/// Whether a word has the shape of a rule: a letter of the contract, two or three digits, perhaps a
/// letter (`A12b`, `N160a`).
fn is_rule(word: &str) -> bool {
    let number = word.strip_prefix(|letter: char| LETTERS.contains(letter)).unwrap_or_default();
    let number = number.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(number);
    matches!(number.len(), 2 | 3) && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[test]
fn every_table_of_an_object_is_pinned_by_the_seventh_invariant() {
    let invariants = read("docs/invariants.md");
    for file in files("src/storage", &[".rs"]).iter().filter(|file| read(file).contains("pub const SCHEMA")) {
        let name = file.strip_prefix("src").unwrap().display().to_string();
        assert!(invariants.contains(&format!("`{name}`")), "docs/invariants.md does not name {name}");
    }
}

#[test]
fn every_rule_that_is_cited_is_defined() {
    let contract = read("docs/contract.md");
    let defined: BTreeSet<&str> = contract
        .lines()
        .filter_map(|line| {
            let line = line.trim_start_matches(['#', '|', '*', '-', ' ']);
            words(line, "").next().filter(|word| is_rule(word))
        })
        .chain(contract.split("**").skip(1).step_by(2).filter_map(|bold| words(bold, "").next()))
        .chain(contract.lines().filter_map(|line| {
            // One row of a table may define two: "**E03 `reaction_added`, E04 `reaction_removed`**".
            line.starts_with("| ").then(|| words(line.split('|').nth(1).unwrap_or_default(), "").next())?
        }))
        .collect();
    assert!(defined.len() > 300, "the contract defines {} rules: has its form changed?", defined.len());
    let mut missing = BTreeSet::new();
    let folders =
        [("src", ".rs"), ("durable", ".rs"), ("tests", ".rs"), ("tests", ".js"), ("scripts", ".js")];
    let cited = folders.into_iter().flat_map(|(folder, ending)| files(folder, &[ending]));
    for path in cited.chain(documents()) {
        if path.ends_with("platform.md") {
            continue;
        }
        let text = read(&path);
        for line in text.lines() {
            // In code only comments and names of tests cite rules.
            let is_document = path.extension().is_some_and(|ending| ending == "md");
            let cites = is_document || line.contains("//") || line.contains("test(") || line.contains("Why");
            if !cites || line.contains("latform facts") {
                continue;
            }
            for word in words(line, "").filter(|word| is_rule(word) && !defined.contains(word)) {
                missing.insert(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "cited, but not in docs/contract.md:\n{}",
        Vec::from_iter(missing).join("\n")
    );
}

#[test]
fn every_mistake_of_the_original_that_is_cited_is_listed() {
    let contract = read("docs/contract.md");
    let (_, appendix) = contract.split_once("# Appendix.").expect("the contract lists them");
    let (mut cited, mut missing) = (0, BTreeSet::new());
    let folders = [("src", ".rs"), ("durable", ".rs"), ("tests/native", ".rs"), ("tests/e2e", ".js")];
    let code = folders.into_iter().flat_map(|(folder, ending)| files(folder, &[ending]));
    for path in code.chain(documents()) {
        let text = read(&path);
        for number in words(&text, "-").filter_map(|word| word.strip_prefix("B-")) {
            if number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit()) {
                cited += 1;
                if !appendix.contains(&format!("- **B-{number}.** ")) {
                    missing.insert(format!("{}: B-{number}", path.display()));
                }
            }
        }
    }
    assert!(cited > 100, "{cited} citations: has their form changed?");
    assert!(missing.is_empty(), "not in the contract's appendix:\n{}", Vec::from_iter(missing).join("\n"));
}

#[test]
fn every_trap_that_is_cited_is_a_platform_fact() {
    let facts = read("docs/platform.md");
    for (folder, ending) in [("src", ".rs"), ("durable", ".rs"), ("tests", ".rs"), ("tests", ".js")] {
        for path in files(folder, &[ending]).into_iter().filter(|path| !path.ends_with(file!())) {
            let text = read(&path);
            for rest in text.split("latform facts ").skip(1) {
                let trap = words(rest, ".").next().unwrap_or_default().trim_end_matches('.');
                let found = match trap.strip_prefix('T') {
                    Some(_) => facts.contains(&format!("- **{trap}.**")),
                    None => facts.contains(&format!("# {trap} ")),
                };
                assert!(
                    found,
                    "{} cites platform facts {trap}, which docs/platform.md lacks",
                    path.display()
                );
            }
        }
    }
}

fn without_breaks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names in capitals that stand in backquotes.
fn variables(text: &str) -> BTreeSet<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|name| {
            name.len() > 3 && name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_variable_is_documented_and_read() {
    let table: Vec<serde_json::Value> = serde_json::from_str(&read("src/domain/variables.json")).unwrap();
    let listed: BTreeSet<String> = table.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    let document = read("docs/configuration.md");
    let (documented, one_line) = (variables(&document), without_breaks(&document));
    let example = read(".dev.vars.example");
    for row in &table {
        let (name, meaning) = (row["name"].as_str().unwrap(), row["meaning"].as_str().unwrap());
        assert!(
            one_line.contains(&without_breaks(meaning)),
            "docs/configuration.md does not say what {name} means: npm run variables"
        );
        let is_told = row.get("reader").is_some() || example.contains(&format!("# {name}="));
        assert!(is_told, ".dev.vars.example lacks {name}: npm run variables");
    }
    let rust = files("src", &[".rs"]).into_iter().chain(files("guard", &[".rs"]));
    let code: String = rust.chain(files("scripts", &[".js"])).map(read).collect();
    for name in &documented {
        let read = code.contains(&format!("\"{name}\""))
            || code.contains(&format!("env.{name}"))
            || code.contains(&format!("'{name}'"));
        assert!(read, "docs/configuration.md describes {name}, which no code reads");
    }
    let config = read("src/platform/config.rs");
    for rest in config.split("(env, \"").skip(1) {
        let name = rest.split('"').next().unwrap();
        assert!(listed.contains(name), "src/domain/variables.json has no row for {name}");
    }
}

#[test]
fn every_path_and_command_in_the_documents_exists() {
    let package: serde_json::Value = serde_json::from_str(&read("package.json")).unwrap();
    let mut wrong = BTreeSet::new();
    for path in documents() {
        let text = read(&path);
        for named in text.split('`').skip(1).step_by(2) {
            let first = named.split_whitespace().next().unwrap_or_default();
            let in_a_room = ["src/", "durable/", "tests/", "scripts/", "docs/", "migrations/"]
                .iter()
                .any(|room| first.starts_with(room));
            let plain = !first.contains(['*', '<', '{', '…']);
            let known = Path::new(first).exists()
                || Path::new(first.split(':').next().unwrap_or_default()).exists()
                || Path::new(&format!("{first}.rs")).exists();
            if in_a_room && plain && !known && !path.ends_with("platform.md") {
                wrong.insert(format!("{}: {first}", path.display()));
            }
            if let Some(script) = named.strip_prefix("npm run ") {
                let script = script.split_whitespace().next().unwrap_or_default();
                if package["scripts"].get(script).is_none() && script != "…" {
                    wrong.insert(format!("{}: npm run {script}", path.display()));
                }
            }
        }
        let folder = path.parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() && !folder.join(file).exists() {
                wrong.insert(format!("{}: link to {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "named in a document, but not there:\n{}", Vec::from_iter(wrong).join("\n"));
}

#[test]
fn the_page_for_bots_shows_the_program_that_the_test_runs() {
    let shown = read("docs/bots.md");
    let (_, shown) = shown.split_once("```js\n").expect("it shows a program");
    let (shown, _) = shown.split_once("```\n").expect("the program ends");
    assert!(
        shown == read("docs/bot.js"),
        "docs/bots.md and docs/bot.js differ: copy the program into the page"
    );
    assert!(read("tests/e2e/bots.test.js").contains("docs/bot.js"), "a test runs it");
}

#[test]
fn readme_is_short() {
    let count = read("README.md").split_whitespace().count();
    assert!(count <= 900, "README has {count} words; what is more than an entrance belongs into docs/");
}

/// A row of a table cannot be wrapped, so a longer text must be a list.
#[test]
fn lines_are_short() {
    let mut long = Vec::new();
    for path in documents() {
        for (n, line) in read(&path).lines().enumerate() {
            if line.chars().count() > 120 {
                long.push(format!("{}:{}", path.display(), n + 1));
            }
        }
    }
    assert!(long.is_empty(), "more than 120 characters:\n{}", long.join("\n"));
}

/// Words for which this field has its own: a socket receives an event, the service publishes it, a rule accepts or
/// refuses it, a reader checks it, and a person who does something is named as such.
const NOT_OUR_WORDS: [&str; 11] = [
    "asked anew",
    "hearer",
    "hearers",
    "heard",
    "hears",
    "let in",
    "lets in",
    "looked at",
    "of whom",
    "told",
    "whoever",
];

/// Documents, and the comments of code. Stored formats have some of these words, so strings do not count.
#[test]
fn sentences_use_the_words_of_the_field() {
    let code = ["src", "durable", "guard/src", "scripts"]
        .map(|folder| files(folder, &[".rs", ".js", ".ts", ".tsx"]));
    let mut found = Vec::new();
    for path in documents().into_iter().chain(code.into_iter().flatten()) {
        let is_document = path.extension().is_some_and(|ending| ending == "md");
        let text = read(&path);
        let sentences = text.lines().map(|line| match line.trim_start() {
            line if is_document || line.starts_with('*') => line,
            line if line.starts_with("/*") => line,
            line => match line.strip_prefix("//") {
                Some(comment) => comment,
                None => line.split_once(" // ").map_or("", |(_, comment)| comment),
            },
        });
        let sentences: Vec<String> =
            sentences.map(|line| words(line, "_").collect::<Vec<_>>().join(" ").to_lowercase()).collect();
        for (n, line) in sentences.iter().enumerate() {
            // With the next line, because a phrase may be broken over two.
            let line = format!(" {line} {} ", sentences.get(n + 1).map_or("", String::as_str));
            let here = NOT_OUR_WORDS.iter().filter(|phrase| line.contains(&format!(" {phrase} ")));
            found.extend(here.map(|phrase| format!("{}:{}: {phrase}", path.display(), n + 1)));
        }
    }
    assert!(found.is_empty(), "words that this field does not use:\n{}", found.join("\n"));
}
