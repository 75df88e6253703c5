//! What happens in the communities of a person: R54.

use super::error::ApiError;
use super::reply::{List, array};
use super::{Answer, Call, authority};
use crate::storage::reads::activity;
use crate::storage::reads::communities::communities_of;
use crate::wire::ids::Did;

/// Messages on a page, and the most of them.
const PAGE_DEFAULT: i64 = 50;
const PAGE_MAX: i64 = 100;

/// The person in question.
async fn whose(call: &Call) -> Result<Did, ApiError> {
    let caller = authority::moderator(call).await?;
    authority::named_by(&caller, call.query.did("did")?)
}

/// R54 `GET /api/activity`: the newest messages of all communities in which a person takes part.
pub(super) async fn page(call: &Call) -> Answer {
    let did = whose(call).await?;
    let list = List { call, id: "R54", about: did.as_str() };
    let limit = call.query.limit("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let after = call.query.cursor(list.id, list.about)?;
    let db = call.db()?;
    let communities = communities_of(&db, &did).await?;
    let page = activity::activity(&db, &call.cdn(), &did, &communities, after.as_ref(), limit).await?;
    list.page(array, page)
}
