//! What people see and write, and snapshots of who is present (A50 to A52, U40 to U42).

use std::collections::BTreeMap;

use colibri_edge::domain::actions::Subscribe;
use colibri_edge::domain::gateway::looking::{Found, PRESENT_MAX};
use colibri_edge::domain::gateway::publication::Publication;
use colibri_edge::domain::gateway::session::{Caller, View};
use colibri_edge::domain::gateway::{Input, Job};
use colibri_edge::domain::members_only::Readers;
use colibri_edge::domain::presence::State;
use colibri_edge::domain::subscriptions::Kind;
use colibri_edge::wire::ids::{AtUri, Did};
use colibri_edge::wire::signaling::VoiceState;
use colibri_edge::wire::socket::{Reply, Spelling};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::rules::alive;
use super::{Died, PEOPLE, SECOND, World, candidate, community, did};

impl World {
    /// A socket of a person that listens to the messages of a channel of this name.
    fn hears(&mut self, who: usize, proven: bool, name: &str) -> Result<i64, Died> {
        let did = Some(did(PEOPLE[who]));
        let id = self.open_as(Caller { did, proven, spelling: Spelling::March, ..Caller::default() })?;
        self.change(|gateway, _| {
            let found = [0, 1].into_iter().filter_map(|n| candidate(n, name));
            gateway.meanings.set(&[name.to_owned()], found);
            let reply = Reply::ack("");
            let (kind, key) = (Kind::Message, Some(name.to_owned()));
            gateway.subscribe(id, &Subscribe { kind, key, resume: None, reply });
        })?;
        Ok(id)
    }

    /// Sends a frame, and performs what it asks for; the reply.
    fn asks(&mut self, id: i64, frame: Value) -> Result<Value, Died> {
        self.frame(id, &frame.to_string())?;
        while !self.jobs.is_empty() {
            self.work(0)?;
        }
        Ok(self.frames_of(id).last().cloned().unwrap_or_default())
    }

    fn frames_of(&self, id: i64) -> Vec<Value> {
        self.sockets.borrow()[&id].inbox.clone()
    }

    fn of_type(&self, id: i64, kind: &str) -> Vec<Value> {
        self.frames_of(id).into_iter().filter(|frame| frame["type"] == kind).collect()
    }
}

fn uri(n: usize, rkey: &str) -> AtUri {
    AtUri::parse(&candidate(n, rkey).unwrap().uri).unwrap()
}

fn ack() -> Value {
    json!({ "type": "ack", "message": "" })
}

/// U40: to those who listen to the channel's messages, not to the person, once in three seconds; nothing is stored.
#[test]
fn u40_typing_reaches_those_who_listen_to_the_channel() {
    let (his, hers, elsewhere, times) = alive(|world| {
        let alice = world.hears(0, true, "k")?;
        let bob = world.hears(1, true, uri(0, "k").as_str())?;
        let elsewhere = world.hears(1, true, "other")?;
        let name = uri(0, "k").to_string();
        for _ in 0..5 {
            assert_eq!(world.asks(alice, json!({ "action": "typing", "channel": name }))?, ack());
            world.pass(SECOND)?;
        }
        let published = std::mem::take(&mut world.typing);
        for (view, did) in &published {
            let (view, did) = (view.clone(), did.clone());
            world.on(Input::Typing { view, did, readers: Readers::All })?;
        }
        let inboxes = [bob, alice, elsewhere].map(|id| world.of_type(id, "typing"));
        let [his, hers, elsewhere] = inboxes;
        Ok((his, hers, elsewhere, published.len()))
    });
    assert_eq!((times, his.len(), hers.len(), elsewhere.len()), (2, 2, 0, 0));
    let expected = json!({ "type": "typing", "did": did(PEOPLE[0]), "channel": "k", "community_uri": community(0),
        "channel_uri": uri(0, "k"), "expires_at": his[0]["expires_at"] });
    assert_eq!(his[0], expected);
    assert!(his[0]["expires_at"].as_str().is_some_and(|at| at.ends_with('Z')));
}

/// U40: of a community for members only, to those who may read it; and who may not write gets an error.
#[test]
fn u40_nobody_learns_more_than_they_may() {
    let (his, refused) = alive(|world| {
        let alice = world.hears(0, true, uri(0, "k").as_str())?;
        let bob = world.hears(1, true, uri(0, "k").as_str())?;
        let view = View { channel: uri(0, "k"), community: community(0) };
        let readers = Readers::Only([did(PEOPLE[0])].into());
        world.on(Input::Typing { view, did: did(PEOPLE[0]), readers })?;
        let name = "at://did:plc:else/social.colibri.channel/k";
        let refused = world.asks(alice, json!({ "action": "typing", "channel": name }))?;
        assert!(world.typing.is_empty());
        Ok((world.of_type(bob, "typing"), refused))
    });
    assert_eq!(his, Vec::<Value>::new());
    assert_eq!(refused, json!({ "type": "error", "message": "Not allowed in this channel" }));
}

const MUTED: VoiceState = VoiceState { muted: true, deafened: false, camera: false, screen: false };

/// U30: to those who receive the events of the community, of one for members only to those who may read it.
#[test]
fn u30_what_devices_do_reaches_those_who_listen_to_the_community() {
    let (hers, his, theirs) = alive(|world| {
        let (alice, bob) = (world.listener(0, &[0])?, world.listener(1, &[0])?);
        let elsewhere = world.listener(0, &[1])?;
        for readers in [Readers::All, Readers::Only([did(PEOPLE[1])].into())] {
            let view = View { channel: uri(0, "v"), community: community(0) };
            world.on(Input::Devices { view, devices: [(did(PEOPLE[0]), MUTED)].into(), readers })?;
        }
        let [hers, his, theirs] = [alice, bob, elsewhere].map(|id| world.of_type(id, "voice_state_changed"));
        Ok((hers, his, theirs))
    });
    let expected = json!({ "type": "voice_state_changed", "community_uri": community(0), "channel_rkey": "v",
        "did": did(PEOPLE[0]), "muted": true, "deafened": false, "camera": false, "screen": false });
    assert_eq!((hers, his.len(), theirs.len()), (vec![expected], 1, 0), "X43: nobody here showed a proof");
}

/// U40: a gateway knows whether anybody there would receive it.
#[test]
fn u40_a_gateway_knows_who_listens() {
    let heard = alive(|world| {
        world.hears(0, true, "k")?;
        let listens = |world: &mut World, n: usize, rkey: &str| {
            let view = View { channel: uri(n, rkey), community: community(n) };
            world.change(move |gateway, _| gateway.listens_for_typing(&view))
        };
        Ok((listens(world, 0, "k")?, listens(world, 0, "x")?))
    });
    assert_eq!(heard, (true, false));
}

/// U42: what a person saw first and last counts as read, with a proof only; a repeated view costs nothing.
#[test]
fn u42_views_move_marks_with_a_proof_only() {
    for (proven, expected) in [(true, 1), (false, 0)] {
        let (read, jobs, sees) = alive(|world| {
            let id = world.hears(0, proven, "k")?;
            let name = uri(0, "k").to_string();
            assert_eq!(world.asks(id, json!({ "action": "view", "channel": name }))?, ack());
            let (alice, channel) = (did(PEOPLE[0]), uri(0, "k"));
            let sees = world.change(move |gateway, _| gateway.sees(&alice, &channel))?;
            world.frame(id, &json!({ "action": "view", "channel": "k" }).to_string())?;
            let jobs = world.jobs.len();
            world.leaves(id, true)?;
            Ok((world.has_read.clone(), jobs, sees))
        });
        let view = View { channel: uri(0, "k"), community: community(0) };
        assert_eq!(read, vec![(view, did(PEOPLE[0])); expected], "proven: {proven}");
        assert_eq!((jobs, sees), (0, proven), "U23");
    }
}

/// U41: a view outlives the memory of the object, and ends when the client says so.
#[test]
fn u41_a_view_ends_when_the_client_says_so() {
    let sees = alive(|world| {
        let id = world.hears(0, true, "k")?;
        let sees = |world: &mut World| world.change(|gateway, _| gateway.sees(&did(PEOPLE[0]), &uri(0, "k")));
        let mut seen = vec![sees(world)?];
        world.asks(id, json!({ "action": "view", "channel": "k" }))?;
        seen.push(sees(world)?);
        world.evict();
        seen.push(sees(world)?);
        assert_eq!(world.asks(id, json!({ "action": "view" }))?, ack());
        seen.push(sees(world)?);
        Ok(seen)
    });
    assert_eq!(sees, [false, true, true, false]);
}

/// U42: a person who goes on to another channel has read the first up to then.
#[test]
fn u42_the_channel_that_is_left_is_read_too() {
    let moved = alive(|world| {
        let id = world.hears(0, true, "k")?;
        world.asks(id, json!({ "action": "view", "channel": uri(0, "k") }))?;
        let found = vec![candidate(1, "x").unwrap()];
        let name = uri(1, "x").to_string();
        world.change(move |gateway, moment| gateway.look(id, Some(&name), found, moment))
    });
    let channels: Vec<AtUri> = moved.1.into_iter().map(|view| view.channel).collect();
    assert_eq!((moved.0, channels), (Some(did(PEOPLE[0])), vec![uri(0, "k"), uri(1, "x")]));
}

fn publication(who: &Did, state: &str, n: usize) -> Publication {
    let event = json!({ "type": "user_status_changed", "did": who, "status": "", "state": state });
    Publication {
        id: 1,
        did: who.clone(),
        communities: vec![community(n)],
        closed: Vec::new(),
        pending: Vec::new(),
        status: true,
        live: true,
        event: RawValue::from_string(event.to_string()).unwrap(),
    }
}

/// A50: what was published while the snapshot was read is newer than what was read.
#[test]
fn a50_a_snapshot_is_right_whatever_happens_while_it_is_read() {
    let snapshot = alive(|world| {
        let id = world.hears(0, true, "k")?;
        world.frame(id, &json!({ "action": "presence", "community_uri": community(0) }).to_string())?;
        assert!(matches!(world.jobs.as_slice(), [(_, Job::Snapshot(_))]));
        for (n, who, state, of) in
            [(1, "gone", "offline", 0), (2, "new", "dnd", 0), (3, "elsewhere", "online", 1)]
        {
            let mut publication = publication(&did(who), state, of);
            publication.id = n;
            let (from, readers) = ("gateway-7".to_owned(), BTreeMap::new());
            world.on(Input::Published { from, publications: vec![publication], had: n - 1, readers })?;
        }
        world.jobs.clear();
        let present = vec![(did("gone"), State::Online), (did("here"), State::Away)];
        let voice = vec![(uri(0, "v"), vec![did("here")])];
        let devices = [(did("here"), MUTED)].into();
        let found = Found { community: community(0), present, voice, devices, seq: 41 };
        world.on(Input::Snapshot(id, Box::new(Ok(found))))?;
        Ok(world.frames_of(id))
    });
    let members = json!([{ "did": did("here"), "state": "away" }, { "did": did("new"), "state": "dnd" }]);
    let expected = json!({ "type": "presence_snapshot", "community_uri": community(0), "members": members,
        "complete": true, "voice": { "v": [did("here")] }, "voice_states": { did("here").as_str(): MUTED }, "seq": 41 });
    assert_eq!(snapshot, [expected]);
}

/// A50: a snapshot has a bound, and costs ten frames.
#[test]
fn a50_snapshots_are_bounded() {
    let (last, refused) = alive(|world| {
        let id = world.hears(0, true, "k")?;
        let frame = json!({ "action": "presence", "community_uri": community(0) });
        world.frame(id, &frame.to_string())?;
        world.jobs.clear();
        let present = (0..=PRESENT_MAX).map(|n| (did(&format!("p{n:04}")), State::Online)).collect();
        let found =
            Found { community: community(0), present, voice: Vec::new(), devices: BTreeMap::new(), seq: 1 };
        world.on(Input::Snapshot(id, Box::new(Ok(found))))?;
        let first = world.frames_of(id).pop().unwrap();
        for _ in 0..11 {
            assert_eq!(world.asks(id, frame.clone())?["type"], "presence_snapshot");
        }
        Ok((first, world.asks(id, frame)?))
    });
    let members = last["members"].as_array().unwrap().len();
    assert_eq!((members, &last["complete"]), (PRESENT_MAX, &json!(false)));
    assert_eq!(refused, json!({ "type": "error", "message": "Rate limit exceeded" }));
    let unknown = alive(|world| {
        let id = world.hears(0, true, "k")?;
        Ok([
            world.asks(id, json!({ "action": "presence" }))?,
            world.asks(id, json!({ "action": "presence", "community_uri": "x" }))?,
        ])
    });
    let errors = ["community_uri is required for presence", "Unknown community"];
    assert_eq!(unknown, errors.map(|message| json!({ "type": "error", "message": message })));
}

/// A51, A52: they need a person, as A12 does.
#[test]
fn a51_a52_need_a_person() {
    let replies = alive(|world| {
        let id = world.open_as(Caller::default())?;
        Ok([
            world.asks(id, json!({ "action": "typing", "channel": "k" }))?,
            world.asks(id, json!({ "action": "view", "channel": "k" }))?,
        ])
    });
    let errors = ["DID required for typing", "DID required for view"];
    assert_eq!(replies, errors.map(|message| json!({ "type": "error", "message": message })));
}
