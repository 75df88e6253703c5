//! Profiles, asked of the profile API (`BSKY_API_URL`).

use std::time::Duration;

use url::Url;

use super::config::Outside;
use super::outbound::get_text;
use crate::storage::Fault;
use crate::wire::ids::Did;
use crate::wire::profile::LookedUp;

/// How long the profile API may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Profiles have 1 to 4 kB.
const PROFILE_MAX: usize = 64 * 1024;

/// Asks the profile API about a DID. `None`: it knows nobody of that name.
pub async fn look_up(did: &Did, outside: &Outside) -> Result<Option<LookedUp>, Fault> {
    const DOING: &str = "looking up a profile";
    let url = Url::parse_with_params(
        &format!("{}/xrpc/app.bsky.actor.getProfile", outside.profiles.trim_end_matches('/')),
        [("actor", did.as_str())],
    )
    .map_err(|error| Fault::new(DOING, error))?;
    match get_text(DOING, &url, &[("accept", "application/json")], WITHIN, PROFILE_MAX).await {
        Ok((200, text)) => match LookedUp::parse(&text, did) {
            Some(profile) => Ok(Some(profile)),
            None => Err(Fault::new(DOING, "the answer is no profile of this DID")),
        },
        // Unknown, deactivated and suspended accounts are all a 400 there.
        Ok((400 | 404, _)) => Ok(None),
        Ok((status, _)) => Err(Fault::new(DOING, format!("status {status}"))),
        Err(failure) => Err(failure.into_fault(DOING)),
    }
}
