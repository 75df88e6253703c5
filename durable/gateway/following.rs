//! Sockets of the newest client: which communities they receive events of (contract section 14).
//!
//! `domain::gateway::following` decides; this file reads who takes part where, and attaches to those communities
//! before the client has its socket. So what it reads through HTTP once the socket is open misses no event.

use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::object::{GatewayObject, Outcome};
use crate::domain::gateway::Input;
use crate::domain::gateway::catching_up::Replay;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::reads::{self, communities};
use crate::wire::ids::AtUri;

impl GatewayObject {
    /// Subscribes a new socket to the communities of its person. If that fails, the socket is closed. Its client has
    /// no answer yet, and connects again.
    pub(super) async fn follow_or_close(
        self: &Rc<Self>,
        id: i64,
        cursor: Option<Vec<(AtUri, i64)>>,
    ) -> Outcome<()> {
        let followed = self.follow(id, cursor).await;
        if followed.is_err() {
            self.end_session(Input::Broke(id));
            self.close(id, 1013, "temporary failure");
        }
        followed
    }

    async fn follow(self: &Rc<Self>, id: i64, cursor: Option<Vec<(AtUri, i64)>>) -> Outcome<()> {
        let Some(did) = self.with(|gateway| Ok(gateway.proven_by(id)))? else { return Ok(()) };
        let found = communities::communities_of(&D1::of(&self.env)?, &did).await?;
        let (followed, replays) = self.with(|gateway| {
            let followed = gateway.follows(id, &found);
            Ok((followed, cursor.map(|cursor| gateway.resumes(id, &cursor))))
        })?;
        self.listen(followed).await?;
        if let Some(replays) = replays {
            let object = Rc::clone(self);
            spawn_local(async move { object.resume_newest(id, replays).await });
        }
        Ok(())
    }

    /// Sends what a socket missed, one community after the other, and then that this is all (N165).
    async fn resume_newest(&self, id: i64, replays: Vec<Replay>) {
        for replay in replays {
            if let Some(first) = self.next_page(&replay, replay.cursor()).await {
                self.catch_up(replay, first).await;
            }
        }
        let over = self.with_moment(|gateway, moment| {
            gateway.resumed(id, moment);
            Ok(())
        });
        if let Err(fault) = over {
            log::fault(&fault, "the client resumes when it connects again");
        }
    }

    /// The community of a channel; `None` if it is not known. The client does not learn of a fault: its next view may
    /// succeed.
    pub(super) async fn community_of(&self, channel: &AtUri) -> Option<AtUri> {
        let found = async { reads::named(&D1::of(&self.env)?, &[channel.to_string()], &[]).await };
        match found.await {
            Ok((channels, _)) => channels.iter().find_map(|one| AtUri::parse(&one.community).ok()),
            Err(fault) => {
                log::fault(&fault, "nobody learns that this person is writing");
                None
            }
        }
    }
}
