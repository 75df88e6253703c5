//! What a person has not read or seen, for clients of March 2026: R48 to R51. It concerns nobody else, so it takes their
//! proof or the API key in every mode.

use super::error::ApiError;
use super::reply::{List, shown};
use super::{Answer, Call, authority, empty, json};
use crate::domain::notifications::last_until;
use crate::durable::gateway::commands::Show;
use crate::platform::clock::now;
use crate::platform::objects::{call as ask, gateway_of};
use crate::platform::{config, log};
use crate::storage::notifications as marks;
use crate::storage::reads::communities::communities_of;
use crate::storage::reads::notifications::{self as reads, Channel};
use crate::wire::bodies::{Notification, Notifications, Seen, Unread};
use crate::wire::events::{Personal, channel_read, to_person};
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::{NewestEvent, SeenEvent};
use crate::wire::time::Micros;

/// Notifications of a page, and the most.
const PAGE_DEFAULT: i64 = 50;
/// See [`PAGE_DEFAULT`].
const PAGE_MAX: i64 = 100;

/// The person in question.
async fn whose(call: &Call) -> Result<Did, ApiError> {
    let caller = authority::moderator(call).await?;
    authority::named_by(&caller, call.query.did("did")?)
}

/// R48 `GET /api/unread`: what a person has not read, in a community or in all of theirs.
pub(super) async fn unread(call: &Call) -> Answer {
    let did = whose(call).await?;
    let one = call.query.optional_at_uri("community")?;
    let db = call.db()?;
    let all = match one {
        Some(_) => Vec::new(),
        None => communities_of(&db, &did).await?,
    };
    let communities: Vec<&str> = one.into_iter().chain(all.iter().map(AtUri::as_str)).collect();
    let found = reads::unread(&db, &did, &communities).await?;
    if one.is_some() && found.is_empty() {
        return Err(ApiError::Forbidden("did takes no part in this community"));
    }
    shown(call, &found.into_values().flatten().map(of_channel).collect::<Vec<_>>())
}

fn of_channel(channel: Channel) -> Unread {
    Unread {
        community_uri: channel.community_uri,
        channel_uri: channel.channel_uri,
        unread: channel.unread,
        mentions: channel.pings.messages,
        last_read_at: channel.last_read_at.map(Micros::shown),
        last_message_at: channel.last_message_at.map(Micros::shown),
    }
}

/// R49 `POST /api/read`: a person has read a channel up to a message, or up to now.
pub(super) async fn read(call: &Call) -> Answer {
    let did = whose(call).await?;
    let channel = call.query.at_uri("channel")?;
    let message = call.query.optional_at_uri("message")?;
    match marks::move_position(&call.db()?, &did, channel, message, now()).await? {
        Some(_) => {
            let Ok(channel_uri) = AtUri::parse(channel) else { return empty(204) };
            let (newest, march) = channel_read(&channel_uri);
            show(call, &did, Some(newest), &march).await;
            empty(204)
        }
        None => Err(ApiError::NotFound(
            "did takes part in no community with this channel, or message is not in it",
        )),
    }
}

/// R50 `GET /api/notifications`: a page of what a person is notified of, newest first.
pub(super) async fn list(call: &Call) -> Answer {
    let did = whose(call).await?;
    let list = List { call, id: "R50", about: did.as_str() };
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let before = call.query.cursor(list.id, list.about)?;
    let (found, unseen, end) = reads::page(&call.db()?, &did, before, limit).await?;
    let cdn = call.cdn();
    let written = |notifications: &[Notification]| {
        serde_json::to_string(&Notifications { unseen, notifications: notifications.iter().collect() })
    };
    list.page(written, (found.into_iter().map(|notice| notice.body(&cdn)).collect(), end))
}

/// R51 `POST /api/notifications/seen`: a person has seen the notifications by a message, or all up to a time.
pub(super) async fn seen(call: &Call) -> Answer {
    let did = whose(call).await?;
    let until = call.query.time("until")?;
    let db = call.db()?;
    let seen = match call.query.optional_at_uri("message")? {
        Some(message) => {
            let seen = marks::see_message(&db, &did, message, now()).await?;
            message_seen(call, &did, message, seen).await;
            seen
        }
        None => {
            let until = until.map_or_else(now, |(_, until)| until);
            let seen = marks::see_until(&db, &did, last_until(until), now()).await?;
            all_seen(call, &did, until, seen).await;
            seen
        }
    };
    json(&Seen { seen })
}

/// U21: a person has seen the notifications by a message.
pub(super) async fn message_seen(call: &Call, did: &Did, message: &str, seen: usize) {
    let Some(message_uri) = AtUri::parse(message).ok().filter(|_| seen > 0) else { return };
    let newest = SeenEvent::MessageSeen { message_uri: message_uri.clone(), cleared: seen };
    let march = Personal::NotificationsSeen { message_uri: Some(message_uri), until: None, seen };
    show(call, did, Some(NewestEvent::SeenEvent(newest)), &march).await;
}

/// U21: a person has seen all notifications that came until then. The newest client has no word for that.
pub(super) async fn all_seen(call: &Call, did: &Did, until: Micros, seen: usize) {
    if seen > 0 {
        let march = Personal::NotificationsSeen { message_uri: None, until: Some(until.shown()), seen };
        show(call, did, None, &march).await;
    }
}

/// Shows on the devices of a person what they did here. They read it when they connect again, so a fault loses a hint
/// only.
async fn show(call: &Call, did: &Did, newest: Option<NewestEvent>, march: &Personal) {
    let Ok(event) = to_person(newest.as_ref(), Some(march)) else { return };
    let home = gateway_of(did, config::sockets(&call.env).gateway_shards);
    if let Err(fault) = ask(&call.env, &home, &Show { did: did.clone(), event }).await {
        log::fault(&fault, "the person's other devices learn it when they connect again");
    }
}
