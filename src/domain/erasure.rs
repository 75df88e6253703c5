//! Erasing a person (I55–I59): the hash that stays, the steps of the work, and what becomes of the
//! events in a community's log that speak of them.
//!
//! Pure. The work is done in pieces, each of which may be done again: a step is left only when
//! nothing of it remains (`pipeline::erasing`, `storage::erasures`).

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::announcement::Audience;
use crate::wire::events::{Unpacked, pack, unpack};
use crate::wire::ids::{AtUri, Did};

/// The prefix of the hashed text, so that the hash is useful here only. Pinned: with another prefix,
/// erased people would come back.
const PREFIX: &str = "colibri-edge erased ";

/// The hash that stays of a person: SHA-256 of [`PREFIX`] and the DID, in hex.
pub fn mark(did: &Did) -> String {
    let hash = Sha256::new_with_prefix(PREFIX).chain_update(did.as_str()).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The authority that replaces a person's DID where a key must keep its meaning although its message is
/// gone (T21). It belongs to nobody.
pub fn stand_in(did: &Did) -> String {
    format!("did:erased:{}", mark(did))
}

/// A step of an erasure. They are taken in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait until earlier announcements are delivered: until then they may still enter a log.
    Delivering,
    /// Close their sockets, and delete what gateways store about them.
    Sockets,
    /// Clear the logs of communities. The place is the last community whose log was cleared.
    Logs,
    /// Delete their rows. The place is the number of the table.
    Rows,
    /// Repeat the step `Sockets`, for what arrived meanwhile.
    Again,
    /// The erasure is being lifted.
    Lifting,
}

impl Step {
    /// The word under which a step is stored.
    pub fn word(self) -> &'static str {
        match self {
            Step::Delivering => "telling",
            Step::Sockets => "sockets",
            Step::Logs => "logs",
            Step::Rows => "rows",
            Step::Again => "again",
            Step::Lifting => "lifting",
        }
    }

    /// The step of a word. An unknown word means the first step, because every step may be repeated.
    pub fn named(word: &str) -> Self {
        [Step::Sockets, Step::Logs, Step::Rows, Step::Again, Step::Lifting]
            .into_iter()
            .find(|step| step.word() == word)
            .unwrap_or(Step::Delivering)
    }

    /// The next step. No log mentions a person whom the index did not know.
    pub fn next(self, known: bool) -> Option<Self> {
        match self {
            Step::Delivering => Some(Step::Sockets),
            Step::Sockets if known => Some(Step::Logs),
            Step::Sockets | Step::Logs => Some(Step::Rows),
            Step::Rows => Some(Step::Again),
            Step::Again | Step::Lifting => None,
        }
    }
}

/// What the erasure does to an event in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// It does not name the person, or says only that they left: clients that resume need that.
    Stays,
    /// It stays, without the person's part.
    Reads(String),
    /// It is emptied and not replayed.
    Withdrawn,
    /// It is another person's event and makes no sense without the erased person: it is set aside (Q21).
    SetAside,
}

/// Decides what the erasure of a person does to an event of a log. The first rule that applies decides:
///   1. an event that does not name them stays; one that cannot be read was set aside before;
///   2. of their own community, only the deletion stays;
///   3. an event for them alone is withdrawn;
///   4. the deletion of their message, reaction or membership stays, without their profile;
///   5. their messages, and reactions on them, are withdrawn; so are voice lists with them;
///   6. another person's message stays, without the message of theirs that it answers; with
///      reactions of theirs on it, it is set aside.
///
/// These rules read the text for clients of March 2026. If an event has a text for the newest client, too (N168),
/// and that names the person, then an event that stays by these rules is set aside. An event for the newest client
/// alone is withdrawn if it names the person, or is of their own community.
pub fn clear(event: &str, community: &AtUri, audience: &Audience, did: &Did) -> Cleared {
    let Unpacked::Each { newest, march } = unpack(event) else {
        return clear_march(event, community, audience, did);
    };
    let is_named = newest.is_some_and(|text| text.contains(did.as_str()));
    match march.map(|march| clear_march(march, community, audience, did)) {
        Some(Cleared::Stays) if is_named => Cleared::SetAside,
        Some(Cleared::Reads(text)) if newest.is_none() => Cleared::Reads(pack(None, Some(&text))),
        Some(cleared) => cleared,
        None if is_named || community.authority() == *did => Cleared::Withdrawn,
        None => Cleared::Stays,
    }
}

fn clear_march(event: &str, community: &AtUri, audience: &Audience, did: &Did) -> Cleared {
    let is_theirs = community.authority() == *did;
    let is_private = *audience == Audience::Private(did.clone());
    if !is_theirs && !is_private && !event.contains(did.as_str()) {
        return Cleared::Stays;
    }
    let Ok(Value::Object(fields)) = serde_json::from_str(event) else { return Cleared::Stays };
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    let says = |name: &str| fields.get(name).and_then(Value::as_str) == Some(did.as_str());
    match kind {
        _ if is_private => Cleared::Withdrawn,
        "community_deleted" => Cleared::Stays,
        _ if is_theirs => Cleared::Withdrawn,
        "message_deleted" => Cleared::Stays,
        "reaction_removed" if says("author_did") && !says("target_author_did") => Cleared::Stays,
        "member_left" if says("member_did") => Cleared::Reads(without_profile(&fields)),
        "reaction_added" | "reaction_removed" if says("author_did") || says("target_author_did") => {
            Cleared::Withdrawn
        }
        "member_pending" | "member_joined" if says("member_did") => Cleared::Withdrawn,
        "thread_updated" => Cleared::Withdrawn, // it names a message of theirs
        "voice_channel_updated" if names(fields.get("member_dids"), did) => Cleared::Withdrawn,
        "message" => message(event, fields.get("message").unwrap_or(&Value::Null), did),
        _ => Cleared::Stays,
    }
}

/// E13 with only the person and the community.
fn without_profile(event: &Map<String, Value>) -> String {
    let kept = ["type", "community_uri", "member_did"];
    let kept = event.iter().filter(|(name, _)| kept.contains(&name.as_str()));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
}

/// E01. Another person's message loses the erased person's message that it answers. Its text stays, even if
/// it names the erased person.
fn message(event: &str, message: &Value, did: &Did) -> Cleared {
    #[derive(Deserialize)]
    struct Event<'e> {
        #[serde(borrow)]
        message: Answer<'e>,
    }
    #[derive(Deserialize)]
    struct Answer<'e> {
        #[serde(borrow)]
        parent_message: &'e RawValue,
    }
    let is_by = |message: Option<&Value>| {
        message.and_then(|message| message.get("author_did")).and_then(Value::as_str) == Some(did.as_str())
    };
    if is_by(Some(message)) {
        return Cleared::Withdrawn;
    }
    if names(message.get("reactions"), did) {
        return Cleared::SetAside;
    }
    if !is_by(message.get("parent_message")) {
        return Cleared::Stays;
    }
    // The order of the fields stays, for the frame is made from it (`wire::events::stamp`).
    match serde_json::from_str::<Event>(event) {
        Ok(Event { message: Answer { parent_message } }) => {
            let parent = format!("\"parent_message\":{}", parent_message.get());
            Cleared::Reads(event.replace(&parent, "\"parent_message\":null"))
        }
        Err(_) => Cleared::SetAside,
    }
}

/// Whether a value contains the person's DID as a string.
fn names(value: Option<&Value>, did: &Did) -> bool {
    match value {
        Some(Value::String(text)) => text == did.as_str(),
        Some(Value::Array(items)) => items.iter().any(|item| names(Some(item), did)),
        Some(Value::Object(fields)) => fields.values().any(|field| names(Some(field), did)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn did(who: &str) -> Did {
        Did::parse(&format!("did:plc:{who}")).unwrap()
    }

    fn community(owner: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.community/c")).unwrap()
    }

    /// With another one, everybody who is erased comes back with the next replay.
    #[test]
    fn i57_the_hash_is_pinned() {
        assert_eq!(mark(&did("bob")), "cedb54433f421a5e9a0999d26dc0aaa5aa49da1c99ba0adfef3784fdbf486167");
        assert!(AtUri::parse(&format!("at://{}/social.colibri.message/m", stand_in(&did("bob")))).is_ok());
        assert_eq!(Did::parse(&stand_in(&did("bob"))).unwrap().as_str().len(), 75);
    }

    #[test]
    fn i56_the_steps_end() {
        for (known, expected) in
            [(true, "telling sockets logs rows again"), (false, "telling sockets rows again")]
        {
            let steps = std::iter::successors(Some(Step::Delivering), |step| step.next(known));
            assert_eq!(steps.map(Step::word).collect::<Vec<_>>().join(" "), expected);
        }
        for step in [Step::Delivering, Step::Sockets, Step::Logs, Step::Rows, Step::Again, Step::Lifting] {
            assert_eq!(Step::named(step.word()), step);
        }
        assert_eq!((Step::Lifting.next(true), Step::named("nonsense")), (None, Step::Delivering));
    }

    #[test]
    fn i58_what_becomes_of_an_event_in_a_log() {
        let (bob, alice, carol) = ("did:plc:bob", "did:plc:alice", "did:plc:carol");
        let says = |who: &str, parent: Value, reactions: Value| {
            json!({ "type": "message", "community_uri": "at://c",
                "message": { "author_did": who, "text": "yes", "parent_message": parent, "reactions": reactions } })
        };
        let parent = json!({ "author_did": bob, "text": "\"parent_message\":{}" });
        let (answer, cleared) = (says(carol, parent, json!([])), says(carol, Value::Null, json!([])));
        let mut naming = cleared.clone();
        naming["message"]["facets"] = json!([{ "features": [{ "did": bob }] }]);
        let left = json!({ "type": "member_left", "community_uri": "at://c", "member_did": bob });
        let mut left_before = left.clone();
        left_before["display_name"] = json!("Bob");
        let reacted = json!([{ "emoji": "x", "authors": [alice, bob] }]);
        let reads = |value: &Value| Cleared::Reads(value.to_string());
        use Cleared::{SetAside, Stays, Withdrawn};
        for (event, expected, why) in [
            (says(bob, Value::Null, json!([])), Withdrawn, "their words"),
            (says("did:plc:bobby", Value::Null, json!([])), Stays, "another's"),
            (json!({ "type": "message_deleted", "author_did": bob, "rkey": "m" }), Stays, "it is gone"),
            (answer, reads(&cleared), "an answer to them stays, without what it answers"),
            (says(alice, Value::Null, reacted), SetAside, "reacted to"),
            (naming, Stays, "named by another"),
            (json!({ "type": "reaction_added", "author_did": bob }), Withdrawn, "their reaction"),
            (
                json!({ "type": "reaction_added", "author_did": alice, "target_author_did": bob }),
                Withdrawn,
                "on theirs",
            ),
            (
                json!({ "type": "reaction_removed", "author_did": bob, "target_author_did": alice }),
                Stays,
                "it is gone",
            ),
            (
                json!({ "type": "reaction_removed", "author_did": alice, "target_author_did": bob }),
                Withdrawn,
                "on theirs",
            ),
            (
                json!({ "type": "member_joined", "member_did": bob, "display_name": "Bob" }),
                Withdrawn,
                "they joined",
            ),
            (json!({ "type": "member_joined", "member_did": alice }), Stays, "somebody else did"),
            (left_before, reads(&left), "that they left stays, without who they were"),
            (
                json!({ "type": "voice_channel_updated", "member_dids": [alice, bob] }),
                Withdrawn,
                "a list with them",
            ),
            (json!({ "type": "voice_channel_updated", "member_dids": [alice] }), Stays, "one without"),
            (Value::Null, Stays, "set aside before"),
        ] {
            let got = clear(&event.to_string(), &community("alice"), &Audience::Community, &did("bob"));
            assert_eq!(got, expected, "{why}: {event}");
        }
        for (event, expected) in [
            (says(alice, Value::Null, json!([])), Withdrawn),
            (json!({ "type": "community_upserted", "name": "Bob's" }), Withdrawn),
            (json!({ "type": "community_deleted", "owner_did": bob }), Stays),
        ] {
            let got = clear(&event.to_string(), &community("bob"), &Audience::Community, &did("bob"));
            assert_eq!(got, expected, "in a community of theirs: {event}");
        }
        let private = Audience::Private(did("bob"));
        let event = json!({ "type": "community_deleted", "community_uri": "at://c" }).to_string();
        assert_eq!(clear(&event, &community("alice"), &private, &did("bob")), Withdrawn, "for them alone");
    }
}
