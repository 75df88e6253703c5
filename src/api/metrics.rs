//! The numbers of the service for a scraper, as OpenMetrics (R47).

use worker::Response;

use super::health::{Health, NamedLoad, look};
use super::{Answer, Call, authority};
use crate::domain::gateway::operating::Load;
use crate::platform::clock::now;
use crate::storage::reads::IngestStatus;
use crate::wire::openmetrics::Kind::{Counter, Gauge};
use crate::wire::openmetrics::{Exposition, MEDIA_TYPE};
use crate::wire::time::Micros;

/// `GET /metrics`, for the API key or the metrics token: the numbers of [`Health`], 200 also while the service is not
/// healthy.
pub(super) async fn metrics(request: &Call) -> Answer {
    authority::scraper(request)?;
    let health = look(request).await;
    let response = Response::ok(exposed(&health, now()))?;
    response.headers().set("content-type", MEDIA_TYPE)?;
    Ok(response)
}

fn exposed(health: &Health, now: Micros) -> String {
    let mut all = Exposition::default();
    let build = [("version", env!("CARGO_PKG_VERSION")), ("auth_mode", health.auth_mode)];
    all.info("colibri_build", "The running version and its AUTH_MODE.", &build);
    all.add(Gauge, "colibri_healthy", "1 if /api/health answers 200.", u8::from(health.ok));
    all.add(Gauge, "colibri_database_up", "1 if the database answers.", u8::from(health.database));
    stream(&mut all, health);
    gateways(&mut all, health.gateways.as_deref().unwrap_or_default());
    if let Some(stored) = &health.ingest.stored {
        index(&mut all, stored, now);
    }
    all.end()
}

/// The stream now, and the work since its object woke.
fn stream(all: &mut Exposition, health: &Health) {
    let stream = &health.ingest.stream;
    let spent = stream.since_woken;
    let connected = u8::from(stream.connected);
    all.add(Gauge, "colibri_stream_connected", "1 while frames are expected from the stream.", connected);
    let what = "Failed attempts to connect since the last success.";
    all.add(Gauge, "colibri_stream_failures", what, stream.failures);
    all.add(Gauge, "colibri_stream_queued", "Frames received and not committed yet.", stream.queued);
    all.add(Gauge, "colibri_undelivered", "Events committed and not delivered yet.", stream.untold);
    all.add(Counter, "colibri_ingest_events", "Events in commits.", spent.events);
    all.add(Counter, "colibri_ingest_commits", "Transactions of the stream.", spent.commits);
    all.add(Counter, "colibri_ingest_rows_read", "Rows that D1 counted as read.", spent.rows_read);
    all.add(Counter, "colibri_ingest_rows_written", "Rows that D1 counted as written.", spent.rows_written);
    let skipped = stream.stepped_over;
    all.add(Counter, "colibri_stream_skipped", "Frames that are too large for the runtime.", skipped);
    let what = "Events of deferred repositories, which are read later (K17).";
    all.add(Counter, "colibri_stream_left_out", what, stream.left_out);
}

/// What each gateway carries, and what it refused since it woke (O26).
fn gateways(all: &mut Exposition, gateways: &[NamedLoad]) {
    let mut add = |kind, name, help, value: fn(&Load) -> u64| {
        let values = gateways.iter().map(|one| (one.name.as_str(), value(&one.load)));
        all.add_each(kind, name, help, "gateway", values);
    };
    add(Gauge, "colibri_sockets", "Open events sockets.", |load| load.sockets as u64);
    add(Gauge, "colibri_sockets_slow", "Those that leave much unread.", |load| load.slow as u64);
    let what = "Sockets closed because they did not read (Q20).";
    add(Counter, "colibri_sockets_closed_slow", what, |load| load.refused.slow);
    let what = "Sockets closed because they sent too many frames (A18).";
    add(Counter, "colibri_sockets_closed_flooding", what, |load| load.refused.flooding);
    let what = "Sockets not accepted because the gateway was full (C13).";
    add(Counter, "colibri_sockets_turned_away", what, |load| load.refused.turned_away);
    add(Counter, "colibri_frames_refused", "Frames over a budget (A18).", |load| load.refused.frames);
    let what = "Subscriptions over a limit (A40).";
    add(Counter, "colibri_subscriptions_refused", what, |load| load.refused.subscriptions);
}

/// What is stored.
fn index(all: &mut Exposition, stored: &IngestStatus, now: Micros) {
    if let Some(cursor) = stored.cursor_us {
        let lag = now.0.saturating_sub(cursor).max(0) / 1_000_000;
        all.add(Gauge, "colibri_stream_lag_seconds", "The age of the last committed event.", lag);
    }
    let held = stored.held_records;
    all.add(Gauge, "colibri_held_records", "Records that wait for another record.", held);
    all.add(Counter, "colibri_refused", "Frames and records that were refused.", stored.refused);
    let what = "Events and rows that could not be delivered or read back (Q21).";
    all.add(Counter, "colibri_set_aside", what, stored.set_aside);
    all.add(Counter, "colibri_restarts", "Ends of the program by a panic or a fault.", stored.restarts);
    let gaps = stored.gaps.iter().filter(|gap| gap.state == "open").count();
    all.add(Gauge, "colibri_gaps_open", "Missed stretches of the stream, at most 10.", gaps);
    let repos = &stored.repos;
    all.add(Gauge, "colibri_repositories", "Known repositories.", repos.known);
    all.add(Gauge, "colibri_repositories_due", "Repositories that are to be read.", repos.due);
    all.add(Gauge, "colibri_repositories_failing", "Those of them that failed.", repos.failing);
    let what = "Repositories that exceeded their points (K17).";
    all.add(Gauge, "colibri_repositories_deferred", what, repos.deferred);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::health::Ingest;
    use crate::domain::auth_mode::AuthMode;
    use crate::domain::gateway::operating::Refused;
    use crate::durable::jetstream::commands::StreamStatus;

    fn health(stored: Option<IngestStatus>) -> Health {
        let stream = StreamStatus { connected: true, queued: 7, ..Default::default() };
        Health {
            ok: true,
            ingest: Ingest { stream, stored },
            database: true,
            auth_mode: AuthMode::Mixed.name(),
            auth_meaning: "",
            parts: Vec::new(),
            gateways: Some(vec![NamedLoad {
                name: "gateway-0".to_owned(),
                load: Load {
                    sockets: 3,
                    refused: Refused { frames: 5, ..Default::default() },
                    ..Default::default()
                },
            }]),
            error: None,
            message: None,
        }
    }

    fn stored() -> IngestStatus {
        serde_json::from_value(serde_json::json!({
            "cursor_us": 1_772_366_400_000_000_i64, "cursor_at": null, "held_records": 3, "refused": 4,
            "gaps": [
                { "host": "h", "from": "", "to": "", "reason": "", "state": "open" },
                { "host": "h", "from": "", "to": "", "reason": "frame_too_large", "state": "closed" },
            ],
            "repos": { "known": 9, "due": 2, "failing": 1, "deferred": 0 }, "deferred": [],
        }))
        .unwrap()
    }

    #[test]
    fn r47_the_numbers_are_those_of_health() {
        let text = exposed(&health(Some(stored())), Micros(1_772_366_412_500_000));
        for line in [
            concat!("colibri_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\",auth_mode=\"mixed\"} 1"),
            "colibri_healthy 1",
            "colibri_stream_queued 7",
            "colibri_stream_lag_seconds 12",
            "colibri_refused_total 4",
            "colibri_gaps_open 1",
            "colibri_sockets{gateway=\"gateway-0\"} 3",
            "colibri_frames_refused_total{gateway=\"gateway-0\"} 5",
            "colibri_repositories_failing 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        let without = exposed(&health(None), Micros(0));
        assert!(!without.contains("colibri_held_records"), "what cannot be read is not claimed to be 0");
    }

    /// Each name of the dashboard is one that is exposed, and each exposed number is on it.
    #[test]
    fn r47_the_dashboard_shows_what_is_exposed() {
        let text = exposed(&health(Some(stored())), Micros(0));
        let exposed: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split([' ', '{']).next())
            .collect();
        let dashboard = include_str!("../../docs/grafana.json");
        let shown: BTreeSet<&str> = dashboard
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .filter(|word| word.starts_with("colibri_"))
            .collect();
        assert_eq!(shown, exposed);
    }
}
