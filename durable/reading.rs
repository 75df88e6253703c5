//! Waiting before a page of a log may be read (Q08), for gateways and communities.

use std::time::Duration;

use worker::Delay;

use crate::domain::replay::{ASK_AGAIN_MS, ASK_AGAIN_TIMES};

/// Whether somebody may read another page of a log now; `None` if they are gone.
pub type MayRead = Option<bool>;

/// Waits until somebody may read another page; `false` if they still may not after a minute, or are gone.
pub async fn wait_to_read<F>(mut may_read: impl FnMut() -> Result<MayRead, F>) -> Result<bool, F> {
    for _ in 0..ASK_AGAIN_TIMES {
        match may_read()? {
            Some(true) => return Ok(true),
            None => return Ok(false),
            Some(false) => Delay::from(Duration::from_millis(ASK_AGAIN_MS)).await,
        }
    }
    Ok(false)
}
