//! Who is in which voice channel: `join` and `leave` of this gateway's people (contract section
//! 6).
//!
//! `domain::gateway::moving` decides how a person gets from one channel into another; this file asks
//! the database and the communities. One move at a time for each person (V01).

use std::rc::Rc;

use futures::lock::Mutex;
use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome, temporary};
use crate::domain::actions::Destination;
use crate::domain::gateway::moving::{Answer, Ending, Move, Step};
use crate::domain::voice::Place;
use crate::domain::voice_moderation::{Act, Outcome as Moderated};
use crate::domain::voice_right::{VoiceRefusal, may_be_in};
use crate::durable::community::commands::{JoinVoice, Joined, LeaveVoice};
use crate::durable::gateway::commands::ModerateVoice;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::objects::call;
use crate::storage::{Fault, facts, outbox};
use crate::wire::ids::Did;
use crate::wire::socket::Reply;

impl GatewayObject {
    /// A12, A12b: moves the person of session `id`; the reply.
    pub(super) async fn move_to(&self, id: i64, did: &Did, destination: Destination) -> Reply {
        let turn = self.turn(did);
        let moved = {
            let _turn = turn.lock().await;
            match self.with(|gateway| Ok(gateway.begin_move(id, did, &destination))) {
                Ok((moving, step)) => self.walk(moving, step).await,
                Err(fault) => Err(fault),
            }
        };
        self.forget_turn(did, turn);
        match moved {
            Ok(Ending::Done) => Reply::ack(""),
            Ok(Ending::Refused(refusal)) => Reply::error(refusal.text()),
            Ok(Ending::Failed) => {
                temporary(&Fault::new("joining a voice channel", "its community changed all the time"))
            }
            Err(fault) => temporary(&fault),
        }
    }

    /// U32: mutes, disconnects or moves somebody in a voice channel.
    pub(super) async fn moderate(&self, command: ModerateVoice) -> Outcome<Moderated> {
        let ModerateVoice { did, place, act } = command;
        let turn = self.turn(&did);
        let result = {
            let _turn = turn.lock().await;
            self.moderate_in_turn(&did, &place, &act).await
        };
        self.forget_turn(&did, turn);
        result
    }

    async fn moderate_in_turn(&self, did: &Did, place: &Place, act: &Act) -> Outcome<Moderated> {
        let begun = self.with(|gateway| Ok(gateway.begin_moderated(did, place, act)))?;
        let Some((moving, step)) = begun else { return Ok(Moderated::NotThere) };
        let holder = moving.session();
        let ending = self.walk(moving, step).await?;
        let done = self.with(|gateway| Ok(gateway.end_moderated(holder, place, act, ending)))?;
        done.ok_or_else(|| Fault::new("moving somebody", "the community changed all the time"))
    }

    fn turn(&self, did: &Did) -> Rc<Mutex<()>> {
        Rc::clone(self.moves.borrow_mut().entry(did.clone()).or_default())
    }

    /// Drops a person's lock unless another move waits for it: then more than the map and the caller hold it.
    fn forget_turn(&self, did: &Did, turn: Rc<Mutex<()>>) {
        if Rc::strong_count(&turn) <= 2 {
            self.moves.borrow_mut().remove(did);
        }
    }

    /// Asks what a move needs, until it is over.
    async fn walk(&self, mut moving: Move, mut step: Step) -> Outcome<Ending> {
        let mut version = 0;
        loop {
            let answer = match step {
                Step::Over(ending) => return Ok(ending),
                Step::Judge(place) => self.judge(&moving, &place).await.map(|(at, may)| {
                    version = at;
                    Answer::Judged(may)
                }),
                Step::Leave(place) => self.leave(moving.did(), place).await,
                Step::Join(place) => self.join(moving.did(), place, version).await,
            };
            let (answer, fault) = match answer {
                Ok(answer) => (answer, None),
                Err(fault) => (Answer::None, Some(fault)),
            };
            step = self.with(|gateway| Ok(gateway.go_on(&mut moving, answer, now())))?;
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
    }

    /// Whether a person may be in a channel, and the ledger version that was read before these facts: every
    /// later decision has a greater one.
    async fn judge(&self, moving: &Move, place: &Place) -> Outcome<(i64, Result<(), VoiceRefusal>)> {
        let did = moving.did();
        let db = D1::of(&self.env)?;
        let (_, version) = outbox::position(&db).await?;
        let facts = facts::right_to_be_in(&db, &place.channel, std::slice::from_ref(did), now()).await?;
        let proven = self.with(|gateway| Ok(gateway.proven_by(moving.session()).as_ref() == Some(did)))?;
        Ok((version, may_be_in(&facts, did, proven, &place.channel, Some(&place.community))))
    }

    async fn leave(&self, did: &Did, place: Place) -> Outcome<Answer> {
        let community = place.community;
        let leave = LeaveVoice { community: community.clone(), did: did.clone(), gateway: self.name()? };
        call(&self.env, community.as_str(), &leave).await.map(|_| Answer::Left)
    }

    async fn join(&self, did: &Did, place: Place, version: i64) -> Outcome<Answer> {
        let Place { community, channel } = place;
        let (did, gateway) = (did.clone(), self.name()?);
        let join = JoinVoice { community: community.clone(), did, channel, gateway, version };
        Ok(match call(&self.env, community.as_str(), &join).await? {
            Joined::In => Answer::In,
            Joined::Stale => Answer::Stale,
        })
    }

    /// Removes, in the background, everybody whose time in a voice channel is over.
    pub(super) fn clear_voice_soon(self: &Rc<Self>) {
        let Ok(leaving) = self.with(|gateway| Ok(gateway.take_leaving())) else { return };
        for did in leaving {
            let object = Rc::clone(self);
            spawn_local(async move {
                let result = object.leave_voice(&did).await;
                // After a failure this finds again that the person must be removed.
                let marked = object.with(|gateway| {
                    gateway.mark(&did);
                    Ok(())
                });
                match result.and(marked) {
                    Ok(()) => object.arm().await,
                    Err(fault) => {
                        object.retry(&fault, "somebody is taken out of a voice channel later").await
                    }
                }
            });
        }
    }

    /// Removes a person, unless they joined again in the meantime.
    pub(super) async fn leave_voice(&self, did: &Did) -> Outcome<()> {
        let turn = self.turn(did);
        let result = {
            let _turn = turn.lock().await;
            match self.with(|gateway| Ok(gateway.begin_end(did))) {
                Ok(Some((moving, step))) => self.walk(moving, step).await.map(drop),
                Ok(None) => Ok(()),
                Err(fault) => Err(fault),
            }
        };
        self.forget_turn(did, turn);
        result
    }
}
