//! SQL statements, and the trait of a database that runs them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::fault_code::Code;
use crate::domain::troubles::is_full;
use crate::wire::json;

/// A statement with its parameters, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// SQLite text with `?1`, `?2` …
    pub sql: &'static str,
    /// The values, in order: at most 100 (platform facts T8). A list is bound as one JSON text.
    pub params: Vec<Param>,
}

/// A bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// An integer of at most 2^53; D1 does not keep larger ones exact (platform facts T8).
    Int(i64),
    /// A text of at most 2 MB.
    Text(String),
    /// No value.
    Null,
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Param::Text(text.to_owned())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Param::Text(text)
    }
}

impl From<i64> for Param {
    fn from(number: i64) -> Self {
        Param::Int(number)
    }
}

impl<T: Into<Param>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Param::Null, Into::into)
    }
}

impl Param {
    /// A list or row as one JSON text, for `json_each`.
    pub fn json<T: Serialize>(value: &T) -> Self {
        Param::Text(json_text(value))
    }
}

/// The JSON of a value, in ASCII, which crosses into JavaScript cheaply. Rows hold only texts,
/// numbers and booleans, so serialising them cannot fail.
pub(super) fn json_text<T: Serialize>(value: &T) -> String {
    json::ascii(serde_json::to_string(value).unwrap_or_default())
}

/// The longest JSON text bound to one parameter, in bytes. D1 takes 2 MB (platform facts T8).
const PARAM_MAX: usize = 1024 * 1024;

/// Splits values into JSON arrays of at most [`PARAM_MAX`] bytes. A larger value gets an array of
/// its own.
pub(super) fn chunks<T: Serialize>(values: impl Iterator<Item = T>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = String::new();
    for value in values {
        let json = json_text(&value);
        if !text.is_empty() && text.len() + json.len() > PARAM_MAX {
            text.push(']');
            texts.push(std::mem::take(&mut text));
        }
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&json);
    }
    if !text.is_empty() {
        text.push(']');
        texts.push(text);
    }
    texts
}

impl Statement {
    /// A statement with parameters.
    pub fn new(sql: &'static str, params: impl IntoIterator<Item = Param>) -> Self {
        Self { sql, params: params.into_iter().collect() }
    }

    /// Whether all that it asks about are empty lists, so that its answer is empty.
    pub(super) fn asks_for_nothing(&self) -> bool {
        !self.params.is_empty()
            && self.params.iter().all(|param| matches!(param, Param::Text(text) if text == "[]"))
    }
}

/// A failure of the database, the network or the platform. The caller retries and never treats it
/// as a "no" (invariant 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The operation that failed.
    pub doing: &'static str,
    /// The error text. For the log, never for callers.
    pub because: String,
    /// What kind of trouble it is.
    code: Code,
}

impl Fault {
    /// A fault while `doing` something.
    pub fn new(doing: &'static str, because: impl fmt::Display) -> Self {
        Self::coded(Code::Internal, doing, because)
    }

    /// The same, of a known kind.
    pub fn coded(code: Code, doing: &'static str, because: impl fmt::Display) -> Self {
        Self { doing, because: because.to_string(), code }
    }

    /// Its code in the log.
    pub fn code(&self) -> Code {
        if is_full(&self.because) { Code::DiskFull } else { self.code }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.doing, self.because)
    }
}

impl std::error::Error for Fault {}

/// Why a commit failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Another commit came after these facts were read: read them again.
    Conflict,
    /// The database failed. The commit may have happened; the caller reads the facts again.
    Fault(Fault),
}

/// A database.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Store {
    /// Runs reads in one round trip and one snapshot. Returns a list of `row` texts for each.
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault>;

    /// Runs statements that write and return rows, in one transaction. Returns a list of `row`
    /// texts for each. Only for decisions that one statement makes by itself; a decision that
    /// depends on facts needs [`Self::commit`]. After a fault the writes may have happened.
    async fn write(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault>;

    /// Runs writes in one transaction.
    async fn commit(&self, statements: Vec<Statement>) -> Result<(), CommitError>;
}

/// A JSON column, as a text within its row. Only this code parses it. SQLite must not, since the
/// JSON holds text of strangers: one row that SQLite cannot parse would fail the whole statement
/// and hide all other rows. `None` if it cannot be parsed; the reader then sets the row aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner<T>(pub Option<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Inner<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Ok(Self(serde_json::from_str(&text).ok()))
    }
}

/// Reads the `row` texts of one statement.
pub fn rows<T: DeserializeOwned>(texts: Option<&Vec<String>>) -> Result<Vec<T>, Fault> {
    texts
        .into_iter()
        .flatten()
        .map(|text| serde_json::from_str(text).map_err(|error| Fault::new("reading a stored row", error)))
        .collect()
}
