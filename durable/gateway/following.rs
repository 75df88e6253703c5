//! Sockets of the newest client: which communities they receive events of (contract section 14).
//!
//! `domain::gateway::following` decides; this file reads who takes part where, and attaches to those communities
//! before the client has its socket. So what it reads through HTTP once the socket is open misses no event.

use super::object::{GatewayObject, OF_NO_SESSION, Outcome};
use crate::domain::gateway::Input;
use crate::platform::d1::D1;
use crate::platform::{log, socket_state};
use crate::storage::reads::communities;

impl GatewayObject {
    /// Subscribes a new socket to the communities of its person. Should that fail, it is closed: its client, which
    /// was not answered yet, connects again.
    pub(super) async fn follow_or_close(&self, id: i64) -> Outcome<()> {
        let followed = self.follow(id).await;
        if followed.is_err() {
            if let Err(fault) = self.on(Input::Broke(id)) {
                log::fault(&fault, "the session ends when the object wakes anew");
            }
            if let Some(socket) = self.sockets.borrow_mut().remove(&id) {
                // One that takes no attachment is closed already.
                let _ = socket.serialize_attachment(OF_NO_SESSION);
                socket_state::close(&socket, 1013, "temporary failure");
            }
        }
        followed
    }

    async fn follow(&self, id: i64) -> Outcome<()> {
        let Some(did) = self.with(|gateway| Ok(gateway.proven_by(id)))? else { return Ok(()) };
        let found = communities::communities_of(&D1::of(&self.env)?, &did).await?;
        let followed = self.with(|gateway| Ok(gateway.follows(id, &found)))?;
        self.listen(followed).await
    }
}
