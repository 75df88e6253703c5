//! The variables of the service (contract section 10), read from the runtime once per isolate: they
//! change only with a new deployment, which has new isolates, and each read is a call to the runtime.
//!
//! Names, defaults and ranges stand in the table of `domain::variables`. An empty value means the
//! default, and so does a number outside its range (C30).

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::json;
use url::Url;
use worker::Env;

use super::log::{self, Level};
use crate::domain::auth_mode::AuthMode;
use crate::domain::callers::Proxies;
use crate::domain::frame_budget::Rate;
use crate::domain::hosts::{Reach, place_of};
use crate::domain::ice::IcePolicy;
use crate::domain::points::Limits;
use crate::domain::presence::Periods;
use crate::domain::secrets;
use crate::domain::variables::row;
use crate::pipeline::Settings;
use crate::storage::commit::HeldBounds;
use crate::wire::ice::{self, IceServer};
use crate::wire::ids::Did;
use crate::wire::web_push::Vapid;

thread_local! {
    /// The text of each variable that was read; empty where it is not set.
    static GIVEN: RefCell<BTreeMap<&'static str, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// What the Jetstream object needs.
#[derive(Clone, Debug)]
pub struct Stream {
    /// `JETSTREAM_URL` (C02), before J02 is applied.
    pub url: String,
    /// `STREAM_IDLE_MS` (C22).
    pub idle_ms: i64,
    /// `INGEST_POINTS_HOUR`, `INGEST_POINTS_DAY` (C33).
    pub points: Limits,
    /// Settings of the pipeline.
    pub pipeline: Settings,
}

/// Settings of the events sockets.
#[derive(Clone, Copy, Debug)]
pub struct Sockets {
    /// `GATEWAY_SHARDS` (C13).
    pub gateway_shards: u32,
    /// How far `?did=` alone is believed: `AUTH_MODE` (C06).
    pub mode: AuthMode,
    /// `AWAY_AFTER_MS`, `OFFLINE_GRACE_MS` (C10, C11).
    pub periods: Periods,
    /// `LEASE_MS` (C12), in microseconds; 0 is off.
    pub lease: i64,
    /// `RESTORE_MS` (C16), in microseconds; 0 is off.
    pub restore: i64,
    /// `RESTORE_KEEP_MS` (C27), in microseconds.
    pub restore_keep: i64,
    /// `DIGEST_AFTER_MS` (C45), in microseconds.
    pub digest_after: i64,
    /// `WS_RATE`, `WS_BURST` (C15).
    pub rate: Rate,
}

/// The other hosts that the service asks.
#[derive(Clone, Debug)]
pub struct Outside {
    /// `PLC_URL` (C03).
    pub plc: String,
    /// `BSKY_API_URL` (C04).
    pub profiles: String,
    /// `DOH_URL`: DNS over HTTPS in its JSON format, for handles.
    pub dns: String,
    /// Which hosts other people's documents may name.
    pub reach: Reach,
}

/// Settings of signaling rooms.
#[derive(Clone, Copy, Debug)]
pub struct Signaling {
    /// `SIGNAL_MAX_PEERS` (C21).
    pub max_peers: usize,
    /// `LEASE_MS` (C12): how long a peer that sent heartbeats may be silent; 0 is for ever.
    pub lease_ms: i64,
    /// Whether people must prove their DID: `AUTH_MODE` is not `open` (C06).
    pub proven: bool,
}

/// Settings of STUN and TURN servers for calls.
#[derive(Clone, Debug)]
pub struct Calls {
    /// `ICE_SERVERS`: a fixed list.
    pub servers: Vec<IceServer>,
    /// `TURN_TTL_SECS`: how long credentials are valid.
    pub ttl_secs: i64,
    /// `TURN_URLS` and `TURN_SECRET`: a TURN server that shares a secret with this service.
    pub shared: Option<(Vec<String>, String)>,
    /// `TURN_KEY_ID`, `TURN_KEY_TOKEN`, `TURN_API_URL`: Cloudflare's TURN service.
    pub cloudflare: Option<TurnKey>,
    /// `ICE_POLICY`.
    pub policy: IcePolicy,
}

/// A key of Cloudflare's TURN service.
#[derive(Clone, Debug)]
pub struct TurnKey {
    /// The address of the service.
    pub api: String,
    /// The key's id.
    pub id: String,
    /// Its token, a secret.
    pub token: String,
}

/// How long a community's log is (C17).
#[derive(Clone, Copy, Debug)]
pub struct EventLog {
    /// `EVENT_LOG_HOURS`
    pub hours: i64,
    /// `EVENT_LOG_MAX`
    pub max: i64,
}

/// Reads the variables of the stream.
pub fn stream(env: &Env) -> Stream {
    Stream {
        url: text(env, "JETSTREAM_URL"),
        idle_ms: number(env, "STREAM_IDLE_MS"),
        points: Limits { hour: number(env, "INGEST_POINTS_HOUR"), day: number(env, "INGEST_POINTS_DAY") },
        pipeline: pipeline(env),
    }
}

/// `SEARCH` (C46): whether messages can be searched for.
pub fn search(env: &Env) -> bool {
    text(env, "SEARCH") != "off"
}

/// Reads the settings of the pipeline.
pub fn pipeline(env: &Env) -> Settings {
    Settings {
        cdn: cdn(env),
        searchable: search(env),
        held: HeldBounds { hours: number(env, "HELD_HOURS"), max: number(env, "HELD_MAX") },
        log_hours: event_log(env).hours,
    }
}

/// `TOKEN_SECRET` (C08), which signs socket tokens, if it is set and long enough.
pub fn token_secret(env: &Env) -> Option<String> {
    secret(env, "TOKEN_SECRET")
}

/// `TOKEN_SECRET_PREVIOUS` (C28), the secret before it, if it is set and long enough.
pub fn token_secret_previous(env: &Env) -> Option<String> {
    secret(env, "TOKEN_SECRET_PREVIOUS")
}

/// `SERVICE_DID` (C07), if it is set and valid.
pub fn service_did(env: &Env) -> Option<Did> {
    let given = text(env, "SERVICE_DID");
    let did = Did::parse(&given).ok();
    if did.is_none() && !given.is_empty() {
        let message = "SERVICE_DID is no DID; no service-auth token is a proof";
        log::once(Level::Warn, message, &json!({ "given": given }));
    }
    did
}

/// `INVITE_API_KEY` (C01), if it is set and long enough.
pub fn api_key(env: &Env) -> Option<String> {
    secret(env, "INVITE_API_KEY")
}

/// `METRICS_TOKEN` (C42), if it is set and long enough.
pub fn metrics_token(env: &Env) -> Option<String> {
    secret(env, "METRICS_TOKEN")
}

/// `VAPID_PRIVATE_KEY` and `VAPID_SUBJECT` (C43, C44), if there is a key and it is one.
pub fn vapid(env: &Env) -> Option<Vapid> {
    let key = Some(text(env, "VAPID_PRIVATE_KEY")).filter(|key| !key.is_empty())?;
    let vapid = Vapid::read(&key, &text(env, "VAPID_SUBJECT"));
    if vapid.is_none() {
        let message = "VAPID_PRIVATE_KEY is no private key of P-256 in base64url; no pushes are sent";
        log::once(Level::Error, message, &json!({ "characters": key.chars().count() }));
    }
    vapid
}

/// A secret that is too short counts as unset (C25), with one warning.
fn secret(env: &Env, name: &'static str) -> Option<String> {
    let given = Some(text(env, name)).filter(|secret| !secret.is_empty())?;
    if secrets::is_long_enough(&given) || secrets::is_test_stream(&text(env, "JETSTREAM_URL")) {
        return Some(given);
    }
    log::once(
        Level::Error,
        &format!("{name} is shorter than {} characters and counts as not configured", secrets::SECRET_MIN),
        &json!({ "characters": given.chars().count() }),
    );
    None
}

/// `TRUSTED_PROXIES` (C24): the proxies whose headers name the client.
pub fn trusted_proxies(env: &Env) -> Proxies {
    let list = list(env, "TRUSTED_PROXIES");
    let (proxies, wrong) = Proxies::read(&list);
    if !wrong.is_empty() {
        let message = "entries of TRUSTED_PROXIES are no addresses and no networks; ignoring them";
        log::once(Level::Warn, message, &json!({ "given": wrong }));
    }
    proxies
}

/// Reads the variables of the sockets.
pub fn sockets(env: &Env) -> Sockets {
    Sockets {
        gateway_shards: u32::try_from(number(env, "GATEWAY_SHARDS")).unwrap_or(4),
        mode: auth_mode(env),
        periods: Periods { away_after: micros(env, "AWAY_AFTER_MS"), grace: micros(env, "OFFLINE_GRACE_MS") },
        lease: micros(env, "LEASE_MS"),
        restore: micros(env, "RESTORE_MS"),
        restore_keep: micros(env, "RESTORE_KEEP_MS"),
        digest_after: micros(env, "DIGEST_AFTER_MS"),
        rate: Rate { per_second: number(env, "WS_RATE"), burst: number(env, "WS_BURST") },
    }
}

/// `AUTH_MODE` (C06). A word that is no mode is safe, and not what was meant: the log says so.
fn auth_mode(env: &Env) -> AuthMode {
    let given = text(env, "AUTH_MODE");
    let mode = AuthMode::named(&given);
    if mode.name() != given {
        let message = "AUTH_MODE is none of open, mixed, verified; it counts as verified";
        log::once(Level::Error, message, &json!({ "given": given }));
    }
    mode
}

/// Reads the variables of signaling.
pub fn signaling(env: &Env) -> Signaling {
    Signaling {
        max_peers: usize::try_from(number(env, "SIGNAL_MAX_PEERS")).unwrap_or(64),
        lease_ms: number(env, "LEASE_MS"),
        proven: sockets(env).mode != AuthMode::Open,
    }
}

/// Reads the variables of calls. An invalid list of servers counts as none, with one warning.
pub fn calls(env: &Env) -> Calls {
    let servers = text(env, "ICE_SERVERS");
    let servers = ice::configured(&servers).unwrap_or_else(|| {
        log::once(Level::Warn, "ICE_SERVERS cannot be parsed; using none", &json!({}));
        Vec::new()
    });
    let ttl_secs = number(env, "TURN_TTL_SECS");
    let secret = text(env, "TURN_SECRET");
    let key_id = text(env, "TURN_KEY_ID");
    let key_token = text(env, "TURN_KEY_TOKEN");
    Calls {
        servers,
        ttl_secs,
        shared: (!secret.is_empty()).then(|| (list(env, "TURN_URLS"), secret)),
        cloudflare: (!key_id.is_empty() && !key_token.is_empty()).then(|| TurnKey {
            api: text(env, "TURN_API_URL"),
            id: key_id,
            token: key_token,
        }),
        policy: IcePolicy::named(&text(env, "ICE_POLICY")),
    }
}

/// Sets the log's level to `LOG_LEVEL` (C23). Each request and each object calls this first, as
/// soon as variables are available.
pub fn follow_log_level(env: &Env) {
    let name = text(env, "LOG_LEVEL");
    log::at_least(Level::named(&name).unwrap_or(Level::Info));
    if Level::named(&name).is_none() {
        log::once(
            Level::Warn,
            "LOG_LEVEL is none of trace, debug, info, warn, error; using info",
            &json!({ "given": name }),
        );
    }
}

/// A number of milliseconds, in microseconds.
fn micros(env: &Env, name: &'static str) -> i64 {
    number(env, name).saturating_mul(1000)
}

/// Reads the variables of the event log.
pub fn event_log(env: &Env) -> EventLog {
    EventLog { hours: number(env, "EVENT_LOG_HOURS"), max: number(env, "EVENT_LOG_MAX") }
}

/// Reads the variables of the other hosts.
pub fn outside(env: &Env) -> Outside {
    Outside {
        plc: text(env, "PLC_URL"),
        profiles: text(env, "BSKY_API_URL"),
        dns: text(env, "DOH_URL"),
        reach: Reach { insecure: list(env, "INSECURE_HOSTS"), own: own_places(env) },
    }
}

/// The address on which `serve` listens: a binding that it sets itself.
const LISTENS_ON: &str = "COLIBRI_LISTENS_ON";

/// The addresses of this service, as far as its variables name them: the host of `SERVICE_DID`
/// (C07), and the address on which `serve` listens (`scripts/local-worker.js`).
fn own_places(env: &Env) -> Vec<String> {
    let did = service_did(env);
    let public = did.and_then(|did| place_of(&Url::parse(&format!("https://{}", web_host(&did)?)).ok()?));
    public.into_iter().chain(listens_on(env)).collect()
}

/// The host of a `did:web`, with its port if it names one.
pub fn web_host(did: &Did) -> Option<String> {
    let host = did.as_str().strip_prefix("did:web:").filter(|host| !host.contains(':'))?;
    Some(host.replace("%3A", ":").replace("%3a", ":"))
}

/// The address on which `serve` listens; `None` on Cloudflare.
pub fn listens_on(env: &Env) -> Option<String> {
    Some(text(env, LISTENS_ON)).filter(|place| !place.is_empty())
}

/// `RELAY_URL`: the relay that lists repositories. If unset, no relay is asked.
pub fn relay(env: &Env) -> Option<Url> {
    let given = text(env, "RELAY_URL");
    let url = Url::parse(&given).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none() && !given.is_empty() {
        log::once(Level::Warn, "RELAY_URL is not a valid URL; no relay is used", &json!({ "given": given }));
    }
    url
}

/// `LEGACY_COMMUNITIES` (C41): whether the newest client locks communities of the old form.
pub fn legacy_locked(env: &Env) -> bool {
    text(env, "LEGACY_COMMUNITIES") == "locked"
}

/// `BLOB_VERIFY_MAX` (C18): the largest blob that is verified against its CID, in bytes.
pub fn blob_verify_max(env: &Env) -> u64 {
    u64::try_from(number(env, "BLOB_VERIFY_MAX")).unwrap_or(0)
}

/// `RATE_LIMIT_PER_MIN` (C14): requests per client address and minute; 0 is no limit.
pub fn rate_limit(env: &Env) -> i64 {
    number(env, "RATE_LIMIT_PER_MIN")
}

/// `CDN_URL` (C05).
pub fn cdn(env: &Env) -> String {
    text(env, "CDN_URL")
}

/// `ALLOWED_ORIGINS` (C09); empty means every origin.
pub fn allowed_origins(env: &Env) -> Vec<String> {
    list(env, "ALLOWED_ORIGINS")
}

fn list(env: &Env, name: &'static str) -> Vec<String> {
    let list = text(env, name);
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

fn text(env: &Env, name: &'static str) -> String {
    let read = || env.var(name).ok().map(|value| value.to_string().trim().to_owned());
    GIVEN.with_borrow_mut(|given| {
        let text = given.entry(name).or_insert_with(|| read().unwrap_or_default());
        if text.is_empty() { row(name).default.clone() } else { text.clone() }
    })
}

fn number(env: &Env, name: &'static str) -> i64 {
    let (row, given) = (row(name), text(env, name));
    row.number(&given).unwrap_or_else(|| {
        let default = row.default_number();
        log::once(
            Level::Warn,
            &format!("{name} is not a whole number in its range; using the default"),
            &json!({ "given": given, "default": default, "least": row.min }),
        );
        default
    })
}
