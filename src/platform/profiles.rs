//! Looks up profiles at the profile API (`BSKY_API_URL`).

use std::cell::RefCell;
use std::time::Duration;

use url::Url;
use worker::Delay;

use super::clock::now;
use super::config::Outside;
use super::outbound::get_text;
use super::strangers::Service;
use crate::domain::answers::{Answers, Look};
use crate::domain::breaker::Errand;
use crate::domain::fault_code::Code;
use crate::storage::Fault;
use crate::wire::ids::Did;
use crate::wire::profile::LookedUp;
use crate::wire::time::Micros;
use crate::wire::xrpc::address;

/// How long the profile API may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Profiles have 1 to 4 kB.
const PROFILE_MAX: usize = 64 * 1024;

/// How long it is cached that a DID has no profile, and that there was no answer.
const NOBODY: i64 = 30_000_000;
const FAILED: i64 = 1_000_000;
/// How long equal requests wait for the one in progress: a little longer than it may take.
const PATIENCE: i64 = 7_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const DOING: &str = "looking up a profile";

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static SAID: RefCell<Answers<Option<Option<LookedUp>>>> = const { RefCell::new(Answers::new()) };
}

/// Looks up the profile of a DID that the index does not know, as [`look_up`]. Equal requests share
/// one answer, and strangers have their own allowance. `None` if too many requests are in progress.
pub async fn look_up_anybody(did: &Did, outside: &Outside) -> Option<Result<Option<LookedUp>, Fault>> {
    let name = did.as_str();
    loop {
        match SAID.with_borrow_mut(|said| said.look(name, PATIENCE, now())) {
            Look::Said(Some(profile)) => return Some(Ok(profile)),
            Look::Said(None) => {
                return Some(Err(Fault::coded(Code::Host, DOING, "it was not answered just now")));
            }
            Look::Asked => Delay::from(LOOK_EVERY).await,
            Look::Ask => break,
        }
    }
    let Some(turn) = Service::Profiles.turn().await else {
        SAID.with_borrow_mut(|said| said.give_up(name));
        return None;
    };
    let answer = look_up(did, outside, Errand::TrustedForStrangers).await;
    let at = now();
    let (said, for_so_long) = match &answer {
        Ok(None) => (Some(None), NOBODY),
        // The index stores a profile that was found soon after this.
        Ok(found) => (Some(found.clone()), FAILED),
        Err(_) => (None, FAILED),
    };
    if matches!(answer, Ok(Some(_))) {
        turn.led_somewhere();
    }
    SAID.with_borrow_mut(|all| all.say(name, said, Micros(at.0 + for_so_long), at));
    Some(answer)
}

/// Looks up the profile of a DID. `None` if the API has no profile for it.
pub async fn look_up(did: &Did, outside: &Outside, errand: Errand<'_>) -> Result<Option<LookedUp>, Fault> {
    let api = Url::parse(&outside.profiles).map_err(|error| Fault::coded(Code::Host, DOING, error))?;
    let url = address(&api, "app.bsky.actor.getProfile", &[("actor", did.as_str())]);
    match get_text(DOING, errand, &url, &[("accept", "application/json")], WITHIN, PROFILE_MAX).await {
        Ok((200, text)) => match LookedUp::parse(&text, did) {
            Some(profile) => Ok(Some(profile)),
            None => Err(Fault::coded(Code::Host, DOING, "the answer is no profile of this DID")),
        },
        // The API answers 400 for unknown, deactivated and suspended accounts.
        Ok((400 | 404, _)) => Ok(None),
        Ok((status, _)) => Err(Fault::coded(Code::Host, DOING, format!("status {status}"))),
        Err(failure) => Err(failure.into_fault(DOING)),
    }
}
