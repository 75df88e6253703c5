//! People: R04, R20, R22.

use super::error::ApiError;
use super::reply::{List, shown};
use super::{Answer, Call, authority, empty, erasure};
use crate::domain::breaker::Errand;
use crate::domain::presence::State;
use crate::durable::gateway::commands::SetState;
use crate::pipeline;
use crate::platform::clock::now;
use crate::platform::objects::{call as ask, gateway_of};
use crate::platform::{config, log, profiles};
use crate::storage::Fault;
use crate::storage::reads::people;
use crate::wire::bodies::Author;
use crate::wire::ids::Did;

/// R04 `GET /api/authors`: a person. The first rule that applies decides:
///   1. if the index knows anything of them, it answers; an erased person is a 404 (I57);
///   2. anybody else is looked up, and the result is stored and returned (I37);
///   3. a person who is stored without any data, such as a new member, is returned like that,
///      whatever the lookup says;
///   4. a person who was not found is a 404; a failed lookup is a 502.
pub(super) async fn author(call: &Call) -> Answer {
    let did = call.query.did("did")?;
    let db = call.db()?;
    let cached = people::person(&db, &did).await?;
    if let Some(known) = cached.as_ref().filter(|cached| !cached.person.is_blank()) {
        return author_body(call, known);
    }
    // From here on the answer contains more than the index.
    call.keeps.shows_more();
    if erasure::is_erased(call, &did).await? {
        return Err(ApiError::NotFound("nothing is known of this did"));
    }
    match (look_up(call, &did, cached.is_some()).await?, cached) {
        (Ok(true), _) => {
            let found = people::person(&db, &did).await?;
            author_body(call, &found.ok_or(ApiError::Internal)?)
        }
        (_, Some(cached)) => author_body(call, &cached),
        (Ok(false), None) => Err(ApiError::NotFound("this did has no profile")),
        (Err(fault), None) => {
            log::fault(&fault, "the caller gets an error");
            Err(ApiError::Upstream("the profile of this did could not be looked up"))
        }
    }
}

/// Looks up a person's profile, and stores it (I37). Whether there was one.
pub(super) async fn look_up(call: &Call, did: &Did, is_known: bool) -> Result<Result<bool, Fault>, ApiError> {
    let outside = call.outside()?;
    let looked_up = match is_known {
        true => profiles::look_up(did, &outside, Errand::Trusted).await,
        false => profiles::look_up_anybody(did, &outside).await.ok_or(ApiError::RateLimited(1))?,
    };
    match looked_up {
        Ok(Some(profile)) => {
            let settings = config::stream(&call.env).pipeline;
            pipeline::remember(&call.db()?, did, &profile, &settings, now()).await?;
            Ok(Ok(true))
        }
        Ok(None) => Ok(Ok(false)),
        Err(fault) => Ok(Err(fault)),
    }
}

fn author_body(call: &Call, cached: &people::Cached) -> Answer {
    let person = cached.person.shown(&call.cdn());
    shown(call, &Author::of(cached.person.did.clone(), person, cached.updated_at.clone()))
}

/// R20 `POST /api/user/state`: sets a person's state, with or without an open socket (P09). Their
/// gateway sets it; the answer comes when it is stored (H11).
pub(super) async fn set_state(call: &Call) -> Answer {
    authority::operator(call)?;
    let did = call.query.did("did")?;
    let state = State::named(call.query.required("state")?).filter(|state| *state != State::Offline);
    let state = state.ok_or_else(|| ApiError::Invalid("state must be online, away or dnd".into()))?;
    choose(call, SetState { did, state, shows_alone: true }).await?;
    empty(204)
}

/// The gateway of a person who is not erased sets their state.
pub(super) async fn choose(call: &Call, chosen: SetState) -> Result<(), ApiError> {
    erasure::must_not_be_erased(call, &chosen.did).await?;
    let gateway = gateway_of(&chosen.did, config::sockets(&call.env).gateway_shards);
    ask(&call.env, &gateway, &chosen).await?;
    Ok(())
}

/// R22 `GET /api/channel-reads`: a person's read positions, newest first. Only they themselves
/// see those in communities for members only (X42).
pub(super) async fn channel_reads(call: &Call) -> Answer {
    let did = call.query.did("did")?;
    let caller = authority::reader_if_any(call).await?;
    let themselves = authority::is_themselves(caller.as_ref(), &did);
    let (db, name) = (call.db()?, did.to_string());
    let list = List { call, id: "R22", about: did.as_str() };
    list.answer(async move |after: Option<_>, limit| {
        people::channel_reads(&db, &name, themselves, after.as_ref(), limit).await
    })
    .await
}
