//! Tests of the room: tables for each rule, and random histories of several rooms at once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::*;
use crate::domain::rows::{ChannelRow, CommunityRow, MembershipRow};

const NOW: Micros = Micros(1_000_000_000);
/// In milliseconds.
const LEASE: i64 = 75_000;

/// A room with sockets, and the frames that each of them received.
struct Hall {
    room: Room,
    received: BTreeMap<SocketId, Vec<Value>>,
    closed: BTreeMap<SocketId, u16>,
    now: Micros,
    entered: SocketId,
}

impl Hall {
    fn new(name: &str, max_peers: usize) -> Self {
        let room = Room::new(name.into(), max_peers);
        Self { room, received: BTreeMap::new(), closed: BTreeMap::new(), now: NOW, entered: 0 }
    }

    fn enter(&mut self) -> SocketId {
        self.enter_as(None)
    }

    fn enter_as(&mut self, did: Option<&str>) -> SocketId {
        let did = did.map(|did| Did::parse(did).unwrap());
        self.enter_with(Caller { did, ..Caller::default() })
    }

    fn enter_with(&mut self, caller: Caller) -> SocketId {
        self.entered += 1;
        self.room.enter(self.entered, caller, self.now).id
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    for socket in to {
                        assert!(!self.closed.contains_key(&socket), "nothing is sent to a closed socket");
                        self.received.entry(socket).or_default().push(serde_json::from_str(&frame).unwrap());
                    }
                }
                Effect::Keep(socket) => assert!(self.room.session(socket).is_some(), "what is kept is there"),
                Effect::Close { socket, code, .. } => drop(self.closed.insert(socket, code)),
            }
        }
    }

    fn say_with(&mut self, socket: SocketId, frame: &Value, access: Access) {
        let effects = match self.room.on_frame(socket, Some(&frame.to_string()), self.now) {
            Next::Done(effects) => effects,
            Next::Join(request) => {
                let lease = Lease { now: self.now, millis: LEASE, beat: &|_| None };
                self.room.join(socket, &request, access, &lease)
            }
        };
        self.perform(effects);
    }

    fn say(&mut self, socket: SocketId, frame: Value) {
        self.say_with(socket, &frame, Access::Free);
    }

    fn join(&mut self, socket: SocketId, peer_id: &str) {
        let room = self.room.name.clone();
        self.say(socket, json!({ "type": "join", "room": room, "peer_id": peer_id }));
    }

    fn close(&mut self, socket: SocketId) {
        let effects = self.room.close(socket);
        self.perform(effects);
    }

    fn recheck(&mut self, working_set: &WorkingSet) -> Vec<Effect> {
        let people = self.room.people();
        self.room.recheck(working_set, &people)
    }

    /// The frames that a socket received since the last call.
    fn received(&mut self, socket: SocketId) -> Vec<Value> {
        self.received.remove(&socket).unwrap_or_default()
    }

    /// The object sleeps and wakes: only sessions remain.
    fn evict(&mut self) {
        let sessions: Vec<Session> = self.room.sessions.values().map(|open| open.session.clone()).collect();
        self.room = Room::new(self.room.name.clone(), self.room.max_peers);
        for session in sessions {
            let stored = serde_json::to_string(&session).unwrap();
            self.room.restore(serde_json::from_str(&stored).unwrap());
        }
    }
}

fn error_frame(message: &str) -> Value {
    json!({ "type": "error", "message": message })
}

fn joined(peer_id: &str, peers: &[&str]) -> Value {
    json!({ "type": "joined", "room": "r", "peer_id": peer_id, "peers": peers })
}

fn about(kind: &str, peer_id: &str) -> Value {
    json!({ "type": kind, "room": "r", "peer_id": peer_id })
}

fn offer(room: &str, target: &str) -> Value {
    json!({ "type": "offer", "room": room, "target_peer_id": target, "sdp": "v=0" })
}

/// `a`, `b` and `c` in room `r`, with no frames pending.
fn three() -> (Hall, [SocketId; 3]) {
    let mut hall = Hall::new("r", 64);
    let sockets = [hall.enter(), hall.enter(), hall.enter()];
    for (socket, name) in sockets.iter().zip(["a", "b", "c"]) {
        hall.join(*socket, name);
    }
    hall.received.clear();
    (hall, sockets)
}

#[test]
fn s01_joining() {
    let mut hall = Hall::new("r", 64);
    let (a, b, c) = (hall.enter(), hall.enter(), hall.enter());
    hall.join(c, "zoe");
    hall.join(a, "bob");
    hall.evict();
    hall.join(b, "amy");
    assert_eq!(
        hall.received(c),
        [joined("zoe", &[]), about("peer_joined", "bob"), about("peer_joined", "amy")]
    );
    assert_eq!(hall.received(a), [joined("bob", &["zoe"]), about("peer_joined", "amy")]);
    assert_eq!(hall.received(b), [joined("amy", &["zoe", "bob"])], "in order of joining, not of names");
}

#[test]
fn s02_s03_s04_relays_reach_their_target_and_nobody_else() {
    let (mut hall, [a, b, c]) = three();
    for (sent, got) in [
        (offer("r", "b"), json!({ "type": "offer", "room": "r", "from_peer_id": "a", "sdp": "v=0" })),
        (
            json!({ "type": "answer", "room": "r", "target_peer_id": "b", "sdp": "v=1" }),
            json!({ "type": "answer", "room": "r", "from_peer_id": "a", "sdp": "v=1" }),
        ),
        (
            json!({ "type": "ice", "room": "r", "target_peer_id": "b", "candidate": { "candidate": "x", "sdpMLineIndex": 0 } }),
            json!({ "type": "ice", "room": "r", "from_peer_id": "a", "candidate": { "candidate": "x", "sdpMLineIndex": 0 } }),
        ),
    ] {
        hall.say(a, sent);
        assert_eq!(hall.received(b), [got]);
        assert!(hall.received(a).is_empty() && hall.received(c).is_empty());
    }
}

#[test]
fn s05_s06_leaving_and_closing() {
    let (mut hall, [a, b, c]) = three();
    hall.say(a, json!({ "type": "leave", "room": "r" }));
    assert!(hall.received(a).is_empty(), "the leaver gets nothing");
    assert_eq!(
        (hall.received(b), hall.received(c)),
        (vec![about("peer_left", "a")], vec![about("peer_left", "a")])
    );
    hall.say(a, offer("r", "b"));
    assert_eq!(hall.received(a), [error_frame("Join a room first")], "it is out");
    hall.close(b);
    hall.close(b);
    assert_eq!(hall.received(c), [about("peer_left", "b")], "once");
    hall.close(c);
    assert!(hall.room.is_empty());
}

#[test]
fn s12_s18_b61_a_used_peer_id_is_refused_and_nobody_is_replaced() {
    let (mut hall, [a, b, c]) = three();
    let thief = hall.enter();
    hall.join(thief, "a");
    assert_eq!(hall.received(thief), [error_frame("peer_id already in use")]);
    hall.say(b, offer("r", "a"));
    assert_eq!(hall.received(a).len(), 1, "offers still reach the first");
    hall.close(thief);
    assert!(hall.received(b).is_empty() && hall.received(c).is_empty(), "nobody left");
    hall.join(b, "a");
    assert_eq!(hall.received(b), [error_frame("peer_id already in use")]);
    hall.say(c, offer("r", "b"));
    assert_eq!(hall.received(b).len(), 1, "S12: a membership the sender already has stays");
}

#[test]
fn s13_b62_b63_another_room_is_refused() {
    let (mut hall, [a, b, c]) = three();
    for kind in ["offer", "leave", "voice_state", "join"] {
        hall.say(a, json!({ "type": kind, "room": "s", "target_peer_id": "b", "sdp": "", "peer_id": "a" }));
        assert_eq!(hall.received(a), [error_frame("Not in room s")], "{kind}");
    }
    assert!(hall.received(b).is_empty() && hall.received(c).is_empty());
    hall.close(a);
    assert_eq!(hall.received(b), [about("peer_left", "a")], "it was still in its own room");
}

#[test]
fn s14_unknown_targets() {
    let (mut hall, [a, b, _]) = three();
    for target in ["nobody", "a", ""] {
        hall.say(a, offer("r", target));
        assert_eq!(hall.received(a), [error_frame(&format!("Unknown peer: {target}"))]);
    }
    hall.close(b);
    hall.say(a, offer("r", "b"));
    assert_eq!(hall.received(a).last(), Some(&error_frame("Unknown peer: b")));
}

#[test]
fn s15_b66_peer_65_finds_the_room_full() {
    let mut hall = Hall::new("r", 64);
    let sockets: Vec<SocketId> = (0..65).map(|_| hall.enter()).collect();
    for (n, socket) in sockets.iter().enumerate() {
        hall.join(*socket, &format!("p{n}"));
    }
    assert_eq!(hall.received(sockets[64]), [error_frame("Room is full")]);
    hall.received.clear();
    hall.join(sockets[0], "other");
    assert_eq!(hall.received(sockets[0])[0]["type"], "joined", "another name in a full room is no new peer");
    hall.close(sockets[1]);
    hall.join(sockets[64], "p64");
    assert_eq!(hall.received(sockets[64]).pop().unwrap()["peers"].as_array().unwrap().len(), 63);
}

#[test]
fn s17_joining_again() {
    let (mut hall, [a, b, c]) = three();
    hall.join(a, "a");
    assert_eq!(hall.received(a), [joined("a", &["b", "c"])], "exactly as joined");
    assert!(hall.received(b).is_empty() && hall.received(c).is_empty(), "nothing to the others");
    hall.join(a, "d");
    assert_eq!(hall.received(a), [joined("d", &["b", "c"])], "under another name");
    assert_eq!(hall.received(b), [about("peer_left", "a"), about("peer_joined", "d")]);
    assert_eq!(hall.received(c), [about("peer_left", "a"), about("peer_joined", "d")]);
    hall.join(b, "a");
    assert_eq!(
        hall.received(b),
        [joined("a", &["c", "d"])],
        "the old name is free, and the order is that of joining"
    );
}

#[test]
fn s16_b66_a_flood_is_throttled_and_then_closed() {
    let (mut hall, [a, b, _]) = three();
    for _ in 1..200 {
        hall.say(a, offer("r", "b"));
    }
    assert_eq!(hall.received(b).len(), 199, "the join was the first frame of 200");
    for _ in 0..599 {
        hall.say(a, offer("r", "b"));
    }
    assert!(hall.received(b).is_empty(), "no effect");
    let received = hall.received(a);
    assert_eq!((received.len(), &received[0]), (599, &error_frame("Rate limit exceeded")));
    hall.say(a, offer("r", "b"));
    assert_eq!(hall.closed.get(&a), Some(&1008));
    assert_eq!(hall.received(b), [about("peer_left", "a")]);
    hall.say(a, offer("r", "b"));
    assert!(hall.received(b).is_empty(), "a closed socket has no effect");
}

#[test]
fn voice_states_reach_everybody_and_those_who_come_later() {
    let (mut hall, [a, b, c]) = three();
    hall.say(a, json!({ "type": "voice_state", "room": "r", "muted": true, "camera": true }));
    hall.say(a, json!({ "type": "voice_state", "room": "r", "muted": false }));
    let state = |muted: bool| {
        json!({ "type": "voice_state", "room": "r", "from_peer_id": "a", "muted": muted, "deafened": false,
                "camera": true, "screen": false })
    };
    assert_eq!(hall.received(b), [state(true), state(false)]);
    assert!(hall.received(a).is_empty());
    hall.evict();
    let late = hall.enter();
    hall.join(late, "d");
    assert_eq!(hall.received(late), [joined("d", &["a", "b", "c"]), state(false)], "it survives eviction");
    assert_eq!(hall.received(c).len(), 3);
}

#[test]
fn a_peer_that_beat_and_went_silent_is_gone() {
    let (mut hall, [a, b, c]) = three();
    let at = |secs: i64| Micros(NOW.0 + secs * 1_000_000);
    // The runtime answers a's heartbeats, the code answers b's, c sends none.
    let beats = |id: SocketId| (id == a).then(|| at(20));
    let lease = |secs: i64| Lease { now: at(secs), millis: LEASE, beat: &beats };
    hall.now = at(10);
    hall.say(b, json!({ "type": "heartbeat" }));
    assert_eq!(hall.received(b), [json!({ "type": "ack" })]);
    let (effects, next) = hall.room.sweep(&lease(84));
    assert_eq!((effects, next), (vec![], Some(at(85))));
    hall.evict();
    let (effects, next) = hall.room.sweep(&lease(86));
    assert_eq!(next, Some(at(95)));
    hall.perform(effects);
    assert_eq!((hall.closed.get(&b), hall.closed.len()), (Some(&1001), 1));
    assert_eq!(
        (hall.received(a), hall.received(c)),
        (vec![about("peer_left", "b")], vec![about("peer_left", "b")])
    );
    let (effects, next) = hall.room.sweep(&lease(95));
    hall.perform(effects);
    assert_eq!((hall.received(c), next), (vec![about("peer_left", "a")], None), "nobody left to look after");
    assert_eq!(hall.room.sweep(&lease(100_000)), (vec![], None), "c never promised anything");
}

const SECRET: &str = "a secret of this client";

/// `a` as `caller` under `peer_id` with its secret, and another peer.
fn one_and_a_listener(caller: Caller, peer_id: &str, access: Access) -> (Hall, SocketId, SocketId) {
    let mut hall = Hall::new("r", 64);
    let (old, listener) = (hall.enter_with(caller), hall.enter());
    hall.say_with(old, &json!({ "type": "join", "room": "r", "peer_id": peer_id, "secret": SECRET }), access);
    hall.join(listener, "listener");
    hall.received.clear();
    (hall, old, listener)
}

/// S12, B-61: who may take a name that another socket has.
#[test]
fn s12_a_name_passes_to_its_owner_and_to_nobody_else() {
    let caller = |name: &str, proven| Caller {
        did: (!name.is_empty()).then(|| Did::parse(&format!("did:plc:{name}")).unwrap()),
        proven,
        relayed: false,
    };
    let (nobody, ann) = (caller("", false), "did:plc:ann#phone");
    use Access::{Bound, Free};
    for (old, name, new, secret, access, at, passes, why) in [
        (nobody.clone(), "a", nobody.clone(), None, Free, 1, false, "B-61: merely by the name"),
        (nobody.clone(), "a", nobody.clone(), Some(SECRET), Free, 1, true, "the same client"),
        (nobody.clone(), "a", nobody.clone(), Some("another long secret"), Free, 1, false, "another client"),
        (nobody.clone(), "a", nobody.clone(), None, Free, 74, false, "within the lease"),
        (nobody.clone(), "a", nobody.clone(), None, Free, 75, true, "silent for the whole lease"),
        (nobody.clone(), "a", caller("ann", true), None, Free, 1, false, "a proof of somebody else"),
        (nobody.clone(), ann, caller("ann", false), None, Free, 1, false, "no proof: anybody may say so"),
        (nobody.clone(), ann, caller("ann", true), None, Free, 1, true, "a proof, and the name is theirs"),
        (caller("ann", false), "a", caller("ann", false), None, Free, 1, false, "open mode: no proof"),
        (caller("ann", false), "a", caller("ann", true), None, Free, 1, true, "a proof of the same person"),
        (caller("ann", true), "a", caller("ann", true), None, Free, 1, true, "likewise"),
        (
            caller("ann", true),
            ann,
            caller("ann", false),
            None,
            Bound,
            1,
            false,
            "who proved it yields to proof",
        ),
        (
            caller("ann", true),
            ann,
            caller("ann", true),
            None,
            Bound,
            1,
            true,
            "a voice channel, with a proof",
        ),
        (caller("ann", false), ann, caller("ann", false), None, Bound, 1, true, "a voice channel"),
    ] {
        let (mut hall, first, listener) = one_and_a_listener(old, name, access);
        let again = hall.enter_with(new);
        hall.now = Micros(NOW.0 + at * 1_000_000);
        hall.evict();
        let frame = json!({ "type": "join", "room": "r", "peer_id": name, "secret": secret });
        hall.say_with(again, &frame, access);
        if passes {
            assert_eq!(hall.received(again), [joined(name, &["listener"])], "{why}");
            assert_eq!(hall.received(first), [error_frame("Taken over by another connection")], "{why}");
            assert_eq!(hall.closed.get(&first), Some(&1008), "{why}");
            assert_eq!(
                hall.received(listener),
                [about("peer_left", name), about("peer_joined", name)],
                "{why}"
            );
        } else {
            assert_eq!(hall.received(again), [error_frame("peer_id already in use")], "{why}");
            assert!(hall.closed.is_empty() && hall.received(listener).is_empty(), "{why}");
            hall.say(listener, offer("r", name));
            assert_eq!(hall.received(first).len(), 1, "{why}: it is still there");
        }
    }
}

#[test]
fn s12_s15_a_full_room_takes_its_own_back() {
    let mut hall = Hall::new("r", 2);
    let (a, b, again, other) = (hall.enter(), hall.enter(), hall.enter(), hall.enter());
    let join = |name: &str| json!({ "type": "join", "room": "r", "peer_id": name, "secret": SECRET });
    hall.say(a, join("a"));
    hall.say(b, join("b"));
    hall.say(other, join("c"));
    assert_eq!(hall.received(other), [error_frame("Room is full")]);
    hall.say(again, join("a"));
    assert_eq!(hall.received(again), [joined("a", &["b"])]);
    assert!(hall.room.knows(&JoinRequest::new("a".into(), Some(SECRET))));
    assert!(!hall.room.knows(&JoinRequest::new("a".into(), Some("not its secret at all"))));
    assert!(!hall.room.knows(&JoinRequest::new("a".into(), None)), "no secret shows nothing");
    assert!(!hall.room.knows(&JoinRequest::new("c".into(), Some(SECRET))));
}

#[test]
fn verified_names_that_are_dids_are_the_callers_own() {
    let ann = Did::parse("did:plc:ann").unwrap();
    for (did, name, expected) in [
        (Some(&ann), "did:plc:ann", Access::Free),
        (Some(&ann), "did:plc:ann#phone", Access::Free),
        (Some(&ann), "ann", Access::Free),
        (Some(&ann), "did:plc:bob", Access::WrongName),
        (Some(&ann), "did:plc:bob#phone", Access::WrongName),
        (Some(&ann), "did:plc:annie", Access::WrongName),
        (Some(&ann), "did:plc:bob#did:plc:ann", Access::WrongName),
        (None, "did:plc:ann", Access::WrongName),
        (None, "did: it", Access::Free),
    ] {
        assert_eq!(access_proven(did, name), expected, "{name}");
    }
}

const TALK: &str = "at://did:plc:owner/social.colibri.channel/v";

/// The owner's open community with a voice channel and, if `member`, a member.
fn working_set(voice: bool, member: bool) -> WorkingSet {
    let uri = |text: &str| AtUri::parse(text).unwrap();
    let community_uri = uri("at://did:plc:owner/social.colibri.community/c");
    let mut working_set = WorkingSet::default();
    working_set.communities.seed(CommunityRow {
        uri: community_uri.clone(),
        name: "n".into(),
        description: None,
        picture: None,
        category_order: None,
        requires_approval_to_join: false,
        banner: None,
        link_embeds: None,
        migrated_to: None,
        migrated_from: None,
        appview: None,
        unread: false,
        rev: "1".into(),
        indexed_at: Micros(0),
        hidden: false,
    });
    working_set.channels.seed(ChannelRow {
        uri: uri(TALK),
        community_uri: community_uri.clone(),
        name: "n".into(),
        description: None,
        channel_type: if voice { "voice" } else { "text" }.into(),
        category_rkey: None,
        owner_only: false,
        allowed_roles: None,
        allowed_members: None,
        link_embeds: None,
        migrated_from: None,
        rev: "1".into(),
        indexed_at: Micros(0),
    });
    if member {
        working_set.memberships.seed(MembershipRow {
            uri: uri("at://did:plc:member/social.colibri.membership/m"),
            member_did: Did::parse("did:plc:member").unwrap(),
            community_uri,
            rev: "1".into(),
            indexed_at: Micros(0),
            hidden: false,
        });
    }
    working_set
}

#[test]
fn s20_access() {
    let channel = AtUri::parse(TALK).unwrap();
    let (owner, member) = (Some("did:plc:owner"), Some("did:plc:member"));
    for (working_set, did, peer_id, expected, why) in [
        (WorkingSet::default(), None, "p", Access::Free, "an unknown channel is a name"),
        (working_set(false, true), None, "p", Access::Free, "so is a text channel"),
        (working_set(true, true), None, "did:plc:member", Access::NotAllowed, "nobody"),
        (working_set(true, true), member, "did:plc:member", Access::Bound, "the DID"),
        (working_set(true, true), member, "did:plc:member#phone", Access::Bound, "the DID and #"),
        (working_set(true, true), member, "did:plc:member2", Access::WrongName, "another DID"),
        (working_set(true, true), member, "did:plc:owner", Access::WrongName, "somebody else's"),
        (working_set(true, true), member, "p", Access::WrongName, "no DID"),
        (working_set(true, false), member, "did:plc:member", Access::NotAllowed, "no member"),
        (working_set(true, false), owner, "did:plc:owner#1", Access::Bound, "the owner"),
    ] {
        let did = did.map(|did| Did::parse(did).unwrap());
        assert_eq!(access(&working_set, &channel, did.as_ref(), false, peer_id), expected, "{why}");
    }
}

#[test]
fn s20_b17_a_peer_that_loses_its_right_gets_an_error_and_is_closed() {
    let mut hall = Hall::new(TALK, 64);
    let (owner, member) = (hall.enter_as(Some("did:plc:owner")), hall.enter_as(Some("did:plc:member")));
    let join = |did: &str| json!({ "type": "join", "room": TALK, "peer_id": did });
    let refusal = error_frame("Not allowed in this voice channel");
    hall.say_with(member, &join("did:plc:member"), Access::NotAllowed);
    assert_eq!(hall.received(member), std::slice::from_ref(&refusal), "the socket stays");
    hall.say_with(owner, &join("did:plc:owner"), Access::Bound);
    hall.say_with(member, &join("did:plc:member"), Access::Bound);
    hall.received.clear();
    assert!(hall.recheck(&working_set(true, true)).is_empty(), "the right has not ended");
    let stale = hall.room.recheck(&working_set(true, false), &[Did::parse("did:plc:owner").unwrap()]);
    assert!(stale.is_empty(), "who joined after the facts were asked for is not in them");
    hall.evict();
    let effects = hall.recheck(&working_set(true, false));
    hall.perform(effects);
    assert_eq!((hall.received(member), hall.closed.get(&member)), (vec![refusal.clone()], Some(&1008)));
    assert_eq!(
        hall.received(owner),
        [json!({ "type": "peer_left", "room": TALK, "peer_id": "did:plc:member" })]
    );
    let effects = hall.recheck(&WorkingSet::default());
    hall.perform(effects);
    assert_eq!(
        (hall.received(owner), hall.closed.get(&owner)),
        (vec![refusal], Some(&1008)),
        "the channel is gone"
    );
    assert!(hall.room.is_empty());
}

/// U30: only of people in a voice channel, complete, of the last of a person's devices to join, and gone with it.
#[test]
fn u30_what_the_devices_of_people_do() {
    let mut hall = Hall::new(TALK, 64);
    let [first, second] = [(); 2].map(|()| hall.enter_as(Some("did:plc:member")));
    let join = |peer: &str| json!({ "type": "join", "room": TALK, "peer_id": peer });
    let state = json!({ "type": "voice_state", "room": TALK, "muted": true });
    hall.say_with(first, &join("did:plc:member"), Access::Free);
    hall.say(first, state.clone());
    assert!(!hall.room.take_changed() && hall.room.devices().is_empty(), "a room like any other");
    hall.say_with(first, &json!({ "type": "leave", "room": TALK }), Access::Free);
    hall.say_with(first, &join("did:plc:member"), Access::Bound);
    hall.say(first, state.clone());
    let muted = VoiceState { muted: true, ..VoiceState::default() };
    let hers = BTreeMap::from([(Did::parse("did:plc:member").unwrap(), muted)]);
    assert!(hall.room.take_changed());
    assert_eq!(hall.room.devices(), hers);
    hall.say(first, state);
    assert!(!hall.room.take_changed(), "the same again");
    hall.say_with(second, &join("did:plc:member#2"), Access::Bound);
    assert!(hall.room.take_changed() && hall.room.devices().is_empty(), "the second device is not muted");
    hall.close(second);
    hall.say(first, json!({ "type": "voice_state", "room": TALK, "screen": true }));
    assert_eq!(hall.room.devices().into_values().next(), Some(VoiceState { screen: true, ..muted }));
    hall.close(first);
    assert!(hall.room.take_changed() && hall.room.devices().is_empty());
}

#[test]
fn u32_a_moderator_mutes_a_person_or_closes_their_peers() {
    let mut hall = Hall::new(TALK, 64);
    let (member, owner) = (hall.enter_as(Some("did:plc:member")), hall.enter_as(Some("did:plc:owner")));
    for (socket, peer) in [(member, "did:plc:member"), (owner, "did:plc:owner")] {
        hall.say_with(socket, &json!({ "type": "join", "room": TALK, "peer_id": peer }), Access::Bound);
    }
    let did = Did::parse("did:plc:member").unwrap();
    let (effects, found) = hall.room.moderate(&Did::parse("did:plc:eve").unwrap(), &Act::Mute);
    assert!(!found && effects.is_empty(), "not there");
    let (effects, found) = hall.room.moderate(&did, &Act::Mute);
    hall.perform(effects);
    assert!(found && hall.room.take_changed());
    assert!(hall.room.devices()[&did].muted);
    let to = AtUri::parse("at://did:plc:owner/social.colibri.channel/other").unwrap();
    let (effects, found) = hall.room.moderate(&did, &Act::Move(to));
    hall.perform(effects);
    assert!(found && hall.room.devices().is_empty());
    assert_eq!(hall.closed, BTreeMap::from([(member, 1008)]));
}

#[test]
fn s20_a_name_that_becomes_a_channel_sends_strangers_away() {
    let mut hall = Hall::new(TALK, 64);
    let (stranger, member) = (hall.enter(), hall.enter_as(Some("did:plc:member")));
    hall.join(stranger, "p");
    hall.join(member, "did:plc:member#1");
    assert!(hall.recheck(&WorkingSet::default()).is_empty(), "no channel, no rule");
    let effects = hall.recheck(&working_set(true, true));
    hall.perform(effects);
    assert_eq!(hall.closed.keys().copied().collect::<Vec<_>>(), [stranger]);
    let effects = hall.recheck(&WorkingSet::default());
    hall.perform(effects);
    assert_eq!(hall.closed.get(&member), Some(&1008), "it was bound by then");
}

/// Sockets keep what an older build stored (invariant 7), and an attachment has little room: 16,384
/// bytes. V8 takes one byte per character for a string of Latin letters, and two bytes per UTF-16
/// unit for any other.
#[test]
fn sessions_are_pinned_and_small() {
    let session = Session {
        id: u64::MAX >> 11,
        did: Some(Did::parse(&format!("did:plc:{}", "d".repeat(248))).unwrap()),
        proven: true,
        room: Some("😀".repeat(256)),
        relayed: true,
        seen: NOW,
        beats: true,
        peer: Some(Peer {
            peer_id: "😀".repeat(256),
            order: u64::MAX >> 11,
            bound: true,
            voice: Some(VoiceState::default()),
            secret: JoinRequest::new(String::new(), Some(SECRET)).secret,
        }),
    };
    let stored = serde_json::to_string(&session).unwrap();
    let name = session.peer.unwrap().peer_id;
    let bytes = stored.len() - 2 * (name.len() - name.encode_utf16().count() * 2);
    assert!(bytes <= 16_384 / 4, "{bytes}");
    let full = r#"{"id":1,"did":"did:plc:a","proven":true,"room":"r","relayed":false,"seen":"2026-03-01T12:00:00.000000Z","beats":false,"peer":{"peer_id":"p","order":0,"bound":false,"voice":null,"secret":"x"}}"#;
    let session: Session = serde_json::from_str(full).unwrap();
    assert_eq!(serde_json::to_string(&session).unwrap(), full);
    let pinned = r#"{"id":1,"did":null,"relayed":false,"seen":"2026-03-01T12:00:00.000000Z","beats":false,"peer":{"peer_id":"p","order":0,"bound":false,"voice":null}}"#;
    let session: Session = serde_json::from_str(pinned).unwrap();
    assert_eq!(serde_json::to_string(&session).unwrap(), pinned);
}

/// An event at one of a few sockets.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize, u8),
    Leave(usize, usize),
    Offer(usize, usize, u8),
    Voice(usize, usize),
    Close(usize),
    Evict(usize),
    Dismiss(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (socket, room, name) = (0..8_usize, 0..3_usize, 0..5_u8);
    prop_oneof![
        4 => (socket.clone(), room.clone(), name.clone()).prop_map(|(s, r, n)| Step::Join(s, r, n)),
        1 => (socket.clone(), room.clone()).prop_map(|(s, r)| Step::Leave(s, r)),
        4 => (socket.clone(), room.clone(), name).prop_map(|(s, r, n)| Step::Offer(s, r, n)),
        1 => (socket.clone(), room.clone()).prop_map(|(s, r)| Step::Voice(s, r)),
        1 => socket.clone().prop_map(Step::Close),
        1 => room.prop_map(Step::Evict),
        1 => socket.prop_map(Step::Dismiss),
    ]
}

/// A client's view of its room, built only from the frames it received.
#[derive(Debug, Default)]
struct Idea {
    me: Option<String>,
    peers: Vec<String>,
}

impl Idea {
    fn receive(&mut self, frame: &Value) {
        let peer = || frame["peer_id"].as_str().unwrap().to_owned();
        match frame["type"].as_str().unwrap() {
            "joined" => {
                self.me = Some(peer());
                self.peers = frame["peers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|p| p.as_str().unwrap().to_owned())
                    .collect();
            }
            "peer_joined" => {
                assert!(!self.peers.contains(&peer()), "nobody joins twice");
                self.peers.push(peer());
            }
            "peer_left" => {
                assert!(self.peers.contains(&peer()), "only who was there leaves");
                self.peers.retain(|known| *known != peer());
            }
            "offer" | "voice_state" => {
                let from = frame["from_peer_id"].as_str().unwrap().to_owned();
                assert!(self.peers.contains(&from), "frames come only from announced peers");
            }
            "error" => {}
            other => panic!("{other}"),
        }
    }
}

const NAMES: [&str; 3] = ["red", "green", "blue"];

proptest! {
    /// S01–S18, B-61 to B-65: in three rooms of three peers with few names, after any events in any
    /// order, what each client can conclude from its frames is true, and nothing from one room
    /// reaches a socket of another.
    #[test]
    fn every_idea_of_a_room_agrees_with_the_room(steps in proptest::collection::vec(step(), 1..200)) {
        let mut halls: Vec<Hall> = NAMES.iter().map(|name| Hall::new(name, 3)).collect();
        // Each client's socket: its room and its number there. A socket is opened for one room; a
        // client that moves opens another one there.
        let mut clients: Vec<(usize, SocketId)> = Vec::new();
        for n in 0..8 {
            let room = n % 3;
            clients.push((room, halls[room].enter()));
        }
        let mut ideas: BTreeMap<(usize, SocketId), Idea> = BTreeMap::new();
        for (n, step) in steps.into_iter().enumerate() {
            // Another test covers the budget.
            halls.iter_mut().for_each(|hall| hall.now = Micros(NOW.0 + n as i64 * 10_000_000));
            match step {
                Step::Join(client, room, name) => {
                    if clients[client].0 != room {
                        let (old, socket) = clients[client];
                        halls[old].close(socket);
                        ideas.remove(&clients[client]);
                        clients[client] = (room, halls[room].enter());
                    }
                    halls[room].join(clients[client].1, &format!("p{name}"));
                }
                Step::Leave(client, named) => {
                    let (room, socket) = clients[client];
                    halls[room].say(socket, json!({ "type": "leave", "room": NAMES[named] }));
                    if room == named {
                        ideas.remove(&clients[client]);
                    }
                }
                Step::Offer(client, named, target) => {
                    let (room, socket) = clients[client];
                    halls[room].say(socket, offer(NAMES[named], &format!("p{target}")));
                }
                Step::Voice(client, named) => {
                    let (room, socket) = clients[client];
                    halls[room].say(socket, json!({ "type": "voice_state", "room": NAMES[named] }));
                }
                Step::Close(client) => {
                    let (room, socket) = clients[client];
                    halls[room].close(socket);
                    ideas.remove(&clients[client]);
                    clients[client].1 = halls[room].enter();
                }
                Step::Evict(room) => halls[room].evict(),
                Step::Dismiss(client) => {
                    let (room, socket) = clients[client];
                    let effects = halls[room].room.dismiss(&[socket], 1008, "out", Some("out"));
                    halls[room].perform(effects);
                    ideas.remove(&clients[client]);
                    halls[room].received.remove(&socket);
                    clients[client].1 = halls[room].enter();
                }
            }
            for (room, hall) in halls.iter_mut().enumerate() {
                for (socket, frames) in std::mem::take(&mut hall.received) {
                    prop_assert!(clients.contains(&(room, socket)), "a frame for a socket that is gone");
                    for frame in frames {
                        let named = frame["room"].as_str();
                        prop_assert!(named.is_none_or(|name| name == NAMES[room]), "{frame} in {}", NAMES[room]);
                        ideas.entry((room, socket)).or_default().receive(&frame);
                    }
                }
                let mut here: Vec<(u64, SocketId, &str)> =
                    hall.room.peers().map(|(session, peer)| (peer.order, session.id, peer.peer_id.as_str())).collect();
                here.sort_unstable();
                let names: BTreeSet<&str> = here.iter().map(|(_, _, name)| *name).collect();
                prop_assert_eq!(names.len(), here.len(), "S12: names are used once");
                prop_assert!(here.len() <= 3, "S15");
                for (_, socket, name) in &here {
                    let idea = &ideas[&(room, *socket)];
                    prop_assert_eq!(idea.me.as_deref(), Some(*name));
                    let others: Vec<&str> =
                        here.iter().filter(|(_, id, _)| id != socket).map(|(_, _, name)| *name).collect();
                    prop_assert_eq!(&idea.peers, &others);
                }
            }
        }
    }
}
