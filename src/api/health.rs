//! Whether the service works.

use std::cell::RefCell;

use futures::future::{join, join_all};
use serde::Serialize;

use super::{Answer, Call, authority, error::ApiError, json_text};
use crate::domain::gateway::operating::Load;
use crate::domain::health::{self, Gateways, Known, Part, Shared};
use crate::domain::troubles;
use crate::durable::jetstream::commands::{Ensure, StreamStatus};
use crate::durable::operator::ReadLoad;
use crate::platform::clock::now;
use crate::platform::objects::{JETSTREAM, all_gateways, call};
use crate::platform::{config, log};
use crate::storage::reads::{self, IngestStatus};
use crate::wire::time::Micros;

/// The body of `/api/health`.
#[derive(Serialize)]
pub(super) struct Health {
    /// Whether the stream is read and stored, and the database answers.
    pub(super) ok: bool,
    pub(super) ingest: Ingest,
    /// Whether the database answers.
    pub(super) database: bool,
    /// `AUTH_MODE` (C06), and what it means.
    pub(super) auth_mode: &'static str,
    pub(super) auth_meaning: &'static str,
    /// What is known of each part (R66).
    pub(super) parts: Vec<Part>,
    /// Each gateway that answered, only for the operator and a scraper (O26).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gateways: Option<Vec<NamedLoad>>,
    /// H02: an unsuccessful answer describes the error in these two fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// What a gateway carries and refused (O26).
#[derive(Serialize)]
pub(super) struct NamedLoad {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) load: Load,
}

/// The state of ingest: the stream now, and what is stored.
#[derive(Serialize)]
pub(super) struct Ingest {
    #[serde(flatten)]
    pub(super) stream: StreamStatus,
    #[serde(flatten)]
    pub(super) stored: Option<IngestStatus>,
}

/// `GET /api/health`: 200 if the stream is read and stored and the database answers, otherwise 503
/// with the same body, whose message says why. The request wakes the stream's object, as the cron does.
pub(super) async fn health(request: &Call) -> Answer {
    let health = look(request).await;
    let ok = health.ok;
    let text = serde_json::to_string(&health).map_err(|_| ApiError::Internal)?;
    let response = json_text(text, if ok { 200 } else { 503 })?;
    if !ok {
        response.headers().set("retry-after", "5")?;
    }
    Ok(response)
}

thread_local! {
    // Plain data only: nothing here belongs to a request (platform facts 5.5).
    static SHARED: RefCell<Shared> = const { RefCell::new(Shared::new()) };
}

/// The state of the service now.
pub(super) async fn look(request: &Call) -> Health {
    let ((stream, stored, trouble, took), (known, gateways)) =
        join(ingest(request), known_gateways(request)).await;
    let parts = health::parts(
        trouble.as_deref().map_or(Ok(took), Err),
        &of_stream(&stream, stored.as_ref()),
        stored.as_ref().map(of_stored),
        known,
    );
    let ok = stream.connected && stream.because.is_none() && stored.is_some();
    let because = trouble.or_else(|| stream.because.clone());
    let mode = config::sockets(&request.env).mode;
    Health {
        ok,
        auth_mode: mode.name(),
        auth_meaning: mode.meaning(),
        database: stored.is_some(),
        ingest: Ingest { stream, stored },
        parts,
        gateways,
        error: (!ok).then_some("Unavailable"),
        message: (!ok).then(|| because.unwrap_or_else(|| "the stream is not connected yet".into())),
    }
}

/// The stream and what is stored, why the database does not answer, and how long it took to, in milliseconds. The
/// database is read last: what the stream's object no longer holds is in it.
async fn ingest(request: &Call) -> (StreamStatus, Option<IngestStatus>, Option<String>, i64) {
    let stream = call(&request.env, JETSTREAM, &Ensure {}).await;
    let stream = stream.unwrap_or_else(|fault| {
        log::fault(&fault, "health says so");
        StreamStatus { because: Some(troubles::of_reader(&fault.because)), ..Default::default() }
    });
    let asked_at = now();
    let (stored, trouble) = match request.db() {
        Ok(db) => match reads::ingest_status(&db).await {
            Ok(stored) => (Some(stored), None),
            Err(fault) => {
                log::fault(&fault, "health says so");
                (None, Some(troubles::of_database(&fault.because)))
            }
        },
        Err(_) => (None, Some(troubles::of_database("it is not configured"))),
    };
    (stream, stored, trouble, now().millis() - asked_at.millis())
}

/// What the caller learns of the gateways: with the API key or the metrics token, what they answer now, and each of
/// them.
async fn known_gateways(request: &Call) -> (Known, Option<Vec<NamedLoad>>) {
    if authority::is_scraper(request) {
        let (found, loads) = gateways(request).await;
        return (Known::Now(found), Some(loads));
    }
    if let Some(known) = SHARED.with_borrow_mut(|shared| shared.known(now())) {
        return (known, None);
    }
    let (found, _) = gateways(request).await;
    SHARED.with_borrow_mut(|shared| shared.answered(found, now()));
    (Known::Now(found), None)
}

/// The gateways that health asks at most.
const GATEWAYS_MAX: usize = 16;

/// How many of the gateways answer, and what each of these carries.
async fn gateways(request: &Call) -> (Gateways, Vec<NamedLoad>) {
    let shards = config::sockets(&request.env).gateway_shards;
    let names: Vec<String> = all_gateways(shards).take(GATEWAYS_MAX).collect();
    let asked = names.len();
    let answers = join_all(names.iter().map(|name| call(&request.env, name, &ReadLoad {}))).await;
    let loads: Vec<NamedLoad> = names
        .into_iter()
        .zip(answers)
        .filter_map(|(name, load)| {
            let load = load.map_err(|fault| log::fault(&fault, "health says so")).ok()?;
            Some(NamedLoad { name, load })
        })
        .collect();
    let sockets = loads.iter().map(|one| one.load.sockets).sum();
    (Gateways { asked, answered: loads.len(), sockets }, loads)
}

/// Seconds since a time.
fn age(at: Micros) -> i64 {
    (now().0.saturating_sub(at.0) / 1_000_000).max(0)
}

fn of_stream<'s>(stream: &'s StreamStatus, stored: Option<&IngestStatus>) -> health::Stream<'s> {
    health::Stream {
        connected: stream.connected,
        because: stream.because.as_deref(),
        lag: stored.and_then(|stored| stored.cursor_us).map(|cursor| age(Micros(cursor))),
        undelivered: stream.untold,
    }
}

fn of_stored(stored: &IngestStatus) -> health::Stored {
    health::Stored {
        held: stored.held_records,
        oldest_held: stored.oldest_held_at.as_deref().and_then(Micros::parse).map(age),
        set_aside: stored.set_aside,
        restarts: stored.restarts,
        repositories: stored.repos.known,
        failing: stored.repos.failing,
    }
}
