//! Who waits to be admitted, and who is banned: N171b, N171c.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::error::ApiError;
use crate::api::reply::{ending_in, shown};
use crate::api::{authority, json};
use crate::domain::moderation::Caller;
use crate::durable::community::applications::ApplicationMoved;
use crate::platform::clock::now;
use crate::platform::log;
use crate::platform::objects::call as ask;
use crate::storage::dismissed;
use crate::storage::reads::lexicons::waiting;
use crate::wire::events::to_person;
use crate::wire::ids::{AtUri, Did};
use crate::wire::permissions::Permission;
use crate::wire::subscribe_events::{ApplicationEvent, NewestEvent};
use crate::wire::views::Application;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Applications {
    applications: Vec<Application>,
    dismissed_applications: Vec<Application>,
}

/// N171b `social.colibri.community.listApplications`: who asked to be in a community and is not.
pub(in crate::api) async fn applications(call: &Call) -> Answer {
    let caller = Caller::Person(authority::person(call).await?);
    let community = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, community, Permission::ApprovalManage).await?;
    let (applications, dismissed_applications) = waiting::applications(&call.db()?, community).await?;
    shown(call, &Applications { applications, dismissed_applications })
}

/// The person and the community whose application was dismissed, or waits again.
#[derive(Serialize)]
struct Whose {
    did: Did,
    community: AtUri,
}

/// N171b `social.colibri.community.dismissApplication`: idempotent.
pub(in crate::api) async fn dismiss(call: &Call) -> Answer {
    let Whose { did, community } = whose(call).await?;
    if let Some(membership) = dismissed::dismiss(&call.db()?, &community, &did, now()).await? {
        let event = ApplicationEvent::Dismiss { community: community.clone(), did: did.clone(), membership };
        show(call, &community, event).await;
    }
    json(&Whose { did, community })
}

/// N171b `social.colibri.community.undismissApplication`: idempotent.
pub(in crate::api) async fn undismiss(call: &Call) -> Answer {
    let Whose { did, community } = whose(call).await?;
    if let Some(membership) = dismissed::undismiss(&call.db()?, &community, &did).await? {
        let event =
            ApplicationEvent::Undismiss { community: community.clone(), did: did.clone(), membership };
        show(call, &community, event).await;
    }
    json(&Whose { did, community })
}

/// N168: shows it on the devices of those who may admit people. They read the list when they connect, so a fault loses
/// a hint only.
async fn show(call: &Call, community: &AtUri, event: ApplicationEvent) {
    let Ok(event) = to_person(Some(&NewestEvent::ApplicationEvent(event)), None) else { return };
    let moved = ApplicationMoved { community: community.clone(), event };
    if let Err(fault) = ask(&call.env, community.as_str(), &moved).await {
        log::fault(&fault, "moderators see a dismissed application until they read the list");
    }
}

async fn whose(call: &Call) -> Result<Whose, ApiError> {
    let caller = Caller::Person(authority::person(call).await?);
    let (named, did) = (call.query.at_uri("community")?, call.query.did("did")?);
    authority::may_act_for(call, &caller, named, Permission::ApprovalManage).await?;
    let community = AtUri::parse(named).map_err(|_| ApiError::Forbidden(authority::NOT_YOURS))?;
    Ok(Whose { did, community })
}

/// People per round trip; a longer list is streamed (H15).
const BANNED_PAGE: i64 = 1000;

/// N171c `social.colibri.community.listBannedUsers`: who is banned, by record or by this service, by DID.
pub(in crate::api) async fn banned(call: &Call) -> Answer {
    let caller = Caller::Person(authority::person(call).await?);
    let community = call.query.at_uri("community")?;
    authority::may_act_for(call, &caller, community, Permission::MemberBan).await?;
    let (db, name) = (call.db()?, community.to_owned());
    let first = waiting::banned(&db, &name, None, BANNED_PAGE).await?;
    ending_in(call, r#"{"users":"#.into(), first, async move |after: Did| {
        waiting::banned(&db, &name, Some(&after), BANNED_PAGE).await
    })
}
