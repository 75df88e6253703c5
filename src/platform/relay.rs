//! Asks a relay for the repositories that have records of a collection.

use std::time::Duration;

use url::Url;

use super::outbound::{Failure, get_text};
use crate::domain::breaker::Errand;
use crate::domain::discovery::{Miss, PAGE};
use crate::wire::ids::Collection;
use crate::wire::relay::{Listed, listed};
use crate::wire::xrpc::address;

/// How long the relay may take; it reads an index.
const WITHIN: Duration = Duration::from_secs(20);
/// A page of 500 DIDs has 25 kB.
const PAGE_BYTES_MAX: usize = 256 * 1024;
const DOING: &str = "asking a relay for repositories";

/// A page of `com.atproto.sync.listReposByCollection`.
pub async fn page(relay: &Url, collection: Collection, cursor: Option<&str>) -> Result<Listed, Miss> {
    let limit = PAGE.to_string();
    let mut params = vec![("collection", collection.nsid()), ("limit", limit.as_str())];
    params.extend(cursor.map(|cursor| ("cursor", cursor)));
    let url = address(relay, "com.atproto.sync.listReposByCollection", &params);
    match get_text(DOING, Errand::Trusted, &url, &[], WITHIN, PAGE_BYTES_MAX).await {
        Ok((200, text)) => listed(&text).ok_or_else(|| Miss::Failed("the relay answered nonsense".into())),
        Ok((status @ (400..=428 | 430..=499), _)) => {
            Err(Miss::Refused(format!("the relay answers with status {status}")))
        }
        Ok((status, _)) => Err(Miss::Failed(format!("the relay answers with status {status}"))),
        Err(Failure::Resting(until)) => Err(Miss::Resting(until)),
        Err(failure) => Err(Miss::Failed(failure.into_fault(DOING).to_string())),
    }
}
