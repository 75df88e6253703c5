//! Reading a listing of another host page by page: when it ends, and when it never ends properly
//! (K04).
//!
//! To conclude from a listing that something is gone, the service must have read all of it. So a
//! listing must declare its end, and a host that does not within a bounded number of pages is at
//! fault.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The longest cursor that is sent back. Cursors on the network have some dozen characters.
pub const CURSOR_MAX: usize = 1_024;
/// The most consecutive empty pages: a host may filter what it lists.
const EMPTY_MAX: u32 = 20;
/// The number of pages that any listing may have.
const PAGES_FREE: u32 = 250;
/// Beyond those, each page must have this many entries on average. The number of entries has its
/// own limit, which then also limits the number of pages.
const ENTRIES_PER_PAGE: u32 = 10;

/// The progress of a listing.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pages: u32,
    entries: u32,
    empty: u32,
    /// Hashes of the cursors so far.
    cursors: BTreeSet<u64>,
}

/// The contents of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The number of entries.
    pub entries: usize,
    /// The entries that no earlier page had. A caller that does not know counts all of them.
    pub new: usize,
}

/// Why a listing does not end properly, so that nothing may be concluded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endless {
    /// The cursor is an empty text, which neither ends the listing nor continues it.
    EmptyCursor,
    /// The cursor is longer than [`CURSOR_MAX`].
    LongCursor,
    /// The cursor is one of an earlier page.
    RepeatedCursor,
    /// The page has entries, all of which were on earlier pages.
    NothingNew,
    /// Too many consecutive pages are empty.
    EmptyPages,
    /// There are too many pages for the number of entries.
    TooManyPages,
}

impl Pages {
    /// Takes a page with these contents and this cursor, and returns the cursor to continue with,
    /// or `None` at the end. The first rule that applies decides:
    ///   1. a page whose entries are all known is a fault, even if it is the last one, because the
    ///      host repeated a page;
    ///   2. a missing cursor (or `null`) ends the listing, and nothing else does;
    ///   3. a cursor that is empty, too long, or repeated is a fault;
    ///   4. too many consecutive empty pages, or too many pages for the entries, are a fault;
    ///   5. otherwise the listing continues, even after an empty page.
    pub fn turn(&mut self, held: Held, cursor: Option<String>) -> Result<Option<String>, Endless> {
        if held.entries > 0 && held.new == 0 {
            return Err(Endless::NothingNew);
        }
        let Some(cursor) = cursor else { return Ok(None) };
        if cursor.is_empty() {
            return Err(Endless::EmptyCursor);
        }
        if cursor.len() > CURSOR_MAX {
            return Err(Endless::LongCursor);
        }
        let mut hasher = DefaultHasher::new();
        cursor.hash(&mut hasher);
        if !self.cursors.insert(hasher.finish()) {
            return Err(Endless::RepeatedCursor);
        }
        self.pages = self.pages.saturating_add(1);
        self.entries = self.entries.saturating_add(u32::try_from(held.new).unwrap_or(u32::MAX));
        self.empty = if held.entries == 0 { self.empty.saturating_add(1) } else { 0 };
        if self.empty > EMPTY_MAX {
            return Err(Endless::EmptyPages);
        }
        if self.pages > PAGES_FREE.saturating_add(self.entries / ENTRIES_PER_PAGE) {
            return Err(Endless::TooManyPages);
        }
        Ok(Some(cursor))
    }
}

impl fmt::Display for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Endless::EmptyCursor => "the listing does not end: a page has an empty cursor",
            Endless::LongCursor => "the listing does not end: a page has a cursor that is too long",
            Endless::RepeatedCursor => "the listing does not end: a cursor comes again",
            Endless::NothingNew => "the listing does not end: a page holds nothing new",
            Endless::EmptyPages => "the listing does not end: too many pages in a row are empty",
            Endless::TooManyPages => "the listing does not end: too many pages hold too little",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page: its entries, the new ones among them, its cursor.
    type Turn<'a> = (usize, usize, Option<&'a str>);

    /// How many pages were requested, and how the listing ended.
    fn walk<'a>(turns: impl IntoIterator<Item = Turn<'a>>) -> (usize, Result<bool, Endless>) {
        let mut pages = Pages::default();
        let mut asked = 0;
        for (entries, new, cursor) in turns {
            asked += 1;
            match pages.turn(Held { entries, new }, cursor.map(str::to_owned)) {
                Ok(Some(_)) => {}
                Ok(None) => return (asked, Ok(true)),
                Err(endless) => return (asked, Err(endless)),
            }
        }
        (asked, Ok(false))
    }

    #[test]
    fn k04_only_a_missing_cursor_ends_a_listing() {
        let long = "c".repeat(CURSOR_MAX + 1);
        let cases: Vec<(Vec<Turn<'_>>, Result<bool, Endless>, &str)> = vec![
            (vec![(3, 3, None)], Ok(true), "one page"),
            (vec![(0, 0, None)], Ok(true), "an empty one"),
            (vec![(3, 3, Some("a")), (0, 0, Some("b")), (7, 7, None)], Ok(true), "an empty page goes on"),
            (vec![(3, 3, Some("a")), (0, 0, None)], Ok(true), "an empty page at the end"),
            (vec![(3, 3, Some("a"))], Ok(false), "it goes on"),
            (vec![(3, 2, Some("a"))], Ok(false), "one entry is known, others are not"),
            (vec![(3, 3, Some(""))], Err(Endless::EmptyCursor), "neither an end nor a place"),
            (vec![(3, 3, Some(long.as_str()))], Err(Endless::LongCursor), "a long cursor"),
            (vec![(3, 3, Some("a")), (1, 1, Some("a"))], Err(Endless::RepeatedCursor), "the same cursor"),
            (
                vec![(1, 1, Some("a")), (1, 1, Some("b")), (1, 1, Some("a"))],
                Err(Endless::RepeatedCursor),
                "in a larger circle",
            ),
            (vec![(0, 0, Some("a")), (0, 0, Some("a"))], Err(Endless::RepeatedCursor), "among empty pages"),
            (vec![(3, 3, Some("a")), (3, 0, Some("b"))], Err(Endless::NothingNew), "the same entries"),
            (vec![(3, 3, Some("a")), (3, 0, None)], Err(Endless::NothingNew), "the same at the end"),
        ];
        for (turns, expected, why) in cases {
            assert_eq!(walk(turns.clone()).1, expected, "{why}");
        }
    }

    #[test]
    fn k04_cursors_that_never_end_are_bounded() {
        let cursors: Vec<String> = (0..50_000).map(|n| format!("c{n}")).collect();
        for (entries, expected, why) in [
            (0, (21, Err(Endless::EmptyPages)), "empty pages"),
            (1, (278, Err(Endless::TooManyPages)), "a new entry on each page"),
            (10, (50_000, Ok(false)), "pages that hold something: what they hold is bounded elsewhere"),
        ] {
            let turns = cursors.iter().map(|cursor| (entries, entries, Some(cursor.as_str())));
            assert_eq!(walk(turns), expected, "{why}");
        }
    }
}
