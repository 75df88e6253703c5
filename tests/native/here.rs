//! Who may show that they write (U40), and who is present in a community (U43), through the real SQL.

use colibri_edge::domain::gateway::session::View;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::typing::{TypingRefusal, where_may_write};
use colibri_edge::storage::facts;
use colibri_edge::storage::reads::{self, present};
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::time::Micros;
use futures::executor::block_on;
use serde_json::json;

use super::story::{START, Service, Story, ban, community, did, members_only, newest_channel};

const NOW: Micros = Micros(START + 1_000_000_000);

/// Where a message of a person that names a channel would stand, as the gateway finds out.
fn writes(service: &Service, who: &str, proven: bool, channel: &str) -> Result<View, TypingRefusal> {
    let candidates = block_on(reads::named(&service.store, &[channel.to_owned()], &[])).unwrap().0;
    let uri = |text: &str| AtUri::parse(text).unwrap();
    let channels = candidates.iter().map(|one| (uri(&one.uri), uri(&one.community)));
    let facts = block_on(facts::right_to_write(&service.store, channels, &did(who), NOW)).unwrap();
    where_may_write(&facts, &did(who), proven, channel, NOW)
}

fn channel(owner: &str, rkey: &str) -> AtUri {
    AtUri::parse(&format!("at://did:plc:{owner}/social.colibri.channel/{rkey}")).unwrap()
}

/// U40: exactly those may who may post there: G2 to G6, N11 to N14.
#[test]
fn u40_who_may_write_is_who_may_post() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob").join("carol", "alice");
    story.join("dave", "alice").approve("alice", "dave");
    story.create(
        "alice",
        "channel/o",
        json!({ "name": "news", "type": "text", "community": "c", "ownerOnly": true }),
    );
    story.newest("nest").ask_to_join("eve", "nest").admit("nest", "eve", &[]);
    story.create("nest", "channel/named", {
        let mut channel = newest_channel("social.colibri.channel.text");
        channel["allowedMembers"] = json!(["did:plc:bob"]);
        channel
    });
    let mut service = Service::live(&story);
    service.decide(ban("alice", "dave"));
    let own = |rkey: &str| Ok(View { channel: channel("alice", rkey), community: community("alice") });
    let (unknown, refused) = (Err(TypingRefusal::Unknown), Err(TypingRefusal::NotAllowed));
    for (who, name, expected, why) in [
        ("bob", "k", own("k"), "a member, by rkey"),
        ("bob", channel("alice", "k").as_str(), own("k"), "by AT-URI"),
        ("alice", "o", own("o"), "the owner"),
        ("bob", "o", refused.clone(), "G3"),
        ("carol", "k", refused.clone(), "G5: she waits for an approval"),
        ("dave", "k", refused.clone(), "G2: banned"),
        ("zoe", "k", refused.clone(), "a stranger"),
        ("bob", "nowhere", unknown.clone(), "no such channel"),
        ("bob", "not a name", unknown, "no name at all"),
        ("eve", channel("nest", "named").as_str(), refused.clone(), "N14: it names others"),
        ("bob", channel("nest", "named").as_str(), refused, "N12: he is not admitted"),
    ] {
        assert_eq!(writes(&service, who, true, name), expected, "{who} in {name}: {why}");
    }
    service.decide(members_only("alice", true));
    let refused = Err(TypingRefusal::NotAllowed);
    assert_eq!(writes(&service, "bob", true, "k"), own("k"), "with a proof");
    assert_eq!(writes(&service, "bob", false, "k"), refused, "X43: naming a DID opens nothing");
}

/// U43: who is watched through a community and not offline, in order, up to a limit.
#[test]
fn u43_who_is_present() {
    let mut story = Story::default();
    story.community("alice", true).join("bob", "alice").approve("alice", "bob").join("carol", "alice");
    story.join("dave", "alice").join("erin", "alice").community("zoe", false).join("yan", "zoe");
    let mut service = Service::live(&story);
    service.decide(ban("alice", "dave"));
    for (who, state) in [
        ("alice", "away"),
        ("bob", "dnd"),
        ("carol", "online"),
        ("dave", "online"),
        ("erin", "offline"),
        ("yan", "online"),
    ] {
        service.store.exec(&format!(
            "INSERT INTO people (did, state, updated_at) VALUES ('did:plc:{who}', '{state}', '')
             ON CONFLICT (did) DO UPDATE SET state = excluded.state"
        ));
    }
    let found = |limit| block_on(present::present(&service.store, &community("alice"), limit)).unwrap();
    let expected: Vec<(Did, State)> = [("alice", State::Away), ("bob", State::Dnd), ("carol", State::Online)]
        .into_iter()
        .map(|(who, state)| (did(who), state))
        .collect();
    assert_eq!(found(10), expected, "not who is banned, offline or elsewhere");
    assert_eq!(found(2), expected[..2]);
    let known = |service: &Service, owner: &str| {
        block_on(present::is_members_only(&service.store, &community(owner))).unwrap()
    };
    assert_eq!((known(&service, "alice"), known(&service, "nobody")), (Some(false), None));
    service.decide(members_only("alice", true));
    assert_eq!(known(&service, "alice"), Some(true));
    story.delete("alice", "community/c");
    assert!(
        block_on(present::present(&Service::live(&story).store, &community("alice"), 9)).unwrap().is_empty()
    );
}
