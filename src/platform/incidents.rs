//! Counts what no answer tells (`storage::incidents`), so that `/api/health` does.
//!
//! Of an end of the program nothing is left in its own memory: with `panic=abort` the runtime takes
//! a new instance of it, in the same isolate (platform facts 5.3). So the instances are counted in
//! the isolate's global object, and each that is not the first has the end of another behind it.
//! What dies with its isolate, or with the whole runtime, leaves nothing that could be counted.

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
use crate::storage::incidents::{self, Incident};
use crate::storage::{Fault, Store};

/// Attempts to write a count, and the pause after the first; each is twice as long as the last.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);

/// Properties of the isolate's global object: instances that began, and ends that are counted.
const BEGUN: &str = "__colibri_instances_begun";
const COUNTED: &str = "__colibri_ends_counted";

thread_local! {
    static NOTED: Cell<bool> = const { Cell::new(false) };
    static COUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Something was set aside at `place`: says so in the log, and counts it in the background.
pub fn note(env: &Env, incident: Incident, count: u32, place: &str) {
    if count == 0 {
        return;
    }
    log::line(
        Level::Error,
        "something could not be told or read back; it is set aside",
        &json!({ "kind": incident.kind(), "count": count, "place": place }),
    );
    let (env, place) = (env.clone(), place.to_owned());
    spawn_local(async move {
        if let Err(fault) = store(&env, incident, count, &place).await {
            log::fault(&fault, "the counter of set-aside rows stays too low");
        }
    });
}

/// Notes that an instance of the program is at work here, and counts, in the background, the ends of
/// those before it. Every object calls it when it begins.
pub fn watch(env: &Env) {
    if let Some(counting) = ends(env) {
        spawn_local(counting);
    }
}

/// The same for a caller that must keep itself alive until it is done. `None`: there is nothing to
/// count.
pub fn ends(env: &Env) -> Option<impl Future<Output = ()> + use<>> {
    if !NOTED.replace(true) {
        set(BEGUN, get(BEGUN) + 1);
    }
    let ends = get(BEGUN).saturating_sub(1).saturating_sub(get(COUNTED));
    if ends == 0 || COUNTING.replace(true) {
        return None;
    }
    log::line(
        Level::Error,
        "the program ended without choosing to, and begins anew",
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
    // A global object that takes no property leaves ends uncounted, and nothing else.
    let _ = Reflect::set(&global(), &JsValue::from_str(name), &JsValue::from_f64(f64::from(number)));
}
