//! Erasing a person (I55–I59) through the real SQL: nothing of them stays in any table but what is listed here,
//! whatever dies between two steps and whatever comes again; and everybody else's is as if they had gone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::erasure::{mark, stand_in};
use colibri_edge::domain::lost::is_lost;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::repos::Reason;
use colibri_edge::pipeline::erasing::{Keepers, Round, erase, round};
use colibri_edge::pipeline::{Settings, remember};
use colibri_edge::storage::presence::Shown;
use colibri_edge::storage::sweep::{Place, sweep};
use colibri_edge::storage::{
    Fault, Statement, Store as _, community_log, discovery, erasures, outbox, presence, proofs, repos,
};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::profile::LookedUp;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;

use super::histories::{Moment, PEOPLE, config, moments, steps};
use super::sqlite::{Break, Sqlite};
use super::story::{START, Service, Story, ban, block, frame, kick, moderators};

/// Columns with nothing of a person in them when that person is erased.
const ERASED: [&str; 107] = [
    "actors.did",
    "actors.uri",
    "approvals.approver_did",
    "approvals.uri",
    "categories.community_uri", // only its owner can add one (I27)
    "categories.uri",
    "channel_reads.did",
    "channel_reads.uri",
    "channels.community_uri", // as of categories
    "channels.uri",
    "communities.owner_did",
    "communities.uri",
    "dismissed.community_uri",
    "dismissed.member_did",
    "gone_messages.uri",
    "held.author_did",
    "held.uri",
    "idempotency_keys.caller",
    "identities.did",
    "incidents.example",
    "invites.community_uri",
    "invites.created_by_did",
    "listings.community_uri",
    "members.community_uri", // of the community's own repository (N02)
    "members.uri",
    "memberships.member_did",
    "memberships.uri",
    "messages.author_did",
    "messages.uri",
    "moderations.community_uri",
    "moderations.uri",
    "moderators.community_uri",
    "moderators.did",
    "people.did",
    "reactions.reactor_did",
    "reactions.target_uri",
    "reactions.uri",
    "refusals.uri",
    "repos.did",
    "roles.community_uri",
    "roles.did",
    "roles.uri",
    "visitors.did",
    "reports.about_did",
    "reports.community_uri",
    "reports.reporter_did",
    "reports.subject",
    "webhooks.community_uri",
    "actor_profiles.did",
    "actor_profiles.uri",
    "mutes.did",
    "mutes.uri",
    "notifications.message_uri",
    "notifications.recipient_did",
    "read_positions.did",
    "rhythms.did",
    "digests.did",
    "push_subscriptions.did",
    "preferences.did",
    "preferences.uri",
    // What goes with the row of a column above: what the person wrote, or is called, or where they are.
    "actors.cid",
    "approvals.cid",
    "categories.cid",
    "categories.name",
    "channel_reads.cid",
    "channels.cid",
    "channels.description",
    "channels.name",
    "communities.cid",
    "communities.description",
    "communities.name",
    "communities.banner",
    "communities.picture",
    "held.cid",
    "identities.handle",
    "identities.pds",
    "identities.signing_key",
    "members.cid",
    "memberships.cid",
    "messages.attachments",
    "messages.cid",
    "messages.text",
    "people.account_said",
    "people.avatar_cid",
    "people.banner_cid",
    "people.description",
    "people.display_name",
    "people.emoji",
    "people.handle",
    "people.profile_cid",
    "people.status_text",
    "reactions.cid",
    "roles.cid",
    "repos.pds",
    "repos.signed_by",
    "actor_profiles.avatar",
    "actor_profiles.banner",
    "actor_profiles.cid",
    "actor_profiles.description",
    "actor_profiles.display_name",
    "moderations.cid",
    "mutes.cid",
    "people.bluesky",
    "push_subscriptions.auth",
    "push_subscriptions.endpoint",
    "push_subscriptions.p256dh",
    "preferences.cid",
];

/// Columns that may still name them, and why.
const STAYS: [(&str, &str); 43] = [
    ("approvals.community_uri", "of others: what they approved"),
    ("approvals.membership_uri", "of others: it counts again if the erasure is lifted"),
    ("audit_log.actor", "what moderators did is written down for those it was done to (X22); it ends"),
    ("audit_log.community_uri", "as the actor"),
    ("audit_log.reason", "as the actor"),
    ("audit_log.subject", "as the actor"),
    ("bans.community_uri", "bans outlive everything (T10)"),
    ("bans.member_did", "somebody else's decision (T10)"),
    ("blocks.uri", "somebody else's decision (T11)"),
    ("channels.allowed_members", "of others: whom their channels name"),
    ("channels.migrated_from", "of others, as they wrote it"),
    ("channel_reads.channel_uri", "of others: how far they have read"),
    ("communities.appview", "of others, as they wrote it"),
    ("communities.migrated_from", "of others, as they wrote it"),
    ("communities.migrated_to", "of others, as they wrote it"),
    ("discovery.cursor", "the relay's own; goes with the walk"),
    ("erasing.did", "while the work goes on"),
    ("gone_messages.channel_uri", "of others: where their messages were"),
    ("held.record", "of others: what waits, as they wrote it"),
    ("held.waits_for", "of others: what they wait for"),
    ("members.from_membership", "as the person"),
    ("members.member_did", "of others: whom they admit; it counts again if the erasure is lifted"),
    ("members_only.community_uri", "should the erasure be lifted, others' words are not for everybody (X40)"),
    ("memberships.community_uri", "of others: what they belong to"),
    ("messages.channel", "of others, as they wrote it"),
    ("messages.channel_uri", "of others: where their messages are"),
    ("messages.parent", "of others, as they wrote it"),
    ("moderations.created_by", "as the subject"),
    ("moderations.subject", "of others: what they decided"),
    ("outbox.announcements", "until it is delivered"),
    ("proofs.did", "a revocation, until no token is left that it refuses (R26)"),
    ("settled.uri", "that a moderator ended a membership (R31), somebody else's decision"),
    ("actor_profiles.presence_service", "of others: the service that publishes them"),
    ("channel_reads.cursor_uri", "of others: how far they have read"),
    ("mutes.subject", "of others: what they muted"),
    ("actors.communities", "of others: the order of their communities"),
    ("messages.facets", "of others: whom they mention, as in their text"),
    ("rhythms.community_uri", "of others: how much of it reaches them at once"),
    ("read_positions.channel_uri", "of others: how far they have read"),
    ("read_positions.cursor_uri", "of others: how far they have read"),
    ("reports.comment", "of others about others, as they wrote it"),
    ("reports.resolution", "as the audit log"),
    ("reports.resolved_by", "as the audit log"),
];

/// Columns that name nobody.
const NOBODY: [&str; 162] = [
    "actors.indexed_at",
    "actors.rev",
    "approvals.indexed_at",
    "approvals.rev",
    "audit_log.action",
    "audit_log.at",
    "audit_log.proof",
    "audit_log.until",
    "bans.banned_at",
    "bans.until",
    "blocks.blocked_at",
    "categories.channel_order",
    "categories.indexed_at",
    "categories.rev",
    "categories.rkey",
    "channel_reads.cursor_at",
    "channel_reads.indexed_at",
    "channel_reads.rev",
    "channels.allowed_roles",
    "channels.category_rkey",
    "channels.channel_type",
    "channels.indexed_at",
    "channels.rev",
    "channels.rkey",
    "communities.category_order",
    "communities.indexed_at",
    "communities.rev",
    "communities.rkey",
    "dismissed.dismissed_at",
    "discovery.began_at",
    "discovery.ended_at",
    "discovery.ending",
    "discovery.error",
    "discovery.next_attempt_at",
    "discovery.relay",
    "erasing.place",
    "erasing.step",
    "erasures.erased_at",
    "erasures.hash",
    "gaps.closed_at",
    "gaps.from_at",
    "gaps.host",
    "gaps.noticed_at",
    "gaps.reason",
    "gaps.state",
    "gaps.to_at",
    "gone_messages.gone_at",
    "gone_messages.indexed_at",
    "gone_messages.rkey",
    "held.arrived_at",
    "held.rev",
    "idempotency_keys.answer",
    "idempotency_keys.at",
    "idempotency_keys.key",
    "idempotency_keys.request",
    "identities.changed_at",
    "identities.check_at",
    "identities.error",
    "identities.handle_checked_at",
    "identities.handle_status",
    "identities.resolved_at",
    "incidents.kind",
    "incidents.last_at",
    "invites.code",
    "invites.created_at",
    "invites.ended_at",
    "invites.ended_because",
    "listings.listed_at",
    "members.indexed_at",
    "members.nickname",
    "members.rev",
    "members.rkey",
    "members.roles",
    "members_only.set_at",
    "memberships.indexed_at",
    "memberships.rev",
    "messages.created_at",
    "messages.indexed_at",
    "messages.rev",
    "messages.rkey",
    "messages.sort_at",
    "moderations.about",
    "moderations.action",
    "moderations.created_at",
    "moderations.embeds",
    "moderations.indexed_at",
    "moderations.reason",
    "moderations.rev",
    "moderations.rkey",
    "moderators.added_at",
    "outbox.committed_at",
    "people.account_at",
    "people.account_status",
    "people.away_since",
    "people.deleted_at",
    "people.preferred_state",
    "people.profile_rev",
    "people.state",
    "people.updated_at",
    "proofs.noted_at",
    "proofs.revoked_at",
    "reactions.emoji",
    "reactions.indexed_at",
    "reactions.rev",
    "reactions.shape",
    "refusal_counts.last_at",
    "refusal_counts.reason",
    "refusals.at",
    "refusals.reason",
    "repos.checked_at",
    "repos.deferred_until",
    "repos.due_since",
    "repos.error",
    "repos.host",
    "repos.known_at",
    "repos.next_attempt_at",
    "repos.reason",
    "repos.rev",
    "repos.status",
    "repos.synced_at",
    "roles.channel_overrides",
    "roles.color",
    "roles.indexed_at",
    "roles.name",
    "roles.permissions",
    "roles.rev",
    "roles.rkey",
    "settled.outcome",
    "settled.rev",
    "settled.settled_at",
    "stream.host",
    "stream.updated_at",
    "visitors.preferred_state",
    "visitors.state",
    "actor_profiles.indexed_at",
    "actor_profiles.preferred_badge",
    "actor_profiles.rev",
    "actor_profiles.theme",
    "mutes.indexed_at",
    "mutes.rev",
    "notifications.kind",
    "notifications.seen_at",
    "read_positions.cursor_at",
    "read_positions.moved_at",
    "digests.sent_at",
    "push_subscriptions.set_at",
    "rhythms.rhythm",
    "rhythms.set_at",
    "preferences.indexed_at",
    "preferences.level",
    "preferences.rev",
    "messages.suppressed_embeds",
    "reports.reason",
    "reports.reported_at",
    "reports.resolved_at",
    "webhooks.created_at",
    "webhooks.disabled_at",
    "webhooks.disabled_because",
    "webhooks.events",
    "webhooks.id",
    "webhooks.secret",
    "webhooks.url",
];

fn did(who: &str) -> Did {
    Did::parse(&format!("did:plc:{who}")).unwrap()
}

/// Every column of text in the schema that the migrations make, as `table.column`.
fn columns(store: &Sqlite) -> Vec<String> {
    let found = store.look(
        "SELECT t.name || '.' || c.name FROM sqlite_schema t, pragma_table_xinfo(t.name) c
         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE 'message_words%' AND upper(c.type) <> 'INTEGER' ORDER BY 1",
    );
    assert!(found.len() > 150, "{} columns of text", found.len());
    found
}

/// The columns that hold this text somewhere.
fn holding(store: &Sqlite, text: &str) -> BTreeSet<String> {
    let holds = |column: &String| {
        let (table, name) = column.split_once('.').unwrap();
        let found = store.look(&format!("SELECT 1 FROM {table} WHERE instr({name}, '{text}') > 0 LIMIT 1"));
        !found.is_empty()
    };
    columns(store).into_iter().filter(holds).collect()
}

/// What still names somebody who is erased and must not.
fn left_over(store: &Sqlite, who: &str) -> Vec<String> {
    // Names of people here are no beginnings of others.
    let found = holding(store, &format!("did:plc:{who}"));
    let may = |column: &String| STAYS.iter().any(|(stays, _)| stays == column);
    let mut over: Vec<String> = found.into_iter().filter(|column| !may(column)).collect();
    let theirs = format!("uri LIKE 'at://did:plc:{who}/%'");
    let rows = [
        format!("SELECT 'settled ' || uri FROM settled WHERE outcome <> 'kicked' AND {theirs}"),
        format!("SELECT 'held ' || uri FROM held WHERE {theirs}"),
        format!("SELECT 'approval ' || uri FROM approvals WHERE {theirs}"),
        format!("SELECT 'proof ' || did FROM proofs WHERE did = 'did:plc:{who}' AND revoked_at IS NULL"),
        format!("SELECT 'work ' || did FROM erasing WHERE did = 'did:plc:{who}'"),
        format!(
            "SELECT 'gone ' || channel_uri FROM gone_messages WHERE instr(uri, 'did:erased:') > 0
             AND channel_uri LIKE 'at://did:plc:{who}/%'"
        ),
        "SELECT 'outbox ' || id FROM outbox".to_owned(),
    ];
    over.extend(rows.iter().flat_map(|sql| store.look(sql)));
    over
}

/// A new table or column is named here: it goes with its person, or it stays for a reason, or it cannot name
/// anybody.
#[test]
fn i56_every_column_is_erased_or_stays_for_a_reason() {
    let store = Sqlite::new();
    let columns: BTreeSet<String> = columns(&store).into_iter().collect();
    let stays = STAYS.iter().map(|(column, _)| *column);
    let named: Vec<String> = ERASED.into_iter().chain(stays).chain(NOBODY).map(str::to_owned).collect();
    let listed: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(listed.len(), named.len(), "a column is listed here twice");
    let missing: Vec<_> = columns.difference(&listed).collect();
    assert!(missing.is_empty(), "is this erased (storage/erasures.rs)? {missing:#?}");
    let unknown: Vec<_> = listed.difference(&columns).collect();
    assert!(unknown.is_empty(), "no such columns: {unknown:#?}");
    // And each table with something of theirs has a statement by which it goes.
    let statements = erasures::all(&did("bob"), Micros(0));
    for column in ERASED {
        let table = column.split('.').next().unwrap();
        let goes = |statement: &Statement| {
            [format!("DELETE FROM {table} "), format!("UPDATE {table} ")]
                .iter()
                .any(|begin| statement.sql.trim_start().starts_with(begin))
        };
        assert!(statements.iter().any(goes), "nothing takes {column} out");
    }
}

/// Objects that keep nothing; calls are counted, and fail as often as the test asks.
#[derive(Default)]
struct Kept {
    calls: RefCell<Vec<String>>,
    fails: Cell<u32>,
}

impl Kept {
    fn call(&self, what: String) -> Result<(), Fault> {
        if self.fails.get() > 0 {
            self.fails.set(self.fails.get() - 1);
            return Err(Fault::new("calling", "made to fail"));
        }
        self.calls.borrow_mut().push(what);
        Ok(())
    }
}

impl Keepers for Kept {
    async fn forget(&self, did: &Did, last: bool) -> Result<(), Fault> {
        self.call(format!("forget {did} {last}"))
    }
    async fn clear_log(&self, community: &AtUri, _: &Did) -> Result<(), Fault> {
        self.call(format!("clear {}", community.authority()))
    }
    async fn read_repositories(&self) -> Result<(), Fault> {
        self.call("read".into())
    }
}

impl Service {
    fn erase(&mut self, who: &str) {
        let before = self.store.look("SELECT version FROM ledger").remove(0);
        self.try_erase(who).unwrap();
        self.announced.extend(self.outbox_after(&before));
    }

    fn try_erase(&mut self, who: &str) -> Result<(), Fault> {
        self.now += 1_000_000;
        let (settings, now) = (self.settings(), Micros(self.now));
        block_on(erase(&self.store, &did(who), &settings, now, async |_| ()))
    }

    /// Everything that was announced is delivered.
    fn tell_all(&self) {
        block_on(self.store.commit(vec![outbox::delivered(i64::MAX)])).unwrap();
    }

    fn round(&self, kept: &Kept) -> Result<Round, Fault> {
        block_on(round(&self.store, kept, Micros(self.now)))
    }

    /// Goes on until nothing is left to do; the number of rounds.
    fn finish(&self, kept: &Kept) -> usize {
        self.tell_all();
        for rounds in 0..10_000 {
            let done = self.round(kept).unwrap();
            if !done.did_something && done.failed.is_empty() {
                assert!(!done.waits);
                return rounds;
            }
        }
        panic!("no end of erasing");
    }
}

/// Runs every statement of `storage::erasures`, for the tests of plans.
pub(crate) async fn exercise(store: &Sqlite, settings: &Settings, did: &Did) {
    let kept = Kept::default();
    let now = Micros(START);
    erase(store, did, settings, now, async |_| ()).await.unwrap();
    assert!(erasures::lift(store, did).await.unwrap().is_some());
    erase(store, did, settings, now, async |_| ()).await.unwrap();
    // Somebody who is in the index.
    let known = store.look("SELECT owner_did FROM communities LIMIT 1").remove(0);
    erase(store, &Did::parse(&known).unwrap(), settings, now, async |_| ()).await.unwrap();
    kept.fails.set(1);
    store.commit(vec![outbox::delivered(i64::MAX)]).await.unwrap();
    while round(store, &kept, now).await.unwrap().did_something || kept.fails.get() > 0 {}
    while round(store, &kept, now).await.unwrap().did_something {}
    assert!(erasures::lift(store, did).await.unwrap().is_some());
    while round(store, &kept, now).await.unwrap().did_something {}
}

/// bob wrote, belongs, reacted, owns and reads; others answered and reacted to him.
fn garden() -> Story {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob");
    story.join("carol", "alice").approve("alice", "carol");
    story.create("bob", "actor.data/self", json!({ "status": "here", "emoji": "🌿" }));
    story.profile("bob", json!({ "displayName": "Bob B" }));
    story.say("bob", "m", "a secret").say("bob", "gone", "gone").say("carol", "c", "hello");
    story.create(
        "carol",
        "message/answer",
        json!({ "text": "yes", "channel": "k", "parent": "m",
        "createdAt": "2026-03-01T12:00:00.000Z" }),
    );
    story.react("carol", "r", "👍", "m").react("bob", "x", "👍", "c").react("bob", "waits", "👍", "nothing");
    story.create("bob", "community/c", json!({ "name": "Bob's", "requiresApprovalToJoin": false }));
    story.create("bob", "channel/own", json!({ "name": "own", "type": "text", "community": "c" }));
    story.create("bob", "category/x", json!({ "name": "General", "community": "c" }));
    story.join("dora", "bob").approve("bob", "dora");
    story.create(
        "dora",
        "message/d",
        json!({ "text": "at bob's", "channel": "own",
        "createdAt": "2026-03-01T12:00:00.000Z" }),
    );
    let channel = "at://did:plc:alice/social.colibri.channel/k";
    story.create("bob", "channel.read/r", json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }));
    story.create("bob", "actor.profile/self", json!({ "displayName": "Bob of his own" }));
    story.create("bob", "actor.mute/m", json!({ "subject": channel }));
    story.create("bob", "actor.notificationPreference/self", json!({ "level": "all" }));
    story.create("bob", "message/refused", json!({ "text": "x", "channel": "k", "createdAt": 1 }));
    story.delete("bob", "message/gone");
    story
}

#[test]
fn i55_at_once_nothing_is_shown_or_let_in() {
    let mut service = Service::live(&garden());
    service.announced.clear();
    service.erase("bob");
    assert_eq!(
        service.published(),
        ["message_deleted m", "member_left bob", "community_deleted c"],
        "as of an account that went"
    );
    let left = service.announced.iter().map(frame).find(|event| event["type"] == "member_left").unwrap();
    assert_eq!(left.get("display_name"), None, "and nothing more is said of him: {left}");
    assert_eq!(service.visible_texts(), ["yes", "hello"], "what others wrote stays, but at bob's");
    for table in ["channel_reads", "actor_profiles", "mutes", "preferences"] {
        assert!(service.store.look(&format!("SELECT * FROM {table}")).is_empty(), "{table}");
    }
    let mut more = garden();
    let written = more.frames.len();
    more.say("bob", "later", "I am back").join("bob", "alice").delete("bob", "message/m");
    super::pipeline::account(&mut more, "bob", true, "");
    more.react("carol", "late", "👍", "at://did:plc:bob/social.colibri.message/m");
    more.frames[written..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    assert_eq!(service.visible_texts(), ["yes", "hello"]);
    assert_eq!(service.store.look("SELECT count FROM refusal_counts WHERE reason = 'erased'"), ["3"]);
    assert!(
        service.store.look("SELECT * FROM refusals WHERE reason = 'erased'").is_empty(),
        "nobody is named"
    );
}

#[test]
fn i56_then_nothing_is_left() {
    let mut service = Service::live(&garden());
    service.decide(moderators("alice", &["bob"]));
    service.decide(ban("alice", "bob"));
    service.decide(block("bob", "m"));
    for who in ["bob", "carol"] {
        block_on(proofs::prove(&service.store, &did(who), Micros(START))).unwrap();
    }
    service.store.exec(
        "INSERT INTO moderators VALUES ('at://did:plc:bob/social.colibri.community/c', 'did:plc:dora', '')",
    );
    service.store.exec(
        "INSERT INTO dismissed VALUES ('at://did:plc:bob/social.colibri.community/c', 'did:plc:dora', '')",
    );
    service.store.exec(
        "INSERT INTO dismissed VALUES ('at://did:plc:dora/social.colibri.community/c', 'did:plc:bob', '')",
    );
    service.store.exec("INSERT INTO listings VALUES ('at://did:plc:bob/social.colibri.community/c', '')");
    service.store.exec("INSERT INTO visitors VALUES ('did:plc:bob', 'dnd', 'dnd')");
    service.store.exec("INSERT INTO incidents VALUES ('restart', 1, '', 'at://did:plc:bob/x/y')");
    for (message, recipient) in
        [("bob/social.colibri.message/m", "carol"), ("carol/social.colibri.message/c", "bob")]
    {
        service.store.exec(&format!(
            "INSERT INTO notifications VALUES ('at://did:plc:{message}', 'mention', 'did:plc:{recipient}', 1, NULL)"
        ));
    }
    service.store.exec(
        "INSERT INTO read_positions VALUES ('did:plc:bob', 'at://did:plc:alice/social.colibri.channel/k', '', NULL, '')",
    );
    service.store.exec("INSERT INTO push_subscriptions VALUES ('https://push', 'did:plc:bob', '', '', '')");
    service.store.exec("INSERT INTO digests VALUES ('did:plc:bob', 1, '')");
    service.store.exec(
        "INSERT INTO rhythms VALUES ('did:plc:bob', 'at://did:plc:alice/social.colibri.community/c', 'busy', '')",
    );
    service.store.exec("INSERT INTO idempotency_keys VALUES ('did:plc:bob', 'k', '', '', '')");
    service.store.exec(
        "INSERT INTO identities (did, handle) VALUES ('did:plc:bob', 'bob.test') ON CONFLICT DO NOTHING",
    );
    for (community, reporter, about) in
        [("bob", "dora", "dora"), ("alice", "bob", "dora"), ("alice", "dora", "bob")]
    {
        service.store.exec(&format!(
            "INSERT INTO reports (community_uri, reporter_did, subject, about_did, reason, reported_at)
             VALUES ('at://did:plc:{community}/social.colibri.community/c', 'did:plc:{reporter}', 'did:plc:{about}',
                 'did:plc:{about}', 'spam', '')"
        ));
    }
    service.store.exec(
        "INSERT INTO webhooks VALUES ('1', 'at://did:plc:bob/social.colibri.community/c', '', '[]', '', '', NULL, NULL)",
    );
    service.store.exec(
        "INSERT INTO invites (code, community_uri, created_by_did, created_at)
         VALUES ('1', 'at://did:plc:bob/social.colibri.community/c', 'did:plc:bob', '')",
    );
    service.store.exec(
        "INSERT INTO members VALUES ('at://did:plc:bob/social.colibri.member/d', 'd', 'did:plc:dora',
             'at://did:plc:bob/social.colibri.community/self', '[]', NULL, NULL, 0, 0, '1', '', NULL)",
    );
    service.store.exec(
        "INSERT INTO roles VALUES ('at://did:plc:bob/social.colibri.role/r', 'r', 'did:plc:bob',
             'at://did:plc:bob/social.colibri.community/self', 'r', NULL, '[]', 1, 0, 0, 0, NULL, '1', '', NULL)",
    );
    service.store.exec(
        "INSERT INTO moderations VALUES ('at://did:plc:bob/social.colibri.moderation/b', 'b',
             'at://did:plc:bob/social.colibri.community/self', 'ban', 'person', 'did:plc:dora', NULL, NULL, NULL, NULL,
             '1', '', NULL)",
    );
    let before = holding(&service.store, "did:plc:bob");
    for column in ERASED.iter().take(60) {
        assert!(before.contains(*column), "the test has nothing of bob in {column}");
    }
    for column in NOBODY {
        assert!(!before.contains(column), "{column} names somebody");
    }
    let others = |service: &Service| -> Vec<String> {
        let is_others = |row: &String| !row.contains("did:plc:bob") && !row.starts_with("refusals");
        service.store.index().into_iter().filter(is_others).collect()
    };
    let others_before = others(&service);
    service.erase("bob");
    let kept = Kept::default();
    assert!(!service.round(&kept).unwrap().did_something, "what is announced is delivered first");
    assert!(service.round(&kept).unwrap().waits);
    service.finish(&kept);
    assert_eq!(left_over(&service.store, "bob"), [""; 0]);
    assert_eq!(
        kept.calls.take(),
        ["forget did:plc:bob false", "clear did:plc:alice", "clear did:plc:bob", "forget did:plc:bob true"]
    );
    let mut expected: Vec<String> = others_before.into_iter().collect();
    // I71: what others put on what is gone is gone for good.
    expected.push(format!(
        "settled|at://did:plc:carol/social.colibri.reaction/r|orphaned|{}",
        super::story::rev(13)
    ));
    expected.sort();
    let mut after = others(&service);
    after.sort();
    assert_eq!(after, expected);
    assert_eq!(service.store.look("SELECT member_did FROM bans"), ["did:plc:bob"]);
    assert_eq!(service.store.look("SELECT uri FROM blocks"), ["at://did:plc:bob/social.colibri.message/m"]);
    assert_eq!(service.store.look("SELECT hash, known FROM erasures"), [format!("{}|1", mark(&did("bob")))]);
    assert_eq!(
        service.store.look("SELECT uri FROM gone_messages ORDER BY uri"),
        ["gone", "m"].map(|rkey| format!("at://{}/social.colibri.message/{rkey}", stand_in(&did("bob")))),
        "T21: the keys mean no other message"
    );
    // Again: there is nothing to do.
    service.try_erase("bob").unwrap();
    assert_eq!(service.finish(&kept), 0);
}

#[test]
fn i56_many_rows_go_in_pieces() {
    let mut story = garden();
    let (many, written) = (2 * usize::try_from(erasures::PIECE).unwrap() + 10, story.frames.len());
    for n in 0..many {
        story.say("bob", &format!("n{n}"), "x").react("carol", &format!("n{n}"), "👍", "m");
    }
    let mut service = Service::live(&Story { frames: story.frames[..written].to_vec() });
    story.frames[written..].chunks(2_000).for_each(|frames| service.batch(frames));
    service.erase("bob");
    service.tell_all();
    let (kept, mut much) = (Kept::default(), 0);
    let count = || -> usize {
        let counted =
            service.store.look("SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM reactions)");
        counted[0].parse().unwrap()
    };
    loop {
        let before = count();
        let done = service.round(&kept).unwrap();
        assert!(before - count() <= 4 * usize::try_from(erasures::PIECE).unwrap());
        much += usize::from(done.did_much);
        if !done.did_something {
            break;
        }
    }
    assert_eq!(much, 2, "full pieces");
    assert_eq!(left_over(&service.store, "bob"), [""; 0]);
}

#[test]
fn i57_nobody_brings_them_back() {
    let mut service = Service::live(&garden());
    service.erase("bob");
    service.finish(&Kept::default());
    let (store, bob, now) = (&service.store, did("bob"), Micros(service.now));
    block_on(async {
        let profile = LookedUp {
            handle: None,
            display_name: Some("Bob".into()),
            description: None,
            avatar_cid: None,
            banner_cid: None,
            is_bot: false,
        };
        remember(store, &bob, &profile, &service.settings(), now).await.unwrap();
        proofs::prove(store, &bob, now).await.unwrap();
        for reason in [Reason::Asked, Reason::Lookup] {
            assert!(store.write(&[repos::want(&bob, reason, now)]).await.unwrap()[0].is_empty());
        }
        assert!(store.write(&[discovery::found(std::iter::once(&bob), 9, now)]).await.unwrap()[0].is_empty());
        let shown =
            |exists| Shown { did: bob.clone(), preferred: None, current: Some(State::Online), exists };
        store.commit(presence::store(&[shown(true)], now)).await.unwrap();
        store.commit(presence::store(&[shown(false)], now)).await.unwrap();
    });
    // Others who write about him: an approval of his membership, a membership in his community.
    let mut more = garden();
    let written = more.frames.len();
    more.approve("alice", "bob").join("fred", "bob").newest("nest").admit("nest", "bob", &["mod"]);
    service.batch(&more.frames[written..]);
    garden().frames.iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    service.tell_all();
    assert_eq!(left_over(&service.store, "bob"), [""; 0]);
    assert_eq!(service.store.look("SELECT member_did, hidden FROM members"), ["did:plc:bob|1"], "I55");
    // Lifted, he is a member again.
    block_on(erasures::lift(&service.store, &did("bob"))).unwrap();
    service.finish(&Kept::default());
    assert_eq!(service.store.look("SELECT member_did, hidden FROM members"), ["did:plc:bob|0"], "I59");
}

#[test]
fn i56_a_revocation_stays_until_no_token_is_left() {
    let mut service = Service::live(&garden());
    block_on(proofs::prove(&service.store, &did("bob"), Micros(START))).unwrap();
    block_on(proofs::revoke(&service.store, &did("bob"), Micros(START))).unwrap();
    assert!(!block_on(proofs::find(&service.store, &did("bob"))).unwrap().erased);
    service.erase("bob");
    service.finish(&Kept::default());
    assert!(
        block_on(proofs::find(&service.store, &did("bob"))).unwrap().erased,
        "I57: one query answers both"
    );
    assert_eq!(service.store.look("SELECT proven FROM proofs"), ["0"]);
    let day_later = Micros(START + 26 * 3_600_000_000);
    block_on(sweep(&service.store, &mut Place::default(), day_later)).unwrap();
    assert!(service.store.look("SELECT * FROM proofs").is_empty());
}

#[test]
fn i56_a_kick_is_not_undone_by_being_erased() {
    let mut service = Service::live(&garden());
    service.decide(kick("alice", "carol"));
    service.erase("carol");
    let kept = Kept::default();
    service.finish(&kept);
    block_on(erasures::lift(&service.store, &did("carol"))).unwrap();
    service.finish(&kept);
    assert_eq!(
        service.store.look("SELECT outcome FROM settled WHERE uri LIKE 'at://did:plc:carol/%membership%'"),
        ["kicked"],
        "R31: until it is written anew"
    );
}

#[test]
fn i59_lifted_it_comes_back_by_the_ordinary_way() {
    let story = garden();
    let mut service = Service::live(&story);
    assert!(
        block_on(erasures::lift(&service.store, &did("bob"))).unwrap().is_none(),
        "there is nothing to lift"
    );
    service.erase("bob");
    assert!(block_on(erasures::lift(&service.store, &did("bob"))).unwrap().is_some());
    let state = |service: &Service| {
        block_on(erasures::find(&service.store, &did("bob"))).unwrap().map(|found| found.state())
    };
    assert_eq!(state(&service), Some("lifting"), "when the work is done");
    service.try_erase("bob").unwrap();
    assert_eq!(state(&service), Some("erasing"), "the last word counts");
    let kept = Kept::default();
    service.finish(&kept);
    assert_eq!(state(&service), Some("erased"));
    kept.calls.take();
    assert!(block_on(erasures::lift(&service.store, &did("bob"))).unwrap().is_some());
    assert_eq!(state(&service), Some("lifting"));
    service.finish(&kept);
    assert_eq!((state(&service), kept.calls.take()), (None, vec!["read".to_owned()]));
    assert_eq!(
        service
            .store
            .look("SELECT did, reason, next_attempt_at IS NOT NULL FROM repos WHERE did = 'did:plc:bob'"),
        ["did:plc:bob|asked|1"]
    );
    assert_eq!(
        service.store.look("SELECT uri FROM gone_messages ORDER BY uri"),
        ["gone", "m"].map(|rkey| format!("at://did:plc:bob/social.colibri.message/{rkey}")),
        "a key means him again when his message is back (T21)"
    );
    let mut again = Story { frames: story.frames.clone() };
    again.join("bob", "alice").say("bob", "m", "a secret");
    again.frames[story.frames.len()..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));
    assert_eq!(service.visible_texts(), ["a secret", "yes", "hello"], "alice's approval remains (I41)");
}

#[test]
fn i56_what_cannot_be_reached_holds_up_nobody() {
    let mut service = Service::live(&garden());
    service.erase("bob");
    service.erase("carol");
    service.tell_all();
    let kept = Kept::default();
    service.round(&kept).unwrap();
    kept.fails.set(1);
    let done = service.round(&kept).unwrap();
    assert_eq!(done.failed.iter().map(|(who, _)| who.clone()).collect::<Vec<_>>(), [did("bob")]);
    assert_eq!(kept.calls.take(), ["forget did:plc:carol false"], "carol's goes on");
    service.round(&kept).unwrap();
    // A log that cannot be cleared is passed over: what it holds ends with it.
    kept.calls.take();
    let mut rounds = 0;
    while !service.store.look("SELECT step FROM erasing WHERE step IN ('sockets', 'logs')").is_empty() {
        kept.fails.set(100);
        service.round(&kept).unwrap();
        kept.fails.set(0);
        if !service.store.look("SELECT step FROM erasing WHERE step = 'sockets'").is_empty() {
            service.round(&kept).unwrap();
        }
        rounds += 1;
        assert!(rounds < 50, "it is tried for ever");
    }
    service.finish(&kept);
    assert_eq!((left_over(&service.store, "bob"), left_over(&service.store, "carol")), (vec![], vec![]));
}

#[test]
fn i55_strangers_leave_a_bounded_number_of_hashes() {
    let mut service = Service::live(&garden());
    service.store.exec(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {} + 500)
         INSERT INTO erasures SELECT 'stranger ' || i, printf('2026-01-01 %09d', i), 0 FROM n",
        erasures::STRANGERS_MAX
    ));
    service.erase("bob");
    service.erase("nobody");
    service.finish(&Kept::default());
    block_on(sweep(&service.store, &mut Place::default(), Micros(service.now))).unwrap();
    let count =
        |what: &str| service.store.look(&format!("SELECT count(*) FROM erasures WHERE {what}")).remove(0);
    assert_eq!(count("NOT known"), erasures::STRANGERS_MAX.to_string());
    assert_eq!(count("known"), "1", "of people who were in the index every one");
    assert_eq!(count("hash = 'stranger 1'"), "0", "the oldest go");
    assert_eq!(count(&format!("hash = '{}'", mark(&did("nobody")))), "1");
}

/// The log of alice's community, with what a story announced.
fn log_of(announced: &[Announcement]) -> Sqlite {
    let sqlite = Sqlite::new();
    let run = |statements| block_on(sqlite.commit(statements)).unwrap();
    run(community_log::SCHEMA.iter().map(|sql| Statement::new(sql, [])).collect());
    let of_alice = Scope::Community(super::story::community("alice"));
    let events: Vec<Announcement> = announced.iter().filter(|one| one.scope == of_alice).cloned().collect();
    run(community_log::append(1, &events, Micros(START)));
    sqlite
}

#[test]
fn i58_the_log_says_nothing_any_more_and_keeps_its_numbers() {
    let mut service = Service::live(&garden());
    service.erase("bob");
    let log = log_of(&service.announced);
    let numbers = log.look("SELECT seq FROM log ORDER BY seq");
    let text = |sql: &str| log.look(sql).join("\n");
    assert!(text("SELECT event FROM log").contains("a secret"), "withdrawn, but there");
    let community = super::story::community("alice");
    let clear = || {
        let page = community_log::everything_after(0, 500);
        let texts = block_on(log.read(&[page])).unwrap().remove(0);
        let (mut withdrawn, mut set_aside, mut changed) = (vec![], vec![], vec![]);
        for event in community_log::logged(&texts).unwrap() {
            use colibri_edge::domain::erasure::{Cleared, clear};
            match clear(&event.event, &community, &event.audience, &did("bob")) {
                Cleared::Stays => {}
                Cleared::Reads(text) => changed.push((event.seq, text)),
                Cleared::Withdrawn => withdrawn.push(event.seq),
                Cleared::SetAside => set_aside.push(event.seq),
            }
        }
        block_on(log.commit(community_log::clear(&withdrawn, &set_aside, &changed))).unwrap();
    };
    clear();
    let once = log.look("SELECT * FROM log ORDER BY seq");
    clear();
    assert_eq!(log.look("SELECT * FROM log ORDER BY seq"), once, "a second time changes nothing");
    assert_eq!(log.look("SELECT seq FROM log ORDER BY seq"), numbers);
    for word in ["a secret", "Bob B", "🌿"] {
        let with = text(&format!("SELECT event FROM log WHERE instr(event, '{word}') > 0"));
        assert_eq!(with, "", "{word}");
    }
    let still: Vec<String> = log
        .look("SELECT event FROM log WHERE instr(event || audience, 'did:plc:bob') > 0")
        .iter()
        .map(|event| serde_json::from_str::<serde_json::Value>(event).unwrap()["type"].to_string())
        .collect();
    assert_eq!(
        still,
        ["\"message_deleted\"", "\"message_deleted\"", "\"member_left\""],
        "only that he is gone"
    );
    let replayed = block_on(log.read(&[community_log::standing_after(0, 500)])).unwrap().remove(0);
    let replayed = community_log::events(&replayed, &mut Vec::new()).unwrap();
    let answer = replayed.iter().find(|event| event.event.get().contains("\"answer\"")).unwrap();
    assert!(answer.event.get().contains("yes"), "what carol answered stays");
    assert!(replayed.iter().all(|event| !is_lost(&event.event)), "nobody must read anew");
}

#[test]
fn i58_events_of_others_with_their_reactions_are_set_aside() {
    let event = json!({ "type": "message", "author_did": "did:plc:carol",
        "reactions": [{ "emoji": "x", "authors": ["did:plc:bob"] }] });
    let announcement = Announcement {
        scope: Scope::Community(super::story::community("alice")),
        audience: Audience::Community,
        topic: Topic::Other,
        live: true,
        event: RawValue::from_string(event.to_string()).unwrap(),
    };
    let log = log_of(&[announcement]);
    block_on(log.commit(community_log::clear(&[], &[1], &[]))).unwrap();
    let texts = block_on(log.read(&[community_log::standing_after(0, 9)])).unwrap().remove(0);
    let events = community_log::events(&texts, &mut Vec::new()).unwrap();
    assert!(is_lost(&events[0].event), "Q21: a client that resumes reads anew");
}

/// The index without the rows that name a person, without counts of refusals, and without notes about orphaned
/// reactions: which records an erased person deleted is forgotten with them (I56), so a later reaction to one
/// waits (I21), where it is orphaned if the deletion is remembered.
fn without(service: &Service, who: &str) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for row in service.store.index() {
        let is_orphan = row.starts_with("settled|") && row.contains("|orphaned|");
        if !row.contains(&format!("did:plc:{who}")) && !row.starts_with("refusals") && !is_orphan {
            *rows.entry(row).or_default() += 1;
        }
    }
    rows
}

/// An account event of somebody in the middle of a history.
fn deleted(who: &str, after: &Moment) -> String {
    let Moment::Frame(before) = after else { unreachable!("a frame comes first") };
    let before: serde_json::Value = serde_json::from_str(before).unwrap();
    json!({ "did": format!("did:plc:{who}"), "time_us": before["time_us"], "kind": "account",
        "account": { "active": false, "status": "deleted", "did": format!("did:plc:{who}") } })
    .to_string()
}

proptest! {
    #![proptest_config(config(96))]

    /// Whenever somebody is erased, whatever dies between the steps of that, and whatever the stream says or
    /// repeats meanwhile and after: nothing of them is left, and everybody else's is as if their account had
    /// been deleted and they had written nothing more.
    #[test]
    fn histories_with_an_erasure(
        steps in steps(),
        who in 0..PEOPLE.len(),
        place in any::<prop::sample::Index>(),
        rounds in prop::collection::vec((0..4_u8, 0..8_u8, 0..12_usize), 1..40),
    ) {
        let (moments, who) = (moments(&steps), PEOPLE[who]);
        let place = PEOPLE.len() + place.index(moments.len() - PEOPLE.len() + 1);
        // By whom it is: a decision of others may be about them.
        let author = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["did"].clone();
        let theirs = json!(format!("did:plc:{who}"));
        let is_theirs = |moment: &Moment| matches!(moment, Moment::Frame(frame) if author(frame) == theirs);

        let mut plain = Service::new();
        let one = |service: &mut Service, moment: &Moment| {
            service.known.forget();
            match moment {
                Moment::Frame(frame) => service.batch(std::slice::from_ref(frame)),
                Moment::Decision(decision) => drop(service.decide(decision.clone())),
            }
        };
        moments[..place].iter().for_each(|moment| one(&mut plain, moment));
        let frames = |of: &[Moment]| of.iter().rev().find(|moment| matches!(moment, Moment::Frame(_))).cloned();
        one(&mut plain, &Moment::Frame(deleted(who, &frames(&moments[..place]).unwrap())));
        moments[place..].iter().filter(|moment| !is_theirs(moment)).for_each(|moment| one(&mut plain, moment));

        let mut service = Service::new();
        let kept = Kept::default();
        moments[..place].iter().for_each(|moment| one(&mut service, moment));
        service.erase(who);
        let mut seen: Vec<String> = Vec::new();
        let mut rounds = rounds.into_iter().cycle();
        for moment in &moments[place..] {
            let (count, fault, back) = rounds.next().unwrap();
            for _ in 0..count {
                match fault {
                    0 => service.store.break_next(Break::Read),
                    1 => service.store.break_next(Break::CommitLost),
                    2 => kept.fails.set(1),
                    _ => {}
                }
                if fault == 3 {
                    service.tell_all();
                }
                // A fault is the death of the object that does it: the next round begins anew.
                let _ = service.round(&kept);
                service.store.unbreak();
            }
            if let Moment::Frame(frame) = moment {
                seen.push(frame.clone());
            }
            one(&mut service, moment);
            // What the stream repeats of the time since, and once more what came before.
            let again: Vec<String> = seen.iter().rev().take(back).rev().cloned().collect();
            service.batch(&again);
        }
        kept.fails.set(0);
        service.finish(&kept);
        let all: Vec<String> = moments.iter().filter_map(|moment| match moment {
            Moment::Frame(frame) => Some(frame.clone()),
            Moment::Decision(_) => None,
        }).collect();
        all.chunks(7).for_each(|frames| service.batch(frames));
        service.tell_all();
        prop_assert_eq!(left_over(&service.store, who), Vec::<String>::new());
        prop_assert_eq!(without(&plain, who), without(&service, who));
    }
}
