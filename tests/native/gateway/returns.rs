//! Histories that went wrong once, or that the random ones meet too rarely: replays that break, and restores whose
//! own socket is replaced.

use colibri_edge::wire::time::Micros;
use serde_json::json;

use super::{Died, PEOPLE, SECOND, State, Step, World, community, did, event, live};

/// A socket subscribed after its object had slept, and closed while the subscription was looked up. The
/// next socket has another number, so it does not get the reply.
#[test]
fn late_work_for_a_closed_socket_reaches_no_other_one() {
    use Step::{Evict, HangUp, Look, Open, Resume, Work};
    let steps = [Open(None, 0), Evict, Resume(0, 0, 0), Work(0), HangUp(0), Open(None, 0), Look(0, false)];
    let world = live(&steps);
    assert!(world.sockets.borrow().values().all(|socket| socket.inbox.is_empty()), "it asked for nothing");
}

/// A38: the second page of a replay cannot be read. The client reads anew, and what the first page brought and
/// was delivered meanwhile comes no second time.
#[test]
fn a38_a_replay_that_breaks_repeats_nothing() {
    use Step::{Deliver, Look, Open, Page, Publish, Resume, Work};
    let begun = [Open(None, 0), Resume(0, 0, 0), Work(0), Look(0, false), Publish(0, 1)];
    let broken = [Deliver(0, 3, 0, false), Page(0, false), Page(0, true)];
    let world = live(&[begun.as_slice(), &broken].concat());
    let sockets = world.sockets.borrow();
    let inbox = &sockets.values().next().unwrap().inbox;
    let seqs: Vec<u64> = inbox.iter().filter_map(|frame| frame["seq"].as_u64()).collect();
    assert_eq!(seqs, [1, 2, 3, 4], "{inbox:?}");
}

/// Q05: a client resumes with a cursor beyond the log. The log grows past that cursor, and then its first page cannot
/// be read. The cursor belongs to another log, so the client gets all events that arrived meanwhile.
#[test]
fn q05_a_cursor_of_another_log_withholds_nothing() {
    use Step::{Deliver, Look, Open, Page, Resume, Work};
    let asked =
        [Open(None, 0), Resume(0, 0, 0), Open(None, 0), Resume(1, 0, 1), Work(0), Look(0, false), Work(0)];
    let failed = [Deliver(0, 1, 0, false), Look(0, false), Page(0, false), Page(0, true)];
    let world = live(&[asked.as_slice(), &failed].concat());
    let sockets = world.sockets.borrow();
    let inbox = &sockets.values().next_back().unwrap().inbox;
    let last: Vec<_> =
        inbox.iter().rev().take(2).map(|frame| (frame["type"].clone(), event(frame))).collect();
    let event_one = Some((community(0).to_string(), 1));
    assert_eq!(last, [(json!("event"), event_one), (json!("resync_required"), None)], "{inbox:?}");
}

/// The object attached to a community and died before it stored that. The community repeats only events from after
/// the attachment, so a socket that subscribes later gets no earlier ones.
#[test]
fn a_community_repeats_nothing_from_before_it_was_asked_to_deliver() {
    use Step::{Crash, Deliver, Look, Open, Publish, Resume, Subscribe, Work};
    let died = [Publish(0, 1), Open(None, 0), Resume(0, 0, 0), Work(0), Crash(0), Look(0, false)];
    let again = [Open(None, 0), Open(None, 0), Subscribe(0, 0), Work(0), Deliver(0, 0, 1, false)];
    let world = live(&[died.as_slice(), &again].concat());
    assert!(
        world.sockets.borrow().values().all(|socket| socket.inbox.iter().all(|frame| event(frame).is_none()))
    );
}

/// P11: a frame that waited for its turn counts from when it came, also after the object lost its memory.
#[test]
fn p11_a_frame_that_waits_extends_no_lease() {
    use Step::{Beat, Evict, Finish, Open, Pass, Resume};
    live(&[Open(Some(0), 0), Resume(0, 0, 0), Beat(0), Resume(0, 0, 0), Pass(3 * SECOND), Finish, Evict]);
}

/// How the connection of a restored socket ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It breaks after a silence.
    Silent,
    /// Its client sends a heartbeat, and then it breaks after a silence.
    Alive,
    /// Its client closes it.
    HungUp,
    /// The object dies before the restore is over.
    Died,
}

/// Bob watches a community and its member alice, and closes his socket. Then the community sends two events, and alice
/// changes her state. Bob's second socket is restored and ends as `end` says; then his third one is restored. Returns
/// what each of the two received: the events, and whether alice's change.
fn restored_twice(end: End) -> Result<[(Vec<u64>, bool); 2], Died> {
    let (mut world, name) = (World::new(), community(0).to_string());
    let first = world.open(Some(1), 0)?;
    let text = json!({ "action": "subscribe", "event_type": "community", "community_uri": name }).to_string();
    world.frame(first, &text)?;
    world.work(0)?;
    world.look(0, false)?;
    world.deliver(0, 2, 0, false)?;
    world.pass(10 * SECOND)?;
    world.leaves(first, true)?;
    world.deliver(0, 2, 0, false)?;
    world.pass(10 * SECOND)?;
    world.choose(None, did(PEOPLE[0]), State::Dnd);
    world.finish()?;
    let second = world.open(Some(1), 0)?;
    world.pass(SECOND)?;
    if end == End::Died {
        // It gets the subscriptions and their positions, but no events yet.
        (0..3).try_for_each(|_| world.restore(0, false))?;
        world.crash();
    } else {
        world.finish()?;
        world.pass(SECOND)?;
        if end == End::Alive {
            world.frame(second, r#"{"action":"heartbeat","event_type":"heartbeat"}"#)?;
        }
        world.pass(10 * SECOND)?;
        world.leaves(second, end == End::HungUp)?;
    }
    let third = world.open(Some(1), 0)?;
    world.pass(SECOND)?;
    world.finish()?;
    world.check();
    let received = |id: i64| {
        let sockets = world.sockets.borrow();
        let socket = sockets.get(&id).or_else(|| world.gone.iter().find(|socket| socket.id == id)).unwrap();
        let is_change = |frame: &serde_json::Value| frame["state"] == "dnd";
        (socket.events_of(&name, Micros(i64::MAX)), socket.inbox.iter().any(is_change))
    };
    Ok([received(second), received(third)])
}

/// Q10c, Q13: frames that a restore sent to a connection that was dead already come again on the next one.
#[test]
fn q10c_a_restore_that_nobody_received_is_repeated() {
    let Ok([second, third]) = restored_twice(End::Silent) else { panic!("nothing dies") };
    assert_eq!(second, (vec![3, 4], true), "the restore sent them");
    assert_eq!(third, (vec![3, 4], true), "and nothing shows that they arrived");
}

/// Q10c: nothing comes twice that surely arrived.
#[test]
fn q10c_a_restore_that_was_received_is_not_repeated() {
    for end in [End::Alive, End::HungUp] {
        let Ok([second, third]) = restored_twice(end) else { panic!("nothing dies") };
        assert_eq!((second, third), ((vec![3, 4], true), (Vec::new(), false)));
    }
}

/// Q10: what a restore still owes when its object dies comes on the next socket.
#[test]
fn q10_a_restore_that_died_is_continued_by_the_next_socket() {
    let Ok([second, third]) = restored_twice(End::Died) else { panic!("the end is the only death") };
    assert_eq!(second, (Vec::new(), false));
    assert_eq!(third, (vec![3, 4], true));
}
