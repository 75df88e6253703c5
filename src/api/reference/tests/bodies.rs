//! Compares every object of the document with what its type serialises: the same fields, and `null`
//! exactly where the type may be empty. Samples are written without `..`, so that a new field does
//! not compile until it is added here, and fails until it is in the document.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Document;
use crate::api::authentication::{Ticket, Vouched};
use crate::api::did::Document as DidDocument;
use crate::api::erasure::Erasure;
use crate::api::health::{Health, Ingest, NamedLoad};
use crate::api::identity::Shown;
use crate::api::server::Server;
use crate::domain::auth_mode::AuthMode;
use crate::domain::gateway::operating::Load;
use crate::domain::health::{Part, Verdict};
use crate::domain::identity::HandleStatus;
use crate::domain::members_only::meaning;
use crate::domain::sidebar::Sidebar;
use crate::domain::statistics::{Here, Statistics};
use crate::durable::jetstream::commands::{Spent, StreamStatus};
use crate::storage::discovery;
use crate::storage::reads::operator::{DueRepository, Listed, Overview, RefusedFor};
use crate::storage::reads::{DeferredShown, GapShown, IngestStatus};
use crate::storage::repos::{self, Counts};
use crate::wire::bodies::{
    Active, AnsweredMessage, AuditEntry, Author, Category, Channel, ChannelRead, Communities, Community,
    DirectoryEntry, Found, Invite, InviteCode, InviteToCommunity, Listing, Mark, Member, MembersOnly,
    Message, MessageCore, Notification, Notifications, Person, Preferences, PushKey, ReactionGroup, Report,
    Reported, RhythmThere, Seen, Snippet, Thread, ThreadMessage, Unread, Webhook, WebhookSet,
};
use crate::wire::handle::Handle;
use crate::wire::ice::{IceServer, IceServers};
use crate::wire::ids::{AtUri, Did, Rkey};
use crate::wire::multikey::Multikey;
use crate::wire::web_push::{Keys, Subscription};

pub(super) fn did() -> Did {
    Did::parse("did:plc:a").unwrap()
}
pub(super) fn rkey() -> Rkey {
    Rkey::parse("3k").unwrap()
}
pub(super) fn uri() -> AtUri {
    AtUri::parse("at://did:plc:a/social.colibri.channel/3k").unwrap()
}
pub(super) fn text() -> String {
    "text".into()
}
pub(super) fn json(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

/// `all`: with every value; otherwise without every optional one.
pub(super) fn person(all: bool) -> Person {
    let some = || all.then(text);
    Person {
        display_name: some(),
        avatar_url: some(),
        banner_url: some(),
        description: some(),
        handle: some(),
        status_text: some(),
        emoji: some(),
        state: all.then(|| "away".into()),
        is_bot: all,
    }
}

fn core(all: bool) -> MessageCore {
    MessageCore {
        id: text(),
        rkey: rkey(),
        author_did: did(),
        text: text(),
        channel: text(),
        created_at: text(),
        indexed_at: text(),
        edited: true,
        parent: all.then(text),
        facets: all.then(|| json("[]")),
        attachments: all.then(|| json("[{}]")),
        author: person(all),
    }
}

fn group(_: bool) -> ReactionGroup {
    ReactionGroup {
        emoji: text(),
        count: 1,
        reactor_dids: vec![did()],
        authors: vec![did()],
        rkeys: vec![rkey()],
    }
}

pub(super) fn message(all: bool) -> Message {
    Message { core: core(all), parent_message: all.then(|| core(true)), reactions: vec![group(true)] }
}

fn community(all: bool) -> Community {
    Community {
        owner_did: did(),
        rkey: rkey(),
        name: text(),
        description: all.then(text),
        picture: all.then(|| json("{}")),
        category_order: all.then(|| json("[\"3k\"]")),
        requires_approval_to_join: true,
    }
}

fn channel(all: bool) -> Channel {
    Channel {
        uri: uri(),
        rkey: rkey(),
        community_uri: uri(),
        name: text(),
        description: all.then(text),
        channel_type: text(),
        category_rkey: all.then(text),
        owner_only: false,
        voice_members: vec![did()],
    }
}

fn category(all: bool) -> Category {
    Category {
        uri: uri(),
        rkey: rkey(),
        name: text(),
        channel_order: all.then(|| json("[\"3k\"]")),
        channels: vec![channel(true)],
    }
}

fn author(all: bool) -> Author {
    Author::of(did(), person(all), text())
}

fn member(all: bool) -> Member {
    Member {
        member_did: did(),
        status: "owner".into(),
        source: all.then(|| "record".into()),
        person: person(all),
    }
}

fn invite(all: bool) -> Invite {
    Invite {
        code: text(),
        community_uri: uri(),
        created_by_did: did(),
        max_uses: all.then_some(1),
        use_count: 1,
        active: true,
    }
}

fn refused_for(all: bool) -> RefusedFor {
    RefusedFor { reason: text(), count: 3, last_at: text(), example: all.then(text) }
}
fn due_repository(all: bool) -> DueRepository {
    DueRepository {
        did: did(),
        handle: all.then(text),
        host: all.then(text),
        status: text(),
        reason: text(),
        failures: 2,
        error: all.then(text),
        next_attempt_at: text(),
    }
}
fn overview(all: bool) -> Overview {
    Overview {
        refusals: vec![refused_for(all)],
        repositories: vec![due_repository(all)],
        webhooks: vec![webhook(all)],
    }
}
fn report(all: bool) -> Report {
    Report {
        id: 7,
        community_uri: uri(),
        reporter_did: did(),
        subject: text(),
        about_did: did(),
        reason: text(),
        comment: all.then(text),
        reported_at: text(),
        resolved_at: all.then(text),
        resolved_by: all.then(text),
        resolution: all.then(text),
    }
}
fn webhook(all: bool) -> Webhook {
    Webhook {
        id: text(),
        community_uri: uri(),
        url: text(),
        events: vec![text()],
        created_at: text(),
        disabled_at: all.then(text),
        disabled_because: all.then(text),
    }
}
fn listed(all: bool) -> Listed {
    Listed {
        uri: uri(),
        owner_did: did(),
        owner_handle: all.then(text),
        name: text(),
        requires_approval_to_join: true,
    }
}
fn audit_entry(all: bool) -> AuditEntry {
    AuditEntry {
        community_uri: uri(),
        actor: text(),
        proof: "api_key".into(),
        action: text(),
        subject: text(),
        reason: all.then(text),
        until: all.then(text),
        at: text(),
    }
}

fn identity(all: bool) -> Shown {
    Shown {
        did: did(),
        handle: all.then(|| Handle::parse("a.test").unwrap()),
        handle_status: if all { HandleStatus::Valid } else { HandleStatus::Unresolved },
        pds: all.then(text),
        signing_key: all
            .then(|| Multikey::parse("zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc").unwrap()),
        resolved_at: all.then(text),
    }
}

fn gap(_: bool) -> GapShown {
    GapShown { host: text(), from: text(), to: text(), reason: text(), state: text() }
}

fn repo(all: bool) -> repos::Shown {
    repos::Shown {
        did: did(),
        pds: all.then(text),
        rev: all.then(text),
        status: text(),
        reason: text(),
        next_attempt_at: all.then(text),
        failures: 1,
        error: all.then(text),
        refused: 1,
        checked_at: all.then(text),
        synced_at: all.then(text),
    }
}

fn counts(_: bool) -> Counts {
    Counts { known: 2, due: 1, failing: 1, deferred: 1 }
}

fn discovery(all: bool) -> discovery::Shown {
    discovery::Shown {
        relay: text(),
        began_at: text(),
        ended_at: all.then(text),
        ending: all.then(text),
        next_attempt_at: text(),
        pages: 1,
        listed: 1,
        found: 1,
        dropped: 1,
        failures: 1,
        error: all.then(text),
    }
}

/// The state of the stream's object and of the database. Without an answer of the database, its
/// fields are absent; an empty database has no cursor.
fn ingest(all: bool, stored: bool) -> Ingest {
    Ingest {
        stream: StreamStatus {
            connected: true,
            host: text(),
            failures: 1,
            last_frame_at: all.then(text),
            queued: 1,
            binary: 0,
            ahead: 0,
            stepped_over: 0,
            left_out: 0,
            because: all.then(text),
            untold: 1,
            since_woken: Spent { commits: 1, events: 1, rows_read: 1, rows_written: 1 },
        },
        stored: stored.then(|| IngestStatus {
            cursor_us: all.then_some(1),
            cursor_at: all.then(text),
            held_records: 1,
            oldest_held_at: all.then(text),
            set_aside: 1,
            restarts: 1,
            refused: 1,
            gaps: vec![gap(true)],
            repos: counts(true),
            deferred: vec![DeferredShown { did: did(), until: text() }],
            relay: all.then(|| discovery(true)),
        }),
    }
}

fn part(all: bool) -> Part {
    Part { part: "stream", verdict: Verdict::Note, message: text(), advice: all.then_some("wait") }
}

fn statistics() -> Statistics {
    let here = BTreeMap::from([(text(), Here::default())]);
    Statistics { user_count: 1, usernames: vec![text()], sockets: 1, communities: here }
}

fn health(all: bool) -> Health {
    Health {
        ok: !all,
        ingest: ingest(true, true),
        database: true,
        auth_mode: AuthMode::Open.name(),
        auth_meaning: AuthMode::Open.meaning(),
        parts: vec![part(true)],
        gateways: all.then(|| vec![NamedLoad { name: text(), load: Load::default() }]),
        error: all.then_some("Unavailable"),
        message: all.then(text),
    }
}

fn ice_server(all: bool) -> IceServer {
    IceServer { urls: vec![text()], username: all.then(text), credential: all.then(text) }
}

pub(super) fn notification(all: bool) -> Notification {
    Notification {
        id: 1,
        kind: "mention",
        community_uri: uri(),
        channel_uri: uri(),
        indexed_at: text(),
        seen_at: all.then(text),
        urgency: "quiet",
        message: core(all),
    }
}

fn keys() -> Keys {
    Keys { p256dh: text(), auth: text() }
}

fn unread(all: bool) -> Unread {
    Unread {
        community_uri: uri(),
        channel_uri: uri(),
        unread: 1,
        mentions: 1,
        last_read_at: all.then(text),
        last_message_at: all.then(text),
    }
}

/// The samples of one object: one with every value, and those without some.
struct Samples(&'static str, Vec<Value>);

fn samples() -> Vec<Samples> {
    fn of<T: Serialize>(name: &'static str, make: impl Fn(bool) -> T) -> Samples {
        Samples(name, [true, false].map(|all| serde_json::to_value(make(all)).unwrap()).to_vec())
    }
    let mut all = vec![
        of("Person", person),
        of("RepoCounts", counts),
        of("Repo", repo),
        of("MessageCore", core),
        of("Message", message),
        of("AnsweredMessage", |all| AnsweredMessage { message: message(all), reply_count: 1 }),
        of("Thread", |all| Thread {
            reply_count: 1,
            last_reply_at: text(),
            participants: vec![did()],
            message: core(all),
        }),
        of("Found", |all| Found {
            snippet: Snippet { text: text(), marks: vec![Mark { byte_start: 0, byte_end: 1 }] },
            message: core(all),
        }),
        of("ThreadMessage", |all| ThreadMessage { depth: 1, parent_uri: all.then(uri), message: core(all) }),
        of("Active", |all| Active { community_uri: uri(), channel_uri: uri(), message: core(all) }),
        of("DirectoryEntry", |all| DirectoryEntry {
            community_uri: uri(),
            owner_did: did(),
            name: text(),
            description: all.then(text),
            picture: all.then(|| json("{}")),
            requires_approval_to_join: all,
            members_only: all,
            member_count: all.then_some(1),
            online_count: all.then_some(1),
            listed_at: text(),
        }),
        of("Listing", |listed| Listing { community_uri: text(), listed }),
        of("ReactionGroup", group),
        of("Community", community),
        of("Communities", |_| Communities { owned: vec![community(true)], joined: vec![community(true)] }),
        of("Channel", channel),
        of("Category", category),
        of("Sidebar", |_| Sidebar { categories: vec![category(true)], uncategorized: vec![channel(true)] }),
        of("Member", member),
        of("Author", author),
        of("ChannelRead", |_| ChannelRead { channel_uri: text(), cursor_at: text() }),
        of("Notification", notification),
        of("Notifications", |all| {
            let notification = notification(all);
            serde_json::to_value(Notifications { unseen: 1, notifications: vec![&notification] }).unwrap()
        }),
        of("Seen", |_| Seen { seen: 1 }),
        of("PushSubscription", |_| Subscription {
            endpoint: url::Url::parse("https://push.example.com/").unwrap(),
            keys: keys(),
        }),
        of("PushSubscriptionKeys", |_| keys()),
        of("PushKey", |_| PushKey { public_key: text() }),
        of("RhythmThere", |_| RhythmThere { community_uri: uri().to_string(), rhythm: "quiet" }),
        of("Preferences", |all| Preferences {
            rhythm: "engaged",
            communities: all
                .then(|| RhythmThere { community_uri: uri().to_string(), rhythm: "quiet" })
                .into_iter()
                .collect(),
        }),
        of("UnreadChannel", unread),
        of("Invite", invite),
        of("AuditEntry", audit_entry),
        of("Report", report),
        of("Reported", |_| Reported { id: 7 }),
        of("Webhook", webhook),
        of("WebhookSet", |all| WebhookSet { webhook: webhook(all), secret: text() }),
        of("Overview", overview),
        of("Statistics", |_| statistics()),
        of("Here", |_| Here::default()),
        of("Part", part),
        of("RefusedFor", refused_for),
        of("DueRepository", due_repository),
        of("ListedCommunity", listed),
        of("MembersOnly", |on| MembersOnly { community_uri: text(), members_only: on, meaning: meaning(on) }),
        of("InviteToCommunity", |all| InviteToCommunity { invite: invite(all), community: community(true) }),
        of("InviteCode", |_| InviteCode { code: text() }),
        of("Erasure", |_| Erasure { state: "erased".into(), erased_at: text() }),
        of("Vouched", |_| Vouched { ok: true, token: text(), expires_at: text() }),
        of("IceServer", ice_server),
        of("IceServers", |all| IceServers {
            ice_servers: vec![ice_server(all)],
            relay_only: false,
            expires_at: all.then(text),
        }),
        of("Identity", identity),
        of("Discovery", discovery),
        of("Gap", gap),
        of("Ingest", |all| ingest(all, true)),
        of("Health", health),
        of("GatewayLoad", |_| NamedLoad { name: text(), load: Load::default() }),
        of("Server", |all| Server::new(AuthMode::Mixed, 0, all.then(did))),
        of("Ticket", |_| Ticket { ticket: text(), expires_at: text() }),
        of("DidDocument", |_| DidDocument::new(text(), text())),
    ];
    for Samples(name, values) in &mut all {
        if *name == "Ingest" {
            values.push(serde_json::to_value(ingest(true, false)).unwrap());
        }
    }
    all
}

#[test]
fn every_object_is_documented_field_by_field() {
    let document = Document::read();
    let samples = samples();
    for Samples(name, values) in &samples {
        let schema = document.schema(name);
        assert!(schema.is_object(), "{name} is not in the document");
        document.describes(schema, values, name);
    }
    let tested: BTreeSet<&str> = samples.iter().map(|Samples(name, _)| *name).collect();
    let schemas = document.0["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        let object = schema["properties"].is_object() || schema["allOf"].is_array();
        // `ApiError::response` writes `Error`; tests of answers compare it.
        assert!(!object || name == "Error" || tested.contains(name.as_str()), "{name}: no type is compared");
    }
}
