//! Who is in which voice channel: `join` and `leave` of this gateway's people (contract section
//! 6).
//!
//! The community holds the lists; the gateway knows a person's one channel and takes them out of
//! it before they are in another. One move at a time for each person (V01). A move is noted here
//! before the community is asked, so a crash leaves nobody in a list that no gateway remembers.

use std::rc::Rc;

use futures::lock::Mutex;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome, temporary};
use crate::domain::actions::Seat;
use crate::domain::presence::Input as Happened;
use crate::domain::voice::{Input, Place};
use crate::domain::voice_right::{VoiceRefusal, may_be_in, voice_channel};
use crate::durable::community::commands::{JoinVoice, Joined, LeaveVoice};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::objects::call;
use crate::storage::{Fault, facts, outbox};
use crate::wire::ids::{AtUri, Did};
use crate::wire::socket::Reply;

/// A right that was read is read again when the community has heard of something since. A busy
/// community hears something many times a second, and reading takes milliseconds.
const ATTEMPTS: u32 = 20;

impl GatewayObject {
    /// A12, A12b: moves the person of session `id`; the reply.
    pub(super) async fn move_to(&self, id: i64, did: &Did, seat: Seat) -> Reply {
        let turn = self.turn(did);
        let moved = {
            let _turn = turn.lock().await;
            match seat {
                Seat::Nowhere => self.out(did).await.map(|()| None),
                Seat::In(community, channel) => self.sit_down(id, did, &community, &channel).await,
            }
        };
        self.forget_turn(did, turn);
        match moved {
            Ok(None) => Reply::ack(""),
            Ok(Some(refusal)) => Reply::error(refusal.text()),
            Err(fault) => temporary(&fault),
        }
    }

    fn turn(&self, did: &Did) -> Rc<Mutex<()>> {
        Rc::clone(self.moves.borrow_mut().entry(did.clone()).or_default())
    }

    /// Nobody waits for it any more: only the map and the caller hold it.
    fn forget_turn(&self, did: &Did, turn: Rc<Mutex<()>>) {
        if Rc::strong_count(&turn) <= 2 {
            self.moves.borrow_mut().remove(did);
        }
    }

    /// V02–V04: out of the old community first, then into the new channel.
    async fn sit_down(
        &self,
        id: i64,
        did: &Did,
        community: &str,
        channel: &str,
    ) -> Outcome<Option<VoiceRefusal>> {
        let Some(place) = AtUri::parse(community).ok().and_then(|community| {
            voice_channel(&community, channel).map(|channel| Place { community, channel })
        }) else {
            return Ok(Some(VoiceRefusal::Unknown));
        };
        for attempt in 0..ATTEMPTS {
            let db = D1::of(&self.env)?;
            // The version before the right: what is decided later has a greater one.
            let (_, version) = outbox::position(&db).await?;
            let working_set =
                facts::right_to_be_in(&db, &place.channel, std::slice::from_ref(did), now()).await?;
            if let Err(refusal) = may_be_in(&working_set, did, &place.channel, Some(&place.community)) {
                if attempt > 0 {
                    self.out(did).await?;
                }
                return Ok(Some(refusal));
            }
            let before = self.place_of(did)?;
            if before.is_some_and(|before| before.community != place.community) {
                self.out(did).await?;
            }
            self.seat(did, Input::Joined(id, place.clone()))?;
            let join = JoinVoice {
                community: place.community.clone(),
                did: did.clone(),
                channel: place.channel.clone(),
                gateway: self.name()?,
                version,
            };
            match call(&self.env, place.community.as_str(), &join).await {
                Ok(Joined::In) => return self.held_by(id, did).map(|()| None),
                Ok(Joined::Stale) => {}
                Err(fault) => {
                    // Whether they are in is not known: they are taken out, and may try again.
                    self.seat(did, Input::Ended)?;
                    return Err(fault);
                }
            }
        }
        self.seat(did, Input::Ended)?;
        Err(Fault::new("joining a voice channel", "its community changed all the time"))
    }

    /// The socket that joined may have closed meanwhile.
    fn held_by(&self, id: i64, did: &Did) -> Outcome<()> {
        self.with(|sessions| {
            if sessions.open.contains_key(&id) {
                return Ok(());
            }
            sessions.person(did, Happened::Closed(id), now());
            Ok(())
        })
    }

    /// V05: out of whatever channel the person is in.
    async fn out(&self, did: &Did) -> Outcome<()> {
        let Some(place) = self.place_of(did)? else { return Ok(()) };
        let leave =
            LeaveVoice { community: place.community.clone(), did: did.clone(), gateway: self.name()? };
        call(&self.env, place.community.as_str(), &leave).await?;
        self.seat(did, Input::Left)
    }

    fn place_of(&self, did: &Did) -> Outcome<Option<Place>> {
        self.with(|sessions| {
            Ok(sessions.persons.get(did).and_then(|present| present.person.seat.place().cloned()))
        })
    }

    fn seat(&self, did: &Did, input: Input) -> Outcome<()> {
        self.with(|sessions| {
            sessions.change(did, |person, periods| person.seat.on(input, now(), periods));
            Ok(())
        })
    }

    /// Takes out, in the background, everybody whose time in a voice channel is over.
    pub(super) fn seat_soon(self: &Rc<Self>) {
        let Ok(leaving) = self.with(|sessions| Ok(std::mem::take(&mut sessions.leaving))) else { return };
        for did in leaving {
            let object = Rc::clone(self);
            spawn_local(async move {
                let result = object.stand_up(&did).await.and_then(|()| {
                    object.with(|sessions| {
                        sessions.mark(&did);
                        Ok(())
                    })
                });
                match result {
                    Ok(()) => object.arm().await,
                    Err(fault) => {
                        object.retry(&fault, "somebody is taken out of a voice channel later").await
                    }
                }
            });
        }
    }

    /// Takes a person out, unless they joined again meanwhile.
    pub(super) async fn stand_up(&self, did: &Did) -> Outcome<()> {
        let turn = self.turn(did);
        let result = {
            let _turn = turn.lock().await;
            let is_over = self.with(|sessions| {
                let person = sessions.persons.get(did);
                Ok(person.is_some_and(|present| {
                    let person = &present.person;
                    person.seat.leaving().is_some() || person.presence.sockets().is_empty()
                }))
            })?;
            if is_over { self.out(did).await } else { Ok(()) }
        };
        self.forget_turn(did, turn);
        result
    }
}
