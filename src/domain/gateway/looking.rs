//! What a person sees and writes, and who is present where they look (contract A50 to A52, U40 to U42, N168).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::publication::Publication;
use super::session::{Open, View};
use super::{Effect, Gateway, Job, Moment};
use crate::domain::actions::Actor;
use crate::domain::announcement::Audience;
use crate::domain::community::devices::Devices;
use crate::domain::members_only::Readers;
use crate::domain::presence::State;
use crate::domain::subscriptions::{Candidate, Meanings, Routing};
use crate::domain::typing::{PAUSE, TypingRefusal, expires_at};
use crate::wire::events::march;
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::signaling::VoiceState;
use crate::wire::socket::{PresentMember, Reply, Spelling};
use crate::wire::subscribe_events::{NewestEvent, TypingEvent, VoiceStateEvent};

/// The most people of a snapshot: a frame of about 60 KB.
pub const PRESENT_MAX: usize = 1_000;

/// What a snapshot costs in frames (A50): it reads all members of a community.
pub(super) const SNAPSHOT_FRAMES: u32 = 10;

/// What changed while a snapshot was read: newer than what was read.
#[derive(Clone, Debug)]
pub(super) struct Meanwhile {
    community: AtUri,
    states: BTreeMap<Did, State>,
}

/// What was read for a snapshot.
#[derive(Clone, Debug)]
pub struct Found {
    /// The community.
    pub community: AtUri,
    /// Those who are present, by DID: at most [`PRESENT_MAX`] and one.
    pub present: Vec<(Did, State)>,
    /// The occupied voice channels with their people.
    pub voice: Vec<(AtUri, Vec<Did>)>,
    /// What the devices of these people do.
    pub devices: Devices,
    /// The last `seq` of the community before `present` was read.
    pub seq: u64,
}

impl Gateway {
    /// A50: a snapshot of a community is requested.
    pub(super) fn begin_snapshot(
        &mut self,
        id: i64,
        community: AtUri,
        moment: &Moment<'_>,
    ) -> Result<Reply, Job> {
        let rate = self.settings.rate;
        let Some(open) = self.open.get_mut(&id) else { return Ok(Reply::ack("")) };
        if !open.budget.take_more(rate, SNAPSHOT_FRAMES - 1, moment.now) {
            self.refused.frames += 1;
            return Ok(Reply::error("Rate limit exceeded"));
        }
        open.meanwhile = Some(Meanwhile { community: community.clone(), states: BTreeMap::new() });
        Err(Job::Snapshot(community))
    }

    /// What a snapshot needs was read; `Err`: its refusal.
    pub(super) fn end_snapshot(&mut self, id: i64, found: Result<Found, Reply>, moment: &Moment<'_>) {
        let meanwhile = self.open.get_mut(&id).and_then(|open| open.meanwhile.take());
        let reply = found.map_or_else(
            |refusal| refusal,
            |Found { community, present, voice, devices, seq }| {
                let complete = present.len() <= PRESENT_MAX;
                let mut states: BTreeMap<Did, State> = present.into_iter().collect();
                states.extend(meanwhile.map(|meanwhile| meanwhile.states).unwrap_or_default());
                states.retain(|_, state| *state != State::Offline);
                let complete = complete && states.len() <= PRESENT_MAX;
                let member =
                    |(did, state): (Did, State)| PresentMember { did, state: state.word().to_owned() };
                let members = states.into_iter().take(PRESENT_MAX).map(member).collect();
                let voice: BTreeMap<Rkey, Vec<Did>> =
                    voice.into_iter().map(|(channel, dids)| (channel.rkey(), dids)).collect();
                let voice_states = devices;
                Reply::PresenceSnapshot {
                    community_uri: community,
                    members,
                    complete,
                    voice,
                    voice_states,
                    seq,
                }
            },
        );
        self.done(id, Some(reply), moment);
    }

    /// What is published about a person is newer than what snapshots read just now.
    pub(super) fn note_meanwhile(&mut self, publication: &Publication) {
        #[derive(Deserialize)]
        struct Words {
            state: State,
        }
        if !publication.status || self.open.values().all(|open| open.meanwhile.is_none()) {
            return;
        }
        let Some(text) = march(publication.event.get()) else { return };
        let Ok(Words { state }) = serde_json::from_str(text) else { return };
        let communities = || publication.communities.iter().chain(&publication.closed);
        for meanwhile in self.open.values_mut().filter_map(|open| open.meanwhile.as_mut()) {
            if communities().any(|one| *one == meanwhile.community) && meanwhile.states.len() < PRESENT_MAX {
                meanwhile.states.insert(publication.did.clone(), state);
            }
        }
    }

    /// A52: the person of a socket sees this channel, or none.
    pub(super) fn begin_view(
        &mut self,
        id: i64,
        actor: &Actor,
        channel: Option<String>,
        moment: &Moment<'_>,
    ) -> Result<Reply, Job> {
        if let Err(refusal) = actor.person_beyond_presence("view") {
            return Ok(refusal);
        }
        let Some(open) = self.open.get(&id) else { return Ok(Reply::ack("")) };
        let is_fresh = open.viewed_at.is_some_and(|at| moment.now.0.saturating_sub(at.0) < PAUSE);
        let is_as_before = match (&channel, &open.session.view) {
            (Some(name), Some(view)) => is_fresh && view.is_named(name),
            (None, None) => true,
            _ => false,
        };
        if is_as_before { Ok(Reply::ack("")) } else { Err(Job::Look(channel)) }
    }

    /// The channels that the name of a [`Job::Look`] may mean were found. Notes what the person sees now. Returns whose
    /// mark moves on in which channels: in the one that they leave, and in the one that they see (U42).
    pub fn look(
        &mut self,
        id: i64,
        name: Option<&str>,
        candidates: Vec<Candidate>,
        moment: &Moment<'_>,
    ) -> (Option<Did>, Vec<View>) {
        let Some(open) = self.open.get_mut(&id) else { return (None, Vec::new()) };
        let view = name.and_then(|name| meant(name, candidates, open));
        let left = open.session.view.take().filter(|left| Some(left) != view.as_ref());
        open.session.view.clone_from(&view);
        open.viewed_at = Some(moment.now);
        let reader = open.session.did.clone().filter(|_| open.session.proven);
        self.keep_session(id);
        (reader, left.into_iter().chain(view).collect())
    }

    /// What the person of a socket of March 2026 saw when its client closed it (U42).
    pub(super) fn reads_to_the_end(&mut self, id: i64) {
        let session = self.open.get(&id).map(|open| &open.session);
        let Some(session) = session.filter(|session| session.proven && !session.is_newest()) else { return };
        if let (Some(did), Some(view)) = (&session.did, &session.view) {
            self.effects.push(Effect::HasRead(view.clone(), did.clone()));
        }
    }

    /// U23: whether the person has this channel on a screen, on a socket with a proof.
    pub fn sees(&self, did: &Did, channel: &AtUri) -> bool {
        self.open.values().any(|open| {
            let view = open.session.view.as_ref();
            self.proven(open) == Some(did) && view.is_some_and(|view| view.channel == *channel)
        })
    }

    /// Whether the person has any channel on a screen, on a socket with a proof (U28).
    pub fn looks(&self, did: &Did) -> bool {
        self.open.values().any(|open| self.proven(open) == Some(did) && open.session.view.is_some())
    }

    /// A51: a person writes in the channel of this name.
    pub(super) fn begin_writing(&self, did: Did, channel: String, moment: &Moment<'_>) -> Result<Reply, Job> {
        match self.writing.is_known(&did, &channel, moment.now) {
            true => Ok(Reply::ack("")),
            false => Err(Job::Write(did, channel)),
        }
    }

    /// N168: the person of a socket of the newest client writes in the channel that they see; `true` if something is to
    /// be looked up first.
    pub(super) fn begin_writing_newest(&mut self, id: i64, channel: &AtUri, moment: &Moment<'_>) -> bool {
        let Some(session) = self.open.get(&id).map(|open| &open.session) else { return false };
        let is_seen = session.view.as_ref().is_some_and(|view| view.channel == *channel);
        let Some(did) = session.did.clone().filter(|_| is_seen) else { return false };
        let job = self.begin_writing(did, channel.to_string(), moment).err();
        let is_job = job.is_some();
        self.effects.extend(job.map(|job| Effect::Start(id, job)));
        is_job
    }

    /// It was looked up whether a person may write in the channel that they named, and which one it is.
    pub(super) fn end_writing(
        &mut self,
        id: i64,
        did: Did,
        name: &str,
        found: Result<View, TypingRefusal>,
        moment: &Moment<'_>,
    ) {
        let is_newest = self.open.get(&id).is_some_and(|open| open.session.is_newest());
        let reply = match found {
            Err(refusal) => Reply::error(refusal.text()),
            Ok(view) => {
                if self.writing.begin(&did, name, &view.channel, moment.now) {
                    self.effects.push(Effect::Typing(view, did));
                }
                Reply::ack("")
            }
        };
        self.done(id, Some(reply).filter(|_| !is_newest), moment);
    }

    /// Somebody writes in a channel: everybody else who receives its messages, or sees it in the newest client, gets
    /// that.
    pub(super) fn typing(&mut self, view: &View, did: &Did, readers: &Readers, moment: &Moment<'_>) {
        let community = view.community.as_str();
        let approvers = &BTreeSet::new();
        let routing = Routing { community, readers, approvers, meanings: &self.meanings };
        let audience = Audience::Messages(view.channel.clone());
        let receives = |open: &Open| {
            let session = &open.session;
            session.did.as_ref() != Some(did)
                && (!session.is_newest() || session.view.as_ref() == Some(view))
                && routing.receives(&open.subscriptions, session.receiver(), &audience)
        };
        let receivers = self.open.iter().filter(|(_, open)| receives(open));
        let (newest, march): (Vec<_>, Vec<_>) = receivers
            .map(|(id, open)| (*id, open.session.spelling))
            .partition(|(_, to)| *to == Spelling::Newest);
        let frame = Reply::Typing {
            did: did.clone(),
            channel: view.channel.rkey(),
            expires_at: expires_at(moment.now).shown(),
            community_uri: view.community.clone(),
            channel_uri: view.channel.clone(),
        };
        let event = TypingEvent { event: "start", channel: view.channel.clone(), did: did.clone() };
        let of_newest = NewestEvent::TypingEvent(event).text().ok();
        for (to, text) in [(march, Some(frame.text())), (newest, of_newest)] {
            let to: Vec<i64> = to.into_iter().map(|(id, _)| id).collect();
            self.effects.extend(text.filter(|_| !to.is_empty()).map(|text| Effect::Send { to, text }));
        }
    }

    /// What the devices of people in a call do: everybody who receives the events of the community gets that (U30).
    pub(super) fn devices(&mut self, view: &View, devices: Devices, readers: &Readers) {
        let community = view.community.as_str();
        let approvers = &BTreeSet::new();
        let routing = Routing { community, readers, approvers, meanings: &self.meanings };
        let receives = |open: &Open| {
            routing.receives(&open.subscriptions, open.session.receiver(), &Audience::Community)
        };
        let receivers = self.open.iter().filter(|(_, open)| receives(open));
        let (newest, march): (Vec<_>, Vec<_>) = receivers
            .map(|(id, open)| (*id, open.session.spelling))
            .partition(|(_, to)| *to == Spelling::Newest);
        let ids = |to: Vec<(i64, Spelling)>| to.into_iter().map(|(id, _)| id).collect::<Vec<i64>>();
        let (newest, march) = (ids(newest), ids(march));
        for (did, state) in devices {
            let VoiceState { muted, deafened, .. } = state;
            let event = VoiceStateEvent { channel: view.channel.clone(), did: did.clone(), muted, deafened };
            let of_newest = NewestEvent::VoiceStateEvent(event).text().ok();
            let (community_uri, channel_rkey) = (view.community.clone(), view.channel.rkey());
            let frame = Reply::VoiceStateChanged { community_uri, channel_rkey, did, state };
            for (to, text) in [(&march, Some(frame.text())), (&newest, of_newest)] {
                let text = text.filter(|_| !to.is_empty());
                self.effects.extend(text.map(|text| Effect::Send { to: to.clone(), text }));
            }
        }
    }

    /// The channels that these names may mean, as far as this gateway knows: the first [`PRESENT_MAX`].
    pub fn channels_named(&self, names: &[String]) -> Vec<View> {
        let candidates = names.iter().flat_map(|name| self.meanings.of(name));
        candidates.filter_map(view_of).take(PRESENT_MAX).collect()
    }

    /// Whether anybody here may receive what is written in a channel, by anybody.
    pub fn listens_for_typing(&self, view: &View) -> bool {
        let audience = Audience::Messages(view.channel.clone());
        let (readers, approvers) = (&Readers::All, &BTreeSet::new());
        let community = view.community.as_str();
        let routing = Routing { community, readers, approvers, meanings: &self.meanings };
        self.open.values().any(|open| {
            (!open.session.is_newest() || open.session.view.as_ref() == Some(view))
                && routing.receives(&open.subscriptions, open.session.receiver(), &audience)
        })
    }
}

/// The channel that a name means for a socket (T20), and its community.
fn meant(name: &str, candidates: Vec<Candidate>, open: &Open) -> Option<View> {
    let mut meanings = Meanings::default();
    meanings.set(&[], candidates);
    let found = meanings.meant(name.rsplit('/').next().unwrap_or(name), &open.subscriptions)?;
    view_of(found)
}

fn view_of(found: &Candidate) -> Option<View> {
    Some(View { channel: AtUri::parse(&found.uri).ok()?, community: AtUri::parse(&found.community).ok()? })
}
