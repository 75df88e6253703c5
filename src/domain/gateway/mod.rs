//! A gateway: the sockets of some people, what each of them listens to, and who is there.
//!
//! A state machine without I/O. [`Gateway::on`] takes what happened and when, changes the memory, and
//! answers with [`Effect`]s; the object performs them in order, before it waits for anything. Whatever must
//! survive the memory is an [`Effect::Keep`], so [`Gateway::wake`] rebuilds the same gateway from what was
//! kept. Sockets are the numbers of their sessions; what the runtime knows of them comes in with a
//! [`Moment`].

pub mod catching_up;
pub mod following;
pub mod looking;
pub mod moving;
pub mod publication;
pub mod restoring;
pub mod session;
pub mod settling;

mod delivery;
mod frames;
mod members_only;
pub mod operating;
mod people;
mod sockets;
mod traces;
mod wake;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use self::operating::Refused;
use self::publication::Publication;
use self::session::{Caller, Open, Session, View};
use super::actions::{Destination, Subscribe};
use super::announcement::Numbered;
use super::community::devices::Devices;
use super::frame_budget::Rate;
use super::lease;
use super::members_only::{Allowed, Readers};
use super::pending::OutboxEvents;
use super::person::Person;
use super::presence::{Periods, State};
use super::restore::{Course, Trace};
use super::subscriptions::{Candidate, Kind, Meanings, Subscriptions};
use super::typing::{TypingRefusal, Writing};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::{Reply, Spelling};
use crate::wire::time::Micros;

pub use self::delivery::{ROOM_MILLIS, ROOM_TRIES};
pub use self::traces::{LOST, room_to_make};
pub use self::wake::Stored;

/// A sign of life or an activity is stored when the stored one is older than this, in microseconds.
const FRESH: i64 = 1_000_000;

/// The same of a person whose newest client beats (N163): less than `AWAY_AFTER_MS` usually is, so that a memory that
/// is rebuilt takes nobody for idle.
const PULSES: i64 = 240_000_000;

/// The configuration of a gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its own name.
    pub name: String,
    /// `GATEWAY_SHARDS` (C13).
    pub shards: u32,
    /// The name of the gateway that is a person's home, with so many shards.
    pub home_of: fn(&Did, u32) -> String,
    /// `AWAY_AFTER_MS`, `OFFLINE_GRACE_MS` (C10, C11).
    pub periods: Periods,
    /// `LEASE_MS` (C12), in microseconds; 0 is off.
    pub lease: i64,
    /// `RESTORE_MS` (C16), in microseconds; 0 is off.
    pub restore: i64,
    /// `RESTORE_KEEP_MS` (C27), in microseconds.
    pub restore_keep: i64,
    /// `WS_RATE`, `WS_BURST` (C15).
    pub rate: Rate,
}

/// When something happens, and what the runtime knows of the sockets then.
pub struct Moment<'a> {
    /// The time.
    pub now: Micros,
    /// When the runtime last answered a socket's heartbeat by itself; `None` if it never did.
    pub answered: &'a dyn Fn(i64) -> Option<Micros>,
    /// Bytes handed to a socket that its client has not taken yet.
    pub unsent: &'a dyn Fn(i64) -> u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A socket was accepted. Its session, which [`Gateway::admit`] made, is stored under this number.
    Opened(i64, Box<Session>),
    /// A frame of a client; `None` is a binary one.
    Frame(i64, Option<String>),
    /// A [`Job`] that a frame asked for is done, with this reply unless it was sent already.
    Done(i64, Option<Reply>),
    /// Random bytes, as text, for [`Job::MakeSecret`].
    Secret(i64, String),
    /// A client closed its socket in order.
    HungUp(i64),
    /// The line of a socket broke, as the runtime noticed.
    Broke(i64),
    /// Events of a community arrived. Before the wait, [`Gateway::has_no_room`] returned the full sockets.
    Delivered {
        /// The community.
        community: AtUri,
        /// In order.
        events: Vec<Numbered>,
        /// The sockets that were full before the wait, with their bytes.
        full: BTreeMap<i64, u32>,
        /// To whose sockets they may go.
        allowed: Allowed,
    },
    /// The channel that the person of a socket sees is in this community; `None`: it is not known.
    Viewed(i64, AtUri, Option<AtUri>),
    /// It was looked up whether a person may write in the channel that they named ([`Job::Write`]).
    Writes {
        /// Of which socket.
        id: i64,
        /// Who.
        did: Did,
        /// As their client named it.
        name: String,
        /// Which channel it is.
        found: Result<View, TypingRefusal>,
    },
    /// What a snapshot needs was read ([`Job::Snapshot`]); `Err`: its refusal.
    Snapshot(i64, Box<Result<looking::Found, Reply>>),
    /// A person writes in a channel; `readers` as in [`Allowed`].
    Typing {
        /// In which channel, of which community.
        view: View,
        /// Who.
        did: Did,
        /// Who may read the community.
        readers: Readers,
    },
    /// What the devices of people in a call do; `readers` as in [`Allowed`].
    Devices {
        /// In which voice channel, of which community.
        view: View,
        /// By person.
        devices: Devices,
        /// Who may read the community.
        readers: Readers,
    },
    /// Events of records about this gateway's people arrived, in the order of commits.
    Records(Vec<OutboxEvents>),
    /// A person did something through HTTP that their sockets show (U21, U22).
    Shown(Did, Box<RawValue>),
    /// Another gateway, or this one, publishes what changed about its people; `had` is how far this one is.
    Published {
        /// The gateway that publishes it.
        from: String,
        /// In order.
        publications: Vec<Publication>,
        /// The last of its ids that arrived before.
        had: i64,
        /// Of the communities for members only through which people are watched, who may read them.
        readers: BTreeMap<AtUri, Readers>,
    },
    /// These people had their sockets at another gateway before `GATEWAY_SHARDS` changed.
    Adopted(Vec<Did>),
    /// A person showed a proof for the first time.
    Proved(Did),
    /// A person is erased (I56); the last time, undelivered events about them are deleted, too.
    Erased {
        /// Who.
        did: Did,
        /// Whether it is the last time.
        last: bool,
    },
    /// The operator restarts the service (R63).
    Restarted,
    /// The alarm rang.
    Alarm,
}

/// What there is to do. Effects are performed in order, and all of them before the next await.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a text to each of these sockets.
    Send {
        /// In any order.
        to: Vec<i64>,
        /// JSON.
        text: String,
    },
    /// Write to the object's database.
    Keep(Keep),
    /// Close a socket, which has no session any more.
    Close {
        /// Which.
        socket: i64,
        /// One of A19.
        code: u16,
        /// In words.
        reason: &'static str,
    },
    /// A frame needs something from outside: do it, and then call with [`Input::Done`].
    Start(i64, Job),
    /// A person writes in a channel: the gateways that listen to its community must receive that, once.
    Typing(View, Did),
    /// A person has read a channel up to now (U42).
    HasRead(View, Did),
    /// See that the alarm rings at this time or earlier.
    WakeAt(Micros),
    /// See that the alarm rings when the oldest trace of a closed socket ends.
    WakeForTraces,
    /// Nobody is here. The alarm is needed for the traces of closed sockets only.
    Rest,
    /// This many stored rows could not be read; they are dropped.
    Unreadable(u32),
    /// This many events about people could not be read or written; they are dropped (Q21).
    Lost(u32),
}

/// What a frame needs from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Subscribe to each of these, in order. Only the last may resume (Q02).
    Subscribe(Vec<Subscribe>),
    /// Make a secret (Q15): see [`Input::Secret`].
    MakeSecret,
    /// Store the state that a person chose (A13).
    SetState(Did, State),
    /// Move a person between voice channels (A12).
    Move(Did, Destination),
    /// Find the channels that this name may mean, and call [`Gateway::look`]; `None`: the person sees none.
    Look(Option<String>),
    /// Find out whether a person may write in the channel of this name, and report it with [`Input::Writes`].
    Write(Did, String),
    /// Read who is present in a community, and report it with [`Input::Snapshot`].
    Snapshot(AtUri),
    /// Find the community of a channel that a person sees, and report it with [`Input::Viewed`].
    View(AtUri),
}

/// A change of the object's database. `storage::gateway` has the statements.
#[derive(Clone, Debug)]
pub enum Keep {
    /// A session changed.
    Session(i64, Box<Session>),
    /// A session subscribed to something.
    Subscribed(i64, Kind, Option<String>),
    /// A session unsubscribed from a key; without a key, from everything of the kind.
    Unsubscribed(i64, Kind, Option<String>),
    /// Exactly this subscription is taken back.
    TakenBack(i64, Kind, Option<String>),
    /// A session without subscriptions got all of these.
    Inherited(i64, Box<Subscriptions>),
    /// A session is over.
    Ended(i64),
    /// A session's last sign of life, and whether it sends heartbeats.
    Sign(i64, Micros, bool),
    /// A person changed.
    Person(Did, Box<Person>),
    /// Nothing is to be remembered of a person.
    PersonOver(Did),
    /// The gateway listens to a community and has everything up to and including this `seq`.
    Received(String, u64),
    /// The gateway listens to a community no more.
    Detached(String),
    /// These names mean these channels, and nothing else.
    Meanings(Vec<String>, Vec<Candidate>),
    /// The trace of a person's socket that closed at this time.
    Trace(Did, Micros, Box<Trace>),
    /// Delete the traces from before this time, and those over the limits.
    TidyTraces(Micros),
    /// A person's status or profile changed at this time (Q13).
    Changed(Publication, Micros),
    /// Delete changes from before this time, and those over the limits.
    TidyChanges(Micros),
    /// An event of a record waits for the state of its person.
    Hold(Did, bool, Box<RawValue>),
    /// Events up to and including this one wait no longer.
    Released(i64),
    /// Every gateway must receive this event about a person.
    Publish(Publication),
    /// The state that a visitor, who has no row in the database, chose at this time (P01); `None` deletes it.
    Chosen(Did, Option<State>, Micros),
    /// Events of records up to and including this row of the outbox arrived.
    Records(i64),
    /// Everything up to and including this id arrived from another gateway.
    PublishedBy(String, i64),
    /// Deletes everything of a person; undelivered events about them only if the `bool` is set.
    Erased(Did, bool),
    /// This is the run of the runtime that the object last saw.
    Run(String),
}

/// A person at their gateway.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// Presence and voice.
    pub person: Person,
    /// The last activity that is stored.
    stored_at: Micros,
}

impl Present {
    /// A person without a stored session.
    pub fn of(person: Person) -> Self {
        Self { person, ..Self::default() }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Gateway {
    settings: Settings,
    /// The open sockets.
    pub open: BTreeMap<i64, Open>,
    /// What channel names mean.
    pub meanings: Meanings,
    /// Communities listened to, and the last `seq` that arrived from each.
    pub communities: BTreeMap<String, u64>,
    /// When they arrived.
    courses: BTreeMap<String, Course>,
    /// What the keys of all sessions cost in memory.
    keys_cost: usize,
    /// Changes of people noted since they were last tidied.
    changes: u32,
    /// People with presence or a voice channel.
    pub persons: BTreeMap<Did, Present>,
    /// People whose state must still be read, stored or published.
    unsettled: BTreeSet<Did>,
    /// Those who are to be taken out of a voice channel.
    leaving: BTreeSet<Did>,
    /// Sessions that still have to get what their person missed.
    restoring: BTreeSet<i64>,
    /// Events of records about people wait for the state of their person.
    held: bool,
    /// Something was published that some gateway may not have.
    pub unpublished: bool,
    /// Some people's home is another gateway since `GATEWAY_SHARDS` changed.
    pub strangers: bool,
    /// Communities whose observers receive events about people.
    pub observed: BTreeSet<String>,
    /// The last row of the outbox with events of records about people.
    records: i64,
    /// Where people wrote just now (U40).
    writing: Writing,
    /// What was refused (O26).
    refused: Refused,
    /// The sockets that were full at the latest delivery (O26).
    slow: BTreeSet<i64>,
    effects: Vec<Effect>,
}

impl Gateway {
    /// An empty gateway.
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            open: BTreeMap::new(),
            meanings: Meanings::default(),
            communities: BTreeMap::new(),
            courses: BTreeMap::new(),
            keys_cost: 0,
            changes: 0,
            persons: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            leaving: BTreeSet::new(),
            restoring: BTreeSet::new(),
            held: true,
            unpublished: true,
            strangers: false,
            observed: BTreeSet::new(),
            records: 0,
            writing: Writing::default(),
            refused: Refused::default(),
            slow: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// Takes in what happened.
    pub fn on(&mut self, input: Input, moment: &Moment<'_>) -> Vec<Effect> {
        match input {
            Input::Opened(id, session) => self.opened(id, *session, moment),
            Input::Frame(id, text) => self.frame(id, text, moment),
            Input::Done(id, reply) => self.done(id, reply, moment),
            Input::Secret(id, secret) => self.make_secret(id, secret, moment),
            Input::HungUp(id) => self.hung_up(id, moment),
            Input::Broke(id) => self.depart(id, sockets::Gone::Broke, moment),
            Input::Delivered { community, events, full, allowed } => {
                self.deliver(&community, &events, &full, &allowed, moment);
            }
            Input::Viewed(id, channel, community) => self.viewed(id, channel, community, moment),
            Input::Writes { id, did, name, found } => self.end_writing(id, did, &name, found, moment),
            Input::Snapshot(id, found) => self.end_snapshot(id, *found, moment),
            Input::Devices { view, devices, readers } => self.devices(&view, devices, &readers),
            Input::Typing { view, did, readers } => self.typing(&view, &did, &readers, moment),
            Input::Shown(did, event) => self.show_to(&did, &event, moment),
            Input::Records(rows) => self.records(rows, moment),
            Input::Published { from, publications, had, readers } => {
                self.published(&from, &publications, had, &readers, moment);
            }
            Input::Adopted(dids) => self.adopted(&dids, moment),
            Input::Proved(did) => self.proved(&did, moment),
            Input::Erased { did, last } => self.erased(&did, last, moment),
            Input::Restarted => self.restart(moment),
            Input::Alarm => self.alarm(moment),
        }
        self.take_effects()
    }

    /// The effects of what was done.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether nobody is here and nothing is to be done.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.persons.is_empty()
    }

    fn keep(&mut self, keep: Keep) {
        self.effects.push(Effect::Keep(keep));
    }

    fn keep_session(&mut self, id: i64) {
        if let Some(open) = self.open.get(&id) {
            self.keep(Keep::Session(id, Box::new(open.session.clone())));
        }
    }

    /// Sends a text to one socket.
    pub fn send(&mut self, id: i64, text: String) {
        self.effects.push(Effect::Send { to: vec![id], text });
    }

    fn wake_at(&mut self, at: Micros) {
        self.effects.push(Effect::WakeAt(at));
    }

    /// The alarm: looks after people and sockets, and forgets what closed sockets had.
    fn alarm(&mut self, moment: &Moment<'_>) {
        self.end_leases(moment);
        self.persons.retain(|_, present| !present.person.is_over());
        let periods = self.settings.periods;
        let is_due = |present: &Present| present.person.deadline(&periods).is_some_and(|at| at <= moment.now);
        let due: Vec<Did> =
            self.persons.iter().filter(|(_, present)| is_due(present)).map(|(did, _)| did.clone()).collect();
        for did in due {
            self.person(&did, super::presence::Input::Tick, moment.now);
        }
        self.keep(Keep::TidyTraces(self.kept_since(moment.now)));
        self.tidy_changes(1, moment.now);
        if self.is_idle() {
            self.effects.push(Effect::Rest);
        } else {
            self.plan(moment);
        }
    }

    /// Plans the next alarm from everything that has a time.
    fn plan(&mut self, moment: &Moment<'_>) {
        if self.is_idle() {
            return;
        }
        let lives = self.open.iter().filter_map(|(id, open)| Self::life(*id, open, moment));
        let next = lease::next_look(moment.now, lives, self.settings.lease);
        self.wake_at(next);
        let periods = self.settings.periods;
        if let Some(at) = self.persons.values().filter_map(|present| present.person.deadline(&periods)).min()
        {
            self.wake_at(at);
        }
    }

    /// A socket comes in: its session, to be stored before [`Input::Opened`]. `has_traces` says whether
    /// traces of closed sockets of its person are kept.
    pub fn admit(&self, caller: Caller, has_traces: bool, now: Micros) -> Session {
        let others = caller.did.as_ref().is_some_and(|did| self.has_others(did, has_traces));
        Session {
            did: caller.did,
            unproven: caller.unproven,
            proven: caller.proven,
            present: caller.present,
            opened_at: now,
            origin: caller.origin,
            secret: caller.secret,
            // Without other sockets of its person, there is nothing to restore; the newest client reads everything
            // again (N165).
            silent: (others && caller.spelling == Spelling::March).then(super::restore::Declined::default),
            spelling: caller.spelling,
            ..Session::default()
        }
    }

    /// Whether a person has, or had, other sockets that a new one may go on from.
    fn has_others(&self, did: &Did, has_traces: bool) -> bool {
        if self.settings.restore == 0 {
            return false;
        }
        let present = self.persons.get(did);
        has_traces || present.is_some_and(|present| !present.person.presence.sockets().is_empty())
    }
}
