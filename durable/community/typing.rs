//! Who is writing: the commands about it, and how it gets to the gateways (contract U40). Nothing is stored.

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use worker::wasm_bindgen_futures::spawn_local;

use super::log::{CommunityLog, Outcome};
use crate::domain::gateway::session::View;
use crate::durable::gateway::commands::ShowTyping;
use crate::durable::replies::{Delivered, Done};
use crate::platform::clock::now;
use crate::platform::log;
use crate::platform::objects::{Command, Object, call};
use crate::wire::ids::{AtUri, Did};

/// To `Community`: a person writes in a channel (N168). The gateways that listen receive it, and nothing is stored.
/// Not idempotent, and not repeated.
#[derive(Debug, Serialize, Deserialize)]
pub struct Typing {
    /// The channel and the community.
    pub view: View,
    /// Who.
    pub did: Did,
}

impl Command for Typing {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "typing";
}

/// To `Community`: somebody at a gateway receives typing of these channels from now on (U40). Idempotent.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListensForTyping {
    /// The channels.
    pub channels: Vec<AtUri>,
    /// The gateway.
    pub gateway: String,
}

impl Command for ListensForTyping {
    type Reply = Done;
    const OBJECT: Object = Object::Community;
    const NAME: &'static str = "listens-for-typing";
}

impl CommunityLog {
    /// Who is writing: to every gateway that listens, but not to those that have nobody who sees the channel (U40); in
    /// the background and once.
    pub(super) fn publish_typing(self: &Rc<Self>, command: Typing) -> Outcome<Done> {
        if self.was_never_seen()? {
            return Ok(Done {});
        }
        let (listeners, members_only) =
            self.with(|core| Ok((core.listeners(), core.counters().members_only)))?;
        let Typing { view, did } = command;
        let turn = self.deaf.borrow().turn();
        let is_asked = |name: &str| !self.deaf.borrow().includes(&view.channel, name, now());
        for listener in listeners.into_iter().filter(|listener| is_asked(&listener.name)) {
            let (log, view, did) = (Rc::clone(self), view.clone(), did.clone());
            spawn_local(async move {
                let channel = view.channel.clone();
                let show = ShowTyping { view, did, members_only };
                match call(&log.env, &listener.name, &show).await {
                    Ok(Delivered { listening: true }) => {}
                    Ok(_) => log.deaf.borrow_mut().nobody(&channel, &listener.name, turn, now()),
                    Err(fault) => log::fault(&fault, "some people do not learn that somebody is writing"),
                }
            });
        }
        Ok(Done {})
    }

    /// Somebody at a gateway receives typing from now on.
    pub(super) fn listens_for_typing(&self, command: &ListensForTyping) -> Done {
        self.deaf.borrow_mut().listens(&command.channels, &command.gateway);
        Done {}
    }
}
