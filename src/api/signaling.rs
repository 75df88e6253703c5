//! Where signaling sockets come in (contract section 7).

use super::error::ApiError;
use super::sockets::{acts_for, echo, upgrade};
use super::{Answer, Call, relay};
use crate::durable::commands::connect_to_room;
use crate::platform::config;
use crate::wire::signaling::NAME_MAX;

/// `GET /api/webrtc/signal`: with `room` the socket goes to that room's object, for good; without
/// it the Worker relays, for its first frame will name the room.
pub(super) async fn signal(call: &Call) -> Answer {
    upgrade(call)?;
    let open = config::sockets(&call.env).open;
    let did = acts_for(call, open).await?;
    if !open && did.is_none() {
        return Err(ApiError::AuthRequired("signaling needs a proof")); // X08
    }
    match call.query.optional("room") {
        Some(room) if room.chars().count() > NAME_MAX => {
            Err(ApiError::Invalid(format!("room must be a string of 1 to {NAME_MAX} characters")))
        }
        Some(room) => echo(call, connect_to_room(&call.env, room, did.as_ref(), false).await?),
        None => echo(call, relay::accept(call.env.clone(), did)?),
    }
}
