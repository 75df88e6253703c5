//! Single rules of a gateway that random histories meet too rarely to prove: each with the step that it forbids.

use std::collections::BTreeMap;

use colibri_edge::domain::actions::Destination;
use colibri_edge::domain::announcement::{Announcement, Audience, Scope, Topic};
use colibri_edge::domain::gateway::catching_up::{Catching, Replay};
use colibri_edge::domain::gateway::moving::{Answer, Ending, Step as Walk};
use colibri_edge::domain::gateway::restoring::Change;
use colibri_edge::domain::gateway::session::Caller;
use colibri_edge::domain::gateway::settling::{Choice, Chosen, Known};
use colibri_edge::domain::gateway::{Gateway, Input, LOST, Moment};
use colibri_edge::domain::pending::OutboxEvents;
use colibri_edge::domain::person::Stored;
use colibri_edge::domain::replay::Replayed;
use colibri_edge::domain::voice::Place;
use colibri_edge::domain::voice_moderation::{Act, Outcome};
use colibri_edge::domain::voice_right::VoiceRefusal;
use colibri_edge::storage::gateway_people::Publication;
use colibri_edge::wire::ids::AtUri;
use colibri_edge::wire::time::Micros;
use serde_json::json;
use serde_json::value::RawValue;

use super::tasks::place;
use super::{Died, LEASE, PEOPLE, SECOND, State, World, community, did, resync};

const HEARTBEAT: &str = r#"{"action":"heartbeat","event_type":"heartbeat"}"#;

pub(super) fn action(action: &str, of: usize) -> String {
    json!({ "action": action, "event_type": "community", "community_uri": community(of) }).to_string()
}

/// Performs steps in which nothing dies.
pub(super) fn alive<T>(steps: impl FnOnce(&mut World) -> Result<T, Died>) -> T {
    let mut world = World::new();
    match steps(&mut world) {
        Ok(done) => done,
        Err(Died) => panic!("nothing dies here"),
    }
}

impl World {
    /// A person's socket that is subscribed to these communities.
    pub(super) fn listener(&mut self, who: usize, communities: &[usize]) -> Result<i64, Died> {
        let id = self.open(Some(who), 0)?;
        for of in communities {
            self.frame(id, &action("subscribe", *of))?;
            self.work(0)?;
            self.look(0, false)?;
        }
        Ok(id)
    }

    /// A person's next socket, once everything that their former sockets missed is sent.
    fn successor(&mut self, who: usize) -> Result<i64, Died> {
        let id = self.open(Some(who), 0)?;
        self.pass(SECOND)?;
        self.finish()?;
        Ok(id)
    }

    fn core<T>(&mut self, act: impl FnOnce(&mut Gateway, &Moment<'_>) -> T) -> Result<T, Died> {
        self.change(act)
    }

    fn types(&self, id: i64) -> Vec<String> {
        let word = |frame: &serde_json::Value| frame["type"].as_str().unwrap().to_owned();
        self.sockets.borrow()[&id].inbox.iter().map(word).collect()
    }
}

/// Q10c: a connection that fell silent may have been dead since its last heartbeat.
#[test]
fn q10c_a_silent_socket_may_have_missed_what_was_sent_to_it() {
    let (first, second) = alive(|world| {
        let first = world.listener(0, &[0])?;
        world.frame(first, HEARTBEAT)?;
        world.pass(5 * SECOND)?;
        world.deliver(0, 2, 0, false)?;
        world.pass(LEASE)?;
        let second = world.successor(0)?;
        let name = community(0).to_string();
        let closed = world.gone.iter().find(|socket| socket.id == first).unwrap();
        let events = closed.events_of(&name, Micros(i64::MAX));
        Ok((events, world.sockets.borrow()[&second].events_of(&name, Micros(i64::MAX))))
    });
    assert_eq!((first, second), (vec![1, 2], vec![1, 2]));
}

/// V07, V08: a client that closes its socket was there until then, so a device that opened before is no successor.
/// If the connection breaks instead, that device may be the same client.
#[test]
fn v08_a_second_device_takes_over_from_a_broken_connection_only() {
    for hung_up in [true, false] {
        let is_listed = alive(|world| {
            let first = world.open(Some(0), 0)?;
            let (at, voice) = (place(0), "voice_event");
            let join =
                json!({ "action": voice, "community_uri": at.community, "voice_channel_rkey": at.channel });
            world.frame(first, &join.to_string())?;
            world.finish()?;
            world.pass(10 * SECOND)?;
            world.open(Some(0), 0)?;
            world.pass(10 * SECOND)?;
            world.leaves(first, hung_up)?;
            world.pass(10 * SECOND)?;
            world.finish()?;
            Ok(world.listed(&did(PEOPLE[0])).is_some())
        });
        assert_eq!(is_listed, !hung_up, "closed by its client: {hung_up}");
    }
}

/// A38, Q05: more live events than a gateway stores during a replay. The client reads anew.
#[test]
fn a_replay_that_live_events_outrun_ends_with_resync_required() {
    let (few, many) =
        (alive(|world| resumed_during(world, 2_000)), alive(|world| resumed_during(world, 2_001)));
    assert_eq!(few[..2], ["resumed", "event"], "that many events wait");
    assert_eq!(many[..], ["resync_required"], "one more does not");
}

/// What a socket receives whose replay ends after so many live events.
fn resumed_during(world: &mut World, count: u64) -> Result<Vec<String>, Died> {
    let id = world.open(None, 0)?;
    let mut frame: serde_json::Value = serde_json::from_str(&action("subscribe", 0)).unwrap();
    frame["cursor"] = json!(0);
    world.frame(id, &frame.to_string())?;
    world.work(0)?;
    world.look(0, false)?;
    world.deliver(0, count, 0, false)?;
    let before = world.types(id).len();
    let mut replay = Replay::new(id, community(0), 0, Catching::Asked);
    let nothing = Replayed::Page { events: Vec::new(), through: 0, last: 0, members_only: false };
    world.core(|gateway, _| gateway.replayed(&mut replay, nothing))?;
    Ok(world.types(id).split_off(before))
}

/// E15, Q01: what a gateway publishes arrives again if its reply is lost, and is sent once.
#[test]
fn a_publication_that_arrives_again_is_not_sent_again() {
    let states = alive(|world| {
        let watcher = world.listener(1, &[0])?;
        let text = r#"{"type":"user_status_changed","state":"dnd"}"#.to_owned();
        let event = RawValue::from_string(text).unwrap();
        let (communities, alice) = (vec![community(0)], did(PEOPLE[0]));
        let closed = Vec::new();
        let publication = Publication {
            id: 7,
            did: alice,
            communities,
            closed,
            pending: Vec::new(),
            status: true,
            live: true,
            event,
        };
        for had in [6, 7] {
            let (from, publications) = ("gateway-1".to_owned(), vec![publication.clone()]);
            let readers = BTreeMap::new();
            world.on(Input::Published { from, publications, had, readers })?;
        }
        Ok(world.types(watcher).iter().filter(|of| *of == "user_status_changed").count())
    });
    assert_eq!(states, 1);
}

/// Q11: a key that the client unsubscribes in the first half second is not restored.
#[test]
fn q11_what_a_client_declines_is_not_restored() {
    let keys = alive(|world| {
        let first = world.listener(0, &[0, 1])?;
        world.leaves(first, true)?;
        let second = world.open(Some(0), 0)?;
        world.frame(second, &action("unsubscribe", 0))?;
        world.pass(SECOND)?;
        world.finish()?;
        world.core(|gateway, _| gateway.open[&second].subscriptions.community.keys.clone())
    });
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), [community(1).to_string()]);
}

/// Q12, Q13: a position that the log does not reach back to is lost, and only changes after the last sign of life are
/// sent.
#[test]
fn q12_q13_what_a_restore_owes() {
    alive(|world| {
        let first = world.listener(0, &[0])?;
        world.deliver(0, 1, 0, false)?;
        world.evict();
        world.pass(10 * SECOND)?;
        world.leaves(first, false)?;
        let second = world.open(Some(0), 0)?;
        world.pass(SECOND)?;
        for _ in 0..2 {
            world.restore(0, false)?;
        }
        world.core(|gateway, _| {
            let asked: Vec<_> = gateway.unlocated(second).into_iter().collect();
            let [(uri, at)] = asked.as_slice() else {
                panic!("the memory of when events came is lost: {asked:?}")
            };
            gateway.located(second, &[(uri.clone(), *at, None)]);
            assert_eq!(gateway.next_owed(second), Some((community(0), LOST)), "Q12");
            let since = gateway.missed_since(second).unwrap();
            let change = |at: Micros| Change {
                did: did("carol"),
                status_at: at,
                profile_at: Micros(0),
                communities: vec![community(0)],
            };
            assert!(gateway.missed_people(second, &[change(Micros(since.0 - 1))]).is_empty(), "Q13: before");
            assert_eq!(gateway.missed_people(second, &[change(since)]).len(), 1, "Q13: from then on");
        })
    });
}

/// What a person chose, and what others see.
type States = (Option<State>, Option<State>);

/// One round with one choice of alice, whose account is active or not: what is stored, and the result.
fn chosen_once(shows_alone: bool, active: bool) -> (Vec<States>, Vec<Chosen>) {
    alive(|world| {
        world.open(Some(0), 0)?;
        let alice = did(PEOPLE[0]);
        let stored = Stored { preferred: Some(State::Online), current: Some(State::Away) };
        let known = Known {
            did: alice.clone(),
            stored,
            exists: true,
            active,
            communities: Vec::new(),
            closed: Vec::new(),
            pending: Vec::new(),
            shown: Default::default(),
        };
        let (done, _) = world.with(|gateway, moment| {
            let choice = Choice { did: alice, state: State::Dnd, shows_alone };
            let mut round = gateway.round(Vec::new(), vec![choice]).unwrap();
            gateway.known(&mut round, vec![known]);
            gateway.load_round(&mut round, &BTreeMap::new(), moment.now);
            let states = round.states().iter().map(|state| (state.preferred, state.current)).collect();
            (states, gateway.settled(round, moment.now))
        })?;
        Ok(done)
    })
}

/// P13: the sockets of an account that is not active are anonymous. REST may choose for it, and others see nothing of
/// that.
#[test]
fn p13_who_may_choose_for_an_account_that_is_not_active() {
    let dnd = Some(State::Dnd);
    assert_eq!(chosen_once(false, true), (vec![(dnd, dnd)], vec![Chosen::Stored]));
    let (states, result) = chosen_once(false, false);
    assert!(states.iter().all(|(preferred, _)| *preferred != dnd), "{states:?}");
    assert_eq!(result, [Chosen::Anonymous]);
    let (states, result) = chosen_once(true, false);
    assert!(states.iter().all(|(preferred, current)| *preferred == dnd && *current != dnd), "{states:?}");
    assert_eq!(result, [Chosen::Stored]);
}

/// P01: the gateway stores what visitors choose, and nothing for people with a row in the database.
#[test]
fn p01_choices_are_stored_here_for_visitors_only() {
    let chosen = alive(|world| {
        for who in 0..PEOPLE.len() {
            let id = world.open(Some(who), 0)?;
            world.frame(id, r#"{"action":"set_state","state":"dnd"}"#)?;
        }
        world.finish()?;
        let bob = "SELECT count(*) FROM chosen WHERE did = 'did:plc:bob'";
        Ok((world.count("SELECT count(*) FROM chosen"), world.count(bob)))
    });
    assert_eq!(chosen, (1, 1), "alice has a row, bob is a visitor");
}

/// V04: a right that the community calls stale is read again, but not for ever. V06: a person who joined again
/// meanwhile is not removed.
#[test]
fn v04_v06_how_a_move_goes_on_and_ends() {
    alive(|world| {
        let id = world.open(Some(0), 0)?;
        let (alice, at) = (did(PEOPLE[0]), place(0));
        let destination = Destination::In(at.community.to_string(), at.channel.to_string());
        world.core(|gateway, moment| {
            let (mut moving, mut step) = gateway.begin_move(id, &alice, &destination);
            let mut judged = 0;
            while let Walk::Judge(_) = step {
                judged += 1;
                step = gateway.go_on(&mut moving, Answer::Judged(Ok(())), moment.now);
                assert_eq!(step, Walk::Join(at.clone()));
                step = gateway.go_on(&mut moving, Answer::Stale, moment.now);
            }
            assert_eq!((judged, step), (20, Walk::Over(Ending::Failed)), "V04");
            let (mut moving, _) = gateway.begin_move(id, &alice, &destination);
            gateway.go_on(&mut moving, Answer::Judged(Ok(())), moment.now);
            assert_eq!(gateway.go_on(&mut moving, Answer::In, moment.now), Walk::Over(Ending::Done));
            assert!(gateway.begin_end(&alice).is_none(), "V06: nothing ended their time in voice");
        })
    });
}

/// U31: the device from which a person does not call any more learns that; no other, and not for a repeated `join`.
#[test]
fn u31_the_first_device_is_told_that_the_second_one_calls() {
    let told = alive(|world| {
        let (first, second) = (world.open(Some(0), 0)?, world.open(Some(0), 0)?);
        let (alice, at) = (did(PEOPLE[0]), place(0));
        let destination = Destination::In(at.community.to_string(), at.channel.to_string());
        for id in [first, first, second, second] {
            world.change(|gateway, moment| {
                let (mut moving, _) = gateway.begin_move(id, &alice, &destination);
                gateway.go_on(&mut moving, Answer::Judged(Ok(())), moment.now);
                gateway.go_on(&mut moving, Answer::In, moment.now);
            })?;
        }
        let inboxes = world.sockets.borrow();
        let of = |id: i64| inboxes[&id].inbox.iter().filter(|frame| frame["type"] == "superseded").cloned();
        Ok([first, second].map(|id| of(id).collect::<Vec<_>>()))
    });
    let at = place(0);
    let expected =
        json!({ "type": "superseded", "community_uri": at.community, "channel_rkey": at.channel.rkey() });
    assert_eq!(told, [vec![expected], vec![]]);
}

/// U32: only who is in the channel is acted on; the socket that keeps them there is told, and a move ends in the other
/// channel, or says why not.
#[test]
fn u32_what_a_moderator_does_to_somebody_in_voice() {
    let told = alive(|world| {
        let (first, second) = (world.open(Some(0), 0)?, world.open(Some(0), 0)?);
        let (alice, at) = (did(PEOPLE[0]), place(0));
        let mute = Act::Mute;
        let other = AtUri::parse(&format!("{}w", at.channel.as_str().strip_suffix('v').unwrap())).unwrap();
        let to = Place { channel: other, ..at.clone() };
        let destination = Destination::In(at.community.to_string(), at.channel.to_string());
        world
            .core(|gateway, _| assert!(gateway.begin_moderated(&alice, &at, &mute).is_none(), "not there"))?;
        world.change(|gateway, moment| {
            let (mut moving, _) = gateway.begin_move(second, &alice, &destination);
            gateway.go_on(&mut moving, Answer::Judged(Ok(())), moment.now);
            gateway.go_on(&mut moving, Answer::In, moment.now);
        })?;
        world.change(|gateway, moment| {
            assert!(gateway.begin_moderated(&alice, &to, &mute).is_none(), "in another channel");
            let (moving, step) = gateway.begin_moderated(&alice, &at, &mute).unwrap();
            assert_eq!((moving.session(), step), (second, Walk::Over(Ending::Done)));
            let act = Act::Move(to.channel.clone());
            let (mut moving, step) = gateway.begin_moderated(&alice, &at, &act).unwrap();
            assert!(matches!(step, Walk::Judge(_)));
            let refused = Answer::Judged(Err(VoiceRefusal::NotAllowed));
            let Walk::Over(ending) = gateway.go_on(&mut moving, refused, moment.now) else {
                panic!("refused")
            };
            assert_eq!(gateway.end_moderated(second, &at, &act, ending), Some(Outcome::MayNot));
            let (_, step) = gateway.begin_moderated(&alice, &at, &Act::Disconnect).unwrap();
            assert_eq!(step, Walk::Leave(at.clone()));
        })?;
        let inboxes = world.sockets.borrow();
        let of =
            |id: i64| inboxes[&id].inbox.iter().filter(|frame| frame["type"] == "voice_moderated").cloned();
        Ok([first, second].map(|id| of(id).collect::<Vec<_>>()))
    });
    let at = place(0);
    let frame = |action: &str| {
        json!({ "type": "voice_moderated", "community_uri": at.community, "channel_rkey": at.channel.rkey(),
            "action": action })
    };
    assert_eq!(told, [vec![], vec![frame("mute"), frame("disconnect")]], "a refused move is told to nobody");
}

/// Q05, Q10: a replay that the client asked for and did not get is lost with its socket: the next one reads anew.
#[test]
fn q10_a_resume_that_was_cut_off_is_read_anew() {
    let is_told = alive(|world| {
        let first = world.listener(0, &[0])?;
        world.deliver(0, 2, 0, false)?;
        let mut frame: serde_json::Value = serde_json::from_str(&action("subscribe", 0)).unwrap();
        frame["cursor"] = json!(0);
        world.frame(first, &frame.to_string())?;
        world.work(0)?;
        world.look(0, false)?;
        world.leaves(first, true)?;
        world.replays.clear();
        let second = world.successor(0)?;
        let name = community(0).to_string();
        Ok(world.sockets.borrow()[&second].inbox.iter().any(|frame| resync(frame) == Some(&name)))
    });
    assert!(is_told);
}

/// Q10c: the connection of a restored socket breaks in the middle, after a silence. Its successor gets everything.
#[test]
fn q10c_a_restore_that_was_cut_off_begins_again() {
    let events = alive(|world| {
        let first = world.listener(0, &[0])?;
        world.leaves(first, true)?;
        world.deliver(0, 5, 0, false)?;
        let second = world.open(Some(0), 0)?;
        world.pass(SECOND)?;
        for _ in 0..4 {
            world.restore(0, false)?;
        }
        world.page(0, false)?;
        let name = community(0).to_string();
        assert_eq!(world.sockets.borrow()[&second].events_of(&name, Micros(i64::MAX)), [1, 2, 3]);
        world.pass(10 * SECOND)?;
        world.leaves(second, false)?;
        world.replays.clear();
        let third = world.successor(0)?;
        Ok(world.sockets.borrow()[&third].events_of(&name, Micros(i64::MAX)))
    });
    assert_eq!(events, [1, 2, 3, 4, 5]);
}

/// Q10: a socket closed before its gateway was attached to the community, so it missed the whole log.
#[test]
fn q10_the_log_of_a_community_that_was_unknown_comes_whole() {
    let events = alive(|world| {
        let first = world.open(Some(0), 0)?;
        world.number(community(0).as_str(), 2);
        world.frame(first, &action("subscribe", 0))?;
        world.work(0)?;
        world.leaves(first, true)?;
        world.looking.clear();
        let second = world.successor(0)?;
        Ok(world.sockets.borrow()[&second].events_of(community(0).as_str(), Micros(i64::MAX)))
    });
    assert_eq!(events, [1, 2]);
}

/// Q11: a client that resumes a community itself ends the restore of it, also in the middle.
#[test]
fn q11_a_resume_of_the_client_ends_the_restore() {
    let received = alive(|world| {
        let first = world.listener(0, &[0])?;
        world.leaves(first, true)?;
        world.deliver(0, 5, 0, false)?;
        let second = world.open(Some(0), 0)?;
        world.pass(SECOND)?;
        for _ in 0..4 {
            world.restore(0, false)?;
        }
        let mut frame: serde_json::Value = serde_json::from_str(&action("subscribe", 0)).unwrap();
        frame["cursor"] = json!(5);
        world.frame(second, &frame.to_string())?;
        world.work(0)?;
        while !world.replays.is_empty() {
            world.page(0, false)?;
        }
        let name = community(0).to_string();
        let waits = world.core(|gateway, _| gateway.open[&second].resuming.contains_key(&name))?;
        assert!(waits, "live events still wait for the replay that the client asked for");
        Ok(world.sockets.borrow()[&second].events_of(&name, Micros(i64::MAX)))
    });
    assert!(received.is_empty(), "{received:?}");
}

/// X13: the first proof of a person closes the sockets that only claimed to be theirs. I56: an erasure closes all.
#[test]
fn x13_i56_what_closes_the_sockets_of_a_person() {
    let alice = did(PEOPLE[0]);
    let caller =
        |present: bool| Caller { did: Some(did(PEOPLE[0])), present, proven: !present, ..Caller::default() };
    alive(|world| {
        let (claimed, proven) = (world.open_as(caller(true))?, world.open_as(caller(false))?);
        world.on(Input::Proved(alice.clone()))?;
        assert!(!world.sockets.borrow().contains_key(&claimed), "X13");
        assert!(world.sockets.borrow().contains_key(&proven), "X13: it is theirs");
        world.on(Input::Erased { did: alice.clone(), last: false })?;
        assert!(world.sockets.borrow().is_empty(), "I56");
        Ok(())
    });
}

/// P12, P13: an outbox row that arrives twice counts once; the event of an account changes presence.
#[test]
fn p12_p13_rows_about_people() {
    let row = |id: i64, topic: Topic| {
        let event = RawValue::from_string(r#"{"type":"user_profile_updated"}"#.to_owned()).unwrap();
        let audience = Audience::Watchers(did(PEOPLE[0]));
        OutboxEvents {
            id,
            events: vec![Announcement { scope: Scope::People, audience, topic, live: true, event }],
        }
    };
    alive(|world| {
        world.open(Some(0), 0)?;
        for _ in 0..2 {
            world.on(Input::Records(vec![row(1, Topic::Other)]))?;
        }
        assert_eq!(world.count("SELECT count(*) FROM unsaid"), 1, "P12");
        let is_active = |world: &mut World| {
            world.core(|gateway, _| gateway.present(&did(PEOPLE[0])).unwrap().person.presence.is_active())
        };
        assert!(is_active(world)?);
        world.on(Input::Records(vec![row(2, Topic::Account(false))]))?;
        assert!(!is_active(world)?, "P13");
        Ok(())
    });
}
