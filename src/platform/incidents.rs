//! Counts faults that no caller sees (`storage::incidents`) for `/api/health`.
//!
//! When the program ends, its memory is lost: with `panic=abort` the runtime starts a new instance
//! in the same isolate (platform facts 5.3). So the isolate's global object counts instances, and
//! each one after the first means that another ended. If the isolate or the whole runtime dies,
//! nothing remains to be counted.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;
use worker::js_sys::{Reflect, global};
use worker::wasm_bindgen::JsValue;
use worker::wasm_bindgen_futures::spawn_local;
use worker::{Delay, Env};

use super::clock::now;
use super::d1::D1;
use super::log::{self, Level};
use crate::domain::fault_code::Code;
use crate::storage::incidents::{self, Incident};
use crate::storage::{Fault, Store};

/// Attempts to write a count, and the pause after the first; each pause is twice the last.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Properties of the isolate's global object: the instances started, and the ends that were
/// counted.
const BEGUN: &str = "__colibri_instances_begun";
const COUNTED: &str = "__colibri_ends_counted";

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Something was set aside at `place`: logs it, and counts it in the background.
pub fn note(env: &Env, incident: Incident, count: u32, place: &str) {
    if count == 0 {
        return;
    }
    log::problem(
        Code::SetAside,
        Level::Error,
        "events or stored rows could not be delivered or read back; they are set aside",
        &json!({ "kind": incident.kind(), "count": count, "place": place }),
    );
    let (env, place) = (env.clone(), place.to_owned());
    spawn_local(async move {
        if let Err(fault) = store(&env, incident, count, &place).await {
            log::fault(&fault, "the counter of set-aside rows stays too low");
        }
    });
}

/// Notes that an instance of the program runs here, and counts in the background the ends of those
/// before it. Every object calls it when it starts.
pub fn watch(env: &Env) {
    if let Some(counting) = ends(env) {
        spawn_local(counting);
    }
}

/// The same for a caller that must keep itself alive until it is done. `None` if there is nothing
/// to count.
pub fn ends(env: &Env) -> Option<impl Future<Output = ()> + use<>> {
    if !NOTED.replace(true) {
        set(BEGUN, get(BEGUN) + 1);
    }
    let ends = get(BEGUN).saturating_sub(1).saturating_sub(get(COUNTED));
    if ends == 0 || COUNTING.replace(true) {
        return None;
    }
    log::problem(
        Code::Panic,
        Level::Error,
        "the program ended unexpectedly and has restarted",
        &json!({ "times": ends }),
    );
    let env = env.clone();
    Some(async move {
        match store(&env, Incident::Restart, ends, "").await {
            Ok(()) => set(COUNTED, get(COUNTED) + ends),
            Err(fault) => log::fault(&fault, "the restart is counted later"),
        }
        COUNTING.set(false);
    })
}

async fn store(env: &Env, incident: Incident, count: u32, place: &str) -> Result<(), Fault> {
    let mut pause = PAUSE;
    for attempt in 1.. {
        let written = match D1::of(env) {
            Ok(db) => db.write(&[incidents::count(incident, count, place, now())]).await.map(drop),
            Err(fault) => Err(fault),
        };
        if written.is_ok() || attempt >= ATTEMPTS {
            return written;
        }
        Delay::from(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// The number in a property of the global object; 0 if there is none.
fn get(name: &str) -> u32 {
    let number = Reflect::get(&global(), &JsValue::from_str(name)).ok().and_then(|value| value.as_f64());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count we wrote ourselves")]
    number.map_or(0, |number| number as u32)
}

fn set(name: &str, number: u32) {
    // If the global object refuses the property, ends stay uncounted and nothing else happens.
    let _ = Reflect::set(&global(), &JsValue::from_str(name), &JsValue::from_f64(f64::from(number)));
}
