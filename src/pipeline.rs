//! The pipeline of every record: parse → facts → fold → commit.
//!
//! Events and moderators' decisions go through [`walk`], and repositories through [`reconcile`]. All use the
//! same facts, fold and commit; there is no second writer and no second set of rules (invariant 8). After the commit, [`delivery`] publishes from the outbox.
//!
//! After a crash, the service reads the same input again: before the commit nothing was stored;
//! after it everything was, events and cursor included.

mod attempts;
mod decisions;
pub mod delivery;
pub mod erasing;
pub mod reconcile;

use std::collections::{BTreeMap, BTreeSet};

use attempts::{Step, at_once, until_committed};
use decisions::{Decided, beside, decide_all};
pub use decisions::{decide, end_bans};

use crate::domain::announcement::Announcement;
use crate::domain::facts_cache::{Complete, FactsCache};
use crate::domain::identity::Finding;
use crate::domain::ingest::{Folded, Input, Needs, fold};
use crate::domain::link::{Gap, StreamPosition};
use crate::domain::moderation::{Decision, Ruling};
use crate::domain::notifications;
use crate::domain::points::{Points, Verdict, cost};
use crate::domain::working_set::WorkingSet;
use crate::storage::commit::{Commit, HeldBounds, Prepared, prepare};
use crate::storage::facts::{self, Facts};
use crate::storage::{Fault, Store};
use crate::wire::ids::{Collection, Did};
use crate::wire::jetstream::{Frame, ParseError, What, parse, time_of};
use crate::wire::profile::LookedUp;
use crate::wire::time::Micros;

/// The reason that counts binary frames: compressed ones, which the service never requests.
const BINARY: &str = "frame_binary";

/// A batch of frames before its commit.
#[derive(Debug, Default)]
pub struct Batch {
    /// Events, in stream order.
    pub frames: Vec<Frame>,
    /// Frames that could not be read, by reason.
    pub unread: BTreeMap<&'static str, u64>,
    /// The position in the stream before the batch.
    pub from: Option<StreamPosition>,
    /// The position in the stream after the batch, if it moved.
    pub position: Option<StreamPosition>,
    /// Frames with a time too far ahead to be a position.
    pub ahead: u64,
    /// The length of the frames' texts.
    pub bytes: usize,
    /// A stretch of the stream before the batch that the service missed (J07).
    pub gap: Option<Gap>,
    /// Repositories whose events were left out, each until a time of the stream (K17).
    pub deferred: BTreeMap<Did, Micros>,
}

impl Batch {
    /// Adds the text of a frame from `host`, at the time `now`. An unreadable frame is counted and
    /// does not stop the stream; an irrelevant one only moves the position. A frame of a repository
    /// without points left is left out (K17).
    pub fn take(&mut self, text: &str, host: &str, now: Micros, points: &mut Points) {
        match parse(text).map(|frame| frame.at(now)) {
            Ok(frame) => {
                self.passed(host, frame.time, now);
                match frame.what {
                    What::Passing => {}
                    What::Refused(error) => self.count(error),
                    _ if self.is_left_out(&frame, now, points) => {}
                    _ => {
                        self.bytes += text.len();
                        self.frames.push(frame);
                    }
                }
            }
            Err(error) => {
                if let Some(time) = time_of(text) {
                    self.passed(host, time, now);
                }
                self.count(error);
            }
        }
    }

    fn is_left_out(&mut self, frame: &Frame, now: Micros, points: &mut Points) -> bool {
        let What::Commit(commit) = &frame.what else { return false };
        match points.charge(&frame.did, cost(&commit.write), frame.time, now) {
            Verdict::Passes => false,
            Verdict::LeftOut => true,
            Verdict::Defers(until) => {
                self.deferred.insert(frame.did.clone(), until);
                true
            }
        }
    }

    /// Counts a binary frame.
    pub fn take_binary(&mut self) {
        *self.unread.entry(BINARY).or_default() += 1;
    }

    /// Notes a stretch that the service missed. Two stretches that are noted before either is
    /// stored become one, from the start of the first to the end of the second.
    pub fn note_gap(&mut self, gap: Gap) {
        self.gap = Some(match self.gap.take() {
            Some(before) => Gap { from: before.from.min(gap.from), to: before.to.max(gap.to), ..gap },
            None => gap,
        });
    }

    /// Appends what arrived while this batch could not be committed.
    pub fn and_then(&mut self, later: Self) {
        self.frames.extend(later.frames);
        for (reason, count) in later.unread {
            *self.unread.entry(reason).or_default() += count;
        }
        self.position = later.position.or(self.position.take());
        self.bytes += later.bytes;
        self.ahead += later.ahead;
        self.deferred.extend(later.deferred);
        if let Some(gap) = later.gap {
            self.note_gap(gap);
        }
    }

    fn passed(&mut self, host: &str, time: Micros, now: Micros) {
        self.ahead += u64::from(time.is_ahead_of(now));
        let before = self.position.as_ref().or(self.from.as_ref());
        if let Some(moved) = StreamPosition::moved(before, host, time, now) {
            self.position = Some(moved);
        }
    }

    fn count(&mut self, error: ParseError) {
        *self.unread.entry(error.reason()).or_default() += 1;
    }

    /// Whether there is nothing to store: no event, no frame to count, and the position did not move.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.position.is_none() && !self.is_urgent()
    }

    /// Whether the batch must be committed at once: it has a Colibri record, or a frame to count.
    /// Profiles, identities and accounts of the whole network also arrive, nearly all of unknown
    /// people; the service commits those together every few seconds (J08).
    pub fn is_urgent(&self) -> bool {
        !self.unread.is_empty()
            || self.gap.is_some()
            || !self.deferred.is_empty()
            || self.frames.iter().any(|frame| match &frame.what {
                What::Commit(commit) => commit.collection != Collection::Profile,
                _ => false,
            })
    }
}

/// Settings of the pipeline.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `CDN_URL` (C05).
    pub cdn: String,
    /// `SEARCH` (C46): whether the words of messages are stored.
    pub searchable: bool,
    /// `HELD_HOURS`, `HELD_MAX` (C20).
    pub held: HeldBounds,
    /// `EVENT_LOG_HOURS` (C17): when an account is hidden, the deletions of its messages since then
    /// are published (I51).
    pub log_hours: i64,
}

/// The announcements of a commit, as they are in the outbox.
#[derive(Debug)]
pub struct Committed {
    /// The ledger version before.
    pub before: i64,
    /// The ledger version after.
    pub after: i64,
    /// The outbox rows, in order.
    pub outbox: Vec<(i64, Vec<Announcement>)>,
    /// The repositories that this commit made known (K01).
    pub known: BTreeSet<Did>,
    /// Whether identities are due: new people, or a changed identity (K12, I50).
    pub looks: bool,
    /// Whether accounts became active again, so that their repositories are due (I53).
    pub returned: bool,
    /// The results of the decisions, in order.
    pub rulings: Vec<Ruling>,
}

/// Commits a batch and the decisions that follow it, at the time `now`. No two decisions have the same
/// caller and `Idempotency-Key`. `announced` is the last outbox row that was delivered; the same transaction
/// deletes the rows up to it. `known` has the facts kept after the last batch, or is empty. Without events,
/// decisions that change nothing are not committed.
pub async fn walk(
    store: &impl Store,
    batch: &Batch,
    decisions: &[Decision],
    settings: &Settings,
    announced: Option<i64>,
    known: &mut FactsCache,
    now: Micros,
) -> Result<Committed, Fault> {
    let needs = Needs::of(&batch.frames, decisions);
    let (decided, prepared, is_stored) = until_committed(store, "committing a batch", at_once, async || {
        let decided = decide_all(store, &needs, &batch.frames, decisions, settings, known, now).await?;
        let Decided { considered, made, .. } = &decided;
        let mut prepared = prepared(&considered.folded, considered.version, batch, announced, settings, now);
        if batch.is_empty() && made.is_empty() && !considered.folded.is_anything() {
            return Ok(Step::Done((decided, prepared, false)));
        }
        prepared.statements.extend(beside(made, now));
        let statements = std::mem::take(&mut prepared.statements);
        Ok(Step::Commit(statements, (decided, prepared, true)))
    })
    .await?;
    let Decided { considered: Considered { folded, version: before, complete }, rulings, .. } = decided;
    let after = if is_stored { prepared.version } else { before };
    // The database finds everything that an account's change hides or deletes, loaded or not.
    if folded.accounts.is_empty() && !folded.left_out {
        known.keep(after, complete, folded.kept);
    } else {
        known.forget();
    }
    let looks = !folded.changes.people.is_empty() || !folded.identities.is_empty();
    let returned = folded.accounts.iter().any(|account| account.returned);
    let mut announcements = folded.announcements.into_iter();
    let outbox = prepared
        .outbox
        .into_iter()
        .map(|(id, range)| (id, announcements.by_ref().take(range.len()).collect()))
        .collect();
    let known = prepared.known.into_iter().map(|(did, _)| did).collect();
    Ok(Committed { before, after, outbox, known, looks, returned, rulings })
}

/// Stores a looked-up profile (R04, I37), at the time `now`, unless a newer one is stored. It
/// publishes nothing, because no event of the network caused it.
pub async fn remember(
    store: &impl Store,
    did: &Did,
    profile: &LookedUp,
    settings: &Settings,
    now: Micros,
) -> Result<(), Fault> {
    let mut needs = Needs::default();
    needs.profiles.insert(did.clone());
    until_committed(store, "caching a profile", at_once, async || {
        let facts = facts::load(store, &needs, &FactsCache::default(), now).await?;
        let mut working_set: WorkingSet = facts.working_set;
        if working_set.erased.contains(did) {
            return Ok(Step::Done(()));
        }
        working_set.people.know(did);
        working_set.people.change(did, |person| person.look_up(profile));
        let prepared = prepare(&Commit {
            version: facts.version,
            changes: &working_set.into_changes().0,
            accounts: &[],
            deleted_communities: &[],
            announcements: &[],
            refusals: &[],
            shut_out: 0,
            unread: &BTreeMap::new(),
            position: None,
            gap: None,
            deferred: &BTreeMap::new(),
            frames: &[],
            doubtful: &BTreeSet::new(),
            admitted: &BTreeSet::new(),
            joined: &BTreeMap::new(),
            eased: &BTreeMap::new(),
            banned_by_record: &[],
            channels_placed: &[],
            notified: &notifications::Changes::default(),
            announced: None,
            identities: &[],
            looks_at_new: false,
            searchable: settings.searchable,
            held: settings.held,
            now,
        });
        Ok(Step::Commit(prepared.statements, ()))
    })
    .await
}

/// Commits the results of looking up people, at the time `now` (I50, K12). Returns `true` if
/// anything changed; its announcements are then in the outbox.
pub async fn learn(
    store: &impl Store,
    findings: &[(Did, Finding)],
    settings: &Settings,
    now: Micros,
) -> Result<bool, Fault> {
    let mut needs = Needs::default();
    needs.profiles.extend(findings.iter().map(|(did, _)| did.clone()));
    until_committed(store, "committing what was found out", at_once, async || {
        let inputs = findings.iter().map(|(did, finding)| Input::Learned(did, finding));
        let known = &mut FactsCache::default();
        let Considered { folded, version: before, .. } =
            consider(store, &needs, inputs, settings, known, now).await?;
        if folded.changes.people.is_empty() {
            return Ok(Step::Done(false));
        }
        let prepared = prepared(&folded, before, &Batch::default(), None, settings, now);
        Ok(Step::Commit(prepared.statements, true))
    })
    .await
}

/// The result of facts and fold for some inputs.
struct Considered {
    folded: Folded,
    /// The ledger version of the facts.
    version: i64,
    /// Of what the facts contain everything.
    complete: Complete,
}

/// Facts and fold: decides on `inputs`.
async fn consider<'a>(
    store: &impl Store,
    needs: &Needs,
    inputs: impl IntoIterator<Item = Input<'a>>,
    settings: &Settings,
    known: &mut FactsCache,
    now: Micros,
) -> Result<Considered, Fault> {
    Ok(gather(store, needs, settings, known, now).await?.fold(inputs, now))
}

/// Facts, before the fold.
struct Gathered {
    working_set: WorkingSet,
    version: i64,
    complete: Complete,
    recent_since: Micros,
}

impl Gathered {
    fn fold<'a>(self, inputs: impl IntoIterator<Item = Input<'a>>, now: Micros) -> Considered {
        let folded = fold(self.working_set, inputs, now, self.recent_since);
        Considered { folded, version: self.version, complete: self.complete }
    }
}

/// The facts that `needs` names, those that are `known` included.
async fn gather(
    store: &impl Store,
    needs: &Needs,
    settings: &Settings,
    known: &mut FactsCache,
    now: Micros,
) -> Result<Gathered, Fault> {
    let recent_since = Micros(now.0.saturating_sub(settings.log_hours.saturating_mul(3_600_000_000)));
    known.expire(now);
    let mut facts = facts::load(store, needs, known, recent_since).await?;
    if facts.version != known.version() && !known.is_empty() {
        // Another writer committed, so what was kept may be outdated.
        known.forget();
        facts = facts::load(store, needs, known, recent_since).await?;
    }
    let Facts { mut working_set, version, mut complete } = facts;
    let kept = known.give(&mut working_set);
    complete.people.extend(kept.people);
    complete.channel_rkeys.extend(kept.channel_rkeys);
    working_set.leave_out_erased();
    working_set.cdn.clone_from(&settings.cdn);
    Ok(Gathered { working_set, version, complete, recent_since })
}

fn prepared(
    folded: &Folded,
    version: i64,
    batch: &Batch,
    announced: Option<i64>,
    settings: &Settings,
    now: Micros,
) -> Prepared {
    prepare(&Commit {
        version,
        changes: &folded.changes,
        accounts: &folded.accounts,
        deleted_communities: &folded.deleted_communities,
        announcements: &folded.announcements,
        refusals: &folded.refusals,
        shut_out: folded.shut_out,
        unread: &batch.unread,
        position: batch.position.as_ref(),
        gap: batch.gap.as_ref(),
        deferred: &batch.deferred,
        frames: &batch.frames,
        doubtful: &folded.doubtful,
        admitted: &folded.admitted,
        joined: &folded.joined,
        eased: &folded.eased,
        banned_by_record: &folded.banned_by_record,
        channels_placed: &folded.channels_placed,
        notified: &folded.notified,
        announced,
        identities: &folded.identities,
        looks_at_new: true,
        searchable: settings.searchable,
        held: settings.held,
        now,
    })
}
