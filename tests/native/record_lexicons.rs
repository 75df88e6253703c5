//! The corpus beside the lexicons (`lexicons/corpus.json`): what the parser says of each of its records.
//! What the lexicons say of them, `tests/network/record-lexicons.test.js` checks (N210).

use colibri_edge::wire::ids::{Collection, Did};
use colibri_edge::wire::records::Record;
use serde_json::{Map, Value};

/// Writes out what the corpus writes short: a text or a value many times.
fn whole(value: &Value) -> Value {
    let times = value.get("times").and_then(Value::as_u64).map(|times| usize::try_from(times).unwrap());
    match (value, times) {
        (Value::Object(short), Some(times)) => match (short.get("repeat"), short.get("items")) {
            (Some(Value::String(text)), None) => Value::String(text.repeat(times)),
            (None, Some(item)) => Value::Array(vec![whole(item); times]),
            _ => panic!("{value}"),
        },
        (Value::Object(fields), None) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), whole(field))).collect())
        }
        (Value::Array(items), _) => Value::Array(items.iter().map(whole).collect()),
        _ => value.clone(),
    }
}

/// A record with what a case changes in it.
fn changed(record: &Map<String, Value>, case: &Value) -> Value {
    let mut record = record.clone();
    let dropped = case.get("drop").and_then(Value::as_array);
    dropped.into_iter().flatten().for_each(|name| drop(record.remove(name.as_str().unwrap())));
    let set = case.get("set").and_then(Value::as_object);
    set.into_iter().flatten().for_each(|(name, value)| drop(record.insert(name.clone(), value.clone())));
    whole(&Value::Object(record))
}

#[test]
fn n210_the_parser_says_of_every_record_what_the_corpus_says() {
    let text = std::fs::read_to_string("lexicons/corpus.json").unwrap();
    let corpus: Vec<Value> = serde_json::from_str(&text).unwrap();
    let author = Did::parse("did:plc:author").unwrap();
    let (mut wrong, mut cases) = (Vec::new(), 0);
    for entry in &corpus {
        let name = entry["collection"].as_str().unwrap();
        let collection = Collection::from_nsid(name).unwrap();
        let record = entry["record"].as_object().unwrap();
        let plain = Record::parse(collection, &author, &whole(&entry["record"]).to_string());
        assert!(plain.is_ok(), "{name}: {plain:?}");
        for case in entry["cases"].as_array().unwrap() {
            let said = Record::parse(collection, &author, &changed(record, case).to_string());
            cases += 1;
            if Some(said.is_ok()) != case["parser"].as_bool() {
                wrong.push(format!("{name}: {}: {:?}", case["why"], said.err()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases > 150, "{cases} cases");
    for collection in Collection::ALL.iter().filter(|one| **one != Collection::Profile) {
        let named = corpus.iter().any(|entry| entry["collection"] == collection.nsid());
        assert!(named, "no case of {}", collection.nsid());
    }
}
