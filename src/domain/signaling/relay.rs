//! What the Worker does for a socket that names its room only in its first frame.
//!
//! The Worker holds the client's socket and, once the client joins, a socket to that room's object,
//! and passes frames on in both directions. To the room it is a peer like any other. A join of
//! another room first opens a socket there; the old room is left only when the new one has answered
//! `joined` (S17, S12). Frames that arrive while a room is being opened wait in order.

use std::collections::VecDeque;

use super::door::{admit, close, error};
use crate::domain::frame_budget::Budget;
use crate::wire::signaling::{ClientFrame, HEARTBEAT, HEARTBEAT_ACK, is_joined};
use crate::wire::time::Micros;

/// The number of a socket to a room: each join of another room gets the next number.
pub type Line = u64;

/// The most frames that wait while a room is being opened; a room opens in milliseconds, and the
/// budget admits no more (S16).
const WAITING_MAX: usize = 256;

/// An input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The client sent a frame; `None` is a binary one.
    Client(Option<&'a str>),
    /// The client disconnected.
    ClientGone,
    /// The client does not read its frames (S19).
    ClientSlow,
    /// The socket to a room is open.
    Opened(Line),
    /// The socket could not be opened, or the room did not answer in time.
    Failed(Line),
    /// A room sent a frame.
    Room(Line, &'a str),
    /// A room closed its socket.
    RoomGone(Line, u16),
}

/// An order for the Worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send to the client.
    ToClient(String),
    /// Close the client's socket, and end the relay.
    CloseClient(u16),
    /// Open a socket to a room. [`Event::Opened`] or [`Event::Failed`] must follow.
    Open(Line, String),
    /// Send to a room.
    ToRoom(Line, String),
    /// Close the socket to a room.
    CloseRoom(Line),
}

/// See the module. A new relay: the client has not sent anything yet.
#[derive(Debug, Default)]
pub struct Relay {
    budget: Budget,
    next: Line,
    /// The room the client is connected to.
    current: Option<(Line, String)>,
    /// The room that it is joining.
    opening: Option<Opening>,
}

#[derive(Debug)]
struct Opening {
    line: Line,
    room: String,
    /// The `join` frame, as sent.
    join: String,
    waiting: VecDeque<String>,
}

impl Relay {
    /// What to do about an event.
    pub fn on(&mut self, event: Event<'_>, now: Micros) -> Vec<Order> {
        match event {
            Event::Client(text) => self.client(text, now),
            Event::ClientGone => self.hang_up(),
            Event::ClientSlow => self.end(close::TOO_SLOW),
            Event::Opened(line) => match &self.opening {
                Some(opening) if opening.line == line => vec![Order::ToRoom(line, opening.join.clone())],
                _ => vec![Order::CloseRoom(line)],
            },
            Event::Failed(line) => match self.opening.take_if(|opening| opening.line == line) {
                Some(opening) => {
                    let failed = Order::ToClient(error("Temporary failure, try again"));
                    let mut orders = vec![failed, Order::CloseRoom(line)];
                    orders.extend(self.resume(opening.waiting, now));
                    orders
                }
                None => Vec::new(),
            },
            Event::Room(line, text) => self.room(line, text, now),
            Event::RoomGone(line, code) => {
                if self.opening.as_ref().is_some_and(|opening| opening.line == line) {
                    return self.on(Event::Failed(line), now);
                }
                match self.current.take_if(|(current, _)| *current == line) {
                    // While the client moves to another room, the end of the old one does not
                    // concern it.
                    Some(_) if self.opening.is_some() => Vec::new(),
                    Some(_) => self.end(code),
                    None => Vec::new(),
                }
            }
        }
    }

    fn client(&mut self, text: Option<&str>, now: Micros) -> Vec<Order> {
        let frame = match admit(Some(&mut self.budget), text, now) {
            Ok(frame) => frame,
            Err(refused) => {
                let mut orders = vec![Order::ToClient(refused.reply)];
                if refused.close {
                    orders.extend(self.end(close::POLICY));
                }
                return orders;
            }
        };
        if let Some(opening) = &mut self.opening {
            if opening.waiting.len() >= WAITING_MAX {
                return vec![Order::ToClient(error("Rate limit exceeded"))];
            }
            opening.waiting.extend(text.map(str::to_owned));
            return Vec::new();
        }
        self.pass(&frame, text.unwrap_or_default())
    }

    /// Passes on an admitted frame.
    fn pass(&mut self, frame: &ClientFrame, text: &str) -> Vec<Order> {
        match (frame, &self.current) {
            (ClientFrame::Heartbeat, Some((line, _))) => vec![Order::ToRoom(*line, HEARTBEAT.to_owned())],
            (ClientFrame::Heartbeat, None) => vec![Order::ToClient(HEARTBEAT_ACK.to_owned())],
            (ClientFrame::Join { room, .. }, current)
                if current.as_ref().is_none_or(|(_, joined)| joined != room) =>
            {
                let line = self.next;
                self.next += 1;
                self.opening = Some(Opening {
                    line,
                    room: room.clone(),
                    join: text.to_owned(),
                    waiting: VecDeque::new(),
                });
                vec![Order::Open(line, room.clone())]
            }
            (_, Some((line, _))) => vec![Order::ToRoom(*line, text.to_owned())],
            (_, None) => vec![Order::ToClient(error("Join a room first"))],
        }
    }

    fn room(&mut self, line: Line, text: &str, now: Micros) -> Vec<Order> {
        if self.current.as_ref().is_some_and(|(current, _)| *current == line) {
            return vec![Order::ToClient(text.to_owned())];
        }
        // The first frame on a new line is the answer to the join.
        let Some(opening) = self.opening.take_if(|opening| opening.line == line) else {
            return Vec::new();
        };
        let mut orders = vec![Order::ToClient(text.to_owned())];
        if is_joined(text) {
            let old = self.current.replace((line, opening.room));
            orders.extend(old.map(|(old, _)| Order::CloseRoom(old)));
        } else {
            orders.push(Order::CloseRoom(line));
        }
        orders.extend(self.resume(opening.waiting, now));
        orders
    }

    /// Passes on waiting frames, until another room must be opened.
    fn resume(&mut self, mut waiting: VecDeque<String>, now: Micros) -> Vec<Order> {
        let mut orders = Vec::new();
        while let Some(text) = waiting.pop_front() {
            // It was counted when it arrived.
            match admit(None, Some(&text), now) {
                Ok(frame) => orders.extend(self.pass(&frame, &text)),
                Err(refused) => orders.push(Order::ToClient(refused.reply)),
            }
            if let Some(opening) = &mut self.opening {
                opening.waiting = waiting;
                break;
            }
        }
        orders
    }

    fn hang_up(&mut self) -> Vec<Order> {
        let lines =
            [self.current.take().map(|(line, _)| line), self.opening.take().map(|opening| opening.line)];
        lines.into_iter().flatten().map(Order::CloseRoom).collect()
    }

    fn end(&mut self, code: u16) -> Vec<Order> {
        let mut orders = vec![Order::CloseClient(sendable(code))];
        orders.extend(self.hang_up());
        orders
    }
}

/// The close code for a client whose room closed the socket. Codes that only report a broken
/// connection cannot be sent (platform facts 2.2); they become a restart.
fn sendable(code: u16) -> u16 {
    match code {
        close::POLICY | close::GONE | close::TOO_SLOW => code,
        _ => close::RESTART,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(room: &str) -> String {
        format!(r#"{{"type":"join","room":"{room}","peer_id":"p"}}"#)
    }

    fn joined(room: &str) -> String {
        format!(r#"{{"type":"joined","room":"{room}","peer_id":"p","peers":[]}}"#)
    }

    const OFFER: &str = r#"{"type":"offer","room":"a","target_peer_id":"t","sdp":"x"}"#;

    fn run(relay: &mut Relay, event: Event<'_>) -> Vec<Order> {
        relay.on(event, Micros(0))
    }

    /// A relay whose client is in room `a`, on line 0.
    fn in_a() -> Relay {
        let mut relay = Relay::default();
        assert_eq!(run(&mut relay, Event::Client(Some(&join("a")))), [Order::Open(0, "a".into())]);
        assert_eq!(run(&mut relay, Event::Opened(0)), [Order::ToRoom(0, join("a"))]);
        assert_eq!(run(&mut relay, Event::Room(0, &joined("a"))), [Order::ToClient(joined("a"))]);
        relay
    }

    #[test]
    fn s16_frames_that_wait_for_a_room_are_bounded() {
        let mut relay = Relay::default();
        run(&mut relay, Event::Client(Some(r#"{"type":"join","room":"a","peer_id":"p"}"#)));
        // Slow enough for the budget.
        let mut waits = |n: i64| relay.on(Event::Client(Some(OFFER)), Micros(n * 100_000)).is_empty();
        assert!((1..=256).all(&mut waits), "the room is being opened");
        assert!(!waits(257), "one more is refused");
    }

    #[test]
    fn s13_before_a_join_there_is_no_room() {
        let mut relay = Relay::default();
        let first = [Order::ToClient(error("Join a room first"))];
        assert_eq!(run(&mut relay, Event::Client(Some(OFFER))), first);
        assert_eq!(run(&mut relay, Event::Client(Some(HEARTBEAT))), [Order::ToClient(HEARTBEAT_ACK.into())]);
        let invalid = [Order::ToClient(error("Invalid signal: type is missing"))];
        assert_eq!(run(&mut relay, Event::Client(Some("{}"))), invalid);
        assert_eq!(run(&mut relay, Event::ClientGone), []);
    }

    #[test]
    fn frames_pass_in_both_directions_and_heartbeats_in_one_spelling() {
        let mut relay = in_a();
        assert_eq!(run(&mut relay, Event::Client(Some(OFFER))), [Order::ToRoom(0, OFFER.into())]);
        assert_eq!(
            run(&mut relay, Event::Client(Some(r#"{ "type": "heartbeat" }"#))),
            [Order::ToRoom(0, HEARTBEAT.into())]
        );
        assert_eq!(run(&mut relay, Event::Room(0, "x")), [Order::ToClient("x".into())]);
        assert_eq!(run(&mut relay, Event::Client(Some(&join("a")))), [Order::ToRoom(0, join("a"))], "S17");
        assert_eq!(run(&mut relay, Event::ClientGone), [Order::CloseRoom(0)], "S06");
    }

    #[test]
    fn s17_b64_the_old_room_is_left_when_the_new_one_has_said_joined() {
        let mut relay = in_a();
        assert_eq!(run(&mut relay, Event::Client(Some(&join("b")))), [Order::Open(1, "b".into())]);
        assert_eq!(run(&mut relay, Event::Client(Some(OFFER))), [], "waits");
        assert_eq!(run(&mut relay, Event::Room(0, "x")), [Order::ToClient("x".into())], "still in a");
        assert_eq!(run(&mut relay, Event::Opened(1)), [Order::ToRoom(1, join("b"))]);
        assert_eq!(
            run(&mut relay, Event::Room(1, &joined("b"))),
            [Order::ToClient(joined("b")), Order::CloseRoom(0), Order::ToRoom(1, OFFER.into())],
            "what waited is b's to refuse"
        );
        assert_eq!(run(&mut relay, Event::Room(0, "late")), [], "a is over");
        assert_eq!(run(&mut relay, Event::RoomGone(0, 1000)), []);
        assert_eq!(run(&mut relay, Event::ClientGone), [Order::CloseRoom(1)]);
    }

    #[test]
    fn s12_a_refused_join_keeps_the_old_room() {
        let mut relay = in_a();
        run(&mut relay, Event::Client(Some(&join("b"))));
        run(&mut relay, Event::Client(Some(&join("c"))));
        run(&mut relay, Event::Client(Some(OFFER)));
        run(&mut relay, Event::Opened(1));
        let refused = error("peer_id already in use");
        assert_eq!(
            run(&mut relay, Event::Room(1, &refused)),
            [Order::ToClient(refused.clone()), Order::CloseRoom(1), Order::Open(2, "c".into())]
        );
        assert_eq!(
            run(&mut relay, Event::Failed(2)),
            [
                Order::ToClient(error("Temporary failure, try again")),
                Order::CloseRoom(2),
                Order::ToRoom(0, OFFER.into())
            ],
            "order is kept over two refusals"
        );
        assert_eq!(run(&mut relay, Event::Opened(2)), [Order::CloseRoom(2)], "too late");
    }

    #[test]
    fn the_end_of_the_room_is_the_end_of_the_socket() {
        for (code, expected) in [(1008, 1008), (1013, 1013), (1001, 1001), (1006, 1012), (1000, 1012)] {
            let mut relay = in_a();
            assert_eq!(run(&mut relay, Event::RoomGone(0, code)), [Order::CloseClient(expected)], "{code}");
        }
        let mut relay = in_a();
        run(&mut relay, Event::Client(Some(&join("b"))));
        assert_eq!(run(&mut relay, Event::RoomGone(0, 1006)), [], "it is moving");
        let slow = [Order::CloseClient(1013), Order::CloseRoom(1)];
        assert_eq!(run(&mut relay, Event::ClientSlow), slow, "S19");
    }

    #[test]
    fn s16_b66_the_budget_goes_with_the_socket_through_its_rooms() {
        let mut relay = in_a();
        let said = |relay: &mut Relay| run(relay, Event::Client(Some(OFFER)));
        for _ in 1..200 {
            assert_eq!(said(&mut relay), [Order::ToRoom(0, OFFER.into())]);
        }
        for _ in 0..599 {
            assert_eq!(said(&mut relay), [Order::ToClient(error("Rate limit exceeded"))]);
        }
        let over = Order::ToClient(error("Rate limit exceeded"));
        assert_eq!(said(&mut relay), [over, Order::CloseClient(1008), Order::CloseRoom(0)]);
    }
}
