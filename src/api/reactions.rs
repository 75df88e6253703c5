//! Reactions: R05, R06.

use serde::Serializer as _;

use super::reply::{List, shown};
use super::{Answer, Call};
use crate::storage::reads::members_only::About;
use crate::storage::reads::reactions;
use crate::wire::bodies::ReactionGroup;

/// R05 `GET /api/reactions`: the reactions to one message.
pub(super) async fn of_message(call: &Call) -> Answer {
    let message = call.query.at_uri_or_rkey("message")?;
    let db = call.db_about(About::MessageNamed(message.to_owned()))?;
    shown(call, &reactions::of_message(&db, message).await?)
}

/// R06 `GET /api/reactions/channel`: the reactions in a channel, by message.
pub(super) async fn of_channel(call: &Call) -> Answer {
    let channel = call.query.at_uri_or_rkey("channel")?;
    let (db, name) = (call.db_about(About::Channel(channel.to_owned()))?, channel.to_owned());
    let list = List { call, id: "R06", about: channel };
    list.answer_as(object, async move |after, limit| reactions::of_channel(&db, &name, after, limit).await)
        .await
}

/// Entries as one JSON object, in their order.
fn object(entries: &[(String, Vec<ReactionGroup>)]) -> serde_json::Result<String> {
    let mut text = Vec::new();
    let entries = entries.iter().map(|(key, groups)| (key, groups));
    serde_json::Serializer::new(&mut text).collect_map(entries)?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}
