//! What an observer hears (A21): a socket that reads one community and acts for nobody. It catches up with the log
//! page by page until nothing is left (Q02); from then on it gets what is new.

use crate::domain::actions::{Action, Actor, Sign, action, wanted_seat, wanted_state};
use crate::domain::announcement::Audience;
use crate::domain::frame_budget::Verdict;
use crate::domain::lost::frame;
use crate::domain::replay::Replayed;
use crate::wire::ids::AtUri;
use crate::wire::socket::Reply;

/// Stands for an observer that is let go: it is behind for ever, and gets nothing more.
pub const LET_GO: i64 = i64::MAX;

/// Whether observers hear an event: what is private is for one person.
pub fn hears(audience: &Audience) -> bool {
    !matches!(audience, Audience::Private(_))
}

/// Whether an observer that is `behind` so far has not been let go.
pub fn is_open(behind: Option<i64>) -> bool {
    behind != Some(LET_GO)
}

/// Where an observer that must still catch up is.
pub fn is_behind(behind: Option<i64>) -> Option<i64> {
    behind.filter(|behind| *behind != LET_GO)
}

/// An observer on its way through the log.
#[derive(Clone, Debug)]
pub struct CatchUp {
    community: AtUri,
    cursor: i64,
    from: Option<u64>,
    /// The cursor of the next page.
    pub after: i64,
}

impl CatchUp {
    /// The observer has everything up to and with `cursor`.
    pub fn new(community: AtUri, cursor: i64) -> Self {
        Self { community, cursor, from: None, after: cursor }
    }

    /// A page arrived; `None` could not be read. What is sent, and whether that is the end: after the last of these
    /// texts the observer gets what is new.
    pub fn page(&mut self, page: Option<Replayed>) -> (Vec<String>, bool) {
        let (events, through, last) = match page {
            Some(Replayed::Page { events, through, last, .. }) => (events, through, last),
            Some(Replayed::Resync { oldest }) => return (vec![self.read_anew(oldest)], true),
            None => return (vec![self.read_anew(0)], true),
        };
        let from = *self.from.get_or_insert_with(|| u64::try_from(self.cursor).unwrap_or(last));
        let heard = events.iter().filter(|event| hears(&event.audience));
        let mut texts: Vec<String> =
            heard.map(|event| frame(&event.event, &self.community, event.seq, false)).collect();
        self.after = i64::try_from(through).unwrap_or(LET_GO);
        let is_over = through >= last;
        if is_over {
            texts.push(Reply::Resumed { community_uri: self.community.to_string(), from, to: last }.text());
        }
        (texts, is_over)
    }

    fn read_anew(&self, oldest: u64) -> String {
        Reply::ResyncRequired { community_uri: self.community.clone(), oldest }.text()
    }
}

/// The usual reply to a frame, which has no effect. `verdict` is what the budget says to it.
pub fn reply(text: Option<&str>, verdict: Verdict) -> Reply {
    let decided = action(text);
    match (verdict, decided.action, decided.sign) {
        (_, Action::Reply(reply), Sign::Refused) => reply,
        (Verdict::Over | Verdict::Enough, _, _) => Reply::error("Rate limit exceeded"),
        (_, Action::Reply(reply) | Action::Unsubscribe { reply, .. }, _) => reply,
        (_, Action::Subscribe(subscribe), _) => subscribe.reply,
        (_, Action::Session, _) => refusal(Actor::Nobody.person("session")),
        (_, Action::SetState { state }, _) => refusal(wanted_state(&Actor::Nobody, state.as_deref())),
        (_, Action::Voice(frame), _) => refusal(wanted_seat(&Actor::Nobody, frame)),
    }
}

/// An observer acts for nobody, so there is always a reason why not.
fn refusal<T>(wanted: Result<T, Reply>) -> Reply {
    wanted.err().unwrap_or_else(|| Reply::ack(""))
}
