//! The browsers that take pushes for people (R67, U28).

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Param, Statement, Store, rows};
use crate::domain::push::BROWSERS_MAX;
use crate::wire::ids::Did;
use crate::wire::time::Micros;
use crate::wire::web_push::Subscription;

/// A browser takes pushes for a person from now on, and for nobody else.
pub async fn subscribe(store: &impl Store, did: &Did, to: &Subscription, now: Micros) -> Result<(), Fault> {
    let Subscription { endpoint, keys } = to;
    let browser = [
        endpoint.as_str().into(),
        did.as_str().into(),
        keys.p256dh.as_str().into(),
        keys.auth.as_str().into(),
        now.sortable().into(),
    ];
    let bound = Statement::new(BOUND, [did.as_str().into(), BROWSERS_MAX.into()]);
    store.write(&[Statement::new(SUBSCRIBE, browser), bound]).await.map(drop)
}

/// A browser takes no pushes for this person any more.
pub async fn unsubscribe(store: &impl Store, did: &Did, endpoint: &str) -> Result<(), Fault> {
    store.write(&[Statement::new(UNSUBSCRIBE, [did.as_str().into(), endpoint.into()])]).await.map(drop)
}

/// No browser takes pushes for this person any more.
pub fn unsubscribe_all(did: &Did) -> Statement {
    Statement::new("DELETE FROM push_subscriptions WHERE did = ?1", [did.as_str().into()])
}

/// The browsers of each of these people; those who have none are left out.
pub async fn of_people(
    store: &impl Store,
    people: &BTreeSet<Did>,
) -> Result<BTreeMap<Did, Vec<Subscription>>, Fault> {
    if people.is_empty() {
        return Ok(BTreeMap::new());
    }
    let asked = Statement::new(OF_PEOPLE, [Param::json(people)]);
    let mut found: BTreeMap<Did, Vec<Subscription>> = BTreeMap::new();
    for (did, browser) in rows::<(Did, Subscription)>(store.read(&[asked]).await?.first())? {
        found.entry(did).or_default().push(browser);
    }
    Ok(found)
}

const SUBSCRIBE: &str = "
    INSERT INTO push_subscriptions (endpoint, did, p256dh, auth, set_at) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (endpoint) DO UPDATE SET did = excluded.did, p256dh = excluded.p256dh, auth = excluded.auth,
        set_at = excluded.set_at";

const UNSUBSCRIBE: &str = "DELETE FROM push_subscriptions WHERE endpoint = ?2 AND did = ?1";

const BOUND: &str = "
    DELETE FROM push_subscriptions WHERE endpoint IN (
        SELECT endpoint FROM push_subscriptions WHERE did = ?1 ORDER BY set_at DESC, endpoint LIMIT -1 OFFSET ?2)";

const OF_PEOPLE: &str = "
    SELECT json_array(s.did, json_object('endpoint', s.endpoint,
        'keys', json_object('p256dh', s.p256dh, 'auth', s.auth))) AS row
    FROM json_each(?1) w CROSS JOIN push_subscriptions s ON s.did = w.value";
