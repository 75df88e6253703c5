//! The parts of the index that a statement shows or changes (`domain::editions`), read from its
//! text.
//!
//! Nobody has to declare them, so nobody can forget to: a statement changes the first table that it
//! names, and shows every table that it names.

use super::Statement;
use super::kinds::KINDS;
use crate::domain::editions::{Part, Parts};

/// The part of the index that a table belongs to; `None` if no cached answer shows the table.
pub fn part_of(table: &str) -> Option<Part> {
    match table {
        "gone_messages" | "blocks" => Some(Part::Talk),
        "bans" => Some(Part::Standings),
        "members_only" | "listings" => Some(Part::Places),
        "people" => Some(Part::People),
        _ => KINDS.iter().find(|kind| kind.table == table).and_then(|kind| kind.part),
    }
}

/// The parts that these statements change.
pub fn changed(statements: &[Statement]) -> Parts {
    let tables = statements.iter().filter_map(|statement| table_of(statement.sql));
    tables.filter_map(part_of).fold(Parts::none(), |all, part| all.and(part.into()))
}

/// The parts that these statements show.
pub fn shown(statements: &[Statement]) -> Parts {
    let words = statements.iter().flat_map(|statement| words(statement.sql));
    words.filter_map(part_of).fold(Parts::none(), |all, part| all.and(part.into()))
}

/// The table that a statement writes.
fn table_of(sql: &str) -> Option<&str> {
    let mut words = words(sql);
    match (words.next()?, words.next()?) {
        ("INSERT", "INTO") | ("DELETE", "FROM") => words.next(),
        ("UPDATE", table) => Some(table),
        _ => None,
    }
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}
