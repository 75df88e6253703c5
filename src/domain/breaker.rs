//! When a host is left alone (K07): after consecutive failures, and for as long as it asks.
//!
//! There is one of these per host and [`Errand`]. The service does not contact a resting host at
//! all, so that requests to it fail at once instead of after a time-out, and the host can recover.

use super::pause::growing;
use crate::wire::time::Micros;

/// Consecutive failures after which a host rests.
const FAILURES_MAX: u32 = 8;
const SECOND: i64 = 1_000_000;
/// The first rest; each further one without a success in between is twice as long.
const FIRST_REST: i64 = 5 * SECOND;
/// The longest rest, after failures or on the host's request: no host is given up for good (K03).
const LONGEST_REST: i64 = 10 * 60 * SECOND;
const LONGEST_ASKED: i64 = 60 * 60 * SECOND;
/// The longest rest of a host that the operator named, for any reason: everybody depends on it, and
/// one request a minute does not burden a directory.
const LONGEST_TRUSTED: i64 = 60 * SECOND;

/// The purpose of a request, and who named the host. Anybody can name any host in a document, and
/// cause requests for things that it does not have. So the outcomes of one errand do not affect the
/// others, and only the service's own requests make a host rest for those.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand<'a> {
    /// A host that the operator named, for people whom the index knows.
    Trusted,
    /// The same, for anybody.
    TrustedForStrangers,
    /// XRPC of a PDS, for people whom the index knows.
    Known,
    /// XRPC of a PDS, for this unknown DID.
    Stranger(&'a str),
    /// The document of a `did:web`.
    Document,
    /// The verification of a handle.
    Proof,
    /// The webhook with this id.
    Webhook(&'a str),
    /// A push to a browser of this DID.
    Push(&'a str),
}

impl Errand<'_> {
    /// The key of the host's record for this errand.
    pub fn name(self, host: &str) -> String {
        let word = match self {
            Errand::Trusted => "trusted",
            Errand::TrustedForStrangers => "trusted, for strangers",
            Errand::Known => "known",
            Errand::Stranger(_) => "strangers",
            Errand::Document => "document",
            Errand::Proof => "proof",
            Errand::Webhook(_) => "webhooks",
            Errand::Push(_) => "push",
        };
        format!("{word} {host}")
    }

    /// The key of the host's record for one unknown person, one webhook or the browsers of one person. An error that a
    /// host answers about them may concern only them; that a host does not answer concerns the host.
    pub fn name_of_one(self, host: &str) -> Option<String> {
        match self {
            Errand::Stranger(did) => Some(format!("stranger {did} {host}")),
            Errand::Webhook(id) => Some(format!("webhook {id} {host}")),
            Errand::Push(did) => Some(format!("push {did} {host}")),
            _ => None,
        }
    }

    /// Whether a host that asks to be left alone means all requests with this errand. A push service, or a service that
    /// takes many webhooks, answers so to one of them: else one person could stop it for everybody.
    pub fn is_asked_for_all(self) -> bool {
        !matches!(self, Errand::Webhook(_) | Errand::Push(_))
    }

    /// Whether anybody can cause such a record for any host.
    pub fn is_anybodys(self) -> bool {
        !matches!(self, Errand::Trusted | Errand::TrustedForStrangers | Errand::Known)
    }

    /// The longest rest after failures, and the longest that the host may request.
    fn longest(self) -> (i64, i64) {
        match self {
            Errand::Trusted | Errand::TrustedForStrangers => (LONGEST_TRUSTED, LONGEST_TRUSTED),
            _ => (LONGEST_REST, LONGEST_ASKED),
        }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    rests: u32,
    /// The end of a rest after failures.
    until: Option<Micros>,
    /// Until when the host asked to be left alone. The success of another request does not end
    /// this.
    asked_until: Option<Micros>,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The host answered; a refusal counts as an answer.
    Answered,
    /// There was no answer, a late one, or an error of the host.
    Failed,
}

impl Breaker {
    /// Until when the host rests; `None` if it may be contacted.
    pub fn rests_until(&self, now: Micros) -> Option<Micros> {
        self.until.max(self.asked_until).filter(|until| *until > now)
    }

    /// Records the outcome of a request at `now`; `asked` is until when the host asks to be left
    /// alone.
    pub fn on(&mut self, errand: Errand<'_>, outcome: Outcome, asked: Option<Micros>, now: Micros) {
        let (longest_rest, longest_asked) = errand.longest();
        match outcome {
            Outcome::Answered => (self.failures, self.rests, self.until) = (0, 0, None),
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                // After a rest, one more failure is enough.
                if self.failures >= FAILURES_MAX && self.rests_until(now).is_none() {
                    let rest = growing(FIRST_REST, self.rests, longest_rest);
                    self.rests = self.rests.saturating_add(1);
                    self.until = Some(Micros(now.0.saturating_add(rest)));
                }
            }
        }
        let asked = asked.map(|until| Micros(until.0.min(now.0.saturating_add(longest_asked))));
        self.asked_until = self.asked_until.max(asked);
    }

    /// Whether there is nothing to remember.
    pub fn is_idle(&self, now: Micros) -> bool {
        self.failures == 0 && self.rests_until(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Errand<'_> = Errand::Known;

    fn failing(times: u32, from: i64) -> Breaker {
        let mut breaker = Breaker::default();
        for n in 0..times {
            breaker.on(KNOWN, Outcome::Failed, None, Micros(from + i64::from(n)));
        }
        breaker
    }

    #[test]
    fn k07_a_host_rests_after_failures_in_a_row() {
        let mut breaker = failing(FAILURES_MAX - 1, 0);
        assert_eq!(breaker.rests_until(Micros(10)), None);
        breaker.on(KNOWN, Outcome::Answered, None, Micros(10));
        assert!(breaker.is_idle(Micros(10)), "a success makes up for all of them");
        let mut breaker = failing(FAILURES_MAX, 0);
        let mut at = i64::from(FAILURES_MAX) - 1;
        for rest in [5, 10, 20, 40, 80, 160, 320, 600, 600] {
            let until = at + rest * SECOND;
            assert_eq!(breaker.rests_until(Micros(until - 1)), Some(Micros(until)), "{rest} s");
            assert_eq!(breaker.rests_until(Micros(until)), None, "asked again after {rest} s");
            at = until;
            breaker.on(KNOWN, Outcome::Failed, None, Micros(at));
        }
        breaker.on(KNOWN, Outcome::Answered, None, Micros(at));
        assert!(breaker.is_idle(Micros(at)));
    }

    /// Requests that were in progress when the rest began do not extend it.
    #[test]
    fn k07_late_failures_do_not_count() {
        let mut breaker = failing(FAILURES_MAX, 0);
        let before = breaker.rests_until(Micros(20));
        for n in 0..1000 {
            breaker.on(KNOWN, Outcome::Failed, None, Micros(20 + n));
        }
        assert_eq!(breaker.rests_until(Micros(2000)), before);
    }

    #[test]
    fn k07_a_host_is_left_alone_for_as_long_as_it_asks() {
        for (outcome, asked, expected, why) in [
            (Outcome::Answered, 30, 30, "with an answer that used up what was left"),
            (Outcome::Failed, 30, 30, "with a refusal"),
            (Outcome::Failed, 24 * 3600, 3600, "an hour at most"),
        ] {
            let mut breaker = Breaker::default();
            breaker.on(KNOWN, outcome, Some(Micros(asked * SECOND)), Micros(0));
            assert_eq!(breaker.rests_until(Micros(1)), Some(Micros(expected * SECOND)), "{why}");
            breaker.on(KNOWN, Outcome::Answered, None, Micros(2));
            assert!(!breaker.is_idle(Micros(3)), "an answer to another request changes nothing: {why}");
            assert!(
                breaker.is_idle(Micros(3600 * SECOND))
                    && breaker.rests_until(Micros(expected * SECOND)).is_none()
            );
        }
    }

    /// C03, C04: everybody depends on them.
    #[test]
    fn k14_hosts_that_the_operator_names_rest_for_a_minute_at_most() {
        for errand in [Errand::Trusted, Errand::TrustedForStrangers] {
            let mut breaker = Breaker::default();
            breaker.on(errand, Outcome::Answered, Some(Micros(3600 * SECOND)), Micros(0));
            assert_eq!(breaker.rests_until(Micros(1)), Some(Micros(60 * SECOND)), "it asked for an hour");
            let (mut breaker, mut at) = (failing(FAILURES_MAX, 0), Micros(0));
            for _ in 0..10 {
                at = breaker.rests_until(at).unwrap();
                breaker.on(errand, Outcome::Failed, None, at);
                assert!(breaker.rests_until(at).is_some_and(|until| until.0 - at.0 <= 60 * SECOND));
            }
        }
    }

    #[test]
    fn k07_each_errand_is_remembered_by_itself() {
        let errands = [
            Errand::Trusted,
            Errand::TrustedForStrangers,
            Errand::Known,
            Errand::Stranger("did:plc:a"),
            Errand::Document,
            Errand::Proof,
        ];
        let names: std::collections::BTreeSet<String> =
            errands.iter().map(|errand| errand.name("h")).collect();
        assert_eq!(names.len(), errands.len());
        let one = |did| Errand::Stranger(did).name_of_one("h");
        assert_ne!(one("did:plc:a"), one("did:plc:b"), "one stranger says nothing of another");
        assert_eq!(Errand::Known.name_of_one("h"), None);
        assert!(Errand::Stranger("did:web:a").is_asked_for_all() && Errand::Known.is_asked_for_all());
        assert!(!Errand::Push("did:web:a").is_asked_for_all() && !Errand::Webhook("w").is_asked_for_all());
    }
}
