//! Loads the facts for a batch, in one round trip (second step of the pipeline).
//!
//! [`load`] turns [`Needs`] into a [`WorkingSet`]. Lists are bound as JSON, so a batch of any size
//! takes one statement for each kind of record that it needs, and a few more. They run again only
//! when a held record turns up that waits for one of the batch, because its contents decide what it
//! needs.

use std::borrow::Cow;

use serde::Deserialize;

use super::kinds::{Asked, KINDS, Question, people_concerned, question};
use super::{Fault, Statement, Store, erasures, rows};
use crate::domain::facts_cache::{Complete, FactsCache};
use crate::domain::ingest::Needs;
use crate::domain::rows::{
    ApprovalRow, ChannelRow, CommunityRow, MemberRow, MembershipRow, PersonRow, RoleRow,
};
use crate::domain::working_set::WorkingSet;
use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// Facts, and the ledger version at which they were read.
#[derive(Debug, Default)]
pub struct Facts {
    /// The rows that the rules may read.
    pub working_set: WorkingSet,
    /// The number of the last commit.
    pub version: i64,
    /// Of what everything was loaded, together with what was cached.
    pub complete: Complete,
}

/// Loads what `needs` names and what follows from it, apart from what is `known`: that counts only if the version is
/// the same. For people whose account was activated or deactivated, it loads the messages since `recent_since` (I51).
pub async fn load(
    store: &impl Store,
    needs: &Needs,
    known: &FactsCache,
    recent_since: Micros,
) -> Result<Facts, Fault> {
    let mut needs = Cow::Borrowed(needs);
    loop {
        let mut facts = load_once(store, &needs, known, recent_since).await?;
        // Parents are released before children (I61), so this ends after the longest chain:
        // community, channel, message, reaction.
        if !needs.may_follow(&facts.working_set, known)
            || !needs.to_mut().add_following(&facts.working_set, known)
        {
            let members = facts.working_set.memberships.iter().map(|row| &row.member_did);
            facts.complete.people = members.chain(&needs.people).cloned().collect();
            facts.complete.channel_rkeys = needs.channel_rkeys.iter().cloned().collect();
            return Ok(facts);
        }
    }
}

async fn load_once(
    store: &impl Store,
    needs: &Needs,
    known: &FactsCache,
    recent_since: Micros,
) -> Result<Facts, Fault> {
    let asked = Asked::new(needs, known, recent_since);
    let mut questions = vec![ledger()];
    if !needs.is_empty() {
        questions.extend(KINDS.iter().map(|kind| (kind.question)(&asked)));
        questions.extend([gone, bans, blocks, people, erased, members_only].map(|question| question(&asked)));
        questions.retain(|question| !question.statement.asks_for_nothing());
    }
    if needs.judges {
        questions.push(moderators(&asked));
    }
    let mut facts = ask(store, questions).await?;
    facts.working_set.leave_out_erased();
    Ok(facts)
}

/// The facts that decide what `did` may do in a community (N22). Bans are judged at `now`.
pub async fn standing_in(
    store: &impl Store,
    community: &AtUri,
    did: &Did,
    now: Micros,
) -> Result<WorkingSet, Fault> {
    let mut needs = Needs::default();
    needs.communities.insert(community.clone());
    needs.people.insert(did.clone());
    standings(store, &needs, &[], now).await
}

/// The facts that decide whether `people` may be in `channel` (V02): the channel, its community,
/// and the people's standings. One round trip for any number of people; an unknown channel is
/// absent from the answer. Bans are judged at `now`.
pub async fn right_to_be_in(
    store: &impl Store,
    channel: &AtUri,
    people: &[Did],
    now: Micros,
) -> Result<WorkingSet, Fault> {
    let mut needs = Needs::default();
    needs.channel_uris.insert(channel.clone());
    needs.people.extend(people.iter().cloned());
    standings(store, &needs, &[question::<ChannelRow>, question::<ApprovalRow>, members_only], now).await
}

/// The facts that decide in which of these channels `did` may write (U40): as [`right_to_be_in`]. Each channel is named
/// with its community.
pub async fn right_to_write(
    store: &impl Store,
    channels: impl IntoIterator<Item = (AtUri, AtUri)>,
    did: &Did,
    now: Micros,
) -> Result<WorkingSet, Fault> {
    let mut needs = Needs::default();
    for (channel, community) in channels {
        needs.channel_uris.insert(channel);
        needs.communities.insert(community);
    }
    needs.people.insert(did.clone());
    standings(store, &needs, &[question::<ChannelRow>, question::<ApprovalRow>, members_only], now).await
}

/// The facts that decide whether somebody may act in a community (R52), also on somebody else in a voice channel (R57):
/// the channels, the community with its moderators, and the standings of these people. One round trip.
pub async fn acts_in<'a>(
    store: &impl Store,
    community: &AtUri,
    channels: impl IntoIterator<Item = &'a AtUri>,
    people: impl IntoIterator<Item = &'a Did>,
    now: Micros,
) -> Result<WorkingSet, Fault> {
    let mut needs = Needs::default();
    needs.communities.insert(community.clone());
    needs.channel_uris.extend(channels.into_iter().cloned());
    needs.people.extend(people.into_iter().cloned());
    standings(store, &needs, &[question::<ChannelRow>, moderators], now).await
}

/// Who the people of `needs` are in its communities, and `more`, in one round trip. Bans are judged at `now`.
async fn standings(
    store: &impl Store,
    needs: &Needs,
    more: &[fn(&Asked) -> Question],
    now: Micros,
) -> Result<WorkingSet, Fault> {
    let known = FactsCache::default();
    let asked = Asked::new(needs, &known, Micros::default());
    let always = [
        question::<CommunityRow>,
        question::<MembershipRow>,
        question::<MemberRow>,
        question::<RoleRow>,
        bans,
    ];
    let questions = always.iter().chain(more).map(|question| question(&asked)).collect();
    let mut facts = ask(store, questions).await?;
    facts.working_set.bans.at(now);
    Ok(facts.working_set)
}

/// Sends the questions in one round trip, and loads each answer.
async fn ask(store: &impl Store, questions: Vec<Question>) -> Result<Facts, Fault> {
    let (statements, loads): (Vec<_>, Vec<_>) =
        questions.into_iter().map(|question| (question.statement, question.load)).unzip();
    let answers = store.read(&statements).await?;
    if answers.len() != loads.len() {
        return Err(Fault::new("reading facts", "the database left out an answer"));
    }
    let mut facts = Facts::default();
    for (load, texts) in loads.into_iter().zip(&answers) {
        load(&mut facts, texts)?;
    }
    Ok(facts)
}

fn ledger() -> Question {
    #[derive(Deserialize)]
    struct Version {
        version: i64,
    }
    Question {
        statement: Statement::new("SELECT json_object('version', version) AS row FROM ledger", []),
        load: |facts, texts| {
            let row = rows::<Version>(Some(texts))?.pop();
            facts.version = row.map(|row| row.version).ok_or_else(|| {
                Fault::new("reading the ledger", "it has no row; are the migrations applied?")
            })?;
            Ok(())
        },
    }
}

/// What message keys meant before, for answers and reactions (T21).
fn gone(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(
            GONE,
            [asked.parent_rkeys(), asked.channels(), asked.channel_rkeys(), asked.target_rkeys()],
        ),
        load: |facts, texts| {
            facts.working_set.gone = rows(Some(texts))?.into_iter().collect();
            Ok(())
        },
    }
}

fn bans(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(BANS, [asked.strangers(), asked.approvals(), asked.closing()]),
        load: |facts, texts| {
            facts.working_set.bans = rows(Some(texts))?.into_iter().collect();
            Ok(())
        },
    }
}

fn moderators(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(MODERATORS, [asked.communities(), asked.messages()]),
        load: |facts, texts| {
            facts.working_set.moderators = rows(Some(texts))?.into_iter().collect();
            Ok(())
        },
    }
}

fn members_only(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(MEMBERS_ONLY, [asked.communities(), asked.channels(), asked.messages()]),
        load: |facts, texts| {
            facts.working_set.members_only = rows(Some(texts))?.into_iter().collect();
            Ok(())
        },
    }
}

fn blocks(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(
            BLOCKS,
            [
                asked.messages(),
                asked.parent_rkeys(),
                asked.target_rkeys(),
                asked.reactions(),
                asked.accounts(),
                asked.since(),
            ],
        ),
        load: |facts, texts| {
            for (uri, by_service, by_record) in rows::<(AtUri, bool, bool)>(Some(texts))? {
                if by_service {
                    facts.working_set.blocks.seed(uri.clone());
                }
                if by_record {
                    facts.working_set.hides.seed(uri);
                }
            }
            Ok(())
        },
    }
}

/// The people who are erased (I57).
fn erased(asked: &Asked) -> Question {
    Question {
        statement: erasures::among(asked.needs.everybody().iter()),
        load: |facts, texts| {
            facts.working_set.erased = rows(Some(texts))?.into_iter().collect();
            Ok(())
        },
    }
}

fn people(asked: &Asked) -> Question {
    Question {
        statement: Statement::new(
            PEOPLE,
            [
                asked.people(),
                asked.approvals(),
                asked.closing(),
                asked.messages(),
                asked.parent_rkeys(),
                asked.profiles(),
            ],
        ),
        load: |facts, texts| {
            for (row, bluesky, is_bot) in rows::<(PersonRow, Option<String>, bool)>(Some(texts))? {
                facts.working_set.people.seed(PersonRow { bluesky, is_bot, ..row });
            }
            Ok(())
        },
    }
}

// What keys meant before: those that messages answer to (?1, in the channels of ?2 and ?3), and
// those that reactions name (?4). See MESSAGES.
const GONE: &str = "
    SELECT json_object('uri', uri, 'channel_uri', channel_uri, 'rkey', rkey, 'indexed_at', indexed_at) AS row
    FROM gone_messages
    WHERE rkey IN (SELECT value FROM json_each(?1)) AND +channel_uri IN (
               SELECT value FROM json_each(?2)
               UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?3)))
       OR rkey IN (SELECT value FROM json_each(?4))";

const BANS: &str = people_concerned!(
    "SELECT json_object('community_uri', community_uri, 'member_did', member_did, 'until', until,
        'by_service', json(iif(by_service, 'true', 'false')), 'by_record', json(iif(by_record, 'true', 'false'))) AS row
    FROM bans WHERE member_did IN (SELECT did FROM concerned)"
);

// For the communities named (?1), and those of these messages (?2).
const MODERATORS: &str = "
    SELECT json_array(community_uri, did) AS row FROM moderators WHERE community_uri IN (
        SELECT value FROM json_each(?1)
        UNION SELECT ch.community_uri FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
               WHERE m.uri IN (SELECT value FROM json_each(?2)))";

// Of the communities named (?1), of those of channels (?2), and of those in which messages (?3) stand: a
// message that is answered from another community is named by its AT-URI (X44).
const MEMBERS_ONLY: &str = "
    SELECT json_quote(community_uri) AS row FROM members_only WHERE community_uri IN (
        SELECT value FROM json_each(?1)
        UNION SELECT community_uri FROM channels WHERE uri IN (SELECT value FROM json_each(?2))
        UNION SELECT ch.community_uri FROM messages m JOIN channels ch ON ch.uri = m.channel_uri
               WHERE m.uri IN (SELECT value FROM json_each(?3)))";

const BLOCKS: &str = "
    SELECT json_array(uri, json(iif(by_service, 'true', 'false')), json(iif(by_record, 'true', 'false'))) AS row
    FROM blocks WHERE uri IN (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?2))
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?3))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT m.uri FROM json_each(?5) d CROSS JOIN messages m
                 ON m.uri > 'at://' || d.value || '/' AND m.uri < 'at://' || d.value || '0' WHERE m.sort_at >= ?6)";

const PEOPLE: &str = people_concerned!(
    ", wanted(did) AS (
        SELECT did FROM concerned
        UNION SELECT author_did FROM messages WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT author_did FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT value FROM json_each(?6)
    )
    SELECT json_array(json_object('did', did, 'handle', handle, 'display_name', display_name,
        'avatar_cid', avatar_cid, 'banner_cid', banner_cid, 'description', description,
        'status_text', status_text, 'emoji', emoji, 'state', state, 'profile_rev', profile_rev,
        'active', json(iif(active, 'true', 'false')), 'account_status', account_status,
        'account_at', account_at, 'account_said', account_said, 'away_since', away_since,
        'deleted_at', deleted_at), bluesky, json(iif(is_bot, 'true', 'false'))) AS row   -- D1 takes 32 arguments of json_object
    FROM people WHERE did IN (SELECT did FROM wanted)"
);
