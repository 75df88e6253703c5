//! Observers (A21): sockets that read one community and act for nobody. An observer catches up with the log page by
//! page (Q02), and then gets live events.

use crate::domain::actions::{Action, Actor, Sign, action, wanted_channel, wanted_state, wanted_writing};
use crate::domain::announcement::{Audience, Numbered};
use crate::domain::frame_budget::Verdict;
use crate::domain::lost::frame;
use crate::domain::replay::Replayed;
use crate::wire::ids::AtUri;
use crate::wire::socket::{Reply, Spelling};

/// The position of an observer that is being closed: it gets nothing more.
pub const LET_GO: i64 = i64::MAX;

/// Whether observers get an event: private ones go to one person only.
pub fn receives(audience: &Audience) -> bool {
    !matches!(audience, Audience::Private(_))
}

/// Whether an observer with this position is not being closed.
pub fn is_open(behind: Option<i64>) -> bool {
    behind != Some(LET_GO)
}

/// The position of an observer that must still catch up.
pub fn is_behind(behind: Option<i64>) -> Option<i64> {
    behind.filter(|behind| *behind != LET_GO)
}

/// An observer's walk through the log.
#[derive(Clone, Debug)]
pub struct CatchUp {
    community: AtUri,
    cursor: i64,
    from: Option<u64>,
    /// The cursor of the next page.
    pub after: i64,
}

impl CatchUp {
    /// The observer has everything up to and including `cursor`.
    pub fn new(community: AtUri, cursor: i64) -> Self {
        Self { community, cursor, from: None, after: cursor }
    }

    /// Takes a page; `None` if it could not be read. Returns the texts to send, and whether the walk is over: live
    /// events follow after these texts.
    pub fn page(&mut self, page: Option<Replayed>) -> (Vec<String>, bool) {
        let (events, through, last) = match page {
            Some(Replayed::Page { events, through, last, .. }) => (events, through, last),
            Some(Replayed::Resync { oldest }) => return (vec![self.read_anew(oldest)], true),
            None => return (vec![self.read_anew(0)], true),
        };
        let from = *self.from.get_or_insert_with(|| u64::try_from(self.cursor).unwrap_or(last));
        let received = events.iter().filter(|event| receives(&event.audience));
        let mut texts: Vec<String> = received.filter_map(|event| self.frame(event)).collect();
        self.after = i64::try_from(through).unwrap_or(LET_GO);
        let is_over = through >= last;
        if is_over {
            texts.push(Reply::Resumed { community_uri: self.community.to_string(), from, to: last }.text());
        }
        (texts, is_over)
    }

    fn frame(&self, event: &Numbered) -> Option<String> {
        frame(&event.event, &self.community, event.seq, false, Spelling::March)
    }

    fn read_anew(&self, oldest: u64) -> String {
        Reply::ResyncRequired { community_uri: self.community.clone(), oldest }.text()
    }
}

/// The usual reply to a frame, which has no effect here. `verdict` is the decision of the frame budget.
pub fn reply(text: Option<&str>, verdict: Verdict) -> Reply {
    let decided = action(text);
    match (verdict, decided.action, decided.sign) {
        (_, Action::Reply(reply), Sign::Refused) => reply,
        (Verdict::Over | Verdict::Enough, _, _) => Reply::error("Rate limit exceeded"),
        (_, Action::Reply(reply) | Action::Unsubscribe { reply, .. }, _) => reply,
        (_, Action::Subscribe(subscribe), _) => subscribe.reply,
        (_, Action::Session, _) => refusal(Actor::Nobody.person("session")),
        (_, Action::SetState { state }, _) => refusal(wanted_state(&Actor::Nobody, state.as_deref())),
        (_, Action::Presence { .. }, _) => Reply::error("Observers get no snapshot"),
        (_, Action::Typing { channel }, _) => refusal(wanted_writing(&Actor::Nobody, channel)),
        (_, Action::View { .. }, _) => refusal(Actor::Nobody.person("view")),
        (_, Action::Voice(frame), _) => refusal(wanted_channel(&Actor::Nobody, frame)),
    }
}

/// The reply to a request that needs a person, which an observer never has.
fn refusal<T>(wanted: Result<T, Reply>) -> Reply {
    wanted.err().unwrap_or_else(|| Reply::ack(""))
}
