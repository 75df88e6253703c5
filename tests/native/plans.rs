//! How SQLite executes every statement of `storage`: none scans a whole table that grows.
//!
//! `exercise` runs every statement; a check of the source finds any that it misses, so a new
//! statement must be added there and is checked from then on.

use std::collections::BTreeSet;

use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::community::devices::Devices;
use colibri_edge::domain::discovery::Walk;
use colibri_edge::domain::editions::Parts;
use colibri_edge::domain::export::{Question, Step, Subject};
use colibri_edge::domain::facts_cache::FactsCache;
use colibri_edge::domain::link::{Gap, Missed, StreamPosition};
use colibri_edge::domain::moderation::{Caller, Once, Proof};
use colibri_edge::domain::person::Person;
use colibri_edge::domain::points::Points;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::push::Push;
use colibri_edge::domain::repos::Reason;
use colibri_edge::domain::restore::Trace;
use colibri_edge::domain::subscriptions::{Kind, Subscriptions};
use colibri_edge::domain::urgency::{Rhythm, Urgency};
use colibri_edge::domain::voice::Rooms;
use colibri_edge::domain::voice_right::Concern;
use colibri_edge::domain::webhooks::Position;
use colibri_edge::pipeline::{Batch, end_bans, walk};
use colibri_edge::storage::audit::{self, Act, Filter};
use colibri_edge::storage::bound_rooms::{self, Due};
use colibri_edge::storage::community_log::{self, Listener};
use colibri_edge::storage::gateway_people::{self, Publication};
use colibri_edge::storage::gateway_sessions::{self, Session};
use colibri_edge::storage::incidents::Incident;
use colibri_edge::storage::presence::Shown;
use colibri_edge::storage::reads::lexicons::{self, account, channels, communities as views, waiting};
use colibri_edge::storage::reads::members_only::About;
use colibri_edge::storage::reads::notifications as notices;
use colibri_edge::storage::reads::{
    self, Start, activity, bans, communities, directory, feeds, operator, people, present, reactions,
    search as found, threads, whose,
};
use colibri_edge::storage::sweep::{Place, sweep, sweep_approvals, sweep_people};
use colibri_edge::storage::{
    Statement, Store, community_voice, digests, discovery, dismissed, export, facts, gateway_digests,
    gateway_pushes, identities, incidents, invites, listings, members_only as settings_of, moderators,
    notifications, outbox, parts, presence, proofs, push, reports, repos, rhythms, search, used_tokens,
    webhooks,
};
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::signaling::VoiceState;
use colibri_edge::wire::time::Micros;
use colibri_edge::wire::web_push::{Keys, Subscription};
use colibri_edge::wire::words::Query;
use futures::executor::block_on;
use serde_json::json;

use super::sqlite::Sqlite;
use super::story::{
    START, Service, Story, ban, block, kick, members_only, moderators as moderators_of, unban, unblock,
};

/// Tables of unbounded size. The others have one row, or a row per reason (`refusal_counts`).
const GROWING: [&str; 43] = [
    "actor_profiles",
    "actors",
    "approvals",
    "audit_log",
    "bans",
    "blocks",
    "categories",
    "channel_reads",
    "channels",
    "communities",
    "digests",
    "dismissed",
    "erasing",
    "erasures",
    "gaps",
    "gone_messages",
    "held",
    "idempotency_keys",
    "identities",
    "invites",
    "listings",
    "members",
    "members_only",
    "memberships",
    "messages",
    "moderations",
    "moderators",
    "mutes",
    "notifications",
    "outbox",
    "people",
    "preferences",
    "proofs",
    "push_subscriptions",
    "reactions",
    "read_positions",
    "refusals",
    "reports",
    "repos",
    "rhythms",
    "roles",
    "settled",
    "webhooks",
];

/// Allowed scans: a part of the statement, the table, and the reason.
const ALLOWED: [(&str, &str, &str); 13] = [
    (
        "(SELECT count(*) FROM settled WHERE NOT lasting)",
        "settled",
        "at most SETTLED_MAX, and what a few thousand events bring",
    ),
    (
        "(SELECT count(*) FROM erasures WHERE NOT known)",
        "erasures",
        "at most STRANGERS_MAX, and those of a minute",
    ),
    ("FROM erasing WHERE step <> 'lifting'", "erasing", "a row for each erasure that goes on just now"),
    ("DELETE FROM refusals WHERE uri > ", "refusals", "at most REFUSALS_KEPT for each reason"),
    (
        "LIMIT (SELECT iif(count(*) > ?1",
        "held",
        "at most HELD_MAX rows (I63), and only one more sum if not over it",
    ),
    (
        "SELECT json_quote(uri) AS row FROM communities ORDER BY uri",
        "communities",
        "all of them are the answer (A31)",
    ),
    ("(SELECT count(*) FROM proofs)", "proofs", "at most PROOFS_MAX and one for each known person"),
    ("(SELECT count(*) FROM held)", "held", "at most HELD_MAX rows (I63)"),
    ("json_each(?3) c CROSS JOIN held h", "held", "at most HELD_MAX rows (I63)"),
    ("SELECT count(*) FROM repos)", "repos", "counted by cron and by admins, a row per person"),
    ("FROM repos WHERE reason = 'found' LIMIT ?1", "repos", "once a walk, and at most KEPT_MAX rows"),
    ("reason = iif(next_attempt_at IS NULL, 'gap', reason)", "repos", "a gap concerns all of them (K05)"),
    ("SELECT count(*) FROM repos WHERE checked_at > gaps.noticed_at", "repos", "once, when a gap is closed"),
];

/// A database on which every statement for D1 ran once.
fn exercise() -> Sqlite {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob");
    story.create("alice", "category/x", json!({ "name": "General", "community": "c" }));
    story.say("bob", "m", "hello").react("alice", "r", "👍", "m").say("eve", "n", "refused");
    story.react("bob", "later", "👍", "unknown");
    let facet = json!([{ "index": { "byteStart": 0, "byteEnd": 1 },
        "features": [{ "$type": "app.bsky.richtext.facet#mention", "did": "did:plc:alice" }] }]);
    let mut mentioning = super::story::message_in("k", "mention");
    mentioning["facets"] = facet;
    story.create("bob", "message/mention", mentioning);
    story.update("bob", "message/mention", super::story::message_in("k", "no mention"));
    story.create("bob", "actor.data/self", json!({ "status": "here" }));
    let channel = "at://did:plc:alice/social.colibri.channel/k";
    story.create("bob", "channel.read/r", json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }));
    story.create("bob", "actor.profile/self", json!({ "displayName": "Bob" }));
    story.create("bob", "actor.mute/m", json!({ "subject": channel }));
    story.create("bob", "actor.notificationPreference/self", json!({ "level": "all" }));
    story.newest("nest").create("bob", "membership/n", super::story::join_request("nest")).admit(
        "nest",
        "bob",
        &["mod"],
    );
    story.create(
        "bob",
        "message/o",
        super::story::message_in("at://did:plc:nest/social.colibri.channel/k", "o"),
    );
    let hidden = "at://did:plc:bob/social.colibri.message/o";
    story.create("nest", "moderation/1", super::story::moderation("hideMessage", hidden));
    story.create("nest", "moderation/2", super::story::moderation("unhideMessage", hidden));
    story.create("nest", "moderation/3", super::story::moderation("ban", "did:plc:gus"));
    story.create("nest", "moderation/4", super::story::moderation("unban", "did:plc:gus"));
    let mut service = Service::live(&story);
    service.decide(ban("alice", "eve"));
    service.decide(unban("alice", "eve"));
    service.decide(block("bob", "m"));
    service.decide(unblock("bob", "m"));
    service.decide(block("bob", "m"));
    service.decide(moderators_of("alice", &["carol"]));
    service.decide(members_only("alice", true));
    service.decide(members_only("alice", false));
    let once = Once { key: "key".into(), request: "request".into() };
    service.decide_once(kick("alice", "bob"), once);
    let mut end = Story { frames: story.frames };
    let written = end.frames.len();
    for (who, path) in [
        ("alice", "reaction/r"),
        ("bob", "message/m"),
        ("bob", "actor.data/self"),
        ("bob", "channel.read/r"),
        ("bob", "reaction/later"),
        ("alice", "approval/bob"),
        ("bob", "membership/m"),
        ("nest", "member/bob"),
        ("nest", "role/mod"),
        ("nest", "moderation/4"),
        ("bob", "actor.profile/self"),
        ("bob", "actor.mute/m"),
        ("bob", "actor.notificationPreference/self"),
        ("alice", "category/x"),
        ("alice", "channel/k"),
        ("alice", "community/c"),
    ] {
        end.delete(who, path);
    }
    // Written again: what was settled is settled no more.
    end.community("alice", false).say("bob", "m", "again").join("bob", "alice");
    super::pipeline::account(&mut end, "bob", false, "deleted");
    super::pipeline::account(&mut end, "bob", true, "");
    end.frames.push(json!({ "did": "did:plc:bob", "time_us": START, "kind": "identity" }).to_string());
    end.frames[written..].iter().for_each(|frame| service.batch(std::slice::from_ref(frame)));

    let mut batch = Batch::default();
    batch.deferred.insert(Did::parse("did:plc:bob").unwrap(), Micros(START));
    batch.take("nonsense", "test", Micros(START), &mut Points::default());
    batch.gap = Some(Gap {
        host: "test".into(),
        from: Micros(START),
        to: Micros(START + 1),
        reason: Missed::CursorTooOld,
    });
    batch.position = Some(StreamPosition { host: "test".into(), cursor: Micros(START) });
    let store = service.store;
    let settings = Service::new().settings();
    block_on(walk(&store, &batch, &[], &settings, Some(1), &mut FactsCache::default(), Micros(START)))
        .unwrap();

    let did = Did::parse("did:plc:bob").unwrap();
    let message = AtUri::of(&did, Collection::Message, &Rkey::parse("m").unwrap());
    block_on(async {
        outbox::pending(&store, 0).await.unwrap();
        outbox::position(&store).await.unwrap();
        store.write(&[outbox::set_back(Micros(START))]).await.unwrap();
        store.write(&[outbox::begin(&StreamPosition::beginning(None, Micros(0)), Micros(0))]).await.unwrap();
        store.commit(vec![outbox::delivered(1)]).await.unwrap();
        let place = AtUri::parse("at://did:plc:alice/social.colibri.community/c").unwrap();
        present::is_members_only(&store, &place).await.unwrap();
        present::present(&store, &place, 10).await.unwrap();
        reads::messages(&store, "", "k", &Start::Newest, 50).await.unwrap();
        reads::history(&store, "", "k", &Start::Newest, 50).await.unwrap();
        let before = Start::Before { created_at: String::new(), instant: String::new() };
        reads::history(&store, "", "k", &before, 50).await.unwrap();
        reads::message(&store, "", &message).await.unwrap();
        threads::threads(&store, "", "k", None, 20).await.unwrap();
        threads::thread(&store, "", &message, None, 50).await.unwrap();
        threads::states(&store, vec![(place.clone(), "m".into())]).await.unwrap();
        directory::directory(&store, None, 20).await.unwrap();
        activity::activity(&store, "", &did, std::slice::from_ref(&place), None, 50).await.unwrap();
        let act = Act {
            community: &place,
            caller: &Caller::Operator,
            proof: Proof::ApiKey,
            action: "listing",
            subject: String::new(),
            reason: None,
            until: None,
        };
        for on in [true, false] {
            listings::set(&store, &act, on, Micros(START)).await.unwrap();
        }
        facts::acts_in(&store, &place, [], [&did], Micros(START)).await.unwrap();
        let key = Rkey::parse("k").unwrap();
        for community in [feeds::Named::Owner(did.clone()), feeds::Named::Rkey(key.clone())] {
            feeds::feed(&store, &community, &key).await.unwrap();
        }
        store.by_hand(
            "INSERT INTO messages (uri, author_did, rkey, channel_uri, channel, text, created_at, sort_at, indexed_at,
                edited, rev)
             VALUES ('at://did:plc:bob/social.colibri.message/w', 'did:plc:bob', 'w', 'at://did:plc:alice/c/k', 'k',
                'hello', '', '', '', 0, '')",
        );
        search::fill(&store).await.unwrap();
        let query = Query::parse("hello").unwrap();
        let wanted = found::Search {
            query: &query,
            community: &place,
            channel: None,
            author: None,
            before: None,
            has: None,
        };
        found::search(&store, "", &wanted, None, 50).await.unwrap();
        search::clear(&store).await.unwrap();
        store.by_hand("DELETE FROM messages WHERE rkey = 'w'");
        reads::named(&store, &["k".to_owned()], &["at://c".to_owned()]).await.unwrap();
        reads::listed(&store, &["at://c".to_owned()]).await.unwrap();
        reads::all_communities(&store).await.unwrap();
        reads::ingest_status(&store).await.unwrap();
        communities::community(&store, "c").await.unwrap();
        communities::community_in_full(&store, "c").await.unwrap();
        communities::of_person(&store, &did, false).await.unwrap();
        communities::of_person(&store, &did, true).await.unwrap();
        communities::communities_of(&store, &did).await.unwrap();
        communities::channels(&store, "at://c", None, 50).await.unwrap();
        communities::sidebar_of(&store, "at://c").await.unwrap();
        communities::members(&store, "", "at://c", None, 50).await.unwrap();
        reactions::of_message(&store, "m").await.unwrap();
        reactions::of_channel(&store, "k", None, 50).await.unwrap();
        bans::bans(&store, "", "at://c", None, 50).await.unwrap();
        let community = super::story::community("alice");
        let act = Act {
            community: &community,
            caller: &Caller::Operator,
            proof: Proof::ApiKey,
            action: "invite",
            subject: "code".into(),
            reason: None,
            until: None,
        };
        let once = Once { key: "key".into(), request: "request".into() };
        invites::create(&store, &act, &did, None, Some(&once), Micros(0)).await.unwrap();
        moderators::list(&store, "at://c").await.unwrap();
        settings_of::is_set(&store, "at://c").await.unwrap();
        settings_of::places(&store, &community, std::slice::from_ref(&did), Micros(0)).await.unwrap();
        let keys = [
            (Kind::Message, Some("k")),
            (Kind::Community, Some(community.as_str())),
            (Kind::UserStatus, None),
        ];
        settings_of::behind(&store, &keys).await.unwrap();
        for about in [
            About::Community("at://c".into()),
            About::Channel("k".into()),
            About::Message(message.clone()),
            About::MessageNamed("m".into()),
        ] {
            store.read(&[about.statement()]).await.unwrap();
        }
        moderators::moderates(&store, &community, &did, Micros(0)).await.unwrap();
        facts::standing_in(&store, &community, &did, Micros(0)).await.unwrap();
        audit::page(&store, "at://c", &Filter::default(), None, 50).await.unwrap();
        operator::overview(&store).await.unwrap();
        operator::communities(&store, None, 50).await.unwrap();
        operator::present(&store, &[(did.clone(), State::Online)]).await.unwrap();
        end_bans(&store, &settings, Micros(START)).await.unwrap();
        let report = reports::New {
            community: &community,
            reporter: &did,
            subject: "did:plc:eve",
            about: &did,
            reason: "spam",
            comment: None,
        };
        reports::about(&store, &message).await.unwrap();
        reports::add(&store, &report, Micros(0)).await.unwrap();
        reports::page(&store, "at://c", Some(true), None, 50).await.unwrap();
        reports::resolve(&store, &act, 1, Micros(0)).await.unwrap();
        let hook = webhooks::New {
            id: "h".into(),
            community: &community,
            url: "https://a.test/",
            events: &[],
            chosen: None,
            made: "c2VjcmV0",
        };
        webhooks::put(&store, &hook, Micros(0)).await.unwrap();
        webhooks::list(&store, "at://c").await.unwrap();
        webhooks::targets(&store, &community).await.unwrap();
        webhooks::disable(&store, "h", "why", Micros(0)).await.unwrap();
        webhooks::remove(&store, community.as_str(), "h").await.unwrap();
        invites::find(&store, "code").await.unwrap();
        invites::list(&store, "at://c", None, 50).await.unwrap();
        invites::shown(&store, "code").await.unwrap();
        invites::count_use(&store, "code").await.unwrap();
        invites::revoke(&store, &act, Micros(0)).await.unwrap();
        people::person(&store, &did).await.unwrap();
        for path in ["channel/k", "category/x", "role/owner", "membership/m"] {
            let record = AtUri::parse(&format!("at://did:plc:alice/social.colibri.{path}")).unwrap();
            whose::community_of(&store, &record).await.unwrap();
        }
        lexicons::person(&store, &did).await.unwrap();
        lexicons::mutes(&store, &did).await.unwrap();
        views::of_member(&store, &did, false).await.unwrap();
        let nest = AtUri::parse("at://did:plc:nest/social.colibri.community/self").unwrap();
        views::whole(&store, &nest, 50).await.unwrap();
        views::structure(&store, &nest).await.unwrap();
        views::invited(&store, "code").await.unwrap();
        waiting::applications(&store, nest.as_str()).await.unwrap();
        waiting::approvers(&store, &nest, std::slice::from_ref(&did), Micros(1)).await.unwrap();
        waiting::banned(&store, nest.as_str(), None, 50).await.unwrap();
        account::account(&store, &did).await.unwrap();
        lexicons::notification_level(&store, &did).await.unwrap();
        channels::reactions(&store, "at://m").await.unwrap();
        dismissed::dismiss(&store, &nest, &did, Micros(0)).await.unwrap();
        dismissed::undismiss(&store, &nest, &did).await.unwrap();
        views::members(&store, &nest, &BTreeSet::new(), Some(&did), 50).await.unwrap();
        channels::messages(&store, "at://k", &channels::From::Newest, channels::Which::Visible, 50)
            .await
            .unwrap();
        channels::messages(&store, "at://k", &channels::From::Newest, channels::Which::All, 50)
            .await
            .unwrap();
        channels::view(&store, &did, "at://k", 50).await.unwrap();
        channels::read_cursor(&store, &did, "at://k").await.unwrap();
        notices::unread(&store, &did, &["at://c"]).await.unwrap();
        notices::page(&store, &did, None, 50).await.unwrap();
        notices::these(&store, &[(did.clone(), vec![(1, nest.clone())])].into()).await.unwrap();
        notices::unseen_count(&store, &did).await.unwrap();
        notices::unseen(&store, &did, "at://k").await.unwrap();
        notifications::see_until(&store, &did, 0, Micros(0)).await.unwrap();
        notifications::see_message(&store, &did, "at://m", Micros(0)).await.unwrap();
        for community in [Some("at://c"), None] {
            rhythms::set(&store, &did, community, Some(Rhythm::Busy), Micros(0)).await.unwrap();
        }
        rhythms::set(&store, &did, None, None, Micros(0)).await.unwrap();
        rhythms::of_person(&store, &did).await.unwrap();
        push::subscribe(&store, &did, &browser(), Micros(0)).await.unwrap();
        push::of_people(&store, &[did.clone()].into()).await.unwrap();
        push::unsubscribe(&store, &did, "https://push.example.com/").await.unwrap();
        notices::for_digest(&store, &did).await.unwrap();
        digests::claim(&store, &did, 1, Micros(0)).await.unwrap();
        notifications::move_position(&store, &did, "at://k", None, Micros(0)).await.unwrap();
        presence::people(&store, std::slice::from_ref(&did)).await.unwrap();
        let shown = Shown { did: did.clone(), preferred: None, current: Some(State::Online), exists: false };
        store.commit(presence::store(&[shown], Micros(0))).await.unwrap();
        people::channel_reads(&store, "did:plc:bob", false, None, 50).await.unwrap();
        repos::hosts_due(&store, Micros(0)).await.unwrap();
        repos::due(&store, Some("host"), Micros(0), 10).await.unwrap();
        repos::next_due(&store, None).await.unwrap();
        repos::shown(&store, &did).await.unwrap();
        repos::records(&store, &did).await.unwrap();
        sweep(&store, &mut Place::default(), Micros(0)).await.unwrap();
        sweep_people(&store, &mut Place::default(), Micros(0)).await.unwrap();
        sweep_approvals(&store, &mut Place::default()).await.unwrap();
        discovery::state(&store, Micros(0)).await.unwrap();
        discovery::kept(&store).await.unwrap();
        let found = discovery::found(std::iter::once(&did), 1, Micros(0));
        let walk = discovery::keep(&Walk::begin("https://relay", 0, Micros(0)));
        let forget = discovery::forget_empty(Micros(0));
        store.write(&[found, walk, forget, discovery::forget_unread(&did)]).await.unwrap();
        let wants = [Reason::Asked, Reason::Lookup].map(|reason| repos::want(&did, reason, Micros(0)));
        store.write(&wants).await.unwrap();
        let look = repos::Succeeded {
            did: &did,
            rev: None,
            status: "synced",
            began: Micros(0),
            refused: None,
            signed_by: None,
        };
        store
            .commit(vec![
                repos::found_at(&did, "https://host", "host"),
                repos::postponed(&did, Micros(0)),
                repos::failed(&did, "failing", "why", Micros(0)),
                repos::succeeded(&look, Micros(0)),
                repos::ask_the_gate_again(&did, Micros(0), Micros(0)),
                repos::close_gaps(Micros(0)),
            ])
            .await
            .unwrap();
        identities::keep(&store, &super::identities::read(&did, START)).await.unwrap();
        identities::find(&store, &did).await.unwrap();
        let changed = identities::changed(std::slice::from_ref(&did), Micros(0));
        store.commit(vec![identities::know("[]".into(), Micros(0)), changed]).await.unwrap();
        identities::due(&store, Micros(0), 50).await.unwrap();
        identities::next_due(&store).await.unwrap();
        identities::looked(&store, &[]).await.unwrap();
        proofs::prove(&store, &did, Micros(0)).await.unwrap();
        proofs::revoke(&store, &did, Micros(0)).await.unwrap();
        proofs::find(&store, &did).await.unwrap();
        super::erasures::exercise(&store, &settings, &did).await;
        store.write(&[incidents::count(Incident::Log, 1, "place", Micros(0))]).await.unwrap();
        for subject in [Subject::Community(community.clone()), Subject::Person(did.clone())] {
            for step in Step::ALL {
                let targets = std::slice::from_ref(&message);
                let question = Question { subject: &subject, step: *step, after: &[], targets };
                export::page(&store, &question).await.unwrap();
            }
        }
    });
    store
}

/// The statements of the objects' own databases, with their tables.
fn objects() -> Vec<(Vec<&'static str>, Vec<Statement>)> {
    let uri = AtUri::parse("at://did:plc:a/social.colibri.message/m").unwrap();
    let announcement = |topic: Topic| Announcement {
        scope: Scope::Community(uri.clone()),
        audience: Audience::Community,
        topic,
        live: true,
        event: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
    };
    let append = |topic| community_log::append(1, &[announcement(topic)], Micros(0));
    let mut log = vec![
        community_log::is_used(),
        community_log::counters(),
        community_log::count(1, 1),
        community_log::after(0, 1),
        community_log::numbered_before(Micros(0)),
        community_log::standing_after(0, 1),
        community_log::set_aside(&[1]),
        community_log::listen("gateway-0", 0),
        community_log::leave(&Listener { name: "gateway-0".into(), delivered: 0, attachments: 0 }),
        community_log::delivered("gateway-0", 0),
        community_log::listeners(),
        community_log::everything_after(0, 1),
    ];
    log.extend(community_log::clear(&[1], &[2], &[(3, "{}".into())]));
    log.extend([
        webhooks::positions(),
        webhooks::keep(&Position::begin("h", 0)),
        webhooks::drop_position("h"),
        webhooks::standing_after(0, 1),
    ]);
    log.extend(append(Topic::MessageGone(uri.clone())));
    log.extend(append(Topic::ChannelGone(uri.clone())));
    log.extend(append(Topic::CommunityGone));
    log.extend([true, false].map(community_log::set_members_only));
    log.extend(community_log::forget(Micros(0), 1));
    let mut sessions = vec![
        gateway_sessions::records(),
        gateway_sessions::keep_records(1),
        gateway_sessions::sessions(),
        gateway_sessions::open(&Session::default(), 0),
        gateway_sessions::keep(1, &Session::default()),
        gateway_sessions::subscribed(),
        gateway_sessions::subscribe(1, Kind::Message, Some("k")),
        gateway_sessions::subscribe(1, Kind::Message, None),
        gateway_sessions::channels(),
        gateway_sessions::communities(),
        gateway_sessions::received("at://c", 1),
        gateway_sessions::detach("at://c"),
    ];
    sessions.extend(gateway_sessions::mean(&[], &[]));
    sessions.extend(gateway_sessions::close(1));
    sessions.extend(gateway_sessions::unsubscribe(1, Kind::Message, Some("k")));
    sessions.extend(gateway_sessions::unsubscribe(1, Kind::Message, None));
    sessions.extend(gateway_sessions::take_back(1, Kind::Message, None));
    let mut listening = Subscriptions::default();
    listening.subscribe(Kind::Message, None, 0);
    sessions.extend(gateway_sessions::inherit(1, &listening));
    let mut rooms = vec![
        bound_rooms::bind(&uri),
        bound_rooms::due(),
        bound_rooms::concern(&Concern::Community, 1),
        bound_rooms::concern(&Concern::Channel { uri: uri.clone(), fresh: false }, 1),
        bound_rooms::concern(&Concern::Channel { uri: uri.clone(), fresh: true }, 1),
    ];
    rooms.extend(bound_rooms::looked(&Due { name: uri.clone(), bindings: 1, due: 1 }, false));
    sessions.extend(of_people());
    vec![
        ([community_log::SCHEMA, webhooks::SCHEMA].concat(), log),
        ([gateway_people::SCHEMA, gateway_sessions::SCHEMA].concat(), sessions),
        (community_voice::SCHEMA.to_vec(), of_voice()),
        (bound_rooms::SCHEMA.to_vec(), rooms),
        (used_tokens::SCHEMA.to_vec(), of_used_tokens()),
        (gateway_digests::SCHEMA.to_vec(), of_digests()),
        (gateway_pushes::SCHEMA.to_vec(), of_pushes()),
    ]
}

fn browser() -> Subscription {
    let keys = Keys { p256dh: "p".into(), auth: "a".into() };
    Subscription { endpoint: url::Url::parse("https://push.example.com/").unwrap(), keys }
}

fn of_pushes() -> Vec<Statement> {
    let did = Did::parse("did:plc:bob").unwrap();
    let push = Push {
        did: did.clone(),
        to: browser(),
        text: "{}".into(),
        urgency: Urgency::Ping,
        topic: 1,
        since: None,
    };
    let mut all = gateway_pushes::send(&push, Micros(0)).to_vec();
    all.extend([
        gateway_pushes::due(Micros(0), 10),
        gateway_pushes::next(),
        gateway_pushes::tried(1, Micros(0)),
        gateway_pushes::rests(1, Micros(0)),
        gateway_pushes::over(1),
        gateway_pushes::forget(&did),
    ]);
    all
}

fn of_digests() -> Vec<Statement> {
    let did = Did::parse("did:plc:bob").unwrap();
    let mut all = gateway_digests::schedule(&did, Micros(0)).to_vec();
    all.extend([
        gateway_digests::awaken(&did, Micros(0)),
        gateway_digests::begin(&did, Micros(0)),
        gateway_digests::end(&did, Micros(0), None),
        gateway_digests::drop_waiting(&did, Micros(0)),
        gateway_digests::failed(&did, Micros(0), Micros(1)),
        gateway_digests::due(Micros(0), 20),
        gateway_digests::next(),
        gateway_digests::forget(&did),
    ]);
    all
}

fn of_used_tokens() -> Vec<Statement> {
    let did = Did::parse("did:plc:bob").unwrap();
    vec![
        used_tokens::forget(Micros(0)),
        used_tokens::is_used(&did, "a"),
        used_tokens::count(&did),
        used_tokens::remember(&did, "a", Micros(1)),
    ]
}

fn of_people() -> Vec<Statement> {
    let did = Did::parse("did:plc:bob").unwrap();
    let event = serde_json::value::RawValue::from_string("{}".into()).unwrap();
    let publication = |status| Publication {
        id: 0,
        did: did.clone(),
        communities: Vec::new(),
        closed: Vec::new(),
        pending: Vec::new(),
        status,
        live: true,
        event: event.clone(),
    };
    let mut all = vec![
        gateway_people::persons(),
        gateway_people::keep(&did, &Person::default()),
        gateway_people::forget(&did),
        gateway_people::signs(),
        gateway_people::sign(1, Micros(0), true),
        gateway_people::silence(1),
        gateway_people::hold(&did, true, &event),
        gateway_people::held(1),
        gateway_people::release(1),
        gateway_people::publish(&publication(true)),
        gateway_people::publications(0, 1),
        gateway_people::last_publication(),
        gateway_people::receivers(),
        gateway_people::receiver("gateway-0", 1),
        gateway_people::forget_publications(1),
        gateway_people::publisher("gateway-0"),
        gateway_people::published_by("gateway-0", 1),
        gateway_people::changed_since(Micros(0)),
        gateway_people::traces(&did),
        gateway_people::has_traces(&did),
        gateway_people::traces_held(),
        gateway_people::make_room(1),
        gateway_people::forget_traces(Micros(0)),
        gateway_people::oldest_trace(),
        gateway_people::chosen(&did),
        gateway_people::unchoose(&did),
        gateway_people::changed(&publication(true), Micros(0)),
        gateway_people::changed(&publication(false), Micros(0)),
        gateway_people::run(),
        gateway_people::runs("one"),
        gateway_people::observed(),
        gateway_people::observe("at://c", true),
        gateway_people::observe("at://c", false),
    ];
    all.extend(gateway_people::erase(&did, true));
    all.extend(gateway_people::forget_changes(Micros(0)));
    all.extend(gateway_people::leave(&did, "here", Micros(0), &Trace::default()));
    all.extend(gateway_people::choose(&did, State::Dnd, Micros(0)));
    all
}

fn of_voice() -> Vec<Statement> {
    let did = Did::parse("did:plc:bob").unwrap();
    let channel = AtUri::parse("at://did:plc:a/social.colibri.channel/v").unwrap();
    vec![
        community_voice::members(),
        community_voice::join(&did, &channel, "gateway-0"),
        community_voice::only(&Rooms::default()),
        community_voice::devices(),
        community_voice::devices_are(&channel, &[(did, VoiceState::default())].into()),
        community_voice::devices_are(&channel, &Devices::new()),
    ]
}

/// H11: the text of a statement says what it shows and changes (`storage::parts`), and cached
/// answers depend on that. SQLite itself confirms it here.
#[test]
fn h11_the_parts_of_a_statement_are_those_of_its_tables() {
    let store = exercise();
    let all = |tables: &BTreeSet<String>| {
        tables
            .iter()
            .filter_map(|table| parts::part_of(table))
            .fold(Parts::none(), |all, part| all.and(part.into()))
    };
    let (mut reading, mut writing) = (0, 0);
    for sql in store.seen.borrow().iter() {
        let (read, written) = store.opens(sql);
        let statement = [Statement::new(sql, [])];
        assert!(written.len() <= 1, "one table: {sql}");
        assert_eq!(parts::changed(&statement), all(&written), "{written:?} is changed: {sql}");
        let shown = parts::shown(&statement);
        assert_eq!(shown.and(all(&read)), shown, "{read:?} is shown: {sql}");
        reading += usize::from(!all(&read).is_none());
        writing += usize::from(!all(&written).is_none());
    }
    assert!(reading > 30 && writing > 30, "{reading} {writing}: has SQLite other words for it?");
}

/// Tables that no cached answer shows, and the reason. A new table belongs to a part or is listed
/// here.
#[test]
fn h11_every_table_is_in_a_part_or_never_shown() {
    const NEVER: [&str; 34] = [
        "actors",             // not shown: their contents are shown with the people
        "audit_log",          // R34 is not cached
        "digests",            // not shown
        "discovery",          // as gaps
        "dismissed",          // N171b is not cached
        "erasing",            // not shown
        "erasures",           // R41 is not cached
        "gaps",               // shown by /api/health, which is not cached
        "held",               // not shown
        "identities",         // shown by /api/identity, which is not cached
        "idempotency_keys",   // not shown
        "incidents",          // as gaps
        "invites",            // R15 and R16 are not cached
        "webhooks",           // R83 is not cached
        "ledger",             // not shown
        "message_words",      // R55 is not cached
        "moderations",        // not shown: what they come to is
        "moderators",         // R33 is not cached
        "mutes",              // shown by N160n, which is not cached
        "notifications",      // R50 and N170d are not cached
        "outbox",             // not shown
        "preferences",        // not shown
        "proofs",             // not shown: it decides what sockets may do
        "push_subscriptions", // not shown
        "read_positions",     // R48 is not cached
        "refusal_counts",     // as gaps
        "refusals",           // not shown
        "reports",            // R87 is not cached
        "repos",              // shown by /api/sync, which is not cached, and by no answer of N160g but a 503
        "rhythms",            // R56 is not cached
        "search_state",       // not shown
        "settled",            // not shown
        "stream",             // as gaps
        "visitors",           // not shown: presence of visitors is published, not read
    ];
    let tables =
        exercise().look("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'message_words_%'");
    assert!(tables.len() > 20, "{tables:?}");
    for table in &tables {
        let never = NEVER.contains(&table.as_str());
        assert!(never != parts::part_of(table).is_some(), "{table}");
    }
    assert!(NEVER.iter().all(|table| tables.contains(&(*table).to_owned())), "{tables:?}");
}

/// The table behind a name in a plan: itself, or the one that it is an alias of.
fn table<'s>(sql: &'s str, name: &'s str) -> &'s str {
    if GROWING.contains(&name) {
        return name;
    }
    let words: Vec<&str> =
        sql.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|w| !w.is_empty()).collect();
    let aliased = words.windows(3).find_map(|three| match three {
        ["FROM" | "JOIN", table, alias] if *alias == name => Some(*table),
        _ => None,
    });
    aliased.unwrap_or(name)
}

#[test]
fn no_statement_reads_a_whole_table_that_grows() {
    let store = exercise();
    let bad = "SELECT m.text FROM messages m WHERE m.text = ''";
    assert_eq!(
        (store.plan(bad), table(bad, "m")),
        (vec!["SCAN m".to_owned()], "messages"),
        "it would be seen"
    );
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for sql in store.seen.borrow().iter() {
        for step in store.plan(sql) {
            let Some(scanned) = step.strip_prefix("SCAN ") else { continue };
            let table = table(sql, scanned.split(' ').next().unwrap());
            if !GROWING.contains(&table) {
                continue;
            }
            match ALLOWED.iter().position(|(part, of, _)| sql.contains(part) && *of == table) {
                Some(allowed) => drop(used.insert(allowed)),
                None => wrong.push(format!("{step}\n    in {sql}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unused: Vec<_> = (0..ALLOWED.len()).filter(|n| !used.contains(n)).map(|n| ALLOWED[n]).collect();
    assert!(unused.is_empty(), "exceptions that nothing needs: {unused:?}");
}

/// The cost of a page must not grow with the list: an index in the order of the list finds its rows
/// by position, and nothing is sorted (R01, R06, R12).
#[test]
fn pages_are_found_by_place() {
    let store = exercise();
    for (part, found) in [
        (
            "LEFT JOIN messages p",
            "SEARCH m USING INDEX messages_by_channel (channel_uri=? AND (sort_at,rkey,author_did)<(?,?,?))",
        ),
        (
            "'again', EXISTS",
            "SEARCH m USING INDEX messages_by_channel (channel_uri=? AND (sort_at,rkey,author_did)<(?,?,?))",
        ),
        ("s.sort_at = s.indexed_at", "SEARCH s USING INDEX messages_ahead (channel_uri=? AND created_at=?)"),
        (
            "'again', EXISTS",
            "SEARCH o USING INDEX messages_ahead (channel_uri=? AND created_at=? AND (sort_at,rkey,author_did)<(?,?,?))",
        ),
        (
            "'first', json(",
            "SEARCH m USING INDEX messages_by_channel (channel_uri=? AND (sort_at,rkey,author_did)<(?,?,?))",
        ),
        (
            "(ch.name, ch.rkey) >",
            "SEARCH ch USING INDEX channels_by_community (community_uri=? AND (name,rkey)>(?,?))",
        ),
        ("b.banned_at <= ?2", "SEARCH b USING INDEX bans_by_community (community_uri=? AND banned_at<?)"),
        (
            "i.created_at <= ?2",
            "SEARCH i USING INDEX invites_by_community (community_uri=? AND created_at<?)",
        ),
    ] {
        let seen = store.seen.borrow();
        let sql = seen.iter().find(|sql| sql.contains(part) && sql.contains("LIMIT ?")).unwrap();
        let plan = store.plan(sql);
        let sorts = plan.iter().filter(|step| step.contains("TEMP B-TREE")).count();
        assert!(plan.iter().any(|step| step == found), "{plan:#?}");
        // Resolving a bare rkey and choosing a parent sort the few rows of one rkey.
        let few = sql.matches("LIMIT 1)").count();
        assert!(sorts <= few, "{sorts} sorts in {plan:#?}");
    }
}

/// An object's database is small (a log of EVENT_LOG_MAX rows, the sessions of a gateway), so scans
/// are allowed; this checks that each statement fits its tables.
#[test]
fn statements_of_objects_fit_their_tables() {
    for (schema, statements) in objects() {
        let db = rusqlite::Connection::open_in_memory().unwrap();
        schema.iter().for_each(|sql| db.execute_batch(sql).unwrap_or_else(|e| panic!("{e}: {sql}")));
        for statement in statements {
            let prepared = db.prepare(statement.sql).unwrap_or_else(|e| panic!("{e}: {}", statement.sql));
            assert_eq!(prepared.parameter_count(), statement.params.len(), "{}", statement.sql);
        }
    }
}

#[test]
fn every_statement_of_storage_is_checked() {
    let mut run: Vec<String> = exercise().seen.borrow().iter().map(|sql| (*sql).to_owned()).collect();
    for (schema, statements) in objects() {
        run.extend(schema.iter().map(|sql| (*sql).to_owned()));
        run.extend(statements.iter().map(|statement| statement.sql.to_owned()));
    }
    let (mut missed, mut looked_at) = (Vec::new(), 0);
    for path in super::tidy::files("src/storage") {
        for literal in literals(&std::fs::read_to_string(&path).unwrap()) {
            let is_sql = ["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM ", "FROM ", "WHERE "]
                .iter()
                .any(|word| literal.contains(word));
            looked_at += usize::from(is_sql);
            if is_sql && !run.iter().any(|sql| sql.contains(&literal)) {
                missed.push(format!("{}: {literal}", path.display()));
            }
        }
    }
    assert!(looked_at > 80, "{looked_at} literals: has the code moved?");
    assert!(missed.is_empty(), "not run by `exercise` or `objects`:\n{}", missed.join("\n"));
}

/// The string literals of Rust code, except those in comments and tests.
fn literals(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut found = Vec::new();
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => chars.by_ref().take_while(|c| *c != '\n').for_each(drop),
            '\'' if chars.clone().nth(1) == Some('\'') => drop(chars.nth(1)), // a character, such as '"'
            '"' => {
                let mut literal = String::new();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    match c {
                        '\\' => literal.extend(chars.next()),
                        c => literal.push(c),
                    }
                }
                found.push(literal);
            }
            _ => {}
        }
    }
    found
}

/// R43: a page of an export is found by its place, however long the list is. What is sorted is at most the page
/// itself, the actor records of one person, or the reactions to one page of messages.
#[test]
fn r43_pages_of_an_export_are_found_by_place() {
    const PAGE: &str = "USE TEMP B-TREE FOR ORDER BY";
    let store = exercise();
    let seen = store.seen.borrow();
    let by_uri = |name: &str| format!("SEARCH {name} USING PRIMARY KEY (uri>? AND uri<?)");
    let once = |rest: &str| {
        [
            "SEARCH m USING INDEX memberships_by_community (community_uri=? AND (member_did,uri)>(?,?))"
                .to_owned(),
            rest.to_owned(),
        ]
    };
    let admitted =
        |rest: &str| once(rest).map(|step| step.replace("memberships_by_community", "members_by_community"));
    for (part, found, sorts) in [
        ("FROM communities c WHERE c.uri >", vec![by_uri("c")], vec![PAGE]),
        ("FROM categories g WHERE g.uri >", vec![by_uri("g")], vec![PAGE]),
        ("FROM roles r WHERE r.uri >", vec![by_uri("r")], vec![PAGE]),
        ("FROM channels ch WHERE ch.uri >", vec![by_uri("ch")], vec![PAGE]),
        (
            "NOT a.hidden AND (NOT a.withdrawn",
            vec![
                by_uri("a"),
                "SEARCH m USING INDEX memberships_by_community (community_uri=? AND member_did=?)".to_owned(),
            ],
            vec![PAGE],
        ),
        ("true AS shown FROM members a", vec![by_uri("a")], vec![PAGE]),
        ("FROM memberships WHERE uri >", vec![by_uri("memberships")], vec![]),
        (
            "FROM memberships WHERE community_uri = ?1 AND (member_did, uri) >",
            vec![
                "SEARCH memberships USING INDEX memberships_by_community (community_uri=? AND (member_did,uri)>(?,?))"
                    .to_owned(),
            ],
            vec![],
        ),
        ("FROM approvals a WHERE a.uri >", vec![by_uri("a")], vec![]),
        ("FROM actors a LEFT JOIN people p", vec![by_uri("a")], vec![]),
        (
            "FROM memberships m LEFT JOIN actors a ON",
            once("SEARCH a USING INDEX actors_by_person (did=? AND uri>?) LEFT-JOIN").to_vec(),
            vec!["USE TEMP B-TREE FOR LAST TERM OF ORDER BY"],
        ),
        (
            "FROM members m LEFT JOIN actors a ON",
            admitted("SEARCH a USING INDEX actors_by_person (did=? AND uri>?) LEFT-JOIN").to_vec(),
            vec!["USE TEMP B-TREE FOR LAST TERM OF ORDER BY"],
        ),
        (
            "FROM members m LEFT JOIN people p ON",
            admitted("SEARCH p USING PRIMARY KEY (did=?) LEFT-JOIN").to_vec(),
            vec![],
        ),
        (
            "FROM memberships m LEFT JOIN people p ON",
            once("SEARCH p USING PRIMARY KEY (did=?) LEFT-JOIN").to_vec(),
            vec![],
        ),
        (
            "FROM messages m WHERE m.uri >",
            vec!["SEARCH m USING INDEX sqlite_autoindex_messages_1 (uri>? AND uri<?)".to_owned()],
            vec![PAGE],
        ),
        (
            "FROM channels ch CROSS JOIN messages m",
            vec![
                by_uri("ch"),
                "SEARCH m USING INDEX messages_by_channel (channel_uri=? AND (sort_at,rkey,author_did)>(?,?,?))"
                    .to_owned(),
            ],
            vec![PAGE, PAGE],
        ),
        ("FROM reactions WHERE uri >", vec![by_uri("reactions")], vec![]),
        (
            "p CROSS JOIN reactions r ON r.target_uri = p.value",
            vec!["SEARCH r USING INDEX reactions_by_target (target_uri=?)".to_owned()],
            vec![PAGE],
        ),
        ("FROM channel_reads WHERE uri >", vec![by_uri("channel_reads")], vec![]),
        ("FROM held h WHERE h.uri >", vec![by_uri("h")], vec![PAGE]),
    ] {
        let sql = seen.iter().find(|sql| sql.contains(part) && sql.contains("'cid', ")).unwrap();
        let plan = store.plan(sql);
        for step in found {
            assert!(plan.contains(&step), "{step}: {plan:#?}");
        }
        let sorted: Vec<_> = plan.iter().filter(|step| step.contains("TEMP B-TREE")).collect();
        assert_eq!(sorted, sorts, "{part}: {plan:#?}");
        // What is sorted has been cut off before.
        let cut = plan.iter().position(|step| step == "SCAN p").unwrap_or(0);
        assert!(!plan[..cut].iter().any(|step| step.contains("TEMP B-TREE")), "{part}: {plan:#?}");
    }
}
