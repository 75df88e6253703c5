//! Compares `asyncapi.json` with the code of the sockets, in both directions: every frame that the service sends and
//! each of its fields, every frame that it reads, every text of an error, every close code, every parameter.
//!
//! Names of variants, actions and texts are read from the sources, so that a new one fails until it is documented.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Document;
use super::bodies::{did, json, message, notification, person, rkey, text, uri};
use crate::domain::actions::{Action, action};
use crate::wire::events::{
    Event, Membership, MessageEvent, PersonIfKnown, Personal, Reaction, ThreadNow, UserStatus, stamp,
    stamp_state,
};
use crate::wire::signaling::{self, HEARTBEAT_ACK, ServerFrame, Signal, VoiceState};
use crate::wire::socket::{PresentMember, Reply};
use crate::wire::subscribe_events::{self, Asked, NewestEvent};

const SOCKETS: &str = include_str!("../asyncapi.json");

/// The document, with the schemas of `openapi.json` that it refers to.
fn sockets() -> Document {
    let mut document: Value = serde_json::from_str(&SOCKETS.replace("openapi.json#", "#")).unwrap();
    let schemas = document["components"]["schemas"].as_object_mut().unwrap();
    for (name, schema) in Document::read().0["components"]["schemas"].as_object().unwrap() {
        assert!(schemas.insert(name.clone(), schema.clone()).is_none(), "{name} is in both documents");
    }
    Document(document)
}

/// The messages of a list, each under its name: the word in `type` or `action`.
fn messages<'d>(document: &'d Document, list: &str) -> BTreeMap<&'d str, &'d Value> {
    let listed = document.0.pointer(list).and_then(Value::as_array).unwrap();
    let named = |one| {
        let message = document.resolve(one);
        (message["name"].as_str().unwrap(), message)
    };
    listed.iter().map(named).collect()
}

fn source(path: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.split("#[cfg(test)]").next().unwrap().to_owned()
}

/// What stands between two marks of a source.
fn between<'s>(source: &'s str, start: &str, end: &str) -> &'s str {
    let inside = source.split_once(start).and_then(|(_, rest)| rest.split_once(end));
    inside.unwrap_or_else(|| panic!("{start} … {end} is not there")).0
}

/// The variants of an enum, as serde spells them.
fn variants(path: &str, name: &str) -> BTreeSet<String> {
    let source = source(path);
    let body = between(&source, &format!("pub enum {name}"), "\n}\n");
    let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
    let variants = lines.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    variants.map(|line| snake(line.split([' ', '(', ',', '{']).next().unwrap())).collect()
}

fn snake(name: &str) -> String {
    let mut word = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('_');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

/// The words in quotes to the left of `=>`.
fn arms(source: &str) -> BTreeSet<String> {
    let left = source.lines().filter_map(|line| line.trim().split_once(" =>").map(|(left, _)| left));
    let words = left.flat_map(|left| left.split('"').skip(1).step_by(2).map(str::to_owned));
    words.collect()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::ack(""),
        Reply::error("text"),
        Reply::Resumed { community_uri: text(), from: 1, to: 2 },
        Reply::ResyncRequired { community_uri: uri(), oldest: 1 },
        Reply::SubscriptionEnded { community_uri: uri() },
        Reply::ServerRestart { retry_after_ms: 1 },
        Reply::PresenceSnapshot {
            community_uri: uri(),
            members: vec![PresentMember { did: did(), state: "dnd".into() }],
            complete: true,
            voice: [(rkey(), vec![did()])].into(),
            voice_states: [(did(), VoiceState::default())].into(),
            seq: 1,
        },
        Reply::VoiceStateChanged {
            community_uri: uri(),
            channel_rkey: rkey(),
            did: did(),
            state: VoiceState::default(),
        },
        Reply::Superseded { community_uri: uri(), channel_rkey: rkey() },
        Reply::VoiceModerated {
            community_uri: uri(),
            channel_rkey: rkey(),
            action: "move".into(),
            to_channel_rkey: Some(rkey()),
        },
        Reply::VoiceModerated {
            community_uri: uri(),
            channel_rkey: rkey(),
            action: "mute".into(),
            to_channel_rkey: None,
        },
        Reply::Typing {
            did: did(),
            channel: rkey(),
            expires_at: text(),
            community_uri: uri(),
            channel_uri: uri(),
        },
    ]
}

fn reaction() -> Reaction {
    Reaction {
        rkey: rkey(),
        author_did: did(),
        emoji: text(),
        target_rkey: rkey(),
        target_author_did: did(),
        channel: text(),
        community_uri: uri(),
        channel_uri: uri(),
    }
}

fn membership(all: bool) -> Membership {
    Membership {
        community_uri: uri(),
        member_did: did(),
        membership_uri: all.then(uri),
        display_name: all.then(text),
        avatar_url: all.then(text),
    }
}

fn of_structure(all: bool) -> Vec<Event> {
    vec![
        Event::CommunityUpserted {
            community_uri: uri(),
            owner_did: did(),
            rkey: rkey(),
            name: text(),
            description: all.then(text),
            picture: all.then(|| json("{}")),
            category_order: all.then(|| json("[\"3k\"]")),
            requires_approval_to_join: true,
        },
        Event::CommunityDeleted { community_uri: uri(), owner_did: did(), rkey: rkey() },
        Event::ChannelCreated {
            community_uri: uri(),
            uri: uri(),
            rkey: rkey(),
            name: text(),
            description: all.then(text),
            channel_type: text(),
            category_rkey: all.then(text),
            owner_only: false,
        },
        Event::ChannelDeleted { community_uri: uri(), uri: uri(), rkey: rkey() },
        Event::CategoryCreated {
            community_uri: uri(),
            uri: uri(),
            rkey: rkey(),
            name: text(),
            channel_order: all.then(|| json("[\"3k\"]")),
        },
        Event::CategoryDeleted { community_uri: uri(), uri: uri(), rkey: rkey() },
        Event::MembersOnly { community_uri: uri(), members_only: all },
    ]
}

/// One of each event with a number; `all`: with every value, otherwise without every optional one.
fn thread_updated(all: bool, last_reply_at: Option<String>) -> Event {
    Event::ThreadUpdated {
        parent: text(),
        channel: text(),
        community_uri: uri(),
        channel_uri: uri(),
        thread: all.then(|| ThreadNow { root_uri: uri(), reply_count: 1, last_reply_at }),
    }
}

fn numbered(all: bool) -> Vec<Event> {
    let mut events = of_structure(all);
    events.extend([
        Event::Message(Box::new(MessageEvent {
            message: message(all),
            community_uri: uri(),
            channel_uri: uri(),
        })),
        Event::MessageDeleted {
            id: text(),
            rkey: rkey(),
            author_did: did(),
            channel: text(),
            community_uri: uri(),
            channel_uri: uri(),
        },
        thread_updated(all, Some(text())),
        thread_updated(all, None),
        Event::ReactionAdded(reaction()),
        Event::ReactionRemoved(reaction()),
        Event::MemberPending(membership(all)),
        Event::MemberJoined(membership(all)),
        Event::MemberLeft { community_uri: uri(), member_did: did(), person: PersonIfKnown(person(all)) },
        Event::VoiceChannelUpdated { community_uri: uri(), channel_rkey: rkey(), member_dids: vec![did()] },
    ]);
    events
}

fn about_people(all: bool) -> Vec<Event> {
    let status = UserStatus {
        did: did(),
        status: text(),
        emoji: all.then(text),
        state: "away".into(),
        display_name: all.then(text),
        avatar_url: all.then(text),
    };
    vec![Event::UserStatusChanged(status), Event::profile_of(&did(), person(all))]
}

fn personal(all: bool) -> Vec<Personal> {
    vec![
        Personal::Notification(Box::new(notification(all))),
        Personal::NotificationsSeen { message_uri: all.then(uri), until: all.then(text), seen: 1 },
        Personal::digest(5, text()),
        Personal::ChannelRead { channel_uri: uri() },
    ]
}

fn signals() -> Vec<String> {
    let sdp = || json("\"v=0\"");
    let candidate = |text| ServerFrame::relayed("r", "p", text).text();
    let frames = [
        ServerFrame::Joined { room: "r", peer_id: "p", peers: vec!["q"] },
        ServerFrame::PeerJoined { room: "r", peer_id: "p" },
        ServerFrame::PeerLeft { room: "r", peer_id: "p" },
        ServerFrame::VoiceState { room: "r", from_peer_id: "p", state: VoiceState::default() },
        ServerFrame::Moderated { room: "r", action: "move", to: Some("t") },
        ServerFrame::Moderated { room: "r", action: "mute", to: None },
        ServerFrame::Error { message: "text" },
    ];
    let relayed = [
        Signal::Offer(sdp()),
        Signal::Answer(sdp()),
        Signal::Ice(json("\"c\"")),
        Signal::Ice(json("{}")),
        Signal::Ice(json("null")),
    ];
    let relayed: Vec<String> = relayed.iter().map(candidate).collect();
    frames.iter().map(ServerFrame::text).chain(relayed).chain([HEARTBEAT_ACK.to_owned()]).collect()
}

/// Compares samples with the messages of the document, field by field; returns their names.
fn compare(document: &Document, documented: &BTreeMap<&str, &Value>, frames: &[String]) -> BTreeSet<String> {
    let mut samples: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for frame in frames {
        let frame = value(frame);
        samples.entry(frame["type"].as_str().unwrap().to_owned()).or_default().push(frame);
    }
    for (name, values) in &samples {
        let message = documented.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not documented"));
        document.describes(&message["payload"], values, name);
    }
    samples.into_keys().collect()
}

fn names(documented: &BTreeMap<&str, &Value>) -> BTreeSet<String> {
    documented.keys().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_frame_of_the_events_socket_is_documented_field_by_field() {
    let document = sockets();
    let mut documented = messages(&document, "/operations/publish/messages");
    documented.extend(messages(&document, "/operations/act/reply/messages"));
    let both = |make: fn(bool) -> Vec<Event>| [true, false].into_iter().flat_map(make);
    let frames: Vec<String> = both(numbered)
        .map(|event| stamp(&event.text().unwrap(), 41, true))
        .chain(both(about_people).map(|event| stamp_state(&event.text().unwrap(), false)))
        .chain([true, false].into_iter().flat_map(personal).map(|event| event.text().unwrap()))
        .chain(replies().iter().map(Reply::text))
        .collect();
    let seen = compare(&document, &documented, &frames);
    let mut known = variants("src/wire/events.rs", "Event");
    known.extend(variants("src/wire/events.rs", "Personal"));
    known.extend(variants("src/wire/socket.rs", "Reply"));
    assert_eq!(seen, known, "each variant has a sample here");
    assert_eq!(names(&documented), known);
}

#[test]
fn every_frame_of_signaling_is_documented_field_by_field() {
    let document = sockets();
    let documented = messages(&document, "/operations/connectPeers/messages");
    let restart = Reply::ServerRestart { retry_after_ms: 1 }.text();
    let frames: Vec<String> = signals().into_iter().chain([restart]).collect();
    let seen = compare(&document, &documented, &frames);
    let mut known = variants("src/wire/signaling.rs", "ServerFrame<'a>");
    known.extend(["ack", "server_restart"].map(str::to_owned));
    assert_eq!((&seen, names(&documented)), (&known, known.clone()));
}

/// Section 14: what the events of March 2026 say in the words of the lexicons, and the names of the others.
#[test]
fn every_event_of_the_newest_client_is_documented() {
    let document = sockets();
    let documented = messages(&document, "/operations/publishNewest/messages");
    let mut checked = BTreeSet::new();
    let texts = numbered(true).into_iter().map(|event| event.text().unwrap());
    for event in texts.filter_map(|text| NewestEvent::of_march(&text)) {
        let frame = value(&subscribe_events::stamp(&event.text().unwrap(), &uri(), 41, true));
        let name = frame["type"].as_str().unwrap();
        document.check(&documented[name]["payload"], &frame, name);
        checked.insert(name.to_owned());
    }
    assert!(checked.len() > 5, "{checked:?}");
    let mut known = variants("src/wire/subscribe_events.rs", "NewestEvent");
    known.extend(["ack", "resumed", "resync_required"].map(str::to_owned));
    assert_eq!(names(&documented), known);
    for (name, message) in messages(&document, "/operations/actNewest/messages") {
        for example in message["examples"].as_array().unwrap() {
            let asked = subscribe_events::read(&example["payload"].to_string());
            assert_ne!(asked, Asked::Nothing, "{name}");
        }
    }
}

#[test]
fn every_action_is_documented_and_read() {
    let document = sockets();
    let documented = messages(&document, "/operations/act/messages");
    let actions = source("src/domain/actions.rs");
    assert_eq!(names(&documented), arms(between(&actions, "fn effect", "\nfn refuse")));
    let mut fields = BTreeSet::new();
    for (name, message) in &documented {
        fields.extend(document.fields(&message["payload"]).0.into_keys());
        for example in message["examples"].as_array().unwrap() {
            let decided = action(Some(&example["payload"].to_string())).action;
            assert!(!matches!(decided, Action::Reply(Reply::Error { .. })), "{name}: {decided:?}");
        }
    }
    let socket = source("src/wire/socket.rs");
    let frame = between(&socket, "pub struct ClientFrame {", "\n}");
    let known = frame.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    assert_eq!(fields, known.collect());
}

#[test]
fn every_signal_is_documented_and_read() {
    let document = sockets();
    let documented = messages(&document, "/operations/callPeers/messages");
    let reader = source("src/wire/signaling.rs");
    let reader = between(&reader, "match kind.as_str() {\n        \"join\"", "\nfn string");
    let mut known = arms(reader);
    known.insert("join".to_owned());
    assert_eq!(names(&documented), known);
    for (name, message) in documented {
        for example in message["examples"].as_array().unwrap() {
            signaling::read(Some(&example["payload"].to_string()))
                .unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
}

/// A text with `{}` for everything that differs.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for part in text.split('{') {
        let (variable, rest) = part.split_once('}').map_or((false, part), |(_, rest)| (true, rest));
        shape.push_str(if variable { "{}" } else { "" });
        shape.push_str(rest);
    }
    shape
}

/// Whether a text is one of a shape.
fn is_of_shape(text: &str, shape: &str) -> bool {
    let mut rest = text;
    shape.split("{}").enumerate().all(|(n, part)| match rest.find(part) {
        Some(at) if n > 0 || at == 0 => {
            rest = &rest[at + part.len()..];
            true
        }
        _ => false,
    }) && (rest.is_empty() || shape.ends_with("{}"))
}

/// The texts that a source hands to a function which makes an error.
fn errors_in(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for marker in ["error(", "refuse(", "refused("] {
        let parts: Vec<&str> = source.split(marker).collect();
        // `Response::error` is an answer to a request.
        let of_sockets = parts.windows(2).filter(|two| !two[0].ends_with("Response::"));
        for rest in of_sockets.map(|two| two[1]) {
            let before = rest.split('"').next().unwrap();
            let words = before.trim().trim_start_matches("socket,").trim();
            if ["", "format!(", "&format!("].contains(&words) {
                found.insert(shape(rest.split('"').nth(1).unwrap()));
            }
        }
    }
    found
}

fn folder(path: &str) -> String {
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let paths = entries.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    paths.filter(|path| path.ends_with(".rs") && !path.contains("_tests")).map(|path| source(&path)).collect()
}

fn texts_of(document: &Document, message: &str) -> BTreeSet<String> {
    let texts = document.0["components"]["messages"][message]["x-texts"].as_array().unwrap();
    texts.iter().map(|text| shape(text.as_str().unwrap())).collect()
}

/// A15, S10 to S21: each text is in the code, and each text of the code is documented.
#[test]
fn every_error_is_documented_word_for_word() {
    let document = sockets();
    let own = ["actions", "voice_right", "subscriptions", "typing", "community/observers"];
    let own = own.map(|name| source(&format!("src/domain/{name}.rs")));
    let events = [own.concat(), folder("src/domain/gateway"), folder("durable/gateway")].concat();
    let rooms =
        [folder("src/domain/signaling"), folder("durable/voice_room"), source("src/domain/voice_right.rs")];
    for (message, sources) in [("error", events), ("signalError", rooms.concat())] {
        let documented = texts_of(&document, message);
        let is_documented = |text: &String| documented.iter().any(|one| is_of_shape(text, one));
        let undocumented: Vec<_> =
            errors_in(&sources).into_iter().filter(|text| !is_documented(text)).collect();
        assert!(undocumented.is_empty(), "{message}: {undocumented:?}");
        let is_there = |text: &&String| match text.split_once("{}") {
            Some((start, _)) => sources.contains(&format!("\"{start}{{")),
            None => sources.contains(&format!("\"{text}\"")),
        };
        let invented: Vec<_> = documented.iter().filter(|text| !is_there(text)).collect();
        assert!(invented.is_empty(), "{message}: {invented:?}");
    }
}

/// A19, S16: the codes that the code closes with, and those of a client and of the runtime.
#[test]
fn every_close_code_is_documented() {
    let document = sockets();
    let codes = |sources: &str| -> BTreeSet<String> {
        let numbers = sources.split(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        let codes = numbers.filter(|word| ["1001", "1008", "1011", "1012", "1013"].contains(word));
        codes.map(str::to_owned).chain(["1000", "1009"].map(str::to_owned)).collect()
    };
    let sessions = codes(&[folder("src/domain/gateway"), folder("durable/gateway")].concat());
    let rooms = codes(&folder("src/domain/signaling"));
    for (channel, known) in [("subscribe", &sessions), ("subscribeEvents", &sessions), ("signal", &rooms)] {
        let documented = document.0["channels"][channel]["x-close-codes"].as_object().unwrap();
        assert_eq!(&documented.keys().cloned().collect::<BTreeSet<_>>(), known, "{channel}");
    }
}

#[test]
fn the_document_of_the_sockets_holds_together() {
    let document = sockets();
    assert_eq!(document.0["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut used = BTreeSet::new();
    super::references(&document.0, &mut used);
    for place in &used {
        assert!(document.0.pointer(&place[1..]).is_some(), "{place} leads nowhere");
    }
    let other = Document::read();
    for (name, channel) in document.0["channels"].as_object().unwrap() {
        let path = channel["address"].as_str().unwrap();
        let parameters = other.0["paths"][path]["get"]["parameters"].as_array().unwrap();
        let required: BTreeSet<&str> =
            parameters.iter().map(|one| other.resolve(one)["name"].as_str().unwrap()).collect();
        let query = channel["bindings"]["ws"]["query"]["properties"].as_object().unwrap();
        assert_eq!(query.keys().map(String::as_str).collect::<BTreeSet<_>>(), required, "{path}");
        for message in channel["messages"].as_object().unwrap().keys() {
            let place = format!("#/channels/{name}/messages/{message}");
            assert!(used.contains(&place), "{place} is in no operation");
        }
    }
    for (name, message) in document.0["components"]["messages"].as_object().unwrap() {
        assert!(used.contains(&format!("#/components/messages/{name}")), "{name} is in no channel");
        for example in message["examples"].as_array().unwrap() {
            document.check(&message["payload"], &example["payload"], name);
        }
    }
}
