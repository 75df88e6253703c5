//! `Editions`: which parts of the index are being changed, and how often they were.
//!
//! - Guarantee: while it returns the same number for a part, nothing is committed to that part
//!   (`domain::editions`). Every commit calls it before and after (`platform::d1`).
//! - Gates: none is needed. Each command is one step in memory.
//! - Stored here: nothing. A restarted object names a new run, which invalidates everything cached.
//!   It does not know a commit that began in the previous run; answers cached in the meantime are
//!   dropped when that commit ends, and after a minute at the latest (`api::response_cache`).
//! - Commands: those of `platform::editions`.
//! - Ends: never.

use std::cell::RefCell;

use worker::{DurableObject, Env, Request, Response, Result, State, Url, durable_object, wasm_bindgen};

use crate::domain::editions::{Editions as Known, Parts};
use crate::platform::clock::{lot, now};
use crate::platform::editions::{ANSWER, paths};
use crate::platform::objects::unknown;

/// See the module.
#[durable_object(fetch)]
pub struct Editions {
    known: RefCell<Known>,
}

impl DurableObject for Editions {
    fn new(_state: State, _env: Env) -> Self {
        Self { known: RefCell::new(Known::new(lot())) }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let address = request.inner().url();
        let mut known = self.known.borrow_mut();
        // The most frequent request by far, so its address is not parsed.
        let answer = if address.ends_with(paths::NOW) {
            known.now(now()).to_string()
        } else {
            let url = Url::parse(&address)?;
            let parts = number(&url, "parts").and_then(|number| Parts::numbered(u8::try_from(number).ok()?));
            match (url.path(), parts) {
                (paths::BEGIN, Some(parts)) => known.begin(parts, now()).to_string(),
                (paths::END, Some(parts)) => {
                    known.end(number(&url, "change").unwrap_or_default(), parts);
                    String::new()
                }
                _ => return unknown(),
            }
        };
        let response = Response::empty()?;
        response.headers().set(ANSWER, &answer)?;
        Ok(response)
    }
}

fn number(url: &Url, name: &str) -> Option<u64> {
    url.query_pairs().find(|(given, _)| given == name)?.1.parse().ok()
}
