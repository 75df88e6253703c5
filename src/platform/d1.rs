//! D1 as a [`Store`].
//!
//! Every write goes through here, so this is where changes are announced (`platform::editions`):
//! before the write, which does not happen otherwise, and after it. No writer can forget it.

use std::cell::Cell;
use std::rc::Rc;

use serde::Deserialize;
use worker::wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, Env};

use super::editions;
use crate::domain::editions::Parts;
use crate::domain::fault_code::Code;
use crate::storage::{CommitError, Fault, Param, Statement, Store, parts};

/// The binding of the database in `wrangler.toml`.
const BINDING: &str = "DB";

/// The database of the service.
#[derive(Debug)]
pub struct D1 {
    db: D1Database,
    env: Env,
    cost: Cell<Cost>,
    shows: Rc<Cell<Parts>>,
}

/// What D1 counts and charges for: rows and index entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows and entries scanned.
    pub read: u64,
    /// Rows and entries written.
    pub written: u64,
}

impl D1 {
    /// The database bound to the Worker.
    pub fn of(env: &Env) -> Result<Self, Fault> {
        let db =
            env.d1(BINDING).map_err(|error| Fault::coded(Code::Database, "opening the database", error))?;
        Ok(Self { db, env: env.clone(), cost: Cell::default(), shows: Rc::default() })
    }

    /// The same database, which adds to `shows` the parts of the index that are read.
    #[must_use]
    pub fn noting(self, shows: Rc<Cell<Parts>>) -> Self {
        Self { shows, ..self }
    }

    /// The cost of this handle so far.
    pub fn cost(&self) -> Cost {
        self.cost.get()
    }

    fn prepare(&self, statement: &Statement) -> worker::Result<D1PreparedStatement> {
        let params: Vec<JsValue> = statement.params.iter().map(bound).collect();
        self.db.prepare(statement.sql).bind(&params)
    }

    async fn batch(&self, statements: &[Statement]) -> worker::Result<Vec<worker::D1Result>> {
        let prepared =
            statements.iter().map(|statement| self.prepare(statement)).collect::<worker::Result<_>>()?;
        let results = self.db.batch(prepared).await?;
        for result in &results {
            // These are numbers for an admin; a platform that does not provide them causes no
            // fault.
            let Ok(Some(meta)) = result.meta() else { continue };
            let Cost { read, written } = self.cost.get();
            let count = |more: Option<usize>| more.and_then(|more| u64::try_from(more).ok()).unwrap_or(0);
            self.cost.set(Cost {
                read: read + count(meta.rows_read),
                written: written + count(meta.rows_written),
            });
        }
        Ok(results)
    }

    async fn rows(&self, statements: &[Statement]) -> worker::Result<Vec<Vec<String>>> {
        let results = self.batch(statements).await?;
        results
            .iter()
            .map(|result| Ok(result.results::<Row>()?.into_iter().map(|found| found.row).collect()))
            .collect()
    }
}

/// Whole numbers travel as f64, exact to 2^53 (platform facts T8).
fn bound(param: &Param) -> JsValue {
    match param {
        #[expect(clippy::cast_precision_loss, reason = "Param::Int promises at most 2^53")]
        Param::Int(number) => JsValue::from_f64(*number as f64),
        Param::Text(text) => JsValue::from_str(text),
        Param::Null => JsValue::NULL,
    }
}

#[derive(Deserialize)]
struct Row {
    row: String,
}

impl Store for D1 {
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        self.shows.set(self.shows.get().and(parts::shown(statements)));
        self.rows(statements).await.map_err(|error| Fault::coded(Code::Database, "reading from D1", error))
    }

    async fn write(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault> {
        let change = editions::begin(&self.env, parts::changed(statements)).await?;
        let written = self
            .rows(statements)
            .await
            .map_err(|error| Fault::coded(Code::Database, "writing to D1", error))?;
        if let Some(change) = change {
            change.end(&self.env).await;
        }
        Ok(written)
    }

    async fn commit(&self, statements: Vec<Statement>) -> Result<(), CommitError> {
        let change = editions::begin(&self.env, parts::changed(&statements)).await;
        let change = change.map_err(CommitError::Fault)?;
        let committed = match self.batch(&statements).await {
            Ok(_) => Ok(()),
            // The first statement of a commit sets the ledger's version to NULL, which the schema
            // forbids, if another commit came in between (storage::commit).
            Err(error) if error.to_string().contains("ledger.version") => Err(CommitError::Conflict),
            // The commit may still happen, so the change stays open.
            Err(error) => {
                return Err(CommitError::Fault(Fault::coded(Code::Database, "committing to D1", error)));
            }
        };
        if let Some(change) = change {
            change.end(&self.env).await;
        }
        committed
    }
}
