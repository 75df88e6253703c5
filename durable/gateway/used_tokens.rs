//! Tokens of this gateway's people that are good once (X04).
//!
//! Apart from everything else here: nothing but its own table is touched, and nothing is awaited, so
//! of two requests with the same token one is first.

use crate::durable::gateway::commands::UseToken;
use crate::platform::clock::now;
use crate::platform::object_sql::ObjectSql;
use crate::storage::used_tokens::{SCHEMA, Use, use_once};
use crate::storage::{Fault, Statement};

/// Uses a token.
pub(super) fn use_token(sql: &ObjectSql, command: &UseToken) -> Result<Use, Fault> {
    for schema in SCHEMA {
        sql.run(&Statement::new(schema, []))?;
    }
    use_once(|statement| sql.run(statement), &command.did, &command.token, command.ends, now())
}
