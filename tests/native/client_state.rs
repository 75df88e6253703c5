//! What the newest client asks for beyond reading (section 13), through the real SQL: applications, bans,
//! invitations, and what stands in the way of deleting an account.

use colibri_edge::domain::moderation::{Caller, Proof};
use colibri_edge::storage::audit::Act;
use colibri_edge::storage::reads::lexicons::account::account;
use colibri_edge::storage::reads::lexicons::channels::reactions;
use colibri_edge::storage::reads::lexicons::communities::{invited, structure};
use colibri_edge::storage::reads::lexicons::notification_level;
use colibri_edge::storage::reads::lexicons::waiting::{applications, banned};
use colibri_edge::storage::{dismissed, invites};
use colibri_edge::wire::ids::Did;
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{HALL, PLACE, Service, Story, ban, did, moderation, uri};

const OLD: &str = "at://did:plc:alice/social.colibri.community/c";

/// A community of the newest form with an owner, a moderator and a member, and two who ask; one of the old
/// form that requires approval beside it, with one who asks.
fn world() -> Story {
    let mut story = Story::default();
    story.newest("nest");
    for (who, roles) in [("olga", &["owner"][..]), ("moe", &["mod"]), ("bob", &[])] {
        story.ask_to_join(who, "nest").admit("nest", who, roles);
    }
    story.ask_to_join("carol", "nest").ask_to_join("dora", "nest").community("alice", true);
    story.create("bob", "membership/o", super::story::membership("alice"));
    story
}

/// Who asks, and whose application was dismissed; each sorted by DID.
fn asks(service: &Service, community: &str) -> (Vec<String>, Vec<String>) {
    let (waiting, aside) = block_on(applications(&service.store, community)).unwrap();
    let names = |list: Vec<colibri_edge::wire::views::Application>| {
        let mut names: Vec<String> = list.iter().map(|one| one.did.as_str()[8..].to_owned()).collect();
        names.sort();
        names
    };
    (names(waiting), names(aside))
}

fn dismiss(service: &Service, who: &str, at: i64) {
    block_on(dismissed::dismiss(&service.store, &uri(PLACE), &did(who), Micros(at))).unwrap();
}

#[test]
fn n171b_applications_are_wishes_that_nobody_granted() {
    let mut story = world();
    let mut service = Service::live(&story);
    assert_eq!(asks(&service, PLACE), (vec!["carol".into(), "dora".into()], vec![]));
    assert_eq!(asks(&service, OLD), (vec!["bob".into()], vec![]), "the old form");
    assert_eq!(asks(&service, "at://did:plc:x/social.colibri.community/self"), (vec![], vec![]), "unknown");
    dismiss(&service, "carol", 1);
    dismiss(&service, "carol", 2);
    dismiss(&service, "stranger", 3);
    assert_eq!(service.store.look("SELECT member_did FROM dismissed"), ["did:plc:carol"], "who asked");
    assert_eq!(asks(&service, PLACE), (vec!["dora".into()], vec!["carol".into()]));
    block_on(dismissed::undismiss(&service.store, &uri(PLACE), &did("carol"))).unwrap();
    assert_eq!(asks(&service, PLACE).1, [""; 0]);
    dismiss(&service, "carol", 4);
    let from = story.frames.len();
    story.admit("nest", "carol", &[]);
    story.create("nest", "moderation/b", moderation("ban", "did:plc:dora"));
    service.batch(&story.frames[from..]);
    assert_eq!(asks(&service, PLACE), (vec![], vec![]), "one is in, one is banned");
    assert!(service.store.look("SELECT * FROM dismissed").is_empty(), "an admission ends it");
}

#[test]
fn n171b_dismissed_applications_are_bounded() {
    let service = Service::live(&world());
    for n in 0..dismissed::KEPT {
        let row = format!("INSERT INTO dismissed VALUES ('{PLACE}', 'did:plc:m{n}', '{n:016}')");
        service.store.exec(&row);
    }
    dismiss(&service, "carol", 1);
    let count = format!("{}", dismissed::KEPT);
    assert_eq!(service.store.look("SELECT count(*) FROM dismissed"), [count]);
    assert_eq!(service.store.look("SELECT count(*) FROM dismissed WHERE member_did = 'did:plc:m0'"), ["0"]);
}

#[test]
fn n171c_bans_of_both_kinds() {
    let mut story = world();
    story.create("nest", "moderation/b", moderation("ban", "did:plc:dora"));
    let mut service = Service::live(&story);
    service.decide(ban("alice", "bob"));
    service.store.exec(&format!(
        "INSERT INTO bans (community_uri, member_did, banned_at) VALUES ('{PLACE}', 'did:plc:bob', '')"
    ));
    let page = |after: Option<&Did>, limit| {
        let (users, end) = block_on(banned(&service.store, PLACE, after, limit)).unwrap();
        (users.iter().map(|user| user.did.to_string()).collect::<Vec<_>>(), end)
    };
    assert_eq!(page(None, 5), (vec!["did:plc:bob".into(), "did:plc:dora".into()], None));
    let (first, end) = page(None, 1);
    assert_eq!((first, page(end.as_ref(), 1).0), (vec!["did:plc:bob".into()], vec!["did:plc:dora".into()]));
}

#[test]
fn n170c_an_invitation_says_how_many_are_there() {
    let service = Service::live(&world());
    service.store.exec("UPDATE people SET state = 'online' WHERE did IN ('did:plc:bob', 'did:plc:carol')");
    let community = uri(PLACE);
    let act = Act {
        community: &community,
        caller: &Caller::Person(did("moe")),
        proof: Proof::ServiceAuth,
        action: "invite",
        subject: "code".into(),
        reason: None,
        until: None,
    };
    block_on(invites::create(&service.store, &act, &did("nest"), None, None, Micros(0))).unwrap();
    let shown = || block_on(invited(&service.store, "code")).unwrap().unwrap();
    let one = shown();
    assert_eq!((one.community.as_str(), one.created_by.as_str()), (PLACE, "did:plc:nest"));
    assert_eq!((one.active, one.members, one.online), (true, 3, 1));
    service.store.exec(&format!("INSERT INTO members_only VALUES ('{PLACE}', '')"));
    assert_eq!((shown().members, shown().online), (0, 0), "X42");
    service.store.exec("UPDATE communities SET hidden = 1");
    assert!(block_on(invited(&service.store, "code")).unwrap().is_none());
    assert!(block_on(invited(&service.store, "nothing")).unwrap().is_none());
}

#[test]
fn n171d_communities_without_another_owner_stand_in_the_way() {
    let mut story = world();
    story.create("bob", "actor.mute/m", json!({ "subject": PLACE })).say("bob", "m", "hello");
    let mut service = Service::live(&story);
    let sole = |service: &Service, who: &str| -> Vec<String> {
        let (_, sole) = block_on(account(&service.store, &did(who))).unwrap();
        sole.iter().map(|one| format!("{} {}", one.name, one.members)).collect()
    };
    assert_eq!(sole(&service, "olga").len(), 1, "the only one with a protected role");
    assert_eq!(sole(&service, "nest").len(), 1, "its account");
    assert_eq!(sole(&service, "alice").len(), 1, "an owner of the old form");
    assert_eq!((sole(&service, "moe").len(), sole(&service, "stranger").len()), (0, 0));
    let from = story.frames.len();
    story.ask_to_join("pia", "nest").admit("nest", "pia", &["owner"]);
    service.batch(&story.frames[from..]);
    assert_eq!((sole(&service, "olga").len(), sole(&service, "pia").len()), (0, 0), "there are two");
    let (stored, _) = block_on(account(&service.store, &did("bob"))).unwrap();
    assert_eq!(stored.of_communities, 0);
    assert!(stored.records >= 3, "{stored:?}");
    let (stored, _) = block_on(account(&service.store, &did("nest"))).unwrap();
    assert!(stored.of_communities >= 5, "{stored:?}");
}

#[test]
fn n170a_n170b_n170g_parts() {
    let mut story = world();
    story.create("bob", "message/m", super::story::message_in(HALL, "hello"));
    let message = "at://did:plc:bob/social.colibri.message/m";
    story.create("moe", "reaction/r", json!({ "parent": message, "emoji": "🌿" }));
    story.create("bob", "actor.notificationPreference/self", json!({ "level": "mentionsAndReplies" }));
    story.create("moe", "actor.notificationPreference/self", json!({ "level": "nothing" }));
    let service = Service::live(&story);
    let parts = block_on(structure(&service.store, &uri(PLACE))).unwrap();
    assert!(!parts.channels.is_empty() && parts.roles.len() >= 2, "{parts:?}");
    let unknown = block_on(structure(&service.store, &uri("at://did:plc:x/social.colibri.community/self")));
    assert!(unknown.unwrap().roles.is_empty());
    let found = block_on(reactions(&service.store, message)).unwrap();
    assert_eq!(found.iter().map(|one| (one.emoji.as_str(), one.count)).collect::<Vec<_>>(), [("🌿", 1)]);
    assert!(
        block_on(reactions(&service.store, "at://did:plc:bob/social.colibri.message/none"))
            .unwrap()
            .is_empty()
    );
    let level = |who: &str| block_on(notification_level(&service.store, &did(who))).unwrap();
    assert_eq!((level("bob"), level("moe"), level("carol")), ("mentionsAndReplies", "all", "all"));
}
