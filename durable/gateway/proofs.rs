//! Proofs of this gateway's people: tokens that are good once (X04, X12), and the end of sockets that
//! only claimed to be somebody's (X13).

use super::actor::{Desk, Outcome};
use super::sockets::Gone;
use crate::durable::gateway::commands::UseToken;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::object_sql::ObjectSql;
use crate::platform::socket_state;
use crate::storage::Statement;
use crate::storage::used_tokens::{SCHEMA, Use, use_once};
use crate::wire::ids::Did;

/// The attachment of a socket whose session is over: numbers of sessions begin at 1.
const OF_NO_SESSION: i64 = -1;

/// Uses a token. Nothing but its own table is touched, and nothing is awaited: of two requests with
/// the same token one is first.
pub(super) fn use_token(sql: &ObjectSql, command: &UseToken) -> Outcome<Use> {
    for schema in SCHEMA {
        sql.run(&Statement::new(schema, []))?;
    }
    use_once(|statement| sql.run(statement), &command.did, &command.token, command.ends, now())
}

impl Desk {
    /// Somebody showed a proof for the first time: who is there for them without one is closed.
    pub(super) fn proved(&self, did: &Did) -> Outcome<Done> {
        self.with(|sessions| {
            let is_claimed = |session: &crate::storage::gateway_sessions::Session| {
                session.present && session.did.as_ref() == Some(did)
            };
            let claimed = sessions.open.iter().filter(|(_, open)| is_claimed(&open.session));
            let claimed: Vec<_> = claimed.map(|(id, open)| (*id, open.socket.clone())).collect();
            for (id, socket) in claimed {
                // Its number may be another session's before its close comes in.
                if socket.serialize_attachment(OF_NO_SESSION).is_err() {
                    continue; // it is closed already
                }
                self.depart(sessions, id, Gone::Closed)?;
                socket_state::close(&socket, 1008, "this did takes a proof");
            }
            Ok(Done {})
        })
    }
}
