//! Channels for feed readers: R80, R81.

use super::error::ApiError;
use super::reply::typed;
use super::{Answer, Call};
use crate::storage::reads::feeds::{self, Named};
use crate::wire::feeds::Feed;
use crate::wire::ids::{Did, Rkey};

/// R80 `GET /feed/<community>/<channel>.atom`: the newest messages, as Atom.
pub(super) async fn atom(call: &Call) -> Answer {
    let feed = named(call).await?;
    let own = format!("/feed/{}/{}.atom", feed.channel.authority(), feed.channel.rkey());
    typed(call, feed.atom(&own), "application/atom+xml; charset=utf-8")
}

/// R81 `GET /feed/<community>/<channel>.json`: the same as JSON Feed.
pub(super) async fn json(call: &Call) -> Answer {
    let text = named(call).await?.json().ok_or(ApiError::Internal)?;
    typed(call, text, "application/feed+json; charset=utf-8")
}

/// The feed that the path names. A value that names nothing is unknown (T03).
async fn named(call: &Call) -> Result<Feed, ApiError> {
    let missing = || ApiError::NotFound("there is no such channel in an open community");
    let (community, channel) = call.segment.split_once('/').ok_or_else(missing)?;
    // A client may have encoded the colons of a DID.
    let decoded = community.replace("%3A", ":");
    let community = match Did::parse(community).or_else(|_| Did::parse(&decoded)) {
        Ok(did) => Named::Owner(did),
        Err(_) => Named::Rkey(Rkey::parse(community).map_err(|_| missing())?),
    };
    let channel = Rkey::parse(channel).map_err(|_| missing())?;
    feeds::feed(&call.db()?, &community, &channel).await?.ok_or_else(missing)
}
