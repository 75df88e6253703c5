//! Resolves handles: through DNS over HTTPS, and through a file on the handle's own host.

use std::cell::RefCell;
use std::time::Duration;

use url::Url;
use worker::Delay;

use super::clock::now;
use super::config::Outside;
use super::log;
use super::outbound::{Failure, get_text};
use super::strangers::Service;
use crate::domain::answers::{Answers, Look};
use crate::domain::breaker::Errand;
use crate::domain::fault_code::Code;
use crate::domain::hosts::{file_of, may_be_proven};
use crate::domain::identity::{Proof, led_to};
use crate::storage::Fault;
use crate::wire::handle::{Handle, did_in_file, dids_in_dns};
use crate::wire::time::Micros;

const WITHIN: Duration = Duration::from_secs(3);
/// A few TXT records of at most 255 characters each, as JSON.
const DNS_MAX: usize = 16 * 1024;
/// A DID with surrounding blanks.
const FILE_MAX: usize = 2 * 1024;

/// How long the result for a handle is cached.
const REMEMBERED: i64 = 5_000_000;
/// How long equal requests wait for the one that is in progress: a little longer than it may take.
const PATIENCE: i64 = 8_000_000;
const LOOK_EVERY: Duration = Duration::from_millis(20);

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static LED: RefCell<Answers<Proof>> = const { RefCell::new(Answers::new()) };
}

/// Resolves a handle for any caller. Equal requests share one answer, and strangers have their own
/// DNS allowance.
pub async fn lead_for_anybody(handle: &Handle, outside: &Outside) -> Proof {
    let name = handle.as_str();
    loop {
        match LED.with_borrow_mut(|led| led.look(name, PATIENCE, now())) {
            Look::Said(proof) => return proof,
            Look::Asked => Delay::from(LOOK_EVERY).await,
            Look::Ask => break,
        }
    }
    let Some(turn) = Service::Names.turn().await else {
        LED.with_borrow_mut(|led| led.give_up(name));
        return Proof::Failed;
    };
    let proof = lead(handle, outside, Errand::TrustedForStrangers).await;
    if matches!(proof, Proof::Names(_)) {
        turn.led_somewhere();
    }
    let at = now();
    LED.with_borrow_mut(|led| led.say(name, proof.clone(), Micros(at.0 + REMEMBERED), at));
    proof
}

/// Resolves a handle. It requests the file only if DNS names no DID. That is the case for most handles,
/// because a PDS assigns them without DNS records.
pub async fn lead(handle: &Handle, outside: &Outside, errand: Errand<'_>) -> Proof {
    if !may_be_proven(handle) {
        return Proof::Nothing;
    }
    let dns = in_dns(handle, outside, errand).await;
    if matches!(dns, Proof::Names(_)) {
        return dns;
    }
    led_to(dns, in_file(handle, outside).await)
}

/// Several DIDs count as none, because it is unknown which one is meant.
async fn in_dns(handle: &Handle, outside: &Outside, errand: Errand<'_>) -> Proof {
    const DOING: &str = "asking DNS for a handle";
    let name = format!("_atproto.{handle}");
    let url = match Url::parse_with_params(&outside.dns, [("name", name.as_str()), ("type", "TXT")]) {
        Ok(url) => url,
        Err(error) => return failed(&Fault::coded(Code::Host, DOING, error)),
    };
    match get_text(DOING, errand, &url, &[("accept", "application/dns-json")], WITHIN, DNS_MAX).await {
        Ok((200, text)) => match dids_in_dns(&text).as_deref() {
            Some([did]) => Proof::Names(did.clone()),
            Some(_) => Proof::Nothing,
            None => failed(&Fault::coded(Code::Host, DOING, "the answer is not one of DNS over HTTPS")),
        },
        Ok((status, _)) => failed(&Fault::coded(Code::Host, DOING, format!("status {status}"))),
        Err(failure) => failed(&failure.into_fault(DOING)),
    }
}

/// Anybody may own the host, so its failure is not a fault of the service and is not logged.
async fn in_file(handle: &Handle, outside: &Outside) -> Proof {
    let Some(url) = file_of(handle, &outside.reach) else { return Proof::Nothing };
    match get_text("reading the DID of a handle", Errand::Proof, &url, &[], WITHIN, FILE_MAX).await {
        Ok((200, text)) => did_in_file(&text).map_or(Proof::Nothing, Proof::Names),
        Ok((429 | 500.., _)) | Err(Failure::Fault(_) | Failure::Resting(_)) => Proof::Failed,
        Ok(_) | Err(Failure::ElsewhereRefused) => Proof::Nothing,
    }
}

fn failed(fault: &Fault) -> Proof {
    log::fault(fault, "the handle is verified by the file on its host alone");
    Proof::Failed
}
