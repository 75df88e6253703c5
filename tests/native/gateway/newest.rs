//! Sockets of the newest client: what they receive, of which communities, and what their heartbeats cost.

use std::collections::BTreeMap;

use colibri_edge::domain::announcement::{Announcement, Audience, Numbered, Scope, Topic};
use colibri_edge::domain::gateway::operating::Refused;
use colibri_edge::domain::gateway::publication::Publication;
use colibri_edge::domain::gateway::session::Caller;
use colibri_edge::domain::gateway::{Effect, Input};
use colibri_edge::domain::lost;
use colibri_edge::domain::members_only::{Allowed, Readers};
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::replay::Replayed;
use colibri_edge::wire::events::pack;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::socket::Spelling;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::rules::alive;
use super::{Died, PEOPLE, SECOND, World, community, did};

const BEAT: &str = r#"{"type":"heartbeat"}"#;

impl World {
    fn open_newest(&mut self, who: usize) -> Result<i64, Died> {
        let did = Some(did(PEOPLE[who]));
        self.open_as(Caller { did, proven: true, spelling: Spelling::Newest, ..Caller::default() })
    }

    /// A socket of the newest client whose person takes part in these communities.
    fn follower(&mut self, who: usize, communities: &[usize]) -> Result<i64, Died> {
        let id = self.open_newest(who)?;
        self.reads(id, communities)?;
        Ok(id)
    }

    /// What was read of who takes part where is there.
    fn reads(&mut self, id: i64, communities: &[usize]) -> Result<(), Died> {
        let communities: Vec<AtUri> = communities.iter().map(|n| community(*n)).collect();
        self.change(|gateway, moment| {
            for community in gateway.follows(id, &communities) {
                gateway.attached(&community, 0, moment.now);
            }
        })
    }

    /// An event of a community arrives.
    fn event(&mut self, n: usize, seq: u64, audience: Audience, text: &str) -> Result<(), Died> {
        let event = RawValue::from_string(text.to_owned()).unwrap();
        let events = vec![Numbered { seq, audience, live: true, event }];
        let (community, full) = (community(n), BTreeMap::new());
        self.on(Input::Delivered { community, events, full, allowed: Readers::All.into() })
    }

    fn inbox(&self, id: i64) -> Vec<Value> {
        let sockets = self.sockets.borrow();
        let open = sockets.get(&id).map(|socket| socket.inbox.clone());
        open.unwrap_or_else(|| self.gone.iter().find(|socket| socket.id == id).unwrap().inbox.clone())
    }
}

pub(super) fn channel(n: usize) -> AtUri {
    AtUri::parse(&format!("at://{}/social.colibri.channel/k", community(n).authority())).unwrap()
}

pub(super) fn deleted(n: usize) -> String {
    let (community_uri, channel_uri) = (community(n), channel(n));
    json!({ "type": "message_deleted", "id": "1", "rkey": "m", "author_did": "did:plc:bob", "channel": "k",
        "community_uri": community_uri, "channel_uri": channel_uri })
    .to_string()
}

pub(super) fn left(n: usize, did: &Did) -> String {
    json!({ "type": "member_left", "community_uri": community(n), "member_did": did }).to_string()
}

pub(super) fn joined(n: usize, did: &Did) -> String {
    let data = json!({ "event": "join", "community": community(n), "member": { "did": did } });
    let newest = format!(r#"{{"type":"member_event","data":{data}}}"#);
    let march = json!({ "type": "member_joined", "community_uri": community(n), "member_did": did });
    pack(Some(&newest), Some(&march.to_string()))
}

fn kinds(frames: &[Value]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| format!("{} {}", frame["type"], frame["data"]["event"]).replace('"', ""))
        .collect()
}

/// N162, N168: without asking, everything of the communities of its person, and nothing else; messages too.
#[test]
fn n162_events_of_its_own_communities() {
    let inbox = alive(|world| {
        let id = world.follower(0, &[0])?;
        let march = world.open(Some(1), 1)?;
        world.event(0, 1, Audience::Messages(channel(0)), &deleted(0))?;
        world.event(1, 1, Audience::Messages(channel(1)), &deleted(1))?;
        world.event(0, 2, Audience::Private(did(PEOPLE[0])), &left(0, &did("x")))?;
        world.event(0, 3, Audience::Community, r#"{"type":"members_only","members_only":false}"#)?;
        assert!(world.inbox(march).is_empty(), "A37");
        Ok(world.inbox(id))
    });
    let (uri, channel) = ("at://did:plc:bob/social.colibri.message/m", channel(0));
    let data = json!({ "event": "delete", "uri": uri, "channel": channel });
    assert_eq!(
        inbox,
        [json!({ "type": "message_event", "data": data, "seq": 1, "community": community(0) })],
        "N169: what has no word here takes a number"
    );
}

/// N162: a change of who takes part counts with the event that says it.
#[test]
fn n162_whoever_leaves_gets_the_end_and_whoever_joins_the_beginning() {
    let (alice, bob) = (did(PEOPLE[0]), did(PEOPLE[1]));
    let (hers, his) = alive(|world| {
        let (first, second) = (world.follower(0, &[0])?, world.follower(1, &[])?);
        world.event(0, 1, Audience::Community, &joined(0, &bob))?;
        world.event(0, 2, Audience::Community, &left(0, &alice))?;
        world.event(0, 3, Audience::Messages(channel(0)), &deleted(0))?;
        world.evict();
        world.event(0, 4, Audience::Messages(channel(0)), &deleted(0))?;
        world.event(0, 5, Audience::Community, &joined(0, &alice))?;
        Ok((world.inbox(first), world.inbox(second)))
    });
    assert_eq!(kinds(&hers), ["member_event join", "community_event delete", "member_event join"]);
    assert_eq!(hers[1]["data"]["uri"], community(0).as_str());
    assert_eq!((hers[1]["seq"].as_u64(), hers[2]["seq"].as_u64()), (Some(2), Some(5)));
    assert_eq!(
        kinds(&his),
        [
            "member_event join",
            "member_event leave",
            "message_event delete",
            "message_event delete",
            "member_event join"
        ]
    );
}

/// N162: what events say while the communities of a new socket's person are being read is newer.
#[test]
fn n162_changes_while_a_socket_opens() {
    let alice = did(PEOPLE[0]);
    for (text, expected, why) in [
        (joined(1, &alice), &[0, 1][..], "joined since"),
        (left(0, &alice), &[][..], "left since"),
        (left(0, &did("x")), &[0][..], "somebody else left"),
    ] {
        let keys = alive(|world| {
            let id = world.open_newest(0)?;
            let n = usize::from(text.contains("join"));
            world.event(n, 9, Audience::Community, &text)?;
            world.reads(id, &[0])?;
            world.change(|gateway, _| gateway.open[&id].subscriptions.community.keys.clone())
        });
        let expected: Vec<String> = expected.iter().map(|n| community(*n).to_string()).collect();
        assert_eq!(keys.into_iter().collect::<Vec<_>>(), expected, "{why}");
    }
}

/// N161, N163: a heartbeat gets its answer and is not stored; nothing else gets a word.
#[test]
fn n163_heartbeats_cost_no_rows() {
    let (inbox, kept) = alive(|world| {
        let id = world.follower(0, &[0])?;
        world.frame(id, BEAT)?;
        let mut kept = 0;
        for _ in 0..9 {
            world.pass(20 * SECOND)?;
            let frame = Input::Frame(id, Some(BEAT.to_owned()));
            let (effects, _) = world.with(|gateway, moment| gateway.on(frame, moment))?;
            kept += effects.iter().filter(|effect| matches!(effect, Effect::Keep(_))).count();
        }
        for text in ["", "[]", r#"{"type":"voice_state","data":{"muted":true}}"#, r#"{"action":"heartbeat"}"#]
        {
            world.frame(id, text)?;
        }
        Ok((world.inbox(id), kept))
    });
    assert_eq!(inbox, [json!({ "type": "ack" })]);
    assert_eq!(kept, 0, "three minutes");
}

/// N161: too many frames close the socket so that its client takes it for no refusal.
#[test]
fn n161_a_flood_ends_with_1013() {
    let (code, load) = alive(|world| {
        let id = world.follower(0, &[0])?;
        for _ in 0..800 {
            world.frame(id, BEAT)?;
        }
        let load = world.change(|gateway, _| gateway.load_now())?;
        Ok((world.gone.iter().find(|socket| socket.id == id).unwrap().closed, load))
    });
    assert_eq!(code, Some(1013));
    let counted = Refused { flooding: 1, frames: 600, ..Refused::default() };
    assert_eq!(load.refused, counted, "O26");
}

/// N164: whoever reads is not away, also when the object loses its memory; whoever beats no more is.
#[test]
fn n164_a_heartbeat_is_activity() {
    let (reading, rebuilt) = alive(|world| {
        let id = world.follower(0, &[0])?;
        for _ in 0..20 {
            world.pass(20 * SECOND)?;
            world.frame(id, BEAT)?;
        }
        let state = |world: &mut World| {
            let alice = did(PEOPLE[0]);
            world.change(|gateway, _| gateway.present(&alice).and_then(|one| one.person.presence.current()))
        };
        let reading = state(world)?;
        world.evict();
        world.pass(SECOND)?;
        Ok((reading, state(world)?))
    });
    assert_ne!((reading, rebuilt), (Some(State::Away), Some(State::Away)));
    assert!(!matches!(reading, Some(State::Away)) && !matches!(rebuilt, Some(State::Away)));
}

/// N165: it leaves nothing to a socket of the March client, and gets nothing of one.
#[test]
fn n165_nothing_is_restored() {
    let keys = alive(|world| {
        let first = world.follower(0, &[0])?;
        let march = world.open(Some(0), 0)?;
        world.pass(SECOND)?;
        world.finish()?;
        world.leaves(first, true)?;
        let second = world.open(Some(0), 0)?;
        world.pass(SECOND)?;
        world.finish()?;
        let keys = |id: i64, world: &mut World| {
            world.change(|gateway, _| gateway.open[&id].subscriptions.community.keys.len())
        };
        Ok((keys(march, world)?, keys(second, world)?))
    });
    assert_eq!(keys, (0, 0));
}

/// N166: an event that was set aside, and a client that reads too slowly.
#[test]
fn n166_whoever_misses_something_comes_again() {
    let (inbox, code) = alive(|world| {
        let id = world.follower(0, &[0])?;
        world.event(0, 1, Audience::Community, lost::event().get())?;
        let closed = world.gone.iter().find(|socket| socket.id == id).unwrap().closed;
        Ok((world.inbox(id), closed))
    });
    assert_eq!((inbox, code), (vec![json!({ "type": "resync_required" })], Some(1013)));
}

/// N168: who writes is shown to the others who see exactly that channel, and not more often than the client needs.
#[test]
fn n168_typing() {
    let frame = |kind: &str, n: usize| json!({ "type": kind, "data": { "channel": channel(n) } }).to_string();
    let (published, inboxes) = alive(|world| {
        let (alice, bob) = (world.follower(0, &[0])?, world.follower(1, &[0, 1])?);
        let elsewhere = world.follower(1, &[0, 1])?;
        world.frame(alice, &frame("typing", 0))?;
        assert!(world.typing.is_empty(), "she sees nothing yet");
        for (id, n) in [(alice, 0), (bob, 0), (elsewhere, 1)] {
            world.frame(id, &frame("view", n))?;
            world.work(0)?;
        }
        world.evict();
        world.frame(alice, &frame("view", 0))?;
        assert!(world.jobs.is_empty(), "she sees it already");
        world.frame(alice, &frame("typing", 1))?;
        for _ in 0..5 {
            world.frame(alice, &frame("typing", 0))?;
            if !world.jobs.is_empty() {
                world.work(0)?;
            }
            world.pass(SECOND)?;
        }
        let published = std::mem::take(&mut world.typing);
        for (view, did) in published.clone() {
            world.on(Input::Typing { view, did, readers: Readers::All })?;
        }
        let (view, did) = published[0].clone();
        let readers = Readers::Only([did.clone()].into());
        world.on(Input::Typing { view, did, readers })?;
        Ok((published, [alice, bob, elsewhere].map(|id| world.inbox(id))))
    });
    assert_eq!(published.len(), 2, "at most every three seconds");
    let data = json!({ "event": "start", "channel": channel(0), "did": did(PEOPLE[0]) });
    let typing = json!({ "type": "typing_event", "data": data });
    assert_eq!(inboxes, [vec![], vec![typing.clone(), typing], vec![]]);
}

/// N162: who asks to be admitted is shown to those who may admit, and to nobody else.
#[test]
fn n162_applications() {
    let text = r#"{"type":"application_event","data":{"event":"resolve"}}"#;
    let inboxes = alive(|world| {
        let sockets = [world.follower(0, &[0])?, world.follower(1, &[0])?, world.open(Some(0), 1)?];
        let event = RawValue::from_string(pack(Some(text), None)).unwrap();
        let events = vec![Numbered { seq: 1, audience: Audience::Approvers, live: true, event }];
        let allowed = Allowed { readers: Readers::All, approvers: [did(PEOPLE[0])].into() };
        world.on(Input::Delivered { community: community(0), events, full: BTreeMap::new(), allowed })?;
        Ok(sockets.map(|id| kinds(&world.inbox(id))))
    });
    assert_eq!(inboxes, [vec!["application_event resolve".to_owned()], vec![], vec![]]);
}

/// N192: somebody who only asks to be admitted is shown to no member, but to clients of March 2026 (A36).
#[test]
fn n192_whoever_waits_is_shown_to_nobody() {
    let inboxes = alive(|world| {
        let sockets = [world.follower(1, &[0])?, world.follower(1, &[1])?, world.listener(1, &[0])?];
        let march = json!({ "type": "user_status_changed" }).to_string();
        let newest = json!({ "type": "user_event", "data": {} }).to_string();
        let publications = vec![Publication {
            id: 7,
            did: did(PEOPLE[0]),
            communities: vec![community(0), community(1)],
            closed: Vec::new(),
            pending: vec![community(0)],
            status: true,
            live: true,
            event: RawValue::from_string(pack(Some(&newest), Some(&march))).unwrap(),
        }];
        let (from, readers) = ("gateway-1".to_owned(), BTreeMap::new());
        world.on(Input::Published { from, publications, had: 6, readers })?;
        let about = |kind: &'static str| move |frame: &Value| frame["type"] == kind;
        let [waits, is_in, of_march] = sockets.map(|id| world.inbox(id));
        Ok([
            waits.iter().any(about("user_event")),
            is_in.iter().any(about("user_event")),
            of_march.iter().any(about("user_status_changed")),
        ])
    });
    assert_eq!(inboxes, [false, true, true]);
}

/// N168: what a person did on another device goes to their own sockets of this spelling, wherever they take part.
#[test]
fn n168_one_persons_own_events() {
    let row = |id: i64, who: usize, event: Box<RawValue>| {
        let audience = Audience::Private(did(PEOPLE[who]));
        let event = Announcement { scope: Scope::People, audience, topic: Topic::Other, live: true, event };
        Input::Records(vec![OutboxEvents { id, events: vec![event] }])
    };
    let text = r#"{"type":"mute_event","data":{"event":"muted","subject":"x"}}"#;
    let event = || RawValue::from_string(pack(Some(text), None)).unwrap();
    let inboxes = alive(|world| {
        let (first, second) = (world.follower(0, &[0])?, world.follower(0, &[])?);
        let (other, march) = (world.follower(1, &[0])?, world.open(Some(0), 1)?);
        world.on(row(1, 0, event()))?;
        world.on(row(1, 0, event()))?; // delivered twice
        world.on(row(2, 1, lost::event()))?;
        assert_eq!(world.inbox(other), [json!({ "type": "resync_required" })], "N166");
        Ok([first, second, march].map(|id| world.inbox(id)))
    });
    let shown: Value = serde_json::from_str(text).unwrap();
    assert_eq!(inboxes, [vec![shown.clone()], vec![shown], vec![]]);
}

/// U20 to U22: of what concerns one person alone, clients of March 2026 get what has a word there, if their socket is
/// proven: one that merely claims the DID gets nothing.
#[test]
fn u20_only_proven_sockets_get_what_concerns_one_person() {
    let march = r#"{"type":"channel_read","channel_uri":"x"}"#;
    let inboxes = alive(|world| {
        let did = Some(did(PEOPLE[0]));
        let proven = world.open_as(Caller { did: did.clone(), proven: true, ..Caller::default() })?;
        let (claimed, other) = (world.open(Some(0), 1)?, world.open(Some(1), 1)?);
        let shown =
            |text: &str| Input::Shown(did.clone().unwrap(), RawValue::from_string(text.to_owned()).unwrap());
        world.on(shown(&pack(Some(r#"{"type":"seen_event","data":{}}"#), Some(march))))?;
        world.on(shown(&pack(None, None)))?;
        world.on(shown(lost::event().get()))?;
        Ok([proven, claimed, other].map(|id| world.inbox(id)))
    });
    let shown: Value = serde_json::from_str(march).unwrap();
    assert_eq!(inboxes, [vec![shown], vec![], vec![]]);
}

/// N162, N168: a channel of a community in which somebody takes no part, or no more, is not seen.
#[test]
fn n168_only_members_write() {
    let frame = |kind: &str, n: usize| json!({ "type": kind, "data": { "channel": channel(n) } }).to_string();
    let published = alive(|world| {
        let id = world.follower(0, &[0])?;
        world.frame(id, &frame("view", 1))?;
        world.work(0)?;
        world.frame(id, &frame("typing", 1))?;
        world.frame(id, &frame("view", 0))?;
        world.work(0)?;
        world.event(0, 1, Audience::Community, &left(0, &did(PEOPLE[0])))?;
        world.frame(id, &frame("typing", 0))?;
        Ok(std::mem::take(&mut world.typing).len())
    });
    assert_eq!(published, 0);
}

/// N165: positions, what is left and what is new since, and a log that does not reach back.
#[test]
fn n165_resuming() {
    let at = |n: usize, seq: i64| (community(n), seq);
    let page = |events: Vec<Numbered>, last: u64| Replayed::Page {
        through: last,
        events,
        last,
        members_only: false,
    };
    let missed = |seq: u64, n: usize| Numbered {
        seq,
        audience: Audience::Messages(channel(n)),
        live: true,
        event: RawValue::from_string(deleted(n)).unwrap(),
    };
    let resumes = |follows: &[usize], cursor: Vec<(AtUri, i64)>, answer: &dyn Fn() -> Replayed| {
        alive(|world| {
            let id = world.follower(0, follows)?;
            let mut replays = world.change(|gateway, _| gateway.resumes(id, &cursor))?;
            world.event(0, 8, Audience::Messages(channel(0)), &deleted(0))?;
            for replay in &mut replays {
                let answer = answer();
                world.change(|gateway, _| gateway.replayed(replay, answer))?;
            }
            world.change(|gateway, moment| gateway.resumed(id, moment))?;
            Ok(world.inbox(id))
        })
    };
    let seqs = |inbox: &[Value]| inbox.iter().filter_map(|frame| frame["seq"].as_u64()).collect::<Vec<_>>();
    let all = || page(vec![missed(6, 0), missed(7, 0)], 7);
    let inbox = resumes(&[0], vec![at(0, 5)], &all);
    assert_eq!(seqs(&inbox), [6, 7, 8], "what was missed, then what came meanwhile, each once");
    let cursor = format!("{}@8", community(0));
    assert_eq!(inbox[3], json!({ "type": "resumed", "cursor": cursor }));
    let inbox = resumes(&[0], Vec::new(), &all);
    assert_eq!((seqs(&inbox), inbox[1]["type"].as_str()), (vec![8], Some("resumed")), "from now on");
    let inbox = resumes(&[0], vec![at(0, 5), at(1, 3)], &all);
    assert_eq!(kinds(&inbox[..1]), ["community_event delete"], "left meanwhile");
    assert_eq!((seqs(&inbox), inbox[4]["type"].as_str()), (vec![6, 7, 8], Some("resumed")));
    let resync = Some(&json!({ "type": "resync_required" }));
    assert_eq!(resumes(&[0, 1], vec![at(0, 5)], &all).last(), resync, "joined meanwhile");
    assert_eq!(resumes(&[0], vec![at(0, 5)], &|| Replayed::Resync { oldest: 7 }).last(), resync, "too old");
}
