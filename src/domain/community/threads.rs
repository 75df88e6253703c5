//! Events about threads (contract U33), before their community numbers them. What they say is read from the index: it
//! depends on more than the commit that caused them.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use crate::domain::announcement::{Announcement, Audience, Topic};
use crate::domain::pending::OutboxEvents;
use crate::wire::events::{ThreadNow, with_thread};
use crate::wire::ids::AtUri;

/// The most threads that are read for the events of one call; each takes at most 2,000 rows and 16 levels (U50). The
/// events of others do not say how much is in them.
pub const READ_MAX: usize = 20;

/// A thread by one of its messages: the channel, and the message as an answer names it.
pub type Named = (AtUri, String);

/// The thread that an event is about.
fn named(event: &Announcement) -> Option<Named> {
    match (&event.audience, &event.topic) {
        (Audience::Messages(channel), Topic::Thread(parent)) => Some((channel.clone(), parent.clone())),
        _ => None,
    }
}

/// Of the events of one commit about one thread only the last stays: the others would say the same. Rows are stored, so
/// a repeated call leaves out the same ones.
pub fn leave_out_repeated(rows: &mut [OutboxEvents]) {
    for row in rows {
        if row.events.iter().filter(|event| matches!(event.topic, Topic::Thread(_))).count() < 2 {
            continue; // nearly always
        }
        let mut later = BTreeSet::new();
        let mut kept: Vec<Announcement> = Vec::new();
        for event in std::mem::take(&mut row.events).into_iter().rev() {
            if named(&event).is_none_or(|thread| later.insert(thread)) {
                kept.push(event);
            }
        }
        kept.reverse();
        row.events = kept;
    }
}

/// The threads to read for rows after `announced`: the last ones, at most [`READ_MAX`].
pub fn to_read(rows: &[OutboxEvents], announced: i64) -> Vec<Named> {
    let mut wanted = BTreeSet::new();
    let events = rows.iter().rev().filter(|row| row.id > announced).flat_map(|row| row.events.iter().rev());
    for thread in events.filter_map(named) {
        if wanted.len() == READ_MAX {
            break;
        }
        wanted.insert(thread);
    }
    wanted.into_iter().collect()
}

/// Writes what was read into the events. Those whose thread was not read, or is not visible, stay as they are.
pub fn write(rows: &mut [OutboxEvents], read: &[(Named, ThreadNow)]) {
    for event in rows.iter_mut().flat_map(|row| &mut row.events) {
        let Some(thread) = named(event) else { continue };
        let Some((_, now)) = read.iter().find(|(named, _)| *named == thread) else { continue };
        if let Ok(text) = with_thread(event.event.get(), now).and_then(RawValue::from_string) {
            event.event = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::announcement::Scope;

    fn uri(collection: &str, rkey: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:owner/social.colibri.{collection}/{rkey}")).unwrap()
    }

    fn event(parent: Option<&str>) -> Announcement {
        Announcement {
            scope: Scope::Community(uri("community", "c")),
            audience: Audience::Messages(uri("channel", "k")),
            topic: parent.map_or(Topic::Other, |parent| Topic::Thread(parent.to_owned())),
            live: true,
            event: RawValue::from_string(r#"{"type":"thread_updated"}"#.into()).unwrap(),
        }
    }

    #[test]
    fn u33_one_event_for_a_commit_and_a_thread_and_a_bounded_read() {
        let said = |events: &[Option<&str>]| events.iter().map(|parent| event(*parent)).collect::<Vec<_>>();
        let events = said(&[Some("a"), None, Some("b"), Some("a")]);
        let mut rows =
            vec![OutboxEvents { id: 1, events }, OutboxEvents { id: 2, events: said(&[Some("b")]) }];
        leave_out_repeated(&mut rows);
        assert_eq!(rows[0].events, said(&[None, Some("b"), Some("a")]));
        let named = |parent: &str| (uri("channel", "k"), parent.to_owned());
        assert_eq!(to_read(&rows, 0), [named("a"), named("b")]);
        assert_eq!(to_read(&rows, 1), [named("b")], "the others were read before");
        let state = ThreadNow { root_uri: uri("message", "r"), reply_count: 3, last_reply_at: None };
        write(&mut rows, &[(named("a"), state)]);
        let texts: Vec<&str> = rows[0].events.iter().map(|event| event.event.get()).collect();
        assert!(texts[2].contains(r#""reply_count":3"#));
        assert_eq!(texts[1], r#"{"type":"thread_updated"}"#, "not read");
        let many: Vec<String> = (0..50).map(|n| format!("m{n:02}")).collect();
        let events = many.iter().map(|parent| event(Some(parent))).collect();
        let read = to_read(&[OutboxEvents { id: 3, events }], 0);
        assert_eq!((read.len(), read[0].1.as_str()), (READ_MAX, "m30"), "the last ones");
    }
}
