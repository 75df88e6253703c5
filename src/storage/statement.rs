//! Statements, and the two things a database must be able to do with them.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::json;

/// A statement with its parameters, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// SQLite text with `?1`, `?2` …
    pub sql: &'static str,
    /// The values, in order. At most 100 (platform facts T8); lists go in as one JSON text.
    pub params: Vec<Param>,
}

/// A bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A whole number of at most 2^53, which is what D1 keeps exact (platform facts T8).
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

/// The JSON of a value, in letters that travel cheaply. Rows are texts, numbers and booleans:
/// serialising them cannot fail.
pub(super) fn json_text<T: Serialize>(value: &T) -> String {
    json::ascii(serde_json::to_string(value).unwrap_or_default())
}

/// The longest JSON text bound to one parameter, in bytes. D1 takes 2 MB (platform facts T8).
const PARAM_MAX: usize = 1024 * 1024;

/// JSON arrays of at most [`PARAM_MAX`] bytes (a single larger value stands alone).
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
}

/// The outside failed: database, network or platform. Retry; never read it as a "no"
/// (invariant 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What was tried.
    pub doing: &'static str,
    /// What it said. For the log, never for callers.
    pub because: String,
}

impl Fault {
    /// A fault while `doing` something.
    pub fn new(doing: &'static str, because: impl fmt::Display) -> Self {
        Self { doing, because: because.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.doing, self.because)
    }
}

impl std::error::Error for Fault {}

/// Why a commit did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Another commit came between these facts and this commit: read the facts again.
    Conflict,
    /// The database failed. The commit may or may not have happened; facts read again will tell.
    Fault(Fault),
}

/// A database.
#[allow(async_fn_in_trait, reason = "Workers are single-threaded: futures need not be Send")]
pub trait Store {
    /// Runs reads in one round trip and one snapshot; one list of `row` texts for each.
    async fn read(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault>;

    /// Runs statements that write and answer, in one transaction; one list of `row` texts for
    /// each. For what is decided by one statement alone; whatever rests on facts is a commit.
    /// After a fault the writes may or may not have happened.
    async fn write(&self, statements: &[Statement]) -> Result<Vec<Vec<String>>, Fault>;

    /// Runs writes in one transaction: all or nothing.
    async fn commit(&self, statements: Vec<Statement>) -> Result<(), CommitError>;
}

/// JSON that stands in a column, as a text within its row. It is written and read back by us alone:
/// SQLite takes no text apart that anybody else may have written a word of, for one that it cannot
/// read would fail the whole statement, and one row would hide all others. `None`: it cannot be
/// read; its row is set aside by whoever reads it.
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
