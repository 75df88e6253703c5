//! Communities as a whole: N160g; and their parts: N170a.

use std::collections::{BTreeMap, BTreeSet};

use worker::Env;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::{ending_in, shown, tagged};
use crate::api::{members_only, sync};
use crate::durable::community::commands::Voices;
use crate::platform::objects::call as ask;
use crate::storage::Fault;
use crate::storage::reads::Page;
use crate::storage::reads::lexicons::communities::{self, Named, Structure, Whole};
use crate::storage::reads::members_only::About;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::views::{MemberView, RoleView};

/// Members per round trip. A larger community is streamed (H15).
const MEMBERS_PAGE: i64 = 1000;

/// N160g `social.colibri.community.getData`: everything about a community. An unknown one is looked up; until
/// its repository was read, the answer is a 503 (N158).
pub(in crate::api) async fn get_data(call: &Call) -> Answer {
    let named = call.query.at_uri("community")?;
    let uri = community_named(named).ok_or(ApiError::NotFound(UNKNOWN))?;
    let db = call.db_about(About::Community(named.to_owned()))?;
    match communities::whole(&db, &uri, MEMBERS_PAGE).await? {
        Named::Known(whole) => {
            let Whole { info, categories, channels, roles, members, has_voice } = *whole;
            let parts = serde_json::json!({
                "did": uri.authority(), "community": info, "categories": categories, "channels": channels,
                "roles": roles,
            });
            answer(call, db, uri, parts, Members { page: members, roles, has_voice }).await
        }
        Named::Awaited => Err(awaited()),
        Named::Unknown if sync::looks_for(call, named).await? => Err(awaited()),
        Named::Unknown => Err(ApiError::NotFound(UNKNOWN)),
    }
}

/// The community that a text names; `None` if it names another record, or none.
fn community_named(text: &str) -> Option<AtUri> {
    AtUri::parse(text).ok().filter(|uri| uri.is(Collection::Community))
}

const UNKNOWN: &str = "there is no such community";

fn awaited() -> ApiError {
    ApiError::Fault(Fault::new("reading a community", "its repository was not read yet"))
}

/// N170a `social.colibri.community.listMembers`: who takes part, as in N160g; nobody in one that is not known.
pub(in crate::api) async fn list_members(call: &Call) -> Answer {
    let named = call.query.at_uri("community")?;
    let db = call.db_about(About::Community(named.to_owned()))?;
    if let Some(uri) = community_named(named)
        && let Named::Known(whole) = communities::whole(&db, &uri, MEMBERS_PAGE).await?
    {
        let Whole { roles, members, has_voice, .. } = *whole;
        return answer(call, db, uri, serde_json::json!({}), Members { page: members, roles, has_voice })
            .await;
    }
    tagged(call, r#"{"members":[]}"#.into(), None)
}

/// N170a `social.colibri.community.listRoles`.
pub(in crate::api) async fn list_roles(call: &Call) -> Answer {
    let Structure { roles, .. } = structure(call).await?;
    shown(call, &serde_json::json!({ "roles": roles }))
}

/// N170a `social.colibri.community.listChannels`.
pub(in crate::api) async fn list_channels(call: &Call) -> Answer {
    let Structure { channels, .. } = structure(call).await?;
    shown(call, &serde_json::json!({ "channels": channels }))
}

/// N170a `social.colibri.community.listCategories`.
pub(in crate::api) async fn list_categories(call: &Call) -> Answer {
    let Structure { categories, .. } = structure(call).await?;
    shown(call, &serde_json::json!({ "categories": categories }))
}

async fn structure(call: &Call) -> Result<Structure, ApiError> {
    let named = call.query.at_uri("community")?;
    let db = call.db_about(About::Community(named.to_owned()))?;
    match community_named(named) {
        Some(uri) => Ok(communities::structure(&db, &uri).await?),
        None => Ok(Structure::default()),
    }
}

/// The first page of the members of a community, and what is needed to show them.
struct Members {
    page: Page<MemberView, Did>,
    roles: Vec<RoleView>,
    has_voice: bool,
}

/// The answer, a JSON object of `parts` and the members: whole, or with its members streamed page by page.
async fn answer(
    call: &Call,
    db: members_only::Guarded,
    uri: AtUri,
    parts: serde_json::Value,
    members: Members,
) -> Answer {
    let Members { page: (mut members, end), roles, has_voice } = members;
    let voices = if has_voice { voices(&call.env, uri.as_str()).await? } else { BTreeMap::new() };
    if has_voice {
        call.keeps.shows_more();
    }
    place(&mut members, &voices);
    let mut head = serde_json::to_string(&parts).map_err(|_| ApiError::Internal)?;
    head.pop();
    let comma = if head.len() > 1 { "," } else { "" };
    head.push_str(&format!("{comma}\"members\":"));
    let known: BTreeSet<AtUri> = roles.into_iter().map(|role| role.uri).collect();
    ending_in(call, head, (members, end), async move |after: Did| {
        let (mut members, end) = communities::members(&db, &uri, &known, Some(&after), MEMBERS_PAGE).await?;
        place(&mut members, &voices);
        Ok((members, end))
    })
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
