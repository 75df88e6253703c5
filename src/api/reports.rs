//! Reports: R86, R87, R88.

use super::error::ApiError;
use super::reply::List;
use super::{Answer, Call, authority, empty, json, members_only};
use crate::domain::moderation::Caller;
use crate::platform::clock::now;
use crate::storage::audit::Act;
use crate::storage::members_only::is_set;
use crate::storage::reports::{self, Added, New};
use crate::wire::bodies::Reported;
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::permissions::Permission;

const NO_MESSAGE: &str = "there is no such message";

/// R86 `POST /api/report`: somebody asks those who moderate to look at a message or a person.
pub(super) async fn report(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (uri, did) = (body.optional_at_uri("uri")?, body.optional_did("did")?);
    let named = body.optional_community("community_uri")?;
    let (reason, comment) = (body.report_reason("reason")?, body.comment("comment")?);
    let Caller::Person(reporter) = &caller else {
        return Err(ApiError::Forbidden("only a person reports; the API key acts at once"));
    };
    let (community, subject, about) = match (uri, did, named) {
        (Some(uri), None, _) => of_message(call, &uri).await?,
        (None, Some(did), Some(community)) => (community, did.to_string(), did),
        (None, Some(_), None) => {
            return Err(ApiError::Invalid("community_uri is required with did".into()));
        }
        _ => return Err(ApiError::Invalid("either uri or did is required, and not both".into())),
    };
    let closed = is_set(&call.db()?, community.as_str()).await?;
    if closed && !members_only::may_read(call, Some(&caller), &community).await? {
        return Err(ApiError::NotFound(NO_MESSAGE));
    }
    let new = New {
        community: &community,
        reporter,
        subject: &subject,
        about: &about,
        reason,
        comment: comment.as_deref(),
    };
    match reports::add(&call.db()?, &new, now()).await? {
        Added::Open(id) => json(&Reported { id }),
        Added::TooMany => Err(ApiError::RateLimited(3_600)),
        Added::NoCommunity => Err(ApiError::NotFound("there is no such community")),
    }
}

async fn of_message(call: &Call, uri: &str) -> Result<(AtUri, String, Did), ApiError> {
    let missing = || ApiError::NotFound(NO_MESSAGE);
    let message = AtUri::parse(uri).ok().filter(|uri| uri.is(Collection::Message)).ok_or_else(missing)?;
    let (community, author) = reports::about(&call.db()?, &message).await?.ok_or_else(missing)?;
    Ok((community, message.to_string(), author))
}

/// R87 `GET /api/reports`: the reports of a community, newest first.
pub(super) async fn list(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let community = call.query.at_uri("community")?;
    let open = match call.query.optional("state") {
        None => None,
        Some("open") => Some(true),
        Some("resolved") => Some(false),
        Some(_) => return Err(ApiError::Invalid("state must be open or resolved".into())),
    };
    authority::may_act_for(call, &caller, community, Permission::MessageHide).await?;
    let about = format!("{community} {open:?}");
    let (db, name) = (call.db()?, community.to_owned());
    let list = List { call, id: "R87", about: &about };
    list.answer(async move |after: Option<_>, limit| {
        reports::page(&db, &name, open, after.as_ref(), limit).await
    })
    .await
}

/// R88 `POST /api/report/resolve`: somebody who moderates has dealt with it.
pub(super) async fn resolve(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, id) = (body.community("community_uri")?, body.required_count("id", i64::MAX >> 11)?);
    let reason = body.reason()?;
    authority::may_act_for(call, &caller, community.as_str(), Permission::MessageHide).await?;
    let act = Act {
        community: &community,
        caller: &caller,
        proof: authority::proof_of(call, &caller),
        action: "resolve_report",
        subject: id.to_string(),
        reason: reason.as_deref(),
        until: None,
    };
    if reports::resolve(&call.db()?, &act, id, now()).await? {
        empty(204)
    } else {
        Err(ApiError::NotFound("there is no such open report"))
    }
}
