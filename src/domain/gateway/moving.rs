//! A person moves between voice channels (V01–V05): out of the old community first, then into the new channel.
//!
//! The community holds the lists; the gateway knows a person's one channel, and takes them out of it before they are
//! in another. A move is noted before the community is asked, so a crash leaves nobody in a list that no gateway
//! remembers. The object asks what a [`Step`] says, one move at a time for each person, and tells the [`Answer`].

use super::Gateway;
use crate::domain::actions::Seat;
use crate::domain::presence::Input as Happened;
use crate::domain::voice::{Input, Place};
use crate::domain::voice_right::{VoiceRefusal, voice_channel};
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// A right that was read is read again when the community has heard of something since. A busy community hears
/// something many times a second, and reading takes milliseconds.
const ATTEMPTS: u32 = 20;

/// A move under way.
#[derive(Clone, Debug)]
pub struct Move {
    /// The session that asked for it.
    session: i64,
    did: Did,
    /// Where to; `None` is out.
    to: Option<Place>,
    attempts: u32,
    /// The person counts as being there from here on.
    noted: bool,
    /// They may not be there, and are to be told so when they are out.
    refusal: Option<VoiceRefusal>,
}

impl Move {
    /// The session that asked for it.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// Who moves.
    pub fn did(&self) -> &Did {
        &self.did
    }
}

/// What is to be asked next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The database: may the person be in this channel? The version of the ledger is read before that.
    Judge(Place),
    /// The community of this place: take the person out.
    Leave(Place),
    /// The community of this place: take the person in, if it knows of nothing newer than what was judged.
    Join(Place),
    /// Nothing: the move is over.
    Over(Ending),
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it was wished.
    Done,
    /// The person may not be there.
    Refused(VoiceRefusal),
    /// The community changed all the time, or somebody could not be reached.
    Failed,
}

/// What came of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether the person may be there.
    Judged(Result<(), VoiceRefusal>),
    /// They are out.
    Left,
    /// They are in.
    In,
    /// The community has heard of something since the right was read.
    Stale,
    /// There was no answer: whether it was done is not known.
    None,
}

impl Gateway {
    /// The session `session` wants its person somewhere (A12, A12b).
    pub fn begin_move(&self, session: i64, did: &Did, seat: &Seat) -> (Move, Step) {
        let begin = |to| Move { session, did: did.clone(), to, attempts: 0, noted: false, refusal: None };
        let Seat::In(community, channel) = seat else {
            let out = begin(None);
            let step = self.leave_first(&out).unwrap_or(Step::Over(Ending::Done));
            return (out, step);
        };
        let place = AtUri::parse(community).ok().and_then(|community| {
            voice_channel(&community, channel).map(|channel| Place { community, channel })
        });
        let step = place.clone().map_or(Step::Over(Ending::Refused(VoiceRefusal::Unknown)), Step::Judge);
        (begin(place), step)
    }

    /// Takes a person out whose time in a voice channel is over, unless they joined again meanwhile; `None` if there
    /// is nothing to do.
    pub fn begin_end(&self, did: &Did) -> Option<(Move, Step)> {
        let person = &self.persons.get(did)?.person;
        let is_over = person.seat.leaving().is_some() || person.presence.sockets().is_empty();
        is_over.then(|| self.begin_move(0, did, &Seat::Nowhere))
    }

    /// Goes on with a move.
    pub fn go_on(&mut self, moving: &mut Move, answer: Answer, now: Micros) -> Step {
        let over = |moving: &Move| Step::Over(moving.refusal.map_or(Ending::Done, Ending::Refused));
        match (answer, moving.to.clone()) {
            (Answer::Judged(Err(refusal)), _) => {
                moving.refusal = Some(refusal);
                // They were allowed a moment ago, and count as being there.
                let leave = moving.noted.then(|| self.leave_first(moving)).flatten();
                leave.unwrap_or_else(|| over(moving))
            }
            (Answer::Judged(Ok(())), Some(to)) => {
                let before = self.place_of(&moving.did);
                match before.filter(|before| before.community != to.community) {
                    Some(before) => Step::Leave(before.clone()), // V03
                    None => self.join(moving, to, now),
                }
            }
            (Answer::Left, to) => {
                self.seat(&moving.did, Input::Left, now);
                match to.filter(|_| moving.refusal.is_none()) {
                    Some(to) => self.join(moving, to, now),
                    None => over(moving),
                }
            }
            (Answer::In, _) => {
                if !self.open.contains_key(&moving.session) {
                    // The socket that joined has closed meanwhile (V07).
                    self.person(&moving.did, Happened::Closed(moving.session), now);
                }
                Step::Over(Ending::Done)
            }
            (Answer::Stale, Some(to)) if moving.attempts + 1 < ATTEMPTS => {
                moving.attempts += 1;
                Step::Judge(to)
            }
            (Answer::Stale | Answer::None | Answer::Judged(_), _) => {
                if moving.noted {
                    // Whether they are in is not known: they are taken out, and may try again.
                    self.seat(&moving.did, Input::Ended, now);
                }
                Step::Over(Ending::Failed)
            }
        }
    }

    fn join(&mut self, moving: &mut Move, to: Place, now: Micros) -> Step {
        self.seat(&moving.did, Input::Joined(moving.session, to.clone()), now);
        moving.noted = true;
        Step::Join(to)
    }

    fn leave_first(&self, moving: &Move) -> Option<Step> {
        self.place_of(&moving.did).cloned().map(Step::Leave)
    }

    fn place_of(&self, did: &Did) -> Option<&Place> {
        self.persons.get(did)?.person.seat.place()
    }

    fn seat(&mut self, did: &Did, input: Input, now: Micros) {
        self.change(did, |person, periods| person.seat.on(input, now, periods));
    }

    /// Those whose time in a voice channel is over. Each is answered once, until [`Gateway::mark`] finds them again.
    pub fn take_leaving(&mut self) -> Vec<Did> {
        std::mem::take(&mut self.leaving).into_iter().collect()
    }
}
