//! Notifications, which this service does not make: N170d, N170f. What a person wants is known: N170g.
//!
//! The client asks for them at its start and in the background, so the answer is that there are none.

use serde_json::json;

use super::{Answer, Call};
use crate::api::reply::shown;
use crate::api::{authority, json as answer};
use crate::storage::reads::lexicons::notification_level;

/// N170g `social.colibri.actor.getNotificationPreference`: what the caller wants to be notified of.
pub(in crate::api) async fn preference(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    shown(call, &json!({ "level": notification_level(&call.db()?, &did).await? }))
}

/// N170d `social.colibri.notification.listNotifications`.
pub(in crate::api) async fn list(call: &Call) -> Answer {
    authority::person(call).await?;
    answer(&json!({ "notifications": [] }))
}

/// N170f `social.colibri.notification.getUnseen`.
pub(in crate::api) async fn unseen(call: &Call) -> Answer {
    authority::person(call).await?;
    answer(&json!({ "notifications": [] }))
}

/// N170f `social.colibri.notification.getUnreadCount`.
pub(in crate::api) async fn unread_count(call: &Call) -> Answer {
    authority::person(call).await?;
    answer(&json!({ "count": 0 }))
}

/// N170f `social.colibri.notification.updateSeen`.
pub(in crate::api) async fn seen(call: &Call) -> Answer {
    authority::person(call).await?;
    answer(&json!({ "updated": 0 }))
}

/// N170f `social.colibri.notification.updateSeenForMessage`.
pub(in crate::api) async fn message_seen(call: &Call) -> Answer {
    authority::person(call).await?;
    answer(&json!({ "updated": 0, "clearedPings": 0 }))
}
