//! The SQLite of a Durable Object: synchronous, private to the object.
//!
//! Statements between two awaits are stored together or not at all, and what is sent out waits
//! until they are durable (platform facts 2.6).

use serde::Deserialize;
use worker::{SqlCursor, SqlStorage, SqlStorageValue, State};

use crate::storage::{Fault, Param, Statement};

/// The database of this object.
#[derive(Debug)]
pub struct ObjectSql {
    sql: SqlStorage,
}

#[derive(Deserialize)]
struct Row {
    row: String,
}

impl ObjectSql {
    /// The database of the object with this state.
    pub fn of(state: &State) -> Self {
        Self { sql: state.storage().sql() }
    }

    /// Runs a statement; the `row` texts it answers.
    pub fn run(&self, statement: &Statement) -> Result<Vec<String>, Fault> {
        let rows = self.exec(statement)?.to_array::<Row>().map_err(fault)?;
        Ok(rows.into_iter().map(|found| found.row).collect())
    }

    /// Runs statements that answer nothing.
    pub fn run_all(&self, statements: &[Statement]) -> Result<(), Fault> {
        statements.iter().try_for_each(|statement| self.exec(statement).map(drop))
    }

    fn exec(&self, statement: &Statement) -> Result<SqlCursor, Fault> {
        let params: Vec<SqlStorageValue> = statement.params.iter().map(bound).collect();
        self.sql.exec(statement.sql, params).map_err(fault)
    }
}

fn fault(error: worker::Error) -> Fault {
    Fault::new("using the object's database", error)
}

fn bound(param: &Param) -> SqlStorageValue {
    match param {
        Param::Int(number) => SqlStorageValue::Integer(*number),
        Param::Text(text) => SqlStorageValue::String(text.clone()),
        Param::Null => SqlStorageValue::Null,
    }
}
