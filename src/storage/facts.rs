//! What a batch must know, in one round trip (second step of the pipeline).
//!
//! [`load`] turns [`Needs`] into a [`WorkingSet`]. Lists go in as JSON, so a batch of any size is
//! sixteen statements. Only when a record turns up that waits for one of the batch are they run
//! again, because what it needs depends on what it says.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::ingest::Needs;
use crate::domain::rows::{GoneRow, PersonRow, Row};
use crate::domain::working_set::{Table, WorkingSet};
use crate::wire::ids::{AtUri, Collection, Did};
use crate::wire::time::Micros;

/// Facts, and the version of the ledger they were read at.
#[derive(Debug)]
pub struct Facts {
    /// What the rules may look at.
    pub working_set: WorkingSet,
    /// The number of the last commit.
    pub version: i64,
    /// Of whom everything was loaded that decides where they stand, but for those who are
    /// remembered.
    pub people: BTreeSet<Did>,
}

/// Loads what `needs` names and what follows from it. Of people whose account was switched, the
/// messages since `recent_since` are loaded (I51).
pub async fn load(store: &impl Store, mut needs: Needs, recent_since: Micros) -> Result<Facts, Fault> {
    loop {
        let facts = load_once(store, &needs, recent_since).await?;
        // Parents are released before children (I61), so this ends with the longest chain:
        // community, channel, message, reaction.
        if !needs.add_following(&facts.working_set) {
            let members = facts.working_set.memberships.iter().map(|row| row.member_did.clone());
            return Ok(Facts { people: members.chain(needs.people).collect(), ..facts });
        }
    }
}

async fn load_once(store: &impl Store, needs: &Needs, recent_since: Micros) -> Result<Facts, Fault> {
    let statements = if needs.is_empty() { vec![ledger()] } else { statements(needs, recent_since) };
    let answers = store.read(&statements).await?;
    let mut answers = answers.iter();
    let version = rows::<Version>(answers.next())?
        .first()
        .map(|row| row.version)
        .ok_or_else(|| Fault::new("reading the ledger", "it has no row; are the migrations applied?"))?;
    let mut working_set = WorkingSet::default();
    seed(&mut working_set.communities, answers.next())?;
    seed(&mut working_set.channels, answers.next())?;
    seed(&mut working_set.categories, answers.next())?;
    seed(&mut working_set.memberships, answers.next())?;
    seed(&mut working_set.approvals, answers.next())?;
    seed(&mut working_set.messages, answers.next())?;
    working_set.gone = rows::<GoneRow>(answers.next())?.into_iter().collect();
    seed(&mut working_set.reactions, answers.next())?;
    seed(&mut working_set.held, answers.next())?;
    seed(&mut working_set.settled, answers.next())?;
    working_set.bans = rows::<(AtUri, Did)>(answers.next())?.into_iter().collect();
    working_set.blocks = rows::<AtUri>(answers.next())?.into_iter().collect();
    seed(&mut working_set.actors, answers.next())?;
    seed(&mut working_set.channel_reads, answers.next())?;
    rows::<PersonRow>(answers.next())?.into_iter().for_each(|row| working_set.people.seed(row));
    Ok(Facts { working_set, version, people: BTreeSet::new() })
}

/// What decides whether `people` may be in `channel` (V02): the channel, its community, and where
/// these people stand. One round trip, for any number of people; a channel that is not known is
/// not in the answer.
pub async fn right_to_be_in(
    store: &impl Store,
    channel: &AtUri,
    people: &[Did],
) -> Result<WorkingSet, Fault> {
    let mut needs = Needs::default();
    needs.channel_uris.insert(channel.clone());
    needs.people.extend(people.iter().cloned());
    let wanted = [COMMUNITIES, CHANNELS, MEMBERSHIPS, APPROVALS, BANS];
    let statements: Vec<Statement> = statements(&needs, Micros::default())
        .into_iter()
        .filter(|statement| wanted.contains(&statement.sql))
        .collect();
    let answers = store.read(&statements).await?;
    let mut answers = answers.iter();
    let mut working_set = WorkingSet::default();
    seed(&mut working_set.communities, answers.next())?;
    seed(&mut working_set.channels, answers.next())?;
    seed(&mut working_set.memberships, answers.next())?;
    seed(&mut working_set.approvals, answers.next())?;
    working_set.bans = rows::<(AtUri, Did)>(answers.next())?.into_iter().collect();
    Ok(working_set)
}

#[derive(Deserialize)]
struct Version {
    version: i64,
}

fn seed<R: Row + DeserializeOwned>(table: &mut Table<R>, texts: Option<&Vec<String>>) -> Result<(), Fault> {
    rows(texts)?.into_iter().for_each(|row| table.seed(row));
    Ok(())
}

/// The statements of [`load`], in the order in which it reads their answers.
pub fn statements(needs: &Needs, recent_since: Micros) -> Vec<Statement> {
    let touched_and = |collection: Collection, named: &BTreeSet<AtUri>| -> Param {
        let touched = needs.records.iter().filter(|uri| uri.is(collection));
        Param::json(&touched.chain(named.iter()).map(AtUri::as_str).collect::<BTreeSet<_>>())
    };
    let nothing = BTreeSet::new();
    let named_messages: BTreeSet<AtUri> = needs.parent_uris.union(&needs.target_uris).cloned().collect();
    let channels = || touched_and(Collection::Channel, &needs.channel_uris);
    let channel_rkeys = || Param::json(&needs.channel_rkeys);
    let messages = || touched_and(Collection::Message, &named_messages);
    let parent_rkeys = || Param::json(&needs.parent_rkeys);
    let target_rkeys = || Param::json(&needs.target_rkeys);
    let reactions = || touched_and(Collection::Reaction, &nothing);
    let memberships = || touched_and(Collection::Membership, &needs.memberships);
    let approvals = || touched_and(Collection::Approval, &nothing);
    let categories = || touched_and(Collection::Category, &nothing);
    let people = || Param::json(&needs.people);
    let strangers = || Param::json(&needs.people.difference(&needs.remembered).collect::<Vec<_>>());
    let closing = || Param::json(&needs.closing);
    let records = || Param::json(&needs.records);
    let read_channels = || Param::json(&needs.read_channels);
    let accounts = || Param::json(&needs.accounts);
    let since = || Param::from(recent_since.sortable());
    vec![
        ledger(),
        Statement::new(
            COMMUNITIES,
            [
                Param::json(&needs.communities),
                channels(),
                channel_rkeys(),
                categories(),
                messages(),
                memberships(),
                approvals(),
                target_rkeys(),
                reactions(),
                accounts(),
                since(),
            ],
        ),
        Statement::new(
            CHANNELS,
            [
                channels(),
                channel_rkeys(),
                messages(),
                Param::json(&needs.communities),
                target_rkeys(),
                reactions(),
                accounts(),
                since(),
            ],
        ),
        Statement::new(CATEGORIES, [categories()]),
        Statement::new(MEMBERSHIPS, [strangers(), approvals(), closing()]),
        Statement::new(APPROVALS, [strangers(), approvals(), closing(), memberships()]),
        Statement::new(
            MESSAGES,
            [
                messages(),
                parent_rkeys(),
                channels(),
                channel_rkeys(),
                target_rkeys(),
                reactions(),
                accounts(),
                since(),
            ],
        ),
        Statement::new(GONE, [parent_rkeys(), channels(), channel_rkeys(), target_rkeys()]),
        Statement::new(
            REACTIONS,
            [reactions(), touched_and(Collection::Message, &nothing), Param::json(&needs.reacting)],
        ),
        Statement::new(
            HELD,
            [records(), Param::json(&needs.appearing), Param::json(&needs.appearing_channels())],
        ),
        Statement::new(SETTLED, [records(), Param::json(&needs.target_uris)]),
        Statement::new(BANS, [strangers(), approvals(), closing()]),
        Statement::new(
            BLOCKS,
            [messages(), parent_rkeys(), target_rkeys(), reactions(), accounts(), since()],
        ),
        Statement::new(ACTORS, [touched_and(Collection::ActorData, &nothing)]),
        Statement::new(CHANNEL_READS, [touched_and(Collection::ChannelRead, &nothing), read_channels()]),
        Statement::new(
            PEOPLE,
            [people(), approvals(), closing(), messages(), parent_rkeys(), Param::json(&needs.profiles)],
        ),
    ]
}

fn ledger() -> Statement {
    Statement::new("SELECT json_object('version', version) AS row FROM ledger", [])
}

// D1 takes at most five terms in a compound SELECT (the SQLite limits of workerd), hence two.
const COMMUNITIES: &str = "
    WITH named(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT community_uri FROM channels WHERE uri IN (SELECT value FROM json_each(?2))
        UNION SELECT community_uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?3))
        UNION SELECT community_uri FROM categories WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT uri FROM communities WHERE owner_did IN (SELECT value FROM json_each(?10))
    ), posted(uri) AS (
        SELECT value FROM json_each(?5)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?8))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?9))
        UNION SELECT uri FROM messages
               WHERE author_did IN (SELECT value FROM json_each(?10)) AND sort_at >= ?11
    ), spoken(uri) AS (
        SELECT channel_uri FROM messages WHERE uri IN (SELECT uri FROM posted)
        UNION SELECT channel_uri FROM gone_messages WHERE rkey IN (SELECT value FROM json_each(?8))
    ), wanted(uri) AS (
        SELECT uri FROM named
        UNION SELECT community_uri FROM channels WHERE uri IN (SELECT uri FROM spoken)
        UNION SELECT community_uri FROM memberships WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT m.community_uri FROM approvals a JOIN memberships m ON m.uri = a.membership_uri
               WHERE a.uri IN (SELECT value FROM json_each(?7))
        UNION SELECT community_uri FROM memberships WHERE member_did IN (SELECT value FROM json_each(?10))
    )
    SELECT json_object('uri', uri, 'name', name, 'description', description, 'picture', picture,
        'category_order', category_order,
        'requires_approval_to_join', json(iif(requires_approval_to_join, 'true', 'false')),
        'hidden', json(iif(hidden, 'true', 'false')),
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM communities WHERE uri IN (SELECT uri FROM wanted)";

const CHANNELS: &str = "
    WITH posted(uri) AS (
        SELECT value FROM json_each(?3)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT uri FROM messages
               WHERE author_did IN (SELECT value FROM json_each(?7)) AND sort_at >= ?8
    ), spoken(uri) AS (
        SELECT channel_uri FROM messages WHERE uri IN (SELECT uri FROM posted)
        UNION SELECT channel_uri FROM gone_messages WHERE rkey IN (SELECT value FROM json_each(?5))
    ), wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?2))
        UNION SELECT uri FROM spoken
        UNION SELECT uri FROM channels WHERE community_uri IN (SELECT value FROM json_each(?4))
        UNION SELECT ch.uri FROM communities c JOIN channels ch ON ch.community_uri = c.uri
               WHERE c.owner_did IN (SELECT value FROM json_each(?7))
    )
    SELECT json_object('uri', uri, 'community_uri', community_uri, 'name', name,
        'description', description, 'channel_type', channel_type, 'category_rkey', category_rkey,
        'owner_only', json(iif(owner_only, 'true', 'false')),
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM channels WHERE uri IN (SELECT uri FROM wanted)";

const CATEGORIES: &str = "
    SELECT json_object('uri', uri, 'community_uri', community_uri, 'name', name,
        'channel_order', channel_order, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM categories WHERE uri IN (SELECT value FROM json_each(?1))";

// Every membership of the people concerned: those named (?1), those whose approval is touched
// (?2), and those who wait in a community that asks for approval from now on (?3).
macro_rules! people_concerned {
    ($rest:literal) => {
        concat!(
            "WITH concerned(did) AS (
                SELECT value FROM json_each(?1)
                UNION SELECT m.member_did FROM approvals a JOIN memberships m ON m.uri = a.membership_uri
                       WHERE a.uri IN (SELECT value FROM json_each(?2))
                UNION SELECT m.member_did FROM memberships m
                        JOIN communities c ON c.uri = m.community_uri
                       WHERE m.community_uri IN (SELECT value FROM json_each(?3))
                         AND NOT EXISTS (SELECT 1 FROM approvals a
                              WHERE a.membership_uri = m.uri AND a.approver_did = c.owner_did
                                AND (a.community_uri IS NULL OR a.community_uri = m.community_uri))
            )",
            $rest
        )
    };
}

const MEMBERSHIPS: &str = people_concerned!(
    "SELECT json_object('uri', uri, 'member_did', member_did, 'community_uri', community_uri,
        'hidden', json(iif(hidden, 'true', 'false')), 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM memberships WHERE member_did IN (SELECT did FROM concerned)"
);

const APPROVALS: &str = people_concerned!(
    ", wanted(uri) AS (
        SELECT uri FROM memberships WHERE member_did IN (SELECT did FROM concerned)
        UNION SELECT value FROM json_each(?4)
    )
    SELECT json_object('uri', uri, 'membership_uri', membership_uri, 'community_uri', community_uri,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM approvals
    WHERE membership_uri IN (SELECT uri FROM wanted) OR uri IN (SELECT value FROM json_each(?2))"
);

const MESSAGES: &str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT m.uri FROM messages m WHERE m.rkey IN (SELECT value FROM json_each(?2))
           AND +m.channel_uri IN (   -- an rkey names few messages: each is looked at, not sought per channel
               SELECT value FROM json_each(?3)
               UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?4)))
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?6))
        UNION SELECT uri FROM messages
               WHERE author_did IN (SELECT value FROM json_each(?7)) AND sort_at >= ?8
    )
    SELECT json_object('uri', uri, 'author_did', author_did, 'channel_uri', channel_uri,
        'channel', channel, 'text', text, 'created_at', created_at, 'sort_at', sort_at,
        'indexed_at', indexed_at, 'edited', json(iif(edited, 'true', 'false')), 'hidden', json(iif(hidden, 'true', 'false')), 'parent', parent,
        'facets', facets, 'attachments', attachments, 'rev', rev) AS row
    FROM messages WHERE uri IN (SELECT uri FROM wanted)";

// What keys meant that messages answer to (?1, in the channels of ?2 and ?3) or that reactions name
// (?4): see MESSAGES.
const GONE: &str = "
    SELECT json_object('uri', uri, 'channel_uri', channel_uri, 'rkey', rkey, 'indexed_at', indexed_at) AS row
    FROM gone_messages
    WHERE rkey IN (SELECT value FROM json_each(?1)) AND +channel_uri IN (
               SELECT value FROM json_each(?2)
               UNION SELECT uri FROM channels WHERE rkey IN (SELECT value FROM json_each(?3)))
       OR rkey IN (SELECT value FROM json_each(?4))";

// Those touched (?1); all of messages that are written or deleted (?2); of messages reacted to
// (?3: [person, message by AT-URI or rkey, emoji as it is compared]), and of those a touched one is
// on, only those of the person who reacts, and the first of the same emoji.
const REACTIONS: &str = "
    WITH aimed(did, uri, shape) AS (
        SELECT p.value ->> 0, p.value ->> 1, p.value ->> 2 FROM json_each(?3) p
        UNION SELECT p.value ->> 0, m.uri, p.value ->> 2 FROM json_each(?3) p
                CROSS JOIN messages m ON m.rkey = p.value ->> 1
    ), wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM reactions WHERE target_uri IN (SELECT value FROM json_each(?2))
        UNION SELECT r.uri FROM aimed a
                CROSS JOIN reactions r ON r.target_uri = a.uri AND r.reactor_did = a.did
        UNION SELECT (SELECT o.uri FROM reactions o WHERE o.target_uri = a.uri AND o.shape = a.shape
                       ORDER BY o.indexed_at, o.uri LIMIT 1) FROM aimed a
        UNION SELECT o.uri FROM reactions r
                JOIN reactions o ON o.target_uri = r.target_uri AND o.reactor_did = r.reactor_did
               WHERE r.uri IN (SELECT value FROM json_each(?1))
    )
    SELECT json_object('uri', uri, 'reactor_did', reactor_did, 'target_uri', target_uri,
        'emoji', emoji, 'hidden', json(iif(hidden, 'true', 'false')), 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM reactions WHERE uri IN (SELECT uri FROM wanted)";

// Those touched (?1), those that wait for a name that may appear (?2), and those that wait for a
// message of a channel that may appear (?3; held is small, and messages are found by key).
const HELD: &str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM held WHERE waits_for IN (SELECT value FROM json_each(?2))
        UNION SELECT h.uri FROM json_each(?3) c CROSS JOIN held h WHERE EXISTS (
               SELECT 1 FROM messages m
               WHERE m.rkey = replace(h.waits_for, rtrim(h.waits_for, replace(h.waits_for, '/', '')), '')
                 AND m.channel_uri = c.value AND h.waits_for IN (m.uri, m.rkey))
    )
    SELECT json_object('uri', uri, 'waits_for', waits_for, 'record', record, 'rev', rev,
        'arrived_at', arrived_at) AS row
    FROM held WHERE uri IN (SELECT uri FROM wanted)";

const SETTLED: &str = "
    SELECT json_object('uri', uri, 'outcome', outcome, 'rev', rev, 'settled_at', settled_at,
        'lasting', json(iif(lasting, 'true', 'false'))) AS row
    FROM settled WHERE uri IN (
        SELECT value FROM json_each(?1) UNION SELECT value FROM json_each(?2))";

const BANS: &str = people_concerned!(
    "SELECT json_array(community_uri, member_did) AS row
    FROM bans WHERE member_did IN (SELECT did FROM concerned)"
);

const BLOCKS: &str = "
    SELECT json_quote(uri) AS row FROM blocks WHERE uri IN (
        SELECT value FROM json_each(?1)
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?2))
        UNION SELECT uri FROM messages WHERE rkey IN (SELECT value FROM json_each(?3))
        UNION SELECT target_uri FROM reactions WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT uri FROM messages
               WHERE author_did IN (SELECT value FROM json_each(?5)) AND sort_at >= ?6)";

const ACTORS: &str = "
    SELECT json_object('uri', uri, 'did', did, 'rev', rev, 'indexed_at', indexed_at) AS row
    FROM actors WHERE uri IN (SELECT value FROM json_each(?1))";

// Those touched (?1), and all of the same person and channel (?2: [did, channel] pairs).
const CHANNEL_READS: &str = "
    WITH wanted(uri) AS (
        SELECT value FROM json_each(?1)
        UNION SELECT r.uri FROM json_each(?2) p
                JOIN channel_reads r ON r.did = p.value ->> 0 AND r.channel_uri = p.value ->> 1
    )
    SELECT json_object('uri', uri, 'did', did, 'channel_uri', channel_uri, 'cursor_at', cursor_at,
        'rev', rev, 'indexed_at', indexed_at) AS row
    FROM channel_reads WHERE uri IN (SELECT uri FROM wanted)";

const PEOPLE: &str = people_concerned!(
    ", wanted(did) AS (
        SELECT did FROM concerned
        UNION SELECT author_did FROM messages WHERE uri IN (SELECT value FROM json_each(?4))
        UNION SELECT author_did FROM messages WHERE rkey IN (SELECT value FROM json_each(?5))
        UNION SELECT value FROM json_each(?6)
    )
    SELECT json_object('did', did, 'handle', handle, 'display_name', display_name,
        'avatar_cid', avatar_cid, 'banner_cid', banner_cid, 'description', description,
        'status_text', status_text, 'emoji', emoji, 'state', state, 'profile_rev', profile_rev,
        'active', json(iif(active, 'true', 'false')), 'account_status', account_status,
        'account_at', account_at, 'account_said', account_said, 'away_since', away_since,
        'deleted_at', deleted_at) AS row
    FROM people WHERE did IN (SELECT did FROM wanted)"
);
