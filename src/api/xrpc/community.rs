//! Communities as a whole: N160g.

use std::collections::{BTreeMap, BTreeSet};

use worker::Env;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::{array, streamed, tagged};
use crate::api::{members_only, sync};
use crate::durable::community::commands::Voices;
use crate::platform::objects::call as ask;
use crate::storage::Fault;
use crate::storage::reads::lexicons::communities::{self, Named, Whole};
use crate::storage::reads::members_only::About;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::views::MemberView;

/// Members per round trip. A larger community is streamed (H15).
const MEMBERS_PAGE: i64 = 1000;

/// N160g `social.colibri.community.getData`: everything about a community. An unknown one is looked up; until
/// its repository was read, the answer is a 503 (N158).
pub(in crate::api) async fn get_data(call: &Call) -> Answer {
    let named = call.query.at_uri("community")?;
    let Some(uri) = AtUri::parse(named).ok().filter(|uri| uri.is(Collection::Community)) else {
        return Err(ApiError::NotFound(UNKNOWN));
    };
    let db = call.db_about(About::Community(named.to_owned()))?;
    match communities::whole(&db, &uri, MEMBERS_PAGE).await? {
        Named::Known(whole) => answer(call, db, uri, *whole).await,
        Named::Awaited => Err(awaited()),
        Named::Unknown if sync::looks_for(call, named).await? => Err(awaited()),
        Named::Unknown => Err(ApiError::NotFound(UNKNOWN)),
    }
}

const UNKNOWN: &str = "there is no such community";

fn awaited() -> ApiError {
    ApiError::Fault(Fault::new("reading a community", "its repository was not read yet"))
}

/// The answer: whole, or with its members streamed page by page.
async fn answer(call: &Call, db: members_only::Guarded, uri: AtUri, whole: Whole) -> Answer {
    let Whole { info, categories, channels, roles, members: (mut members, end), has_voice } = whole;
    let voices = if has_voice { voices(&call.env, uri.as_str()).await? } else { BTreeMap::new() };
    if has_voice {
        call.keeps.shows_more();
    }
    place(&mut members, &voices);
    let parts = serde_json::json!({
        "did": uri.authority(), "community": info, "categories": categories, "channels": channels, "roles": roles,
    });
    let mut head = written(&parts)?;
    head.pop();
    head.push_str(",\"members\":");
    head.push_str(&written(&members)?);
    let Some(end) = end else {
        head.push('}');
        return tagged(call, head, None);
    };
    head.pop();
    let known: BTreeSet<AtUri> = roles.into_iter().map(|role| role.uri).collect();
    streamed(call, (head, end), "]}".into(), array, async move |after: Did| {
        let (mut members, end) = communities::members(&db, &uri, &known, Some(&after), MEMBERS_PAGE).await?;
        place(&mut members, &voices);
        Ok((members, end))
    })
}

fn written<T: serde::Serialize>(value: &T) -> Result<String, ApiError> {
    serde_json::to_string(value).map_err(|_| ApiError::Internal)
}

/// Who is in which voice channel of a community.
async fn voices(env: &Env, community: &str) -> Result<BTreeMap<Did, AtUri>, Fault> {
    let channels = ask(env, community, &Voices {}).await?.channels;
    let inside = |(channel, people): (AtUri, Vec<Did>)| {
        people.into_iter().map(move |did| (did, channel.clone())).collect::<Vec<_>>()
    };
    Ok(channels.into_iter().flat_map(inside).collect())
}

fn place(members: &mut [MemberView], voices: &BTreeMap<Did, AtUri>) {
    for member in members {
        member.vc = voices.get(&member.actor.did).cloned();
    }
}
