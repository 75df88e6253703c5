//! The directory: R52, R53.

use super::authority::{self, NOT_YOURS};
use super::error::ApiError;
use super::reply::{List, array};
use super::{Answer, Call, json};
use crate::domain::moderation::{Caller, may_list};
use crate::platform::clock::now;
use crate::storage::audit::Act;
use crate::storage::facts;
use crate::storage::listings::{self, Set};
use crate::storage::reads::directory;
use crate::wire::bodies::Listing;

const NO_COMMUNITY: &str = "there is no such community";
/// Communities on a page of R53, and the most of them.
const PAGE_DEFAULT: i64 = 20;
const PAGE_MAX: i64 = 50;

/// R52 `PUT /api/community/listing`: the directory lists a community from now on, or not any more.
pub(super) async fn set(call: &Call) -> Answer {
    let caller = authority::moderator(call).await?;
    let body = call.body().await?;
    let (community, on, reason) = (body.community("community_uri")?, body.bool("listed")?, body.reason()?);
    let person = if let Caller::Person(did) = &caller { Some(did) } else { None };
    let db = call.db()?;
    let facts = facts::acts_in(&db, &community, [], person, now()).await?;
    if !may_list(&facts, &caller, &community) {
        return Err(ApiError::Forbidden(NOT_YOURS));
    }
    if facts.community(&community).is_none() {
        return Err(ApiError::NotFound(NO_COMMUNITY));
    }
    let (proof, subject) = (authority::proof_of(call, &caller), if on { "on" } else { "off" }.to_owned());
    let (caller, reason) = (&caller, reason.as_deref());
    let act = Act { community: &community, caller, proof, action: "listing", subject, reason, until: None };
    match listings::set(&db, &act, on, now()).await? {
        Set::Done => json(&Listing { community_uri: community.to_string(), listed: on }),
        Set::TooMany => {
            Err(ApiError::Invalid("community_uri: its owner lists 20 communities already".into()))
        }
        Set::NoCommunity => Err(ApiError::NotFound(NO_COMMUNITY)),
    }
}

/// R53 `GET /api/directory`: the listed communities, newest in the list first.
pub(super) async fn page(call: &Call) -> Answer {
    let list = List { call, id: "R53", about: "" };
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let after = call.query.cursor(list.id, list.about)?;
    list.page(array, directory::directory(&call.db()?, after.as_ref(), limit).await?)
}
