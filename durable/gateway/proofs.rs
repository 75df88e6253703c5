//! Proofs of this gateway's people: tokens that count once (X04, X12), and the end of sockets that
//! merely claimed a DID (X13), or whose person is erased (I56).

use super::object::{GatewayObject, Outcome};
use crate::domain::gateway::Input;
use crate::durable::gateway::commands::{Forget, UseToken};
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::object_sql::ObjectSql;
use crate::storage::Statement;
use crate::storage::used_tokens::{SCHEMA, Use, use_once};
use crate::wire::ids::Did;

/// Uses a token. Nothing but its own table is touched, and nothing is awaited: of two requests with
/// the same token one is first.
pub(super) fn use_token(sql: &ObjectSql, command: &UseToken) -> Outcome<Use> {
    for schema in SCHEMA {
        sql.run(&Statement::new(schema, []))?;
    }
    use_once(|statement| sql.run(statement), &command.did, &command.token, command.ends, now())
}

impl GatewayObject {
    /// Somebody showed a proof for the first time: who is there for them without one is closed.
    pub(super) fn proved(&self, did: Did) -> Outcome<Done> {
        self.on(Input::Proved(did)).map(|()| Done {})
    }

    /// Everything of a person is erased.
    pub(super) fn forget(&self, command: Forget) -> Outcome<Done> {
        let Forget { did, last } = command;
        self.on(Input::Erased { did, last }).map(|()| Done {})
    }
}
