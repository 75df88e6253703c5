//! What only the operator reads, for the console: what is refused and read, and every community.

use super::reply::{List, shown};
use super::{Answer, Call, authority};
use crate::storage::reads::operator;

/// R60 `GET /api/operator`: refusals by reason, and the repositories that are to be read.
pub(super) async fn overview(call: &Call) -> Answer {
    authority::operator(call)?;
    shown(call, &operator::overview(&call.db()?).await?)
}

/// R61 `GET /api/operator/communities`: every known community, by AT-URI.
pub(super) async fn communities(call: &Call) -> Answer {
    authority::operator(call)?;
    let db = call.db()?;
    let list = List { call, id: "R61", about: "" };
    list.answer(async move |after: Option<_>, limit| operator::communities(&db, after.as_ref(), limit).await)
        .await
}
