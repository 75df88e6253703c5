//! Communities and their contents: R07, R11–R14.

use std::collections::BTreeMap;
use std::rc::Rc;

use worker::Env;

use super::error::ApiError;
use super::reply::{List, shown};
use super::response_cache::Keeps;
use super::{Answer, Call, authority, members_only, sync};
use crate::domain::voice_right::is_voice;
use crate::durable::community::commands::Voices;
use crate::platform::objects::call as ask;
use crate::storage::Fault;
use crate::storage::reads::communities;
use crate::storage::reads::members_only::About;
use crate::wire::bodies::Channel;
use crate::wire::ids::{AtUri, Did};

/// R07 `GET /api/community`: one community, by AT-URI or rkey (T22). An unknown one is looked up.
/// If it is for members only, a caller who proves the right to read it gets all fields (X42).
pub(super) async fn one(call: &Call) -> Answer {
    let name = call.query.at_uri_or_rkey("community")?;
    let caller = authority::reader_if_any(call).await?;
    if caller.is_some()
        && let Some((uri, community)) = communities::community_in_full(&call.db()?, name).await?
        && members_only::may_read(call, caller.as_ref(), &uri).await?
    {
        return shown(call, &community);
    }
    match communities::community(&call.db()?, name).await? {
        Some(community) => shown(call, &community),
        None => {
            sync::look_for(call, name).await?;
            Err(ApiError::NotFound("there is no such community"))
        }
    }
}

/// R11 `GET /api/communities`: the communities that a person owns, and those that they take part
/// in. Only they themselves see those for members only (X42).
pub(super) async fn of_person(call: &Call) -> Answer {
    let did = call.query.did("did")?;
    let caller = authority::reader_if_any(call).await?;
    let themselves = authority::is_themselves(caller.as_ref(), &did);
    shown(call, &communities::of_person(&call.db()?, &did, themselves).await?)
}

/// R12 `GET /api/channels`: the channels of a community, by name.
pub(super) async fn channels(call: &Call) -> Answer {
    let community = call.query.at_uri("community")?;
    let (db, name) = (call.db_about(About::Community(community.to_owned()))?, community.to_owned());
    let (env, keeps) = (call.env.clone(), Rc::clone(&call.keeps));
    let list = List { call, id: "R12", about: community };
    list.answer(async move |after: Option<_>, limit| {
        let read = async || communities::channels(&db, &name, after.as_ref(), limit).await;
        let (mut channels, end) = keeps.rows(read).await?;
        fill(&env, &keeps, &name, channels.iter_mut()).await?;
        Ok((channels, end))
    })
    .await
}

/// R13 `GET /api/sidebar`: categories with their channels, and channels without one.
pub(super) async fn sidebar(call: &Call) -> Answer {
    let community = call.query.at_uri("community")?;
    let db = call.db_about(About::Community(community.to_owned()))?;
    let mut sidebar = call.keeps.rows(async || communities::sidebar_of(&db, community).await).await?;
    let inside = sidebar.categories.iter_mut().flat_map(|category| &mut category.channels);
    fill(&call.env, &call.keeps, community, inside.chain(&mut sidebar.uncategorized)).await?;
    shown(call, &sidebar)
}

/// R14 `GET /api/members`: the owner, then approved, then pending members.
pub(super) async fn members(call: &Call) -> Answer {
    let community = call.query.at_uri("community")?;
    let db = call.db_about(About::Community(community.to_owned()))?;
    let (cdn, name) = (call.cdn(), community.to_owned());
    let list = List { call, id: "R14", about: community };
    list.answer(async move |after: Option<_>, limit| {
        communities::members(&db, &cdn, &name, after.as_ref(), limit).await
    })
    .await
}

/// Fills in `voice_members` (O05) for R12 and R13 from the community's object (V10): one call for
/// all channels of a page, and none without voice channels, because a call wakes the object. Its
/// answer is never cached.
async fn fill<'c>(
    env: &Env,
    keeps: &Keeps,
    community: &str,
    channels: impl Iterator<Item = &'c mut Channel>,
) -> Result<(), Fault> {
    let mut channels: Vec<&mut Channel> =
        channels.filter(|channel| is_voice(&channel.channel_type)).collect();
    if channels.is_empty() {
        return Ok(());
    }
    keeps.shows_more();
    let voiced = ask(env, community, &Voices {}).await?.channels;
    let mut voices: BTreeMap<AtUri, Vec<Did>> = voiced.into_iter().collect();
    for channel in &mut channels {
        channel.voice_members = voices.remove(&channel.uri).unwrap_or_default();
    }
    Ok(())
}
