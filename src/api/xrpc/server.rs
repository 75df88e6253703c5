//! What this server is: N160b.

use serde::Serialize;

use super::{Answer, Call};
use crate::api::reply::shown;

/// What the client asks of an address before it takes it for an AppView.
#[derive(Serialize)]
struct Described {
    software: &'static str,
    flavor: &'static str,
    version: &'static str,
}

/// The level of the lexicons (AppView v0.2.10), and after the plus sign the version of this service.
const VERSION: &str = concat!("0.2.10+", env!("CARGO_PKG_VERSION"));

/// N160b `social.colibri.server.describeServer`: how the client tells an AppView from another server.
pub(in crate::api) async fn describe(call: &Call) -> Answer {
    let flavor = env!("CARGO_PKG_NAME");
    shown(call, &Described { software: "colibri-appview", flavor, version: VERSION })
}
