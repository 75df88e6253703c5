//! What the methods of the lexicons show (contract, section 13), each in one round trip: people here, the
//! rest in the files of this folder.
//!
//! Visible is what REST shows, and less where a record bans somebody (N160). Rows become views here; what
//! strangers wrote is read into types on the way (`wire::views`).

use serde::Deserialize;

use super::super::{Fault, Statement, Store, rows};
use crate::domain::rows::PersonRow;
use crate::wire::ids::{AtUri, Did};
use crate::wire::views::{Actor, ActorData, Blob, MuteView, NO_HANDLE, Status, Theme, handle};

/// A person's own profile, as far as views show it and `people` does not have it.
#[derive(Debug, Deserialize)]
struct Own {
    avatar: Option<String>,
    banner: Option<String>,
    sync: bool,
    theme: Option<String>,
    badge: Option<String>,
}

/// A person with their own profile.
#[derive(Debug, Deserialize)]
struct Found {
    did: Did,
    person: Option<PersonRow>,
    own: Option<Own>,
}

/// How others see a person (N160): a person without rows is shown without anything.
fn actor(Found { did, person, own }: Found) -> Actor {
    let person = person.unwrap_or_else(|| PersonRow::new(&did));
    let handle = handle(person.handle.as_deref());
    let name = person.display_name.filter(|name| !name.is_empty());
    let name = name.or_else(|| Some(handle.clone()).filter(|handle| handle != NO_HANDLE));
    let sync_bluesky = own.as_ref().is_some_and(|own| own.sync);
    let shown = own.as_ref().filter(|own| !own.sync);
    let blob = |own: Option<&String>, cid: Option<&String>| match shown {
        Some(_) => own.and_then(|text| Blob::read(text)),
        None => cid.and_then(|cid| Blob::of(cid)),
    };
    let of_own = |field: fn(&Own) -> Option<&String>| own.as_ref().and_then(field);
    let data = ActorData {
        display_name: name.unwrap_or_else(|| did.to_string()),
        avatar: blob(of_own(|own| own.avatar.as_ref()), person.avatar_cid.as_ref()),
        banner: blob(of_own(|own| own.banner.as_ref()), person.banner_cid.as_ref()),
        description: person.description,
        is_bot: person.is_bot,
        online_state: person.state.unwrap_or_else(|| "offline".into()),
        sync_bluesky,
        theme: of_own(|own| own.theme.as_ref()).and_then(|text| Theme::read(text)),
        status: Status { text: person.status_text.unwrap_or_default(), emoji: person.emoji },
        preferred_badge: of_own(|own| own.badge.as_ref()).cloned(),
    };
    Actor { did, handle, data }
}

// What a person's own profile adds, `$o` being its row.
macro_rules! own_json {
    ($o:literal) => {
        concat!(
            "CASE WHEN ",
            $o,
            ".uri IS NULL THEN NULL ELSE json_object('avatar', ",
            $o,
            ".avatar, 'banner', ",
            $o,
            ".banner, 'sync', json(iif(",
            $o,
            ".sync_bluesky, 'true', 'false')), 'theme', ",
            $o,
            ".theme, 'badge', ",
            $o,
            ".preferred_badge) END"
        )
    };
}

// The own profile of the person `$did`, as `$o` (N50).
macro_rules! own_profile {
    ($o:literal, $did:literal) => {
        concat!(
            " LEFT JOIN actor_profiles ",
            $o,
            " ON ",
            $o,
            ".uri = 'at://' || ",
            $did,
            " || '/social.colibri.actor.profile/self' "
        )
    };
}

pub mod account;
pub mod channels;
pub mod communities;
pub mod waiting;

/// A person, known or not (N160d).
#[derive(Debug)]
pub struct Person {
    /// How others see them.
    pub actor: Actor,
    /// Whether the index knows them.
    pub is_known: bool,
    /// Whether nothing of a profile is known, so that they are looked up (I37).
    pub is_blank: bool,
}

/// A person, known or not (N160d).
pub async fn person(store: &impl Store, did: &Did) -> Result<Person, Fault> {
    let statement = Statement::new(PERSON, [did.as_str().into()]);
    let found: Option<Found> = rows(store.read(&[statement]).await?.first())?.pop();
    let found = found.ok_or_else(|| Fault::new("reading a person", "there is no row"))?;
    let person = found.person.as_ref();
    let (is_known, is_blank) =
        (person.is_some(), person.is_none_or(PersonRow::is_blank) && found.own.is_none());
    Ok(Person { actor: actor(found), is_known, is_blank })
}

/// The most mutes that are listed (N51).
const MUTES_MAX: i64 = 1000;

/// What a person muted, newest first (N160n).
pub async fn mutes(store: &impl Store, did: &Did) -> Result<Vec<MuteView>, Fault> {
    let statement = Statement::new(MUTES, [did.as_str().into(), MUTES_MAX.into()]);
    rows(store.read(&[statement]).await?.first())
}

/// A person's mark in a channel.
#[derive(Debug, Deserialize)]
struct Mark {
    uri: AtUri,
    cursor_at: crate::wire::time::Micros,
    cursor_uri: Option<AtUri>,
}

/// Whether somebody wants notifications of everything (N170g); if they say nothing, they do.
pub async fn notification_level(store: &impl Store, did: &Did) -> Result<&'static str, Fault> {
    let statement = Statement::new(LEVEL, [did.as_str().into()]);
    let found: Option<String> = rows(store.read(&[statement]).await?.first())?.pop();
    Ok(if found.as_deref() == Some(NARROW) { NARROW } else { "all" })
}

/// The only word that narrows.
const NARROW: &str = "mentionsAndReplies";

const LEVEL: &str = "SELECT json_quote(level) AS row FROM preferences
    WHERE uri = 'at://' || ?1 || '/social.colibri.actor.notificationPreference/self'";

const PERSON: &str = concat!(
    "SELECT json_object('did', d.did, 'person', ",
    person_json!("p"),
    ", 'own', ",
    own_json!("o"),
    ") AS row FROM (SELECT ?1 AS did) d LEFT JOIN people p ON p.did = d.did",
    own_profile!("o", "d.did")
);

const MUTES: &str = "
    SELECT json_object('uri', uri, 'subject', subject) AS row
    FROM mutes WHERE did = ?1 ORDER BY indexed_at DESC, uri DESC LIMIT ?2";
