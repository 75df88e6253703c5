//! Notifies the rooms of voice channels that rights may have ended: the calls of a `Community`
//! object to `VoiceRoom` objects (S20).
//!
//! Due notifications are stored in the step that numbers the event, and stay until the room has
//! checked; the alarm retries a room that cannot be reached.

use std::rc::Rc;

use worker::wasm_bindgen_futures::spawn_local;

use super::delivery::RETRY_MS;
use super::log::CommunityLog;
use crate::durable::community::commands::Bind;
use crate::durable::replies::Done;
use crate::durable::voice_room::commands::Recheck;
use crate::platform::log;
use crate::platform::objects::{call, rooms_of};
use crate::storage::bound_rooms::{self, Due};
use crate::storage::{Fault, rows};

impl CommunityLog {
    /// A room asks to be notified.
    pub(super) fn bind(&self, command: &Bind) -> Result<Done, Fault> {
        self.with(|_| Ok(()))?; // creates the tables
        self.sql.run(&bound_rooms::bind(&command.room))?;
        Ok(Done {})
    }

    /// Notifies, in the background, every room that is due. One task at a time does it.
    pub(super) fn start_asking_rooms(self: &Rc<Self>) {
        if !self.rooms_may_be_due.get() || self.asking_rooms.replace(true) {
            return;
        }
        let log = Rc::clone(self);
        spawn_local(async move {
            let result = log.ask_rooms().await;
            log.asking_rooms.set(false);
            if let Err(fault) = result {
                log::fault(&fault, "voice rooms check rights later");
                log.alarm.ring_within(RETRY_MS).await;
            }
        });
    }

    /// Repeats until no room is due, or every due room has failed.
    async fn ask_rooms(&self) -> Result<(), Fault> {
        loop {
            // Read again each time, because more may have become due during the calls.
            let due: Vec<Due> = rows(Some(&self.sql.run(&bound_rooms::due())?))?;
            if due.is_empty() {
                self.rooms_may_be_due.set(false);
                return Ok(());
            }
            let (mut answered, mut failed) = (false, None);
            for room in due {
                let recheck = Recheck { room: room.name.clone() };
                match call(&self.env, &rooms_of(room.name.as_str()), &recheck).await {
                    Ok(rechecked) => {
                        answered = true;
                        self.sql.run_all(&bound_rooms::looked(&room, rechecked.occupied))?;
                    }
                    Err(fault) => failed = Some(fault),
                }
            }
            match failed {
                Some(fault) if !answered => return Err(fault),
                _ => {}
            }
        }
    }
}
