//! The relay walk: discovers unknown repositories by listing them at a relay
//! (`com.atproto.sync.listReposByCollection`), one collection after another.
//!
//! The service asks a relay only if the operator sets `RELAY_URL`, and trusts nothing that it
//! answers: whatever a relay lists, a walk ends, the queue of repositories to read is bounded, and
//! so is the number of stored repositories without records.

use crate::wire::ids::Collection;
use crate::wire::time::Micros;

use super::pages::Endless;
use super::repos::pause_after;

/// The collections to list, in this order. Owners and members have a record in the first or the
/// second; the gate refuses everything from anybody else. The third finds people who belong to no
/// community yet. Owners come first, because the gate judges members' records by the owners'
/// records (K02).
pub const LISTED: [Collection; 3] = [Collection::Community, Collection::Membership, Collection::ActorData];

/// Repositories per page.
pub const PAGE: u32 = 500;
/// The most repositories that one walk reads from the relay. Colibri has fewer.
pub const LISTED_MAX: u32 = 200_000;
/// The most pages of one walk: twice as many as [`LISTED_MAX`] needs, since pages may be short.
pub const PAGES_MAX: u32 = 2 * LISTED_MAX / PAGE;
/// The most discovered repositories that may await their first reading. The walk pauses there until
/// they are read, or for [`PATIENCE`].
pub const WAITING_MAX: u32 = 1_000;
/// The most repositories that are stored only because a relay listed them. A walk adds no more than
/// this limit leaves.
pub const KEPT_MAX: u32 = 50_000;
/// A discovered repository without records is deleted after this time. A later walk may add it
/// again.
pub const EMPTY_KEPT: i64 = 30 * 24 * HOUR;
/// A discovered repository that was never read is deleted after this many failures, about nine
/// minutes. The next walk may add it again.
pub const FORGOTTEN_AFTER: u32 = 8;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;
/// The time from the start of one walk to the start of the next.
const EVERY: i64 = 24 * HOUR;
/// The time from the end of a walk to the start of one for a gap. During a gap the service may miss
/// people who started to use Colibri (K05).
const AFTER_GAP: i64 = 600 * SECOND;
/// How long the walk waits for discovered repositories to be read. Some may be on a host that is
/// down, which must not block the others (K03).
const PATIENCE: i64 = 600 * SECOND;
/// How often a paused walk checks whether the waiting repositories were read.
const LOOK_AGAIN: i64 = 5 * SECOND;

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything was listed.
    Complete,
    /// The relay lists more than [`LISTED_MAX`], or on more than [`PAGES_MAX`] pages.
    TooLong,
    /// [`KEPT_MAX`] is reached.
    Full,
    /// The listing of at least one collection did not end properly; the others are complete.
    Broken,
}

impl Ending {
    /// Its name in the database.
    pub fn word(self) -> &'static str {
        match self {
            Ending::Complete => "complete",
            Ending::TooLong => "too_long",
            Ending::Full => "full",
            Ending::Broken => "broken",
        }
    }

    /// The ending of that name in the database.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Complete, Self::TooLong, Self::Full, Self::Broken]
            .into_iter()
            .find(|ending| ending.word() == word)
    }
}

/// The progress of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The relay that lists.
    pub relay: String,
    /// The index in [`LISTED`] of the current collection; past its end, the walk is done.
    pub step: u32,
    /// The cursor of the next page; `None` for the first one.
    pub cursor: Option<String>,
    /// When it began.
    pub began_at: Micros,
    /// When and how it ended.
    pub ended: Option<(Micros, Ending)>,
    /// The time before which the relay is not asked.
    pub next_attempt_at: Micros,
    /// Pages read.
    pub pages: u32,
    /// Repositories on those pages.
    pub listed: u32,
    /// Of these, not known before.
    pub found: u32,
    /// Invalid entries, which name no repository.
    pub dropped: u32,
    /// How many repositories this walk may add, given those already stored.
    pub room: u32,
    /// Failures since the last page.
    pub failures: u32,
    /// The latest failure, or why the latest broken collection is broken.
    pub error: Option<String>,
    /// Collections whose listing did not end properly.
    pub broken: u32,
}

/// What the decision about the next step depends on.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When a gap was last noticed.
    pub last_gap: Option<Micros>,
    /// Discovered repositories that are due and were never tried.
    pub waiting: u32,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Begin a new walk ([`Walk::begin`]).
    Begin,
    /// Ask the relay for a page.
    Ask {
        /// List the repositories that have records of this collection.
        collection: Collection,
        /// The cursor of the page.
        cursor: Option<String>,
    },
    /// Do nothing before this time.
    Wait(Micros),
}

/// A page whose repositories are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Repositories on it.
    pub listed: u32,
    /// Of these, not known before.
    pub found: u32,
    /// Invalid entries, which name no repository.
    pub dropped: u32,
    /// The cursor of the next page, if there is one ([`super::pages`]).
    pub next: Result<Option<String>, Endless>,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// The relay refused the request. Its cursors may have expired, so the collection is listed
    /// from its start.
    Refused(String),
    /// The relay did not answer, or its answer was invalid.
    Failed(String),
    /// The relay is not asked before this time.
    Resting(Micros),
}

impl Walk {
    /// A walk that begins at `now`, when `kept` repositories are stored only because of a relay.
    pub fn begin(relay: &str, kept: u32, now: Micros) -> Self {
        Self {
            relay: relay.to_owned(),
            step: 0,
            cursor: None,
            began_at: now,
            ended: None,
            next_attempt_at: now,
            pages: 0,
            listed: 0,
            found: 0,
            dropped: 0,
            room: KEPT_MAX.saturating_sub(kept),
            failures: 0,
            error: None,
            broken: 0,
        }
    }

    /// What to do at `now` with this relay, given the latest `walk`. The first rule that applies
    /// decides:
    ///   1. without a walk, or after one of another relay, a new one begins;
    ///   2. after a walk that ended, a new one begins a day after its start, or sooner for a gap
    ///      that was noticed since its start;
    ///   3. a pause after a failure is observed;
    ///   4. while too many repositories wait to be read, or any from the previous collection, the walk
    ///      pauses, but no longer than [`PATIENCE`];
    ///   5. otherwise it asks for the next page.
    pub fn next(walk: Option<&Self>, relay: &str, seen: Seen, now: Micros) -> Next {
        let Some(walk) = walk.filter(|walk| walk.relay == relay) else { return Next::Begin };
        if let Some((ended_at, _)) = walk.ended {
            let daily = walk.began_at.0.saturating_add(EVERY);
            let for_gap = seen.last_gap.filter(|noticed| *noticed > walk.began_at);
            let at = for_gap.map_or(daily, |_| daily.min(ended_at.0.saturating_add(AFTER_GAP)));
            return if now.0 >= at { Next::Begin } else { Next::Wait(Micros(at)) };
        }
        if walk.next_attempt_at > now {
            return Next::Wait(walk.next_attempt_at);
        }
        let begins_next = walk.cursor.is_none() && walk.step > 0;
        let is_patient = now.0.saturating_sub(walk.next_attempt_at.0) < PATIENCE;
        if is_patient && (seen.waiting >= WAITING_MAX || begins_next && seen.waiting > 0) {
            return Next::Wait(Micros(now.0.saturating_add(LOOK_AGAIN)));
        }
        match usize::try_from(walk.step).ok().and_then(|step| LISTED.get(step)) {
            Some(collection) => Next::Ask { collection: *collection, cursor: walk.cursor.clone() },
            None => Next::Begin, // stored by a build with more collections
        }
    }

    /// How many repositories the next page may add.
    pub fn room_left(&self) -> u32 {
        self.room.saturating_sub(self.found)
    }

    /// Records a page whose repositories are stored. If a listing does not end properly, the walk
    /// abandons it, and begins the next collection after a pause.
    pub fn on_page(&mut self, page: Page, now: Micros) {
        self.pages = self.pages.saturating_add(1);
        self.listed = self.listed.saturating_add(page.listed);
        self.found = self.found.saturating_add(page.found);
        self.dropped = self.dropped.saturating_add(page.dropped);
        (self.failures, self.next_attempt_at) = (0, now);
        if self.broken == 0 {
            self.error = None;
        }
        let next = page.next.unwrap_or_else(|endless| {
            self.broken = self.broken.saturating_add(1);
            self.error = Some(endless.to_string());
            self.next_attempt_at = Micros(now.0.saturating_add(pause_after(self.broken, 0.0)));
            None
        });
        if next.is_none() {
            self.step = self.step.saturating_add(1);
        }
        self.cursor = next;
        let all = usize::try_from(self.step).map_or(true, |step| step >= LISTED.len());
        let ending = if all && self.broken > 0 {
            Ending::Broken
        } else if all {
            Ending::Complete
        } else if self.room_left() == 0 {
            Ending::Full
        } else if self.listed >= LISTED_MAX || self.pages >= PAGES_MAX {
            Ending::TooLong
        } else {
            return;
        };
        self.ended = Some((now, ending));
    }

    /// Records that there was no page. `chance`, from 0 to 1, spreads the pause.
    pub fn on_miss(&mut self, miss: Miss, now: Micros, chance: f64) {
        let error = match miss {
            Miss::Resting(until) => {
                self.next_attempt_at = until.max(now);
                return;
            }
            Miss::Refused(error) => {
                self.cursor = None;
                error
            }
            Miss::Failed(error) => error,
        };
        self.failures = self.failures.saturating_add(1);
        self.next_attempt_at = Micros(now.0.saturating_add(pause_after(self.failures, chance)));
        self.error = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_000 * HOUR);
    const NOTHING: Seen = Seen { last_gap: None, waiting: 0 };

    fn later(at: Micros, by: i64) -> Micros {
        Micros(at.0 + by)
    }

    fn ask(collection: Collection, cursor: Option<&str>) -> Next {
        Next::Ask { collection, cursor: cursor.map(str::to_owned) }
    }

    fn page(listed: u32, found: u32, cursor: &str) -> Page {
        let next = Ok(Some(cursor.to_owned()).filter(|cursor| !cursor.is_empty()));
        Page { listed, found, dropped: 0, next }
    }

    fn begun() -> Walk {
        Walk::begin("relay", 0, NOW)
    }

    #[test]
    fn a_walk_goes_through_every_collection_and_ends() {
        let mut walk = begun();
        let mut asked = Vec::new();
        for cursor in ["a", "", "", "b", ""] {
            asked.push(Walk::next(Some(&walk), "relay", NOTHING, NOW));
            walk.on_page(page(10, 1, cursor), NOW);
        }
        let expected = [
            ask(Collection::Community, None),
            ask(Collection::Community, Some("a")),
            ask(Collection::Membership, None),
            ask(Collection::ActorData, None),
            ask(Collection::ActorData, Some("b")),
        ];
        assert_eq!(asked, expected);
        assert_eq!(walk.ended, Some((NOW, Ending::Complete)));
        assert_eq!((walk.pages, walk.listed, walk.found), (5, 50, 5));
    }

    #[test]
    fn when_a_walk_begins() {
        let mut ended = begun();
        ended.ended = Some((later(NOW, HOUR), Ending::Complete));
        let gap = |by| Seen { last_gap: Some(later(NOW, by)), waiting: 0 };
        let day = later(NOW, EVERY);
        for (walk, relay, seen, at, expected, why) in [
            (None, "relay", NOTHING, NOW, Next::Begin, "the first"),
            (Some(&ended), "other", NOTHING, NOW, Next::Begin, "another relay"),
            (Some(&ended), "relay", NOTHING, later(NOW, 2 * HOUR), Next::Wait(day), "one a day"),
            (Some(&ended), "relay", NOTHING, day, Next::Begin, "a day later"),
            (Some(&ended), "relay", gap(-1), later(NOW, 2 * HOUR), Next::Wait(day), "a gap before it"),
            (Some(&ended), "relay", gap(1), later(NOW, 2 * HOUR), Next::Begin, "a gap while it went on"),
            (
                Some(&ended),
                "relay",
                gap(2 * HOUR),
                later(NOW, HOUR + 1),
                Next::Wait(later(NOW, HOUR + AFTER_GAP)),
                "gap after gap does not make walk after walk",
            ),
        ] {
            assert_eq!(Walk::next(walk, relay, seen, at), expected, "{why}");
        }
        let going = begun();
        assert_eq!(
            Walk::next(Some(&going), "relay", gap(1), later(NOW, 1)),
            ask(Collection::Community, None),
            "one that goes on is not begun anew"
        );
    }

    #[test]
    fn those_who_were_found_are_read_before_more_are_looked_for() {
        let waiting = |waiting| Seen { last_gap: None, waiting };
        let wait = Next::Wait(later(NOW, LOOK_AGAIN));
        let mut walk = begun();
        walk.on_page(page(500, 500, "a"), NOW);
        let next = |walk: &Walk, seen| Walk::next(Some(walk), "relay", seen, NOW);
        assert_eq!(next(&walk, waiting(WAITING_MAX - 1)), ask(Collection::Community, Some("a")));
        assert_eq!(next(&walk, waiting(WAITING_MAX)), wait, "enough of them");
        walk.on_page(page(1, 1, ""), NOW);
        assert_eq!(next(&walk, waiting(1)), wait, "K02: owners before members");
        assert_eq!(next(&walk, waiting(0)), ask(Collection::Membership, None));
        // K03: a host that is down, with thousands of repositories, blocks the walk only for a while.
        let after = |by| Walk::next(Some(&walk), "relay", waiting(WAITING_MAX), later(NOW, by));
        assert_eq!(after(PATIENCE - 1), Next::Wait(later(NOW, PATIENCE - 1 + LOOK_AGAIN)));
        assert_eq!(after(PATIENCE), ask(Collection::Membership, None));
    }

    /// Whatever the relay sends, the walk ends and adds no more than its limit.
    #[test]
    fn a_hostile_relay_grows_nothing_without_bound() {
        for (what, send, expected) in [
            ("ten million", page(500, 500, ""), Ending::Full),
            ("those who are known, for ever", page(500, 0, ""), Ending::TooLong),
            ("nobody, for ever", page(0, 0, ""), Ending::TooLong),
        ] {
            let mut walk = begun();
            let mut sent = 0;
            while walk.ended.is_none() {
                sent += 1;
                walk.on_page(Page { next: Ok(Some(format!("c{sent}"))), ..send.clone() }, NOW);
                assert!(sent <= PAGES_MAX, "{what}");
            }
            assert_eq!(walk.ended, Some((NOW, expected)), "{what}");
            assert!(walk.found <= KEPT_MAX && walk.listed <= LISTED_MAX, "{what}");
        }
        // In a circle.
        let mut walk = begun();
        for n in 0.. {
            if walk.ended.is_some() {
                break;
            }
            walk.on_page(page(1, 0, if n % 2 == 0 { "a" } else { "b" }), NOW);
        }
        assert_eq!(walk.ended, Some((NOW, Ending::TooLong)));
    }

    /// A broken collection neither hides the others nor is asked for in a loop.
    #[test]
    fn k04_a_listing_that_does_not_end_properly_is_left_until_the_next_walk() {
        let mut walk = begun();
        walk.on_page(page(3, 1, "a"), NOW);
        walk.on_page(Page { next: Err(Endless::RepeatedCursor), ..page(3, 1, "") }, NOW);
        assert_eq!((walk.step, walk.cursor.as_deref(), walk.found, walk.ended), (1, None, 2, None));
        assert!(walk.error.is_some());
        let until = later(NOW, 2 * SECOND);
        assert_eq!(Walk::next(Some(&walk), "relay", NOTHING, NOW), Next::Wait(until), "after a pause");
        assert_eq!(Walk::next(Some(&walk), "relay", NOTHING, until), ask(Collection::Membership, None));
        walk.on_page(Page { next: Err(Endless::EmptyPages), ..page(0, 0, "") }, until);
        assert_eq!(walk.next_attempt_at, later(until, 4 * SECOND), "a longer one");
        walk.on_page(page(1, 0, ""), walk.next_attempt_at);
        let (_, ending) = walk.ended.unwrap();
        assert_eq!((ending, walk.error.is_some()), (Ending::Broken, true), "why stays to be seen");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut walk = Walk::begin("relay", KEPT_MAX - 3, NOW);
        assert_eq!(walk.room_left(), 3);
        walk.on_page(page(500, 3, "a"), NOW);
        assert_eq!((walk.room_left(), walk.ended), (0, Some((NOW, Ending::Full))));
        assert_eq!(Walk::begin("relay", KEPT_MAX + 1, NOW).room_left(), 0);
    }

    #[test]
    fn k03_failures_make_pauses_and_lose_nothing() {
        let mut walk = begun();
        walk.on_page(page(500, 1, "a"), NOW);
        let mut at = NOW;
        for (failures, seconds) in [(1, 2), (2, 4), (3, 8)] {
            walk.on_miss(Miss::Failed("why".into()), at, 0.0);
            assert_eq!((walk.failures, walk.error.as_deref()), (failures, Some("why")));
            let until = later(at, seconds * SECOND);
            assert_eq!(Walk::next(Some(&walk), "relay", NOTHING, at), Next::Wait(until));
            at = until;
            assert_eq!(
                Walk::next(Some(&walk), "relay", NOTHING, at),
                ask(Collection::Community, Some("a")),
                "it goes on where it was"
            );
        }
        walk.on_miss(Miss::Resting(later(at, HOUR)), at, 0.0);
        assert_eq!(walk.failures, 3, "a rest is no failure");
        assert_eq!(Walk::next(Some(&walk), "relay", NOTHING, at), Next::Wait(later(at, HOUR)));
        walk.on_miss(Miss::Refused("status 400".into()), at, 0.0);
        let after = walk.next_attempt_at;
        assert_eq!(
            Walk::next(Some(&walk), "relay", NOTHING, after),
            ask(Collection::Community, None),
            "a cursor that is refused is not used again"
        );
        walk.on_page(page(1, 0, "b"), after);
        assert_eq!((walk.failures, walk.error), (0, None));
    }

    #[test]
    fn endings_have_words() {
        for word in ["complete", "too_long", "full", "broken"] {
            assert_eq!(Ending::named(word).map(Ending::word), Some(word));
        }
        assert_eq!(Ending::named("happy"), None);
    }
}
