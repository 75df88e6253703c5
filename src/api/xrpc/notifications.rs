//! Notifications of the caller: N170d, N170f, N170g. They are those of R50 and R51.

use serde::Serialize;
use serde_json::json;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::shown;
use crate::api::{authority, json as answer, notifications};
use crate::domain::notifications::last_until;
use crate::platform::clock::now;
use crate::storage::notifications as marks;
use crate::storage::reads::lexicons::notification_level;
use crate::storage::reads::notifications as reads;
use crate::wire::views::NotificationView;

/// Notifications of a page (N170d).
const PAGE_DEFAULT: i64 = 50;
/// The most notifications of a page.
const PAGE_MAX: i64 = 100;

/// N170g `social.colibri.actor.getNotificationPreference`: what the caller wants to be notified of.
pub(in crate::api) async fn preference(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    shown(call, &json!({ "level": notification_level(&call.db()?, &did).await? }))
}

/// N170d `social.colibri.notification.listNotifications`: a page, newest first.
pub(in crate::api) async fn list(call: &Call) -> Answer {
    #[derive(Serialize)]
    struct Page {
        notifications: Vec<NotificationView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
    let did = authority::person(call).await?;
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let before = call.query.optional("cursor").map(str::parse).transpose();
    let before = before.map_err(|_| ApiError::Invalid("cursor is not the id of a notification".into()))?;
    let (found, _, end) = reads::page(&call.db()?, &did, before, limit).await?;
    let notifications = found.into_iter().map(|notice| notice.view(&did)).collect();
    shown(call, &Page { notifications, cursor: end.map(|last| last.to_string()) })
}

/// N170f `social.colibri.notification.getUnseen`: those of a channel, newest first.
pub(in crate::api) async fn unseen(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let channel = call.query.at_uri("channel")?;
    shown(call, &json!({ "notifications": reads::unseen(&call.db()?, &did, channel).await? }))
}

/// N170f `social.colibri.notification.getUnreadCount`.
pub(in crate::api) async fn unread_count(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    shown(call, &json!({ "count": reads::unseen_count(&call.db()?, &did).await? }))
}

/// N170f `social.colibri.notification.updateSeen`: all up to a time, or up to now.
pub(in crate::api) async fn seen(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let until = call.query.time("seenAt")?.map_or_else(now, |(_, until)| until);
    let seen = marks::see_until(&call.db()?, &did, last_until(until), now()).await?;
    notifications::all_seen(call, &did, until, seen).await;
    answer(&json!({ "updated": seen }))
}

/// N170f `social.colibri.notification.updateSeenForMessage`: those by one message.
pub(in crate::api) async fn message_seen(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let message = call.query.at_uri("message")?;
    let seen = marks::see_message(&call.db()?, &did, message, now()).await?;
    notifications::message_seen(call, &did, message, seen).await;
    answer(&json!({ "updated": seen, "clearedPings": seen }))
}
