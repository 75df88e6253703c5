//! Data that earlier versions stored, after the migration that applies today's rules to it.

use std::path::PathBuf;

use rusqlite::Connection;
use rusqlite::limits::Limit;

const MIGRATION: &str = "migrations/0019_what_was_written.sql";

/// A database as it was before the migration.
fn before() -> Connection {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let db = Connection::open_in_memory().unwrap();
    db.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50).unwrap(); // as workerd does
    for file in files.iter().take_while(|file| !file.ends_with("0019_what_was_written.sql")) {
        db.execute_batch(&std::fs::read_to_string(file).unwrap()).unwrap();
    }
    db
}

fn migrate(db: &Connection) {
    db.execute_batch(&std::fs::read_to_string(MIGRATION).unwrap()).unwrap();
}

fn look(db: &Connection, sql: &str) -> Vec<String> {
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn o01_times_that_no_browser_reads_become_the_receive_time() {
    let db = before();
    let kept = [
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:00.123456789Z",
        "2026-03-01T12:00:00+02:00",
        "2026-03-01T12:00:00.5-08:00",
        "0000-01-01T00:00:00Z",
        "0000-01-01T00:00:00+00:00",
        "0000-01-01T00:00:00-14:00",
        "9999-12-31T23:59:59-14:00",
    ];
    let long = format!("2026-03-01T12:00:00.{}Z", "1".repeat(50));
    let replaced = [
        "2026-03-01t12:00:00Z",
        "2026-03-01T12:00:00z",
        "2026-03-01 12:00:00Z",
        "2016-12-31T23:59:60Z",
        "2026-03-01T12:00:00-00:00",
        "2026-03-01T12:00:00\u{2212}02:00",
        "0000-01-01T00:00:00+14:00",
        long.as_str(),
    ];
    for (n, created_at) in kept.iter().chain(&replaced).enumerate() {
        db.execute(
            "INSERT INTO messages (uri, author_did, rkey, channel_uri, channel, text, created_at, sort_at,
                 indexed_at, edited, rev) VALUES (?1, '', '', '', '', ?2, ?2, '', '2026-03-02T12:00:00.123456Z', 0, '')",
            (format!("{n:02}"), created_at),
        )
        .unwrap();
    }
    migrate(&db);
    let shown = look(&db, "SELECT created_at FROM messages ORDER BY uri");
    assert_eq!(shown[..kept.len()], kept);
    assert_eq!(shown[kept.len()..], ["2026-03-02T12:00:00.123Z"; 8]);
    for created_at in &shown {
        assert!(colibri_edge::wire::time::Micros::parse(created_at).is_some(), "H06: {created_at}");
    }
}

#[test]
fn o03_emoji_that_look_the_same_take_the_spelling_of_the_first() {
    let db = before();
    for (uri, target, emoji, at) in [
        ("a", "m", "❤\u{fe0f}", "2"),
        ("b", "m", "❤", "1"),
        ("c", "m", "❤\u{fe0e}", "3"),
        ("d", "m", "👍🏽", "1"),
        ("e", "m", "👍", "2"),
        ("f", "n", "❤\u{fe0f}", "1"),
    ] {
        db.execute(
            "INSERT INTO reactions (uri, reactor_did, target_uri, emoji, rev, indexed_at) VALUES (?1, '', ?2, ?3, '', ?4)",
            (uri, target, emoji, at),
        )
        .unwrap();
    }
    migrate(&db);
    let emoji = look(&db, "SELECT emoji FROM reactions ORDER BY uri");
    assert_eq!(emoji, ["❤", "❤", "❤", "👍🏽", "👍", "❤\u{fe0f}"]);
    let shapes = look(&db, "SELECT shape FROM reactions ORDER BY uri");
    let compared: Vec<String> =
        emoji.iter().map(|emoji| colibri_edge::wire::emoji::compared(emoji)).collect();
    assert_eq!(shapes, compared, "8.4: SQL and Rust say the same");
}
