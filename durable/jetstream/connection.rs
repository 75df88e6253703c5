//! One connection to the stream: from its opening to its end, including frames that are too large.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures::future::{Either, select};
use serde_json::json;
use worker::{Delay, Error, Result, WebSocket};

use super::consumer::Consumer;
use super::consumer::host;
use crate::domain::fault_code::Code;
use crate::domain::link::{Gap, Input, Missed, Obstacle, Reach, Step, StreamPosition};
use crate::domain::troubles;
use crate::platform::clock::now;
use crate::platform::listener::{Ended, Listener};
use crate::platform::log::{self, Level};
use crate::wire::jetstream::{subscribe_url, time_of};
use crate::wire::time::Micros;

/// The most text that is queued, in bytes, before reading stops (J06): 16 of the 128 MB of an
/// isolate.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// A connection that searches for a frame that is too large waits for it four times as long as the
/// slowest connection so far needed to meet it. If nothing comes in that time, it started after the
/// frame. The minimum and the maximum of that time, in milliseconds.
const PROBE_FOR: (i64, i64) = (1_500, 60_000);

/// The code of a connection that ends because of a frame that is too large (RFC 6455, 7.4.1).
const TOO_LARGE: u16 = 1009;

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// As usual.
    Closed,
    /// With a frame that is too large; the connection started here.
    TooLarge(Micros),
    /// It searched for such a frame, and did not meet it.
    Passed,
}

/// Whether the runtime ended a connection because of a frame that is too large. Only the text of
/// the error says so (workerd 2026-11: "WebSocket protocol error; protocolError.statusCode =
/// 1009").
fn is_too_large(error: &Error) -> bool {
    error.to_string().contains("statusCode = 1009")
}

impl Consumer {
    /// One connection, from opening to closing.
    pub(super) async fn read(self: Rc<Self>, number: u64) {
        let end = self.read_frames(number).await;
        if let Err(error) = &end {
            let failures = self.link.borrow().failures();
            self.unread.replace(Some(troubles::of_stream(&self.config.url, &error.to_string())));
            log::problem(
                Code::Stream,
                Level::Warn,
                "the stream cannot be read; trying again after a pause",
                &json!({ "host": host(&self.config.url), "because": error.to_string(), "failures": failures }),
            );
        }
        self.sockets.borrow_mut().remove(&number);
        let obstructed = match end {
            Ok(End::TooLarge(from)) => self.step(|obstacle| obstacle.on_met(from, now())),
            Ok(End::Passed) => self.step(|obstacle| obstacle.on_passed(now())),
            _ => false,
        };
        self.on(if obstructed { Input::Obstructed(number) } else { Input::Closed(number) });
        self.schedule().await;
    }

    /// Performs the next step of the search for a frame that is too large. `false` if there is
    /// none.
    fn step(self: &Rc<Self>, on: impl FnOnce(&mut Obstacle) -> Step) -> bool {
        let step = on(&mut self.obstacle.borrow_mut());
        if let Step::Over(from, to) = step {
            let host = host(&self.config.url);
            log::problem(
                Code::Gap,
                Level::Warn,
                "a frame of the stream is larger than the runtime accepts; it is skipped, and a gap is recorded",
                &json!({ "host": host, "from": from.shown(), "to": to.shown() }),
            );
            self.stepped_over.set(self.stepped_over.get() + 1);
            let mut batch = self.passing.borrow_mut();
            batch.note_gap(Gap { host: host.clone(), from, to, reason: Missed::FrameTooLarge });
            let position = StreamPosition { host, cursor: to };
            *self.stored.borrow_mut() = Some(position.clone());
            batch.position = Some(position);
            drop(batch);
            self.flush_soon();
        }
        step != Step::Nothing
    }

    async fn read_frames(self: &Rc<Self>, number: u64) -> Result<End> {
        let host = host(&self.config.url);
        let stored = self.stored.borrow().clone();
        let probe = self.obstacle.borrow().probe();
        let cursor = probe.or_else(|| stored.as_ref().map(|position| position.resume_at(&host)));
        let url = subscribe_url(&self.config.url, cursor)
            .ok_or_else(|| Error::RustError("JETSTREAM_URL is no URL".into()))?;
        let socket = WebSocket::connect(url).await?;
        let names_an_event =
            |position: &StreamPosition| !self.obstacle.borrow().was_stepped_to(position.cursor);
        let mut resumed_from = stored.filter(names_an_event);
        let consumer = Rc::clone(self);
        let mut listener = Listener::to(&socket, move |text| {
            consumer.frame(number, text, probe.is_some(), &host, &mut resumed_from)
        })?;
        socket.accept()?;
        self.sockets.borrow_mut().insert(number, socket.clone());
        self.on(Input::Opened(number));
        self.schedule().await;
        let (from, opened_at) = (cursor.unwrap_or_default(), now());
        let probe_for = (4 * self.met_within.get()).clamp(PROBE_FOR.0, PROBE_FOR.1);
        let probe_for = Duration::from_millis(probe_for.unsigned_abs());
        let ended = match probe {
            None => listener.ended().await,
            Some(_) => match select(pin!(listener.ended()), Delay::from(probe_for)).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => return Ok(End::Passed),
            },
        };
        let is_met = match &ended {
            Ended::Closed(code) => *code == TOO_LARGE,
            Ended::Failed(error) => is_too_large(error),
            Ended::Enough(_) => false,
        };
        match ended {
            // The connection is not read any more, so it does not count how it ended.
            _ if !self.link.borrow().reads(number) => Ok(End::Closed),
            _ if is_met => {
                self.met_within.set(self.met_within.get().max(now().millis() - opened_at.millis()));
                Ok(End::TooLarge(from))
            }
            Ended::Enough(end) => Ok(end),
            Ended::Closed(_) => Ok(End::Closed),
            Ended::Failed(error) => Err(error),
        }
    }

    /// One frame of a connection; returns how the connection ends if it does. `is_probe`: it searches for a frame
    /// that is too large. `resumed_from`: where reading continued, until a frame shows whether something is missing.
    fn frame(
        self: &Rc<Self>,
        number: u64,
        text: Option<String>,
        is_probe: bool,
        host: &str,
        resumed_from: &mut Option<StreamPosition>,
    ) -> Option<End> {
        if !self.link.borrow().reads(number) {
            return Some(End::Closed);
        }
        if is_probe {
            self.on(Input::Frame(number));
            return Some(End::Passed);
        }
        self.last_frame.set(Some(now()));
        self.on(Input::Frame(number));
        let Some(text) = text else {
            self.take_binary();
            return None;
        };
        if let Some(stored) = resumed_from.take()
            && !self.look_for_gap(&stored, host, &text)
        {
            *resumed_from = Some(stored);
        }
        self.take_in(text);
        None
    }

    /// Counts a binary frame. The first one is logged: if all frames are binary, nothing is read.
    fn take_binary(self: &Rc<Self>) {
        if self.binary.replace(self.binary.get() + 1) == 0 {
            log::problem(
                Code::Stream,
                Level::Error,
                "the stream sends binary frames, which are not read; check JETSTREAM_URL for compression",
                &json!({ "host": host(&self.config.url) }),
            );
        }
        self.passing.borrow_mut().take_binary();
        self.flush_soon();
    }

    /// Notes a gap if the stream continues later than requested (J07). `false` if this frame does
    /// not show it.
    fn look_for_gap(&self, stored: &StreamPosition, host: &str, text: &str) -> bool {
        let reach = time_of(text).map_or(Reach::Unknown, |time| Gap::look(stored, host, time, now()));
        let gap = match reach {
            Reach::Unknown => return false,
            Reach::Whole => return true,
            Reach::Gap(gap) => gap,
        };
        log::problem(
            Code::Gap,
            Level::Warn,
            "the stream does not reach back to the cursor: a gap is recorded",
            &json!({ "host": host, "from": gap.from.shown(), "to": gap.to.shown() }),
        );
        self.passing.borrow_mut().note_gap(gap);
        true
    }

    /// Queues a frame. If the queue is full, the stream is closed; the frame is not dropped (J06).
    fn take_in(self: &Rc<Self>, text: String) {
        self.queued_bytes.set(self.queued_bytes.get() + text.len());
        self.queue.borrow_mut().push_back(text);
        if self.queued_bytes.get() >= QUEUE_BYTES {
            self.on(Input::Full);
        }
        self.flush_soon();
    }
}
