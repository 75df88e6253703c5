//! The SQLite of a Durable Object: synchronous, private to the object.
//!
//! Statements between two awaits are stored together or not at all, and outgoing messages wait
//! until they are durable (platform facts 2.6).
//!
//! Every exception of a statement becomes a [`Fault`], at its first row and at any later one. Of
//! the ways in which worker 0.8.7 reads a cursor, only `raw` catches them
//! (`js_sys::Iterator::next`). Its `to_array`, `one` and `next` import the methods without `catch`,
//! so an exception in a row crosses Rust's frames without running a destructor: borrows stay taken,
//! and waiting tasks never end (platform facts 5.2).

use worker::{SqlCursor, SqlStorage, SqlStorageValue, State};

use crate::domain::fault_code::Code;
use crate::storage::{Fault, Param, Statement};

/// The database of this object.
#[derive(Debug)]
pub struct ObjectSql {
    sql: SqlStorage,
}

impl ObjectSql {
    /// The database of the object with this state.
    pub fn of(state: &State) -> Self {
        Self { sql: state.storage().sql() }
    }

    /// Runs a statement, and returns its `row` texts.
    pub fn run(&self, statement: &Statement) -> Result<Vec<String>, Fault> {
        self.run_within(statement, usize::MAX).map(|(found, _)| found)
    }

    /// Runs a statement, and returns its `row` texts in order until they exceed `bytes`, and
    /// whether there may be more.
    pub fn run_within(&self, statement: &Statement, bytes: usize) -> Result<(Vec<String>, bool), Fault> {
        let (mut found, mut length) = (Vec::new(), 0_usize);
        for row in self.exec(statement)?.raw() {
            let Some(SqlStorageValue::String(text)) = row.map_err(fault)?.into_iter().next() else {
                return Err(Fault::coded(Code::Object, DOING, "a row is no text"));
            };
            length = length.saturating_add(text.len());
            found.push(text);
            if length > bytes {
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    /// Runs statements that return nothing.
    pub fn run_all(&self, statements: &[Statement]) -> Result<(), Fault> {
        statements.iter().try_for_each(|statement| self.exec(statement).map(drop))
    }

    fn exec(&self, statement: &Statement) -> Result<SqlCursor, Fault> {
        let params: Vec<SqlStorageValue> = statement.params.iter().map(bound).collect();
        self.sql.exec(statement.sql, params).map_err(fault)
    }
}

const DOING: &str = "using the object's database";

fn fault(error: worker::Error) -> Fault {
    Fault::coded(Code::Object, DOING, error)
}

fn bound(param: &Param) -> SqlStorageValue {
    match param {
        Param::Int(number) => SqlStorageValue::Integer(*number),
        Param::Text(text) => SqlStorageValue::String(text.clone()),
        Param::Null => SqlStorageValue::Null,
    }
}
