//! Which voice rooms a community notifies when rights may have ended, through the real SQL.

use colibri_edge::domain::voice_right::Concern;
use colibri_edge::storage::bound_rooms::{self, Due};
use colibri_edge::storage::{Statement, Store, rows};
use colibri_edge::wire::ids::AtUri;
use futures::executor::block_on;

use super::sqlite::Sqlite;

fn room(rkey: &str) -> AtUri {
    AtUri::parse(&format!("at://did:plc:alice/social.colibri.channel/{rkey}")).unwrap()
}

fn object() -> Sqlite {
    let store = Sqlite::new();
    bound_rooms::SCHEMA.iter().for_each(|sql| store.exec(sql));
    store
}

fn run(store: &Sqlite, statements: Vec<Statement>) {
    block_on(store.commit(statements)).unwrap();
}

fn due(store: &Sqlite) -> Vec<Due> {
    rows(block_on(store.read(&[bound_rooms::due()])).unwrap().first()).unwrap()
}

/// The known rooms, with the number of their requests.
fn known(store: &Sqlite) -> Vec<String> {
    store.look("SELECT replace(name, 'at://did:plc:alice/social.colibri.channel/', ''), bindings FROM rooms ORDER BY 1")
}

#[test]
fn s20_a_room_is_notified_until_it_is_empty() {
    let store = object();
    run(&store, vec![bound_rooms::bind(&room("v")), bound_rooms::bind(&room("w"))]);
    assert_eq!(due(&store), []);
    run(&store, vec![bound_rooms::concern(&Concern::Community, 7)]);
    let told = due(&store);
    assert_eq!(
        told.iter().map(|due| (due.name.clone(), due.due)).collect::<Vec<_>>(),
        [(room("v"), 7), (room("w"), 7)]
    );
    run(&store, bound_rooms::looked(&told[0], true));
    run(&store, bound_rooms::looked(&told[1], false));
    assert_eq!((due(&store), known(&store)), (vec![], vec!["v|1".to_owned()]), "w is empty, and forgotten");
}

#[test]
fn s20_a_late_answer_undoes_neither_a_new_binding_nor_a_new_concern() {
    let store = object();
    run(&store, vec![bound_rooms::bind(&room("v")), bound_rooms::concern(&Concern::Community, 7)]);
    let asked = due(&store);
    run(&store, vec![bound_rooms::bind(&room("v"))]);
    run(&store, bound_rooms::looked(&asked[0], false));
    assert_eq!(known(&store), ["v|2"], "somebody came while the room said that nobody is there");
    run(&store, vec![bound_rooms::concern(&Concern::Community, 8)]);
    let asked = due(&store);
    run(&store, vec![bound_rooms::concern(&Concern::Community, 9)]);
    run(&store, bound_rooms::looked(&asked[0], false));
    assert_eq!(due(&store).iter().map(|due| due.due).collect::<Vec<_>>(), [9], "it must look once more");
}

#[test]
fn s20_a_new_voice_channel_concerns_a_room_that_never_asked() {
    let store = object();
    let of = |fresh| Concern::Channel { uri: room("v"), fresh };
    run(&store, vec![bound_rooms::concern(&of(false), 3)]);
    assert_eq!(due(&store), [], "a channel that is no voice channel concerns only a room that asked");
    run(&store, vec![bound_rooms::concern(&of(true), 4)]);
    let asked = due(&store);
    assert_eq!(asked.len(), 1);
    run(&store, bound_rooms::looked(&asked[0], false));
    assert_eq!(known(&store), Vec::<String>::new());
}
