//! Moderators' decisions: what a commit makes of them and stores with them.
//!
//! Decisions are committed with the events that came before them ([`walk`](super::walk)), or alone ([`decide`]). Each
//! is an input of the fold, so it sees what the events and the decisions before it changed; its entry in the audit
//! log and its `Idempotency-Key` are rows of the same transaction.

use super::attempts::{Step, until_committed};
use super::{Batch, Considered, Settings, gather, prepared};
use crate::domain::facts_cache::FactsCache;
use crate::domain::ingest::{Input, Needs};
use crate::domain::moderation::{Caller, Decision, Measure, Proof, Ruling};
use crate::storage::{Fault, Statement, Store, audit, idempotency, members_only, moderators};
use crate::wire::ids::AtUri;
use crate::wire::jetstream::Frame;
use crate::wire::time::Micros;

/// Commits a moderator's decision, at the time `now`. Its announcements are in the outbox when this
/// returns; a decision that changes nothing is not committed. After each commit that loses against
/// another writer, `pause` is awaited with the number of losses, so that concurrent decisions do
/// not block each other.
pub async fn decide(
    store: &impl Store,
    decision: &Decision,
    settings: &Settings,
    now: Micros,
    pause: impl AsyncFn(u32),
) -> Result<Ruling, Fault> {
    let decisions = std::slice::from_ref(decision);
    let needs = Needs::of(&[], decisions);
    until_committed(store, "committing a decision", pause, async || {
        let known = &mut FactsCache::default();
        let Decided { considered, rulings, made } =
            decide_all(store, &needs, &[], decisions, settings, known, now).await?;
        let ruling = rulings.first().copied().unwrap_or(Ruling::NothingThere);
        if made.is_empty() {
            return Ok(Step::Done(ruling));
        }
        let Considered { folded, version, .. } = &considered;
        let mut prepared = prepared(folded, *version, &Batch::default(), None, settings, now);
        prepared.statements.extend(beside(&made, now));
        Ok(Step::Commit(prepared.statements, ruling))
    })
    .await
}

/// The result of facts and fold for events and the decisions after them.
pub(super) struct Decided<'d> {
    /// Facts and fold.
    pub(super) considered: Considered,
    /// The results of the decisions, in order.
    pub(super) rulings: Vec<Ruling>,
    /// The decisions that take effect with this commit, each with its community.
    pub(super) made: Vec<(&'d Decision, AtUri)>,
}

/// Facts and fold for events and the decisions after them. A decision that was made before, under its
/// `Idempotency-Key`, is not made again.
pub(super) async fn decide_all<'d>(
    store: &impl Store,
    needs: &Needs,
    frames: &[Frame],
    decisions: &'d [Decision],
    settings: &Settings,
    known: &mut FactsCache,
    now: Micros,
) -> Result<Decided<'d>, Fault> {
    let gathered = gather(store, needs, settings, known, now).await?;
    // Read after the facts: if another request made it first, the ledger moved, or this finds it.
    let keys: Vec<_> = decisions.iter().map(|one| (one.caller.name(), one.once.as_ref())).collect();
    let answered = idempotency::find_all(store, &keys, now).await?;
    let both = || decisions.iter().zip(&answered);
    let open =
        both().filter(|(_, answered)| answered.is_none()).map(|(decision, _)| Input::Decision(decision));
    let considered = gathered.fold(frames.iter().map(Input::Frame).chain(open), now);
    let (mut rulings, mut made) = (Vec::new(), Vec::new());
    let mut ruled = considered.folded.rulings.iter();
    for (decision, answered) in both() {
        rulings.push(match answered {
            Some(answered) if answered.is_same => Ruling::Made,
            Some(_) => Ruling::KeyReused,
            None => ruled.next().map_or(Ruling::NothingThere, |ruled| {
                made.extend(ruled.acted_in.clone().map(|community| (decision, community)));
                ruled.ruling
            }),
        });
    }
    Ok(Decided { considered, rulings, made })
}

/// The rows that decisions store in addition: their entries in the audit log (X22), their
/// `Idempotency-Key`s (X23), the moderators (R32), and who reads (R45).
pub(super) fn beside(made: &[(&Decision, AtUri)], now: Micros) -> Vec<Statement> {
    let mut statements = Vec::new();
    for (decision, _) in made {
        match &decision.what {
            Measure::Moderators(community, people) => {
                statements.extend(moderators::replace(community, people, now));
            }
            Measure::MembersOnly(community, on) => statements.push(members_only::set(community, *on, now)),
            _ => {}
        }
    }
    let acts: Vec<_> = made.iter().map(|(decision, community)| audit::Act::of(decision, community)).collect();
    statements.extend(audit::add(&acts, now));
    let once =
        made.iter().filter_map(|(decision, _)| Some((decision.caller.name(), decision.once.as_ref()?)));
    let answered: Vec<_> = once.collect();
    statements.extend(idempotency::keep(&answered, now));
    statements
}

/// Ends some expired bans at the time `now`, and publishes the return of these people (R09). A ban
/// stops counting when it expires, with or without this. Returns `true` if there may be more.
pub async fn end_bans(store: &impl Store, settings: &Settings, now: Micros) -> Result<bool, Fault> {
    let over = moderators::bans_over(store, now).await?;
    for (community, member) in &over {
        let what = Measure::EndBan(community.clone(), member.clone());
        let decision = Decision::new(Caller::Service, Proof::None, what);
        decide(store, &decision, settings, now, async |_| ()).await?;
    }
    Ok(over.len() >= moderators::OVER_AT_ONCE)
}
