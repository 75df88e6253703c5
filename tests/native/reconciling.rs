//! Repositories that were read, through the real SQL: what an outage lost is recovered, nothing is
//! published twice, and nothing that still exists is deleted (section 9, and the backfill theme of
//! the defects).

use std::cell::Cell;
use std::collections::BTreeMap;

use colibri_edge::domain::announcement::Announcement;
use colibri_edge::domain::link::{Gap, Missed};
use colibri_edge::domain::repos::Reason;
use colibri_edge::domain::snapshot::{Snapshot, SnapshotRecord};
use colibri_edge::pipeline::reconcile::{Pace, Reconciled, account, reconcile};
use colibri_edge::pipeline::{Batch, walk};
use colibri_edge::storage::repos::{self, Succeeded};
use colibri_edge::storage::{Fault, Store};
use colibri_edge::wire::ids::{AtUri, Collection, Did, Rkey};
use colibri_edge::wire::multikey::Multikey;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::histories::config;
use super::sqlite::Break;
use super::story::{
    START, Service, Story, approval, ban, frame, membership, message_in, moderation, newest_channel, reaction,
};

/// The contents of the repository of `who` after these frames.
pub(super) fn snapshot_of(who: &str, frames: &[String]) -> Snapshot {
    let mut records: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut rev = String::new();
    for frame in frames {
        let frame: Value = serde_json::from_str(frame).unwrap();
        if frame["did"] != format!("did:plc:{who}") || frame["kind"] != "commit" {
            continue;
        }
        let commit = &frame["commit"];
        let text = |name: &str| commit[name].as_str().unwrap().to_owned();
        rev = text("rev");
        let key = (text("collection"), text("rkey"));
        if commit["operation"] == "delete" {
            records.remove(&key);
        } else {
            records.insert(key, commit["record"].to_string());
        }
    }
    let records = records.into_iter().map(|((nsid, rkey), json)| SnapshotRecord {
        collection: Collection::from_nsid(&nsid).unwrap(),
        rkey: Rkey::parse(&rkey).unwrap(),
        cid: "bafyreia".into(),
        json,
    });
    Snapshot { rev, records: records.collect(), complete: Collection::ALL.iter().copied().collect() }
}

pub(super) struct Steady(pub(super) Cell<i64>);

impl Pace for Steady {
    fn now(&self) -> Micros {
        self.0.set(self.0.get() + 1_000_000);
        Micros(self.0.get())
    }
    async fn pause(&self, _: u32) {}
}

/// Long after the stories, within the hours of the logs.
const LATER: i64 = START + 3_600_000_000;

pub(super) fn did(who: &str) -> Did {
    Did::parse(&format!("did:plc:{who}")).unwrap()
}

impl Service {
    pub(super) fn try_reconcile(
        &mut self,
        who: &str,
        snapshot: &Snapshot,
        at: i64,
    ) -> Result<Reconciled, Fault> {
        let before = self.store.look("SELECT version FROM ledger").remove(0);
        let done = block_on(reconcile(
            &self.store,
            &did(who),
            snapshot,
            Micros(LATER),
            &self.settings(),
            &Steady(Cell::new(at)),
        ));
        self.announced.extend(self.outbox_after(&before));
        done
    }

    pub(super) fn reconcile(&mut self, who: &str, snapshot: &Snapshot) -> Reconciled {
        self.try_reconcile(who, snapshot, LATER).unwrap()
    }

    fn news(&mut self) -> Vec<String> {
        let events = self.published();
        self.announced.clear();
        events
    }
}

/// The garden of alice with bob as a member.
fn garden(requires_approval: bool) -> Story {
    let mut story = Story::default();
    story.community("alice", requires_approval).join("bob", "alice");
    if requires_approval {
        story.approve("alice", "bob");
    }
    story
}

fn is_live(announced: &Announcement) -> bool {
    announced.live
}

/// What people see, without what the repository does not contain: when an edit was made and what it
/// replaced.
pub(super) fn visible(service: &Service) -> Vec<String> {
    let shown = "FROM messages m JOIN channels ch ON ch.uri = m.channel_uri JOIN communities c ON c.uri = ch.community_uri
         WHERE NOT c.hidden AND NOT m.hidden AND m.uri NOT IN (SELECT uri FROM blocks)";
    let mut all = Vec::new();
    for sql in [
        "SELECT 'community', uri, name, description, requires_approval_to_join FROM communities ORDER BY uri".to_owned(),
        "SELECT 'channel', uri, community_uri, name, owner_only, category_rkey FROM channels WHERE community_uri IN (SELECT uri FROM communities) ORDER BY uri".into(),
        "SELECT 'category', uri, community_uri, name FROM categories ORDER BY uri".into(),
        "SELECT 'membership', uri, community_uri FROM memberships ORDER BY uri".into(),
        "SELECT 'approval', uri, membership_uri FROM approvals ORDER BY uri".into(),
        format!("SELECT 'message', m.uri, m.channel_uri, m.text, m.parent {shown} ORDER BY m.uri"),
        format!("SELECT 'reaction', r.uri, r.target_uri, r.emoji FROM reactions r WHERE NOT r.hidden AND r.target_uri IN (SELECT m.uri {shown}) ORDER BY r.uri"),
        "SELECT 'person', did, status_text, emoji, display_name FROM people ORDER BY did".into(),
    ] {
        all.extend(service.store.look(&sql));
    }
    all
}

#[test]
fn k05_b27_b41_what_an_outage_lost_is_made_up_for() {
    let mut story = garden(false);
    story
        .say("bob", "m1", "stays")
        .say("bob", "m2", "goes")
        .say("bob", "m3", "befor")
        .react("alice", "r1", "👍", "m1");
    let seen = story.frames.len();
    story.delete("bob", "message/m2").update("bob", "message/m3", message_in("k", "after"));
    story.say("bob", "m4", "new").react("alice", "r2", "🌿", "m4").delete("alice", "reaction/r1");
    story.update("alice", "channel/k", json!({ "name": "lobby", "type": "text", "community": "c" }));
    let undisturbed = Service::live(&story);

    let mut service = Service::live(&Story { frames: story.frames[..seen].to_vec() });
    service.announced.clear();
    service.reconcile("alice", &snapshot_of("alice", &story.frames));
    assert_eq!(service.news(), ["channel_created k", "reaction_removed 👍 r1"], "the reaction on m4 waits");
    let bob = snapshot_of("bob", &story.frames);
    service.reconcile("bob", &bob);
    assert!(!service.announced.iter().any(is_live), "K08");
    assert_eq!(
        service.news(),
        ["message m3 \"after\"", "message m4 \"new\"", "reaction_added 🌿 r2", "message_deleted m2"]
    );
    assert_eq!(visible(&service), visible(&undisturbed));
    let edited = "SELECT edited FROM messages WHERE rkey = 'm3'";
    assert_eq!(service.store.look(edited), ["1"], "I11");

    let version = service.store.look("SELECT version FROM ledger");
    assert_eq!(service.reconcile("bob", &bob), Reconciled { records: 4, ..Reconciled::default() });
    assert_eq!(service.store.look("SELECT version FROM ledger"), version, "nothing is written either");
}

#[test]
fn b06_what_is_found_passes_the_gate() {
    let mut story = garden(true);
    story.create(
        "alice",
        "channel/o",
        json!({ "name": "o", "type": "text", "community": "c", "ownerOnly": true }),
    );
    story.join("eve", "alice").approve("alice", "eve");
    let mut service = Service::live(&story);
    service.decide(ban("alice", "eve"));
    service.announced.clear();
    story.say("eve", "e", "banned").say("mallory", "x", "no member");
    story.create("bob", "message/o", message_in("o", "owner only")).say("bob", "b", "fine");
    for (who, refused) in [("eve", 1), ("mallory", 1), ("bob", 1)] {
        let snapshot = snapshot_of(who, &story.frames);
        assert_eq!(service.reconcile(who, &snapshot).refused, refused, "{who}");
        assert_eq!(service.reconcile(who, &snapshot).refused, refused, "{who}, again");
    }
    assert_eq!(service.visible_texts(), ["fine"]);
    assert_eq!(service.news(), ["message b \"fine\""]);
    let counted = service.store.look("SELECT reason, count FROM refusal_counts ORDER BY reason");
    assert_eq!(
        counted,
        ["author_banned|1", "author_not_approved|1", "channel_owner_only|1"],
        "counted once each"
    );
}

#[test]
fn b39_g7_a_reconciliation_asks_the_gate_again() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").say("bob", "m", "too early").approve("alice", "bob");
    story.update("bob", "message/m", message_in("k", "still too early"));
    let mut service = Service::live(&story);
    assert_eq!(service.visible_texts(), [""; 0], "neither the approval nor the edit brings it back");
    service.announced.clear();
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(service.visible_texts(), ["still too early"]);
    assert!(!service.announced.iter().any(is_live));
    assert_eq!(service.news(), ["message m \"still too early\""], "once, as backfilled");
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(service.news(), [""; 0]);
}

/// bob's repository is read when the stream has brought the first `seen` frames of `story` and stands in the index with
/// `refused` and `checked`; then the rest comes. Returns who is due, and which messages are visible after those were read.
fn read_ahead(story: &Story, seen: usize, checked: &str, refused: u32) -> (Vec<String>, Vec<String>) {
    let mut service = Service::live(&Story { frames: story.frames[..seen].to_vec() });
    service.succeeded("alice", "41", LATER);
    assert_eq!(service.reconcile("bob", &snapshot_of("bob", &story.frames)).refused, 1);
    service.succeeded("bob", "41", LATER);
    service.store.exec("UPDATE repos SET next_attempt_at = NULL");
    service.store.exec(&format!(
        "UPDATE repos SET refused = {refused}, checked_at = {checked} WHERE did = 'did:plc:bob'"
    ));
    service.batch(&story.frames[seen..]);
    assert_eq!(service.visible_texts(), [""; 0], "it was decided");
    assert_eq!(service.due(LATER + 50_000_000), [""; 0], "at most once a minute");
    let due = service.due(LATER + 70_000_000);
    for who in &due {
        service.reconcile(who, &snapshot_of(who, &story.frames));
    }
    (due, service.visible_texts())
}

/// What a reading refused because the stream was behind it is judged again when the stream brings what lets its author
/// write.
#[test]
fn k05_a_reading_that_is_ahead_of_the_stream_refuses_nothing_for_good() {
    let mut approved = Story::default();
    approved.community("alice", true).join("bob", "alice");
    let mut opened = Story { frames: approved.frames.clone() };
    let mut for_all = Story::default();
    for_all.community("alice", false).join("bob", "alice");
    let hall =
        |owner_only| json!({ "name": "hall", "type": "text", "community": "c", "ownerOnly": owner_only });
    for_all.update("alice", "channel/k", hall(true));
    let mut unbanned = Story::default();
    unbanned.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]);
    unbanned.create("nest", "moderation/1", moderation("ban", "did:plc:bob"));
    let mut named = Story::default();
    named.newest("nest").ask_to_join("bob", "nest").admit("nest", "bob", &[]);
    let room = |members: &[&str]| {
        let mut channel = newest_channel("social.colibri.channel.text");
        channel["allowedMembers"] = json!(members);
        channel
    };
    named.update("nest", "channel/k", room(&["did:plc:carol"]));
    let seen = [&approved, &opened, &for_all, &unbanned, &named].map(|story| story.frames.len());
    approved.approve("alice", "bob").say("bob", "m", "hello");
    opened
        .update("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": false }))
        .say("bob", "m", "hello");
    for_all.update("alice", "channel/k", hall(false)).say("bob", "m", "hello");
    unbanned.create("nest", "moderation/2", moderation("unban", "did:plc:bob")).create(
        "bob",
        "message/m",
        message_in("at://did:plc:nest/social.colibri.channel/k", "hello"),
    );
    named.update("nest", "channel/k", room(&["did:plc:carol", "did:plc:bob"])).create(
        "bob",
        "message/m",
        message_in("at://did:plc:nest/social.colibri.channel/k", "hello"),
    );
    for (story, seen) in [&approved, &opened, &for_all, &unbanned, &named].into_iter().zip(seen) {
        let what = &story.frames[seen];
        let brought = (vec!["bob".to_owned()], vec!["hello".to_owned()]);
        assert_eq!(read_ahead(story, seen, "checked_at", 1), brought, "{what}");
        assert_eq!(read_ahead(story, seen, "checked_at", 0).0, [""; 0], "nothing of his was refused: {what}");
        let earlier = read_ahead(story, seen, "'2026-03-01T11:59:00.000Z'", 1).0;
        assert_eq!(earlier, [""; 0], "G7: he was let in after he was read: {what}");
    }
}

#[test]
fn k02_what_waited_for_a_community_is_judged_with_its_approvals() {
    let mut story = garden(true);
    story.say("bob", "m", "hello");
    let mut service = Service::new();
    for who in ["bob", "alice"] {
        service.reconcile(who, &snapshot_of(who, &story.frames));
    }
    assert_eq!(service.visible_texts(), ["hello"]);
    assert_eq!(
        service.news(),
        ["community_upserted c", "member_joined bob", "channel_created k", "message m \"hello\""]
    );
}

#[test]
fn b33_k04_only_a_complete_listing_deletes() {
    let mut story = Story::default();
    story.community("alice", false);
    for n in 0..119 {
        story.create(
            "alice",
            &format!("channel/c{n}"),
            json!({ "name": "n", "type": "text", "community": "c" }),
        );
    }
    let count = |service: &Service| service.store.look("SELECT count(*) FROM channels").remove(0);
    let mut service = Service::live(&story);
    let whole = snapshot_of("alice", &story.frames);
    let mut interrupted = whole.clone();
    interrupted.records.truncate(40);
    interrupted.complete.clear();
    let mut malformed = whole.clone();
    malformed.records.iter_mut().find(|record| record.rkey.as_str() == "c7").unwrap().json =
        r#"{"name":7}"#.into();
    for (snapshot, why) in [
        (&whole, "complete"),
        (&interrupted, "interrupted"),
        (&malformed, "a malformed record"),
        (&whole, "resumed"),
    ] {
        service.reconcile("alice", snapshot);
        assert_eq!(count(&service), "120", "{why}");
    }
    let mut fewer = whole;
    fewer.records.retain(|record| record.rkey.as_str() != "c7");
    fewer.rev = super::story::rev(1_000);
    service.announced.clear();
    service.reconcile("alice", &fewer);
    assert_eq!((count(&service).as_str(), service.news()), ("119", vec!["channel_deleted c7".to_owned()]));
}

#[test]
fn k09_a_live_event_newer_than_what_was_found_wins() {
    let mut story = garden(false);
    story.say("bob", "m1", "one").say("bob", "m2", "two");
    let old = snapshot_of("bob", &story.frames);
    story
        .update("bob", "message/m1", message_in("k", "newer"))
        .delete("bob", "message/m2")
        .say("bob", "m3", "newest");
    let mut service = Service::live(&story);
    let before = (service.store.index(), service.store.look("SELECT version FROM ledger"));
    service.announced.clear();
    service.reconcile("bob", &old);
    assert_eq!((service.store.index(), service.store.look("SELECT version FROM ledger")), before);
    assert_eq!(service.news(), [""; 0]);
}

#[test]
fn k08_b35_old_changes_are_not_published_as_live() {
    let mut story = garden(false);
    let mut service = Service::live(&story);
    service.announced.clear();
    let mut old = message_in("k", "a year ago");
    old["createdAt"] = json!("2025-03-01T12:00:00Z");
    story.create("bob", "message/m0", old).say("bob", "m1", "just now");
    let mut liked = reaction("👍", "m1");
    liked["createdAt"] = json!("2025-03-01T12:00:00Z");
    story.create("bob", "reaction/r0", liked).react("bob", "r1", "🌿", "m0");
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(service.news(), ["message m1 \"just now\"", "reaction_added 🌿 r1"]);
    story.update("bob", "message/m0", message_in("k", "an edit of it"));
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    story.delete("bob", "message/m0");
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(
        service.news(),
        ["message m0 \"an edit of it\"", "message_deleted m0"],
        "edits and deletions: always"
    );
}

#[test]
fn k10_b36_a_reaction_finds_its_message_by_uri_and_by_rkey() {
    let mut story = garden(false);
    story.say("bob", "m", "hello");
    story.react("bob", "r1", "👍", "m").react("bob", "r2", "🌿", "at://did:plc:bob/social.colibri.message/m");
    let mut service = Service::live(&garden(false));
    service.reconcile("bob", &snapshot_of("bob", &story.frames));
    assert_eq!(
        service.store.look("SELECT DISTINCT target_uri FROM reactions"),
        ["at://did:plc:bob/social.colibri.message/m"]
    );
    assert_eq!(service.store.look("SELECT count(*) FROM reactions"), ["2"]);
}

#[test]
fn k11_the_same_records_from_another_host_are_no_news() {
    let mut story = garden(false);
    let facets = json!([{ "index": { "byteStart": 0, "byteEnd": 2 }, "features": [{ "$type": "x#bold" }] }]);
    let mut bold = message_in("k", "hi");
    bold["facets"] = facets;
    bold["attachments"] = json!([]);
    story.create("bob", "message/m", bold);
    story.create("bob", "actor.data/self", json!({ "status": "here", "emoji": "🌿" }));
    story.profile("bob", json!({ "displayName": "Bob" }));
    let channel = "at://did:plc:alice/social.colibri.channel/k";
    story.create("bob", "channel.read/r", json!({ "channel": channel, "cursor": "2026-03-01T12:00:00Z" }));
    let mut service = Service::live(&story);
    service.announced.clear();
    let before = service.store.index();
    for who in ["alice", "bob"] {
        let mut moved = snapshot_of(who, &story.frames);
        moved.rev = super::story::rev(1_001);
        for record in &mut moved.records {
            // The other host writes keys in another order.
            let fields: BTreeMap<String, Value> = serde_json::from_str(&record.json).unwrap();
            let fields: Vec<String> =
                fields.iter().rev().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
            record.json = format!("{{ {} }}", fields.join(", "));
        }
        assert_eq!(service.reconcile(who, &moved).commits, 0, "{who}");
    }
    assert_eq!((service.news(), service.store.index()), (vec![], before));
}

#[test]
fn i51_i53_an_account_that_its_host_does_not_have_is_hidden_until_it_is_back() {
    let mut story = garden(false);
    story.say("bob", "m", "hello");
    let service = Service::live(&story);
    let settings = service.settings();
    let report = |service: &Service, status, at| {
        block_on(account(&service.store, &did("bob"), status, &settings, &Steady(Cell::new(at)))).unwrap()
    };
    assert!(report(&service, Some("deactivated"), LATER).announced);
    assert_eq!(service.store.look("SELECT hidden FROM messages"), ["1"]);
    assert_eq!(report(&service, Some("deactivated"), LATER + 5_000_000), Reconciled::default(), "no news");
    assert!(report(&service, None, LATER + 10_000_000).commits == 1);
    assert_eq!(service.store.look("SELECT hidden FROM messages"), ["0"]);
    assert!(service.outbox_after("0").iter().rev().take(2).all(|announced| !announced.live), "K08");
}

#[test]
fn i52_what_a_deleted_account_had_does_not_come_back() {
    let mut story = garden(false);
    story.say("bob", "m", "hello");
    let held = snapshot_of("bob", &story.frames);
    super::pipeline::account(&mut story, "bob", false, "deleted");
    let mut service = Service::live(&story);
    service.reconcile("bob", &held);
    assert_eq!(service.store.look("SELECT count(*) FROM messages"), ["0"]);
}

#[test]
fn i71_a_reaction_whose_message_went_does_not_come_back() {
    let mut story = garden(false);
    story
        .say("bob", "m", "hello")
        .react("alice", "r", "👍", "m")
        .delete("bob", "message/m")
        .say("bob", "m", "again");
    let mut service = Service::live(&story);
    service.announced.clear();
    service.reconcile("alice", &snapshot_of("alice", &story.frames));
    assert_eq!(
        (service.news().len(), service.store.look("SELECT count(*) FROM reactions").remove(0)),
        (0, "0".into())
    );
}

#[test]
fn k03_a_fault_anywhere_loses_nothing_and_tells_nothing_twice() {
    let mut story = garden(false);
    for n in 0..1200 {
        story.say("bob", &format!("m{n}"), "hello");
    }
    let snapshot = snapshot_of("bob", &story.frames);
    for broken in [Break::Read, Break::CommitLost, Break::CommitStored, Break::Conflict] {
        let mut service = Service::live(&garden(false));
        service.announced.clear();
        service.store.break_next(broken);
        let first = service.try_reconcile("bob", &snapshot, LATER);
        assert_eq!(service.store.struck.get(), 1, "{broken:?}");
        assert_eq!(first.is_ok(), broken == Break::Conflict, "{broken:?}");
        service.reconcile("bob", &snapshot);
        let announced = service.news();
        assert_eq!(announced.len(), 1200, "{broken:?}");
        assert_eq!(service.store.look("SELECT count(*) FROM messages"), ["1200"]);
    }
}

#[test]
fn k01_who_becomes_known() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").say("stranger", "m", "refused");
    // alice approves somebody whose membership was never seen; so does mallory, who owns nothing.
    story.create("alice", "approval/carol", approval("carol")).create(
        "mallory",
        "approval/x",
        approval("victim"),
    );
    story.create("dora", "membership/m", membership("elsewhere"));
    story.profile("passer", json!({ "displayName": "P" }));
    let service = Service::live(&story);
    assert_eq!(
        service.store.look("SELECT did, status, reason, next_attempt_at IS NOT NULL FROM repos ORDER BY did"),
        [
            "did:plc:alice|waiting|new|1",
            "did:plc:bob|waiting|new|1",
            "did:plc:carol|waiting|new|1",
            "did:plc:elsewhere|waiting|new|1",
        ],
        "owners, members, the approved, and the owner of a community that somebody asks to join"
    );
}

impl Service {
    pub(super) fn run(&self, statement: colibri_edge::storage::Statement) {
        block_on(self.store.commit(vec![statement])).unwrap();
    }

    /// A reading of that moment succeeded.
    fn succeeded(&self, who: &str, rev: &str, began: i64) {
        let look = Succeeded {
            did: &did(who),
            rev: Some(rev),
            status: "synced",
            began: Micros(began),
            refused: Some(0),
            signed_by: None,
        };
        self.run(repos::succeeded(&look, Micros(began + 1_000_000)));
    }

    fn due(&self, at: i64) -> Vec<String> {
        let due = block_on(repos::due(&self.store, None, Micros(at), 100)).unwrap();
        due.iter().map(|due| due.did.as_str().replace("did:plc:", "")).collect()
    }

    fn gap(&mut self, at: i64) {
        let (host, reason) = ("test".into(), Missed::CursorTooOld);
        let gap = Gap { host, from: Micros(at - 10), to: Micros(at), reason };
        let batch = Batch { gap: Some(gap), ..Batch::default() };
        block_on(walk(&self.store, &batch, &[], &self.settings(), None, &mut self.known, Micros(at)))
            .unwrap();
    }
}

/// K03, K05: a change that may make others' records acceptable makes their repositories due in the
/// same transaction. If the answer to it is lost, a second reading finds nothing new in this
/// repository.
#[test]
fn k03_refused_authors_are_read_again_whatever_happens_to_the_answer() {
    let mut story = garden(true);
    let seen = story.frames.len();
    story.join("eve", "alice").approve("alice", "eve").say("eve", "m", "let me in");
    let mut service = Service::live(&Story { frames: story.frames[..seen].to_vec() });
    let eve = did("eve");
    block_on(service.store.write(&[repos::want(&eve, Reason::Asked, Micros(LATER))])).unwrap();
    let refused = service.reconcile("eve", &snapshot_of("eve", &story.frames)).refused;
    assert_eq!(refused, 1);
    let look = Succeeded {
        did: &eve,
        rev: Some("4"),
        status: "synced",
        began: Micros(LATER + 1_000_000),
        refused: Some(refused),
        signed_by: None,
    };
    service.run(repos::succeeded(&look, Micros(LATER + 2_000_000)));
    let due = |service: &Service| service.due(LATER + 9_000_000).contains(&"eve".to_owned());
    assert!(!due(&service));
    let alice = snapshot_of("alice", &story.frames);
    service.store.break_next(Break::CommitStored);
    service.try_reconcile("alice", &alice, LATER + 3_000_000).unwrap_err();
    assert!(due(&service));
    assert!(!service.try_reconcile("alice", &alice, LATER + 4_000_000).unwrap().changed_gate);
    service.reconcile("eve", &snapshot_of("eve", &story.frames));
    assert_eq!(service.visible_texts(), ["let me in"]);
}

/// K11: the key of the last signed reading is stored until a reading with another key. An unsigned
/// reading says nothing about it.
#[test]
fn k11_who_signed_what_was_read_is_remembered() {
    let service = Service::live(&garden(false));
    let keys = [
        "zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        "zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme",
    ];
    let [old, new] = keys.map(|key| Multikey::parse(key).unwrap());
    let bob = did("bob");
    let signed_by = || {
        service.run(repos::postponed(&bob, Micros(0)));
        let due = block_on(repos::due(&service.store, None, Micros(LATER), 100)).unwrap();
        due.into_iter().find(|due| due.did == bob).unwrap().signed_by
    };
    assert_eq!(signed_by(), None);
    let reads = [(Some(&old), Some(&old)), (None, Some(&old)), (Some(&new), Some(&new))];
    for (n, (key, expected)) in reads.into_iter().enumerate() {
        let look = Succeeded {
            did: &bob,
            rev: None,
            status: "synced",
            began: Micros(LATER),
            refused: Some(n),
            signed_by: key,
        };
        service.run(repos::succeeded(&look, Micros(LATER)));
        assert_eq!(signed_by().as_ref(), expected, "look {n}");
    }
}

#[test]
fn k03_k05_j07_the_queue() {
    let second = 1_000_000;
    let mut service = Service::live(&garden(false));
    assert_eq!(service.due(LATER), ["alice", "bob"], "owners first");
    service.succeeded("alice", "30", LATER);
    service.succeeded("bob", "31", LATER);
    assert_eq!(service.due(i64::MAX / 2), [""; 0], "K06: a quiet instance has nothing to do");
    assert_eq!(service.store.look("SELECT DISTINCT status, rev > '' FROM repos"), ["synced|1"]);

    service.gap(LATER + 10 * second);
    assert_eq!(service.due(LATER + 10 * second), ["alice", "bob"], "K05");
    let gap = |service: &Service| {
        service.run(repos::close_gaps(Micros(LATER + 90 * second)));
        service.store.look("SELECT state, reconciled, unreached FROM gaps ORDER BY id DESC LIMIT 1").remove(0)
    };
    assert_eq!(gap(&service), "open|null|null");
    service.succeeded("alice", "40", LATER + 12 * second);
    for failures in 1..=5 {
        assert_eq!(gap(&service), "open|null|null", "bob failed {failures} times");
        service.run(repos::failed(&did("bob"), "failing", "status 400", Micros(LATER + 100 * second)));
    }
    assert_eq!(service.due(LATER + 99 * second), [""; 0], "a pause");
    assert_eq!(service.due(LATER + 100 * second), ["bob"], "K03: tried again");
    assert_eq!(gap(&service), "closed|1|1");

    service.gap(LATER + 200 * second);
    service.succeeded("alice", "41", LATER + 199 * second);
    assert_eq!(
        service.due(LATER + 200 * second),
        ["alice", "bob"],
        "a look that began before the gap does not count"
    );
    service.succeeded("alice", "41", LATER + 201 * second);
    service.succeeded("bob", "41", LATER + 201 * second);
    assert_eq!(gap(&service), "closed|2|0");

    let want = |service: &Service, who: &str, reason| {
        let answers =
            block_on(service.store.write(&[repos::want(&did(who), reason, Micros(LATER))])).unwrap();
        answers[0].len()
    };
    assert_eq!(want(&service, "alice", Reason::Lookup), 0);
    assert_eq!(want(&service, "nobody", Reason::Lookup), 1);
    assert_eq!(service.due(i64::MAX / 2), ["nobody"], "a lookup leaves alone what is known");
    assert_eq!(want(&service, "alice", Reason::Asked), 1);
    assert_eq!(service.due(i64::MAX / 2), ["alice", "nobody"]);
    for n in 0..200 {
        want(&service, &format!("made-up-{n}"), Reason::Lookup);
    }
    let waiting = service.store.look("SELECT count(*) FROM repos WHERE reason = 'lookup'");
    assert_eq!(waiting, ["100"], "anybody can look for anything: a hundred wait at most");
}

#[test]
fn k05_a_revision_moves_on_with_live_events_but_not_past_a_gap() {
    let mut story = garden(false);
    let mut service = Service::live(&story);
    let rev = |service: &Service| {
        service.store.look("SELECT coalesce(rev, '-') FROM repos WHERE did = 'did:plc:bob'").remove(0)
    };
    assert_eq!(rev(&service), "-", "nothing is known of it before it is read");
    service.succeeded("bob", &super::story::rev(3), LATER);
    story.say("bob", "m1", "live");
    service.batch(&story.frames[3..]);
    assert_eq!(rev(&service), super::story::rev(4));
    service.gap(LATER + 10_000_000);
    story.say("bob", "m2", "after the gap");
    service.batch(&story.frames[4..]);
    assert_eq!(rev(&service), super::story::rev(4), "what came before is missing");
    service.succeeded("bob", &super::story::rev(5), LATER + 20_000_000);
    assert_eq!(rev(&service), super::story::rev(5));
}

/// A step of a random history. Numbers are taken modulo the available choices.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Say(usize, u8, Option<usize>),
    Edit(usize),
    Unsay(usize),
    React(usize, usize, bool, bool),
    Unreact(usize),
    Rename,
    Open(bool),
    Close(usize),
    Status(usize, bool),
    Welcome,
}

pub(super) fn acts(most: usize) -> impl Strategy<Value = Vec<Act>> {
    let n = 0..1000usize;
    let act = prop_oneof![
        6 => (n.clone(), any::<u8>(), prop::option::of(n.clone())).prop_map(|(who, channel, parent)| Act::Say(who, channel, parent)),
        3 => n.clone().prop_map(Act::Edit),
        2 => n.clone().prop_map(Act::Unsay),
        5 => (n.clone(), n.clone(), any::<bool>(), any::<bool>()).prop_map(|(who, which, emoji, uri)| Act::React(who, which, emoji, uri)),
        2 => n.clone().prop_map(Act::Unreact),
        1 => Just(Act::Rename),
        1 => any::<bool>().prop_map(Act::Open),
        1 => n.clone().prop_map(Act::Close),
        1 => (n, any::<bool>()).prop_map(|(who, emoji)| Act::Status(who, emoji)),
        1 => Just(Act::Welcome),
    ];
    prop::collection::vec(act, 0..most)
}

/// A history in which everybody does only what they may do, so that the gate's verdicts do not
/// depend on the time (the exception of K05), and no key is used twice.
#[derive(Default)]
pub(super) struct Life {
    pub(super) story: Story,
    pub(super) people: Vec<String>,
    channels: Vec<String>,
    messages: Vec<(String, String)>,
    reactions: Vec<(String, String)>,
    count: usize,
}

impl Life {
    pub(super) fn begin() -> Self {
        let mut life = Self { people: vec!["alice".into(), "bob".into(), "carol".into()], ..Self::default() };
        life.story.community("alice", true);
        for who in ["bob", "carol"] {
            life.story.join(who, "alice").approve("alice", who);
        }
        life.channels.push("k".into());
        life
    }

    pub(super) fn live(&mut self, acts: &[Act]) {
        for act in acts {
            self.count += 1;
            self.act(act);
        }
    }

    fn act(&mut self, act: &Act) {
        let n = self.count;
        let who = |which: usize| self.people[which % self.people.len()].clone();
        let channel = |which: u8| {
            let key = &self.channels[usize::from(which) % self.channels.len()];
            if which.is_multiple_of(2) {
                key.clone()
            } else {
                format!("at://did:plc:alice/social.colibri.channel/{key}")
            }
        };
        match act {
            Act::Say(by, at, parent) if !self.channels.is_empty() => {
                let (who, mut record) = (who(*by), message_in(&channel(*at), &format!("t{n}")));
                if let Some((_, parent)) =
                    parent.and_then(|which| self.messages.get(which % self.messages.len().max(1)))
                {
                    record["parent"] = json!(parent);
                }
                self.story.create(&who, &format!("message/m{n:04}"), record);
                self.messages.push((who, format!("m{n:04}")));
            }
            // Into the first channel, which stays: an edit into a channel that appeared and
            // disappeared unseen would wait, and what it replaced would stay (G1).
            Act::Edit(which) if !self.messages.is_empty() => {
                let (who, rkey) = &self.messages[which % self.messages.len()];
                self.story.update(who, &format!("message/{rkey}"), message_in("k", &format!("e{n}")));
            }
            Act::Unsay(which) if !self.messages.is_empty() => {
                let (who, rkey) = self.messages.remove(which % self.messages.len());
                self.story.delete(&who, &format!("message/{rkey}"));
            }
            Act::React(by, which, emoji, uri) if !self.messages.is_empty() => {
                let (author, rkey) = &self.messages[which % self.messages.len()];
                let target = if *uri {
                    format!("at://did:plc:{author}/social.colibri.message/{rkey}")
                } else {
                    rkey.clone()
                };
                let who = who(*by);
                self.story.react(&who, &format!("r{n:04}"), if *emoji { "👍" } else { "🌿" }, &target);
                self.reactions.push((who, format!("r{n:04}")));
            }
            Act::Unreact(which) if !self.reactions.is_empty() => {
                let (who, rkey) = self.reactions.remove(which % self.reactions.len());
                self.story.delete(&who, &format!("reaction/{rkey}"));
            }
            Act::Rename => {
                let record = json!({ "name": format!("n{n}"), "requiresApprovalToJoin": true });
                self.story.update("alice", "community/c", record);
            }
            Act::Open(category) => {
                let key = format!("k{n}");
                let record = json!({ "name": format!("n{n}"), "type": "text", "community": "c" });
                if *category {
                    self.story.create(
                        "alice",
                        &format!("category/{key}"),
                        json!({ "name": "n", "community": "c" }),
                    );
                }
                self.story.create("alice", &format!("channel/{key}"), record);
                self.channels.push(key);
            }
            Act::Close(which) if self.channels.len() > 1 => {
                let key = self.channels.remove(1 + which % (self.channels.len() - 1));
                self.story.delete("alice", &format!("channel/{key}"));
            }
            Act::Status(by, emoji) => {
                let who = who(*by);
                let mut record = json!({ "status": format!("s{n}") });
                if *emoji {
                    record["emoji"] = json!("🌿");
                }
                self.story.update(&who, "actor.data/self", record);
            }
            Act::Welcome if self.people.len() < 6 => {
                let who = format!("new{n}");
                self.story.join(&who, "alice").approve("alice", &who);
                self.people.push(who);
            }
            _ => {}
        }
    }
}

/// Reads due repositories until none is due, in the order of `dice`. The repositories are as they
/// were after `stale` frames, or later, as `dice` says; live frames continue in the meantime.
fn catch_up(service: &mut Service, frames: &[String], from: usize, mut dice: impl FnMut(usize) -> usize) {
    let mut at = LATER;
    let mut live = from;
    for _ in 0..400 {
        at += 20_000_000;
        service.now = at;
        let due = block_on(repos::due(&service.store, None, Micros(at), 100)).unwrap();
        if due.is_empty() {
            service.run(repos::close_gaps(Micros(at)));
            if live == frames.len() {
                return;
            }
        }
        // Frames from after the outage arrive in between.
        let some = (live + dice(4)).min(frames.len());
        if due.is_empty() || dice(3) == 0 {
            service.batch(&frames[live..some.max(live + 1).min(frames.len())]);
            live = some.max(live + 1).min(frames.len());
            continue;
        }
        let who = due[dice(due.len())].did.as_str().replace("did:plc:", "");
        // Read before the frames that come now.
        let snapshot = snapshot_of(&who, &frames[..live]);
        let began = at;
        service.batch(&frames[live..some]);
        live = some;
        if dice(8) == 0 {
            service
                .store
                .break_next([Break::CommitLost, Break::CommitStored, Break::Conflict, Break::Read][dice(4)]);
        }
        let done = service.try_reconcile(&who, &snapshot, at + 1_000_000);
        service.store.unbreak(); // a fault that did not strike must not strike elsewhere
        let Ok(done) = done else { continue };
        let did = did(&who);
        let look = Succeeded {
            did: &did,
            rev: Some(&snapshot.rev),
            status: "synced",
            began: Micros(began),
            refused: Some(done.refused),
            signed_by: None,
        };
        service.run(repos::succeeded(&look, Micros(at + 9_000_000)));
        if done.changed_gate {
            service.run(repos::ask_the_gate_again(&did, Micros(LATER), Micros(at + 9_000_000)));
        }
    }
    panic!("there is no end to it: {:?}", service.store.look("SELECT * FROM repos"));
}

pub(super) fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |sides| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 11).unwrap() % sides.max(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..config(48) })]

    /// K05: a history that is cut by an outage and reconciled ends like the undisturbed one, in
    /// whatever order the repositories are read and whatever happens in the meantime.
    #[test]
    fn k05_an_outage_leaves_no_trace(before in acts(25), lost in acts(40), after in acts(15), seed in any::<u64>()) {
        let mut life = Life::begin();
        life.live(&before);
        let seen = life.story.frames.len();
        life.live(&lost);
        let back = life.story.frames.len();
        life.live(&after);
        let frames = life.story.frames;
        let undisturbed = Service::live(&Story { frames: frames.clone() });

        let mut service = Service::live(&Story { frames: frames[..seen].to_vec() });
        for who in ["alice", "bob", "carol"] {
            service.succeeded(who, &snapshot_of(who, &frames[..seen]).rev, LATER - 60_000_000);
        }
        service.run(repos::close_gaps(Micros(LATER)));
        service.gap(LATER);
        service.announced.clear();
        catch_up(&mut service, &frames, back, dice(seed));
        let (ours, theirs) = (visible(&service), visible(&undisturbed));
        let only = |one: &[String], other: &[String]| one.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>();
        prop_assert_eq!(only(&ours, &theirs), only(&theirs, &ours), "{:#?}", frames);

        // Everything once more: a second reading of everything changes and publishes nothing.
        let (index, announced) = (service.store.index(), service.announced.len());
        for who in &life.people {
            service.reconcile(who, &snapshot_of(who, &frames));
        }
        prop_assert_eq!(service.store.index(), index);
        prop_assert_eq!(service.announced.len(), announced);
        let shown: Vec<String> = service.announced.iter().map(|announced| frame(announced).to_string())
            .filter(|event| event.contains("\"message\"") && !event.contains("\"edited\":true")).collect();
        let mut once = shown.clone();
        once.sort();
        once.dedup();
        prop_assert_eq!(once.len(), shown.len(), "no message is published twice as new");
    }
}

/// This repository must not delete a record of another one, whatever its URI begins with.
#[test]
fn k04_repositories_do_not_touch_each_other() {
    let mut story = garden(false);
    story.join("bobby", "alice").say("bobby", "m", "mine");
    let mut service = Service::live(&story);
    let known = block_on(repos::records(&service.store, &did("bob"))).unwrap();
    assert_eq!(known, [AtUri::parse("at://did:plc:bob/social.colibri.membership/m").unwrap()]);
    let mut empty = snapshot_of("bob", &story.frames);
    empty.records.clear();
    empty.rev = super::story::rev(1_002);
    service.reconcile("bob", &empty);
    assert_eq!(service.visible_texts(), ["mine"]);
    assert_eq!(service.store.look("SELECT member_did FROM memberships"), ["did:plc:bobby"]);
}
