//! Webhooks (R82, C50): what is sent next, and what follows from an answer.
//!
//! A webhook has a place in the log of its community, as a gateway has. It moves on when the receiver has taken an
//! event, so nothing is lost; an event that is sent again, because the answer was lost, has the same id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::announcement::Audience;
use super::pause::growing;
use crate::wire::events::{march, stamp};
use crate::wire::ids::AtUri;
use crate::wire::time::Micros;
use crate::wire::webhooks::{Message, type_of};

const SECOND: i64 = 1_000_000;
/// The pause after a first failure, in microseconds; each further one is twice as long.
const FIRST_PAUSE: i64 = SECOND;
/// The longest pause.
const LONGEST_PAUSE: i64 = 3_600 * SECOND;
/// A receiver that takes nothing for so long gets no more, in microseconds.
const GIVEN_UP_AFTER: i64 = 24 * 3_600 * SECOND;
/// The longest event that is sent, in bytes. Records and frames are far below it.
const EVENT_MAX: usize = 256 * 1024;

/// How far a webhook has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its id.
    pub id: String,
    /// The last `seq` that the receiver has taken, or that is not for it.
    pub delivered: u64,
    /// Failures in a row.
    pub failures: u32,
    /// The first of them.
    pub failing_since: Option<Micros>,
    /// Nothing is sent before.
    pub next_at: Micros,
}

/// An event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// T14.
    pub seq: u64,
    /// When it was numbered.
    pub at: Micros,
    /// Q01.
    pub live: bool,
    /// Who may receive it, and its text; `None` if it cannot be read.
    pub event: Option<(Audience, String)>,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// To send this, after which everything up to this `seq` is delivered.
    Send(Message, u64),
    /// Nothing of what was read is for this webhook: the rest begins after this `seq`.
    Skip(u64),
}

/// The answer of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has the event.
    Taken,
    /// It wants no more (410).
    Gone,
    /// It did not take the event, for this reason.
    Failed(String),
    /// It was not asked, because its host rests until then (K07).
    Rests(Micros),
}

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next event may be sent.
    GoOn,
    /// Not before the position's `next_at`.
    Wait,
    /// Nothing more is sent, for this reason.
    Disable(String),
}

impl Position {
    /// The position of a new webhook: it gets what comes after `seq`.
    pub fn begin(id: &str, seq: u64) -> Self {
        Self { id: id.to_owned(), delivered: seq, failures: 0, failing_since: None, next_at: Micros(0) }
    }

    /// Somebody set it again: what is due is sent at once, and earlier failures do not count.
    pub fn set_again(&mut self) {
        (self.failures, self.failing_since, self.next_at) = (0, None, Micros(0));
    }

    /// The positions to keep once webhooks changed, at the newest event `seq`: those of new ones among `enabled`, and
    /// that of `set`, which somebody set again. The pauses of the others go on.
    pub fn changed<'a>(
        enabled: impl IntoIterator<Item = &'a str>,
        known: &[Self],
        set: Option<&str>,
        seq: u64,
    ) -> Vec<Self> {
        let position = |id: &str| match known.iter().find(|one| one.id == id) {
            None => Some(Self::begin(id, seq)),
            Some(one) if set == Some(id) => {
                let mut one = one.clone();
                one.set_again();
                Some(one)
            }
            Some(_) => None,
        };
        enabled.into_iter().filter_map(position).collect()
    }

    /// What comes next. `events` are what stands in the log after [`Position::delivered`], of which `oldest` is the
    /// smallest `seq`; there is at least one, or something is missing between the two. The first rule that applies
    /// decides:
    ///   1. if the log no longer has all that is missing, a message says so (C50);
    ///   2. the first event for everybody in the community, of a type that the webhook wants;
    ///   3. else all of them are skipped.
    pub fn next(&self, community: &AtUri, types: &[String], oldest: u64, events: &[Logged]) -> Option<Next> {
        if self.delivered + 1 < oldest {
            let at = events.first().map_or(Micros(0), |event| event.at);
            let lost = oldest - 1;
            return Some(Next::Send(Message::resync(&self.id, community, oldest, at), lost));
        }
        for Logged { seq, at, live, event } in events {
            let Some((Audience::Community | Audience::Messages(_), text)) = event else { continue };
            let Some(text) = march(text).filter(|text| text.len() <= EVENT_MAX) else { continue };
            let Some(kind) = type_of(text) else { continue };
            if types.is_empty() || types.contains(&kind) {
                let message = Message::of(&self.id, *seq, &kind, *at, &stamp(text, *seq, *live));
                return Some(Next::Send(message, *seq));
            }
        }
        events.last().map(|event| Next::Skip(event.seq))
    }

    /// Takes the answer to what was sent, with which everything up to `through` would be delivered.
    pub fn on(&mut self, answer: &Answer, through: u64, now: Micros) -> Then {
        match answer {
            Answer::Taken => {
                *self = Self::begin(&self.id, through.max(self.delivered));
                Then::GoOn
            }
            Answer::Gone => Then::Disable("the receiver answered 410 Gone".into()),
            Answer::Failed(why) => {
                let since = *self.failing_since.get_or_insert(now);
                self.next_at =
                    Micros(now.0.saturating_add(growing(FIRST_PAUSE, self.failures, LONGEST_PAUSE)));
                self.failures = self.failures.saturating_add(1);
                self.given_up(since, now, why)
            }
            Answer::Rests(until) => {
                let since = *self.failing_since.get_or_insert(now);
                self.next_at = (*until).max(Micros(now.0.saturating_add(FIRST_PAUSE)));
                self.given_up(since, now, "its host does not answer")
            }
        }
    }

    fn given_up(&self, since: Micros, now: Micros, why: &str) -> Then {
        if now.0.saturating_sub(since.0) < GIVEN_UP_AFTER {
            return Then::Wait;
        }
        let why: String = why.chars().take(200).collect();
        Then::Disable(format!("the receiver took nothing for a day: {why}"))
    }
}

/// `webhook-signature` for a message that is sent at this second, with a secret in base64. `None` if the secret is
/// none.
pub fn signature(message: &Message, seconds: i64, secret: &str) -> Option<String> {
    let key = STANDARD.decode(secret).ok()?;
    let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    let mac = mac.chain_update(format!("{}.{seconds}.", message.id)).chain_update(&message.body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::webhooks::secret_in;

    /// The example of the specification.
    #[test]
    fn c50_signed_as_the_standard_says() {
        let secret = secret_in("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let message =
            Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), body: "{\"test\": 2432232314}".into() };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature(&message, 1_614_265_330, &secret).unwrap(), expected);
    }

    fn community() -> AtUri {
        AtUri::parse("at://did:plc:a/social.colibri.community/c").unwrap()
    }

    fn logged(seq: u64, audience: Audience, kind: &str) -> Logged {
        let event = Some((audience, format!(r#"{{"type":"{kind}","x":1}}"#)));
        Logged { seq, at: Micros(0), live: true, event }
    }

    #[test]
    fn c50_what_is_sent_next() {
        let private = || Audience::Private(crate::wire::ids::Did::parse("did:plc:b").unwrap());
        let channel = || Audience::Messages(AtUri::parse("at://did:plc:a/social.colibri.channel/k").unwrap());
        let none = Logged { event: None, ..logged(1, Audience::Community, "x") };
        let sent = |next: Option<Next>| match next {
            Some(Next::Send(message, seq)) => format!("send {} {seq}", message.id),
            Some(Next::Skip(seq)) => format!("skip {seq}"),
            None => "nothing".into(),
        };
        let wanted = ["message".to_owned()];
        for (types, oldest, events, expected, why) in [
            (&[][..], 1, vec![], "nothing", "nothing is missing"),
            (&[][..], 1, vec![logged(1, Audience::Community, "member_joined")], "send h-1 1", "every type"),
            (
                &[][..],
                1,
                vec![logged(1, private(), "x"), logged(2, channel(), "message")],
                "send h-2 2",
                "private",
            ),
            (&[][..], 1, vec![logged(1, Audience::Approvers, "x")], "skip 1", "for approvers only"),
            (&[][..], 1, vec![none], "skip 1", "nobody can read it"),
            (&wanted[..], 1, vec![logged(1, Audience::Community, "member_joined")], "skip 1", "another type"),
            (
                &wanted[..],
                5,
                vec![logged(5, channel(), "message")],
                "send h-4 4",
                "four are gone, which comes first",
            ),
        ] {
            let position = Position::begin("h", 0);
            assert_eq!(sent(position.next(&community(), types, oldest, &events)), expected, "{why}");
        }
    }

    #[test]
    fn c50_only_the_webhook_that_is_set_again_loses_its_failures() {
        let failing = |id: &str| {
            let mut position = Position::begin(id, 3);
            position.on(&Answer::Failed("it answered 500".into()), 4, Micros(SECOND));
            position
        };
        let known = [failing("dead"), failing("mended")];
        let changed = |set| Position::changed(["dead", "mended", "new"], &known, set, 7);
        assert_eq!(changed(Some("mended")), [Position::begin("mended", 3), Position::begin("new", 7)]);
        assert_eq!(changed(None), [Position::begin("new", 7)], "one was removed (R84)");
        assert_eq!(Position::changed([], &known, Some("gone"), 7), []);
    }

    #[test]
    fn c50_pauses_grow_and_end_after_a_day() {
        let failed = Answer::Failed("it answered 500".into());
        let (mut position, mut now, mut asked) = (Position::begin("h", 7), Micros(SECOND), 0);
        let ended = loop {
            asked += 1;
            match position.on(&failed, 8, now) {
                Then::Wait => {
                    let pause = position.next_at.0 - now.0;
                    assert!((FIRST_PAUSE..=LONGEST_PAUSE).contains(&pause), "{pause}");
                    now = position.next_at;
                }
                then => break then,
            }
        };
        let because = "the receiver took nothing for a day: it answered 500".to_owned();
        assert_eq!((ended, asked, position.delivered), (Then::Disable(because), 36, 7));
        position.set_again();
        assert_eq!(position.on(&failed, 8, now), Then::Wait, "it has another day");
        assert_eq!(position.on(&Answer::Taken, 8, now), Then::GoOn);
        assert_eq!(position, Position::begin("h", 8), "nothing is left of the failures");
        let until = Micros(now.0 + 600 * SECOND);
        assert_eq!(position.on(&Answer::Rests(until), 9, now), Then::Wait);
        assert_eq!(position.next_at, until);
        assert!(matches!(position.on(&Answer::Gone, 9, now), Then::Disable(_)));
    }
}
