//! Channels: their messages, and how far the caller has read them: N160f, N160h, N160i, N160l,
//! N170b.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::authority;
use crate::api::error::ApiError;
use crate::api::reply::shown;
use crate::storage::reads::lexicons::channels::{self, From, Which};
use crate::storage::reads::members_only::About;
use crate::storage::reads::notifications;
use crate::storage::reads::whose::community_of;
use crate::wire::ids::{AtUri, Rkey};
use crate::wire::permissions::Permission;
use crate::wire::views::{Messages, Reaction, Unread};

/// The most messages on a page (N160i).
const PAGE_MAX: i64 = 100;
/// How many messages the first view of a channel has (N160f).
const VIEW_DEFAULT: i64 = 50;

/// N160f `social.colibri.channel.getChannelView`: the newest messages of a channel, and how far the caller
/// has read it. A channel that is not known is empty.
pub(in crate::api) async fn get_channel_view(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let channel = call.query.at_uri("channel")?;
    let limit = call.query.limit("limit", VIEW_DEFAULT, PAGE_MAX)?;
    let db = call.db_about(About::Channel(channel.to_owned()))?;
    shown(call, &channels::view(&db, &did, channel, limit).await?)
}

/// N160i `social.colibri.channel.listMessages`: a page of a channel, newest first. With `all`, hidden messages
/// too, for people who may hide messages there.
pub(in crate::api) async fn list_messages(call: &Call) -> Answer {
    let channel = call.query.at_uri("channel")?;
    let limit = call.query.limit("limit", PAGE_MAX, PAGE_MAX)?;
    let from = match call.query.optional("cursor").map(Rkey::parse) {
        None => From::Newest,
        Some(Ok(key)) => From::Key(key),
        Some(Err(_)) => return Err(no_cursor()),
    };
    let which = if call.query.bool("all")? { all(call, channel).await? } else { Which::Visible };
    let db = call.db_about(About::Channel(channel.to_owned()))?;
    let page: Option<Messages> = channels::messages(&db, channel, &from, which, limit).await?;
    shown(call, &page.ok_or_else(no_cursor)?)
}

fn no_cursor() -> ApiError {
    ApiError::Invalid("cursor is the key of no message in this channel".into())
}

/// People who may hide messages in a channel see those that are hidden.
async fn all(call: &Call, channel: &str) -> Result<Which, ApiError> {
    let caller = authority::reader(call).await?;
    if let Ok(channel) = AtUri::parse(channel)
        && let Some(community) = community_of(&call.db()?, &channel).await?
    {
        authority::may_act_for(call, &caller, community.as_str(), Permission::MessageHide).await?;
    }
    Ok(Which::All)
}

#[derive(Serialize)]
struct Reactions {
    reactions: Vec<Reaction>,
}

/// N170b `social.colibri.channel.listReactions`: the reactions to a message; none of one that is not known.
pub(in crate::api) async fn list_reactions(call: &Call) -> Answer {
    let message = call.query.at_uri("message")?;
    let reactions = match AtUri::parse(message) {
        Ok(uri) => channels::reactions(&call.db_about(About::Message(uri))?, message).await?,
        Err(_) => Vec::new(),
    };
    shown(call, &Reactions { reactions })
}

#[derive(Serialize)]
struct Channels {
    channels: Vec<Unread>,
}

/// N160h `social.colibri.channel.listUnreadStatus`: what the caller has not read, in each channel of a
/// community that they take part in.
pub(in crate::api) async fn list_unread_status(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let community = call.query.at_uri("community")?;
    let db = call.db_about(About::Community(community.to_owned()))?;
    let found = notifications::unread(&db, &did, &[community]).await?.into_values().next();
    let found =
        found.ok_or(ApiError::Forbidden("the token is of nobody who takes part in this community"))?;
    let channels = found.into_iter().map(|channel| Unread {
        has_unread_messages: channel.unread > 0,
        unread_ping_count: channel.pings.all,
        channel_uri: channel.channel_uri,
    });
    shown(call, &Channels { channels: channels.collect() })
}

/// N160l `social.colibri.channel.getReadCursor`: how far the caller has read a channel.
pub(in crate::api) async fn get_read_cursor(call: &Call) -> Answer {
    let did = authority::person(call).await?;
    let channel = call.query.at_uri("channel")?;
    match channels::read_cursor(&call.db()?, &did, channel).await? {
        Some(cursor) => shown(call, &cursor),
        None => Err(ApiError::NotFound("the caller has no read position in this channel")),
    }
}
