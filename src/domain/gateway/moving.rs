//! Moves between voice channels (V01–V05): a person leaves the old community first, and then joins the new channel.
//!
//! Communities hold the lists of members. The gateway knows the one channel of each of its people, and stores a new
//! one before it calls the community: after a crash, nobody is in a list that no gateway knows of. The object
//! performs each [`Step`], one move at a time for each person, and passes the [`Answer`] to [`Gateway::go_on`].

use super::{Effect, Gateway};
use crate::domain::actions::Destination;
use crate::domain::presence::Input as Happened;
use crate::domain::voice::{Input, Place};
use crate::domain::voice_moderation::{Act, Outcome};
use crate::domain::voice_right::{VoiceRefusal, voice_channel};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;
use crate::wire::time::Micros;

/// How often a right is read in one move. The community answers "stale" if it received an event after the right was
/// read; a busy one receives many a second, and reading takes milliseconds.
const ATTEMPTS: u32 = 20;

/// A move under way.
#[derive(Clone, Debug)]
pub struct Move {
    /// The session that asked for it.
    session: i64,
    did: Did,
    /// The destination; `None`: the person only leaves.
    to: Option<Place>,
    attempts: u32,
    /// Whether the gateway has stored the destination as the person's channel.
    noted: bool,
    /// Why the person may not be there: the reply once they have left.
    refusal: Option<VoiceRefusal>,
    /// The socket that kept the person in a channel until this one joined, and that channel (U31).
    superseded: Option<(i64, Place)>,
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

/// What the object does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read from the database whether the person may be in this channel, and before that the ledger's version.
    Judge(Place),
    /// Call the community of this place: the person leaves.
    Leave(Place),
    /// Call the community of this place: the person joins, unless it received an event after the right was read.
    Join(Place),
    /// Nothing: the move is over.
    Over(Ending),
}

/// How a move ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The person is where they wanted to be.
    Done,
    /// The person may not be there.
    Refused(VoiceRefusal),
    /// The right was stale too often, or a call failed.
    Failed,
}

/// The result of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whether the person may be there.
    Judged(Result<(), VoiceRefusal>),
    /// They left.
    Left,
    /// They joined.
    In,
    /// The community received an event after the right was read.
    Stale,
    /// No answer came, so the community may have done it or not.
    None,
}

impl Gateway {
    /// The session `session` asks to move its person (A12, A12b).
    pub fn begin_move(&self, session: i64, did: &Did, destination: &Destination) -> (Move, Step) {
        let did = did.clone();
        let begin =
            |to| Move { session, did, to, attempts: 0, noted: false, refusal: None, superseded: None };
        let Destination::In(community, channel) = destination else {
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

    /// Begins to remove a person from a voice channel in which nothing keeps them any more. `None` if they joined
    /// again meanwhile.
    pub fn begin_end(&self, did: &Did) -> Option<(Move, Step)> {
        let person = &self.persons.get(did)?.person;
        let is_over = person.voice.leaving().is_some() || person.presence.sockets().is_empty();
        is_over.then(|| self.begin_move(0, did, &Destination::Nowhere))
    }

    /// U32: begins what a moderator does to somebody in `place`. The socket that keeps them there learns of it: of a
    /// move once it is done. `None` if they are not there.
    pub fn begin_moderated(&mut self, did: &Did, place: &Place, act: &Act) -> Option<(Move, Step)> {
        let voice = &self.persons.get(did)?.person.voice;
        let is_there = voice.leaving().is_none() && voice.place() == Some(place);
        let holder = voice.holder().unwrap_or(0); // no socket has this number
        if !is_there {
            return None;
        }
        let (moving, step) = match act {
            Act::Mute => {
                let (moving, _) = self.begin_move(holder, did, &Destination::Nowhere);
                (moving, Step::Over(Ending::Done))
            }
            Act::Disconnect => self.begin_move(holder, did, &Destination::Nowhere),
            Act::Move(to) => {
                let destination = Destination::In(place.community.to_string(), to.to_string());
                self.begin_move(holder, did, &destination)
            }
        };
        if act.to().is_none() {
            self.tell_moderated(holder, place, act);
        }
        Some((moving, step))
    }

    /// U32: what a moderator did has ended so.
    pub fn end_moderated(
        &mut self,
        holder: i64,
        place: &Place,
        act: &Act,
        ending: Ending,
    ) -> Option<Outcome> {
        match ending {
            Ending::Failed => None,
            Ending::Refused(_) => Some(Outcome::MayNot),
            Ending::Done => {
                if act.to().is_some() {
                    self.tell_moderated(holder, place, act);
                }
                Some(Outcome::Done)
            }
        }
    }

    fn tell_moderated(&mut self, holder: i64, place: &Place, act: &Act) {
        if self.open.contains_key(&holder) {
            let frame = Reply::VoiceModerated {
                community_uri: place.community.clone(),
                channel_rkey: place.channel.rkey(),
                action: act.word().to_owned(),
                to_channel_rkey: act.to().map(AtUri::rkey),
            };
            self.effects.push(Effect::Send { to: vec![holder], text: frame.text() });
        }
    }

    /// Continues a move.
    pub fn go_on(&mut self, moving: &mut Move, answer: Answer, now: Micros) -> Step {
        let over = |moving: &Move| Step::Over(moving.refusal.map_or(Ending::Done, Ending::Refused));
        match (answer, moving.to.clone()) {
            (Answer::Judged(Err(refusal)), _) => {
                moving.refusal = Some(refusal);
                // An earlier right allowed it, and the community may have let them join.
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
                self.note_voice(&moving.did, Input::Left, now);
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
                self.tell_superseded(moving.superseded.take());
                Step::Over(Ending::Done)
            }
            (Answer::Stale, Some(to)) if moving.attempts + 1 < ATTEMPTS => {
                moving.attempts += 1;
                Step::Judge(to)
            }
            (Answer::Stale | Answer::None | Answer::Judged(_), _) => {
                if moving.noted {
                    // They may have joined: remove them, so that they can try again.
                    self.note_voice(&moving.did, Input::Ended, now);
                }
                Step::Over(Ending::Failed)
            }
        }
    }

    fn join(&mut self, moving: &mut Move, to: Place, now: Micros) -> Step {
        if !moving.noted {
            moving.superseded = self.superseded_by(moving.session, &moving.did);
        }
        self.note_voice(&moving.did, Input::Joined(moving.session, to.clone()), now);
        moving.noted = true;
        Step::Join(to)
    }

    /// The open socket that keeps the person in a channel, if it is another one (U31).
    fn superseded_by(&self, session: i64, did: &Did) -> Option<(i64, Place)> {
        let voice = &self.persons.get(did)?.person.voice;
        let holder = voice.holder().filter(|holder| *holder != session && self.open.contains_key(holder))?;
        Some((holder, voice.place()?.clone()))
    }

    /// U31: the person joined from another device, so this one calls no more.
    fn tell_superseded(&mut self, superseded: Option<(i64, Place)>) {
        let Some((holder, Place { community, channel })) = superseded else { return };
        let frame = Reply::Superseded { community_uri: community, channel_rkey: channel.rkey() };
        self.effects.push(Effect::Send { to: vec![holder], text: frame.text() });
    }

    fn leave_first(&self, moving: &Move) -> Option<Step> {
        self.place_of(&moving.did).cloned().map(Step::Leave)
    }

    fn place_of(&self, did: &Did) -> Option<&Place> {
        self.persons.get(did)?.person.voice.place()
    }

    fn note_voice(&mut self, did: &Did, input: Input, now: Micros) {
        self.change(did, |person, periods| person.voice.on(input, now, periods));
    }

    /// The people to remove from a voice channel. Returns each one once, until [`Gateway::mark`] finds them again.
    pub fn take_leaving(&mut self) -> Vec<Did> {
        std::mem::take(&mut self.leaving).into_iter().collect()
    }
}
