//! Whether the service works.

use serde::Serialize;

use super::{Answer, Call, error::ApiError, json_text};
use crate::durable::jetstream::commands::{Ensure, StreamStatus};
use crate::platform::objects::{JETSTREAM, call};
use crate::platform::{config, log};
use crate::storage::reads::{self, IngestStatus};

/// The body of `/api/health`.
#[derive(Serialize)]
pub(super) struct Health {
    /// Whether the stream is connected and the database answers.
    pub(super) ok: bool,
    pub(super) ingest: Ingest,
    /// Whether the database answers.
    pub(super) database: bool,
    /// `AUTH_MODE` (C06), and what it means.
    pub(super) auth_mode: &'static str,
    pub(super) auth_meaning: &'static str,
    /// H02: an unsuccessful answer describes the error in these two fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<&'static str>,
}

/// The state of ingest: the stream now, and what is stored.
#[derive(Serialize)]
pub(super) struct Ingest {
    #[serde(flatten)]
    pub(super) stream: StreamStatus,
    #[serde(flatten)]
    pub(super) stored: Option<IngestStatus>,
}

/// `GET /api/health`: 200 if the stream is connected and the database answers, otherwise 503 with
/// the same body. The request wakes the stream's object, as the cron does.
pub(super) async fn health(request: &Call) -> Answer {
    let stream = call(&request.env, JETSTREAM, &Ensure {}).await;
    let stream = stream.map_err(|fault| log::fault(&fault, "health says so")).unwrap_or_default();
    let stored = match request.db() {
        Ok(db) => reads::ingest_status(&db).await.map_err(|fault| log::fault(&fault, "health says so")).ok(),
        Err(_) => None,
    };
    let ok = stream.connected && stored.is_some();
    let mode = config::sockets(&request.env).mode;
    let health = Health {
        ok,
        auth_mode: mode.name(),
        auth_meaning: mode.meaning(),
        database: stored.is_some(),
        ingest: Ingest { stream, stored },
        error: (!ok).then_some("Unavailable"),
        message: (!ok).then_some("the stream is not connected or the database does not answer"),
    };
    let text = serde_json::to_string(&health).map_err(|_| ApiError::Internal)?;
    let response = json_text(text, if ok { 200 } else { 503 })?;
    if !ok {
        response.headers().set("retry-after", "5")?;
    }
    Ok(response)
}
