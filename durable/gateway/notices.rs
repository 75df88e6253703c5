//! What notifications say on the sockets of their person (U20). It is read when they are delivered, so a socket shows
//! what R50 shows then: nothing of hidden messages, to people who may not read, or of what is muted; and what the rhythm
//! of their person lets through (U25, U26).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::value::RawValue;

use super::object::{GatewayObject, Outcome};
use crate::domain::announcement::{Audience, Topic};
use crate::domain::notifications::announced;
use crate::domain::pending::OutboxEvents;
use crate::domain::urgency::Urgency;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::platform::log;
use crate::storage::notifications as marks;
use crate::storage::reads::notifications::{self, Notice};
use crate::wire::events::{Personal, to_person};
use crate::wire::ids::{AtUri, Did};
use crate::wire::subscribe_events::NewestEvent;

impl GatewayObject {
    /// Writes the notifications of people who are here into their events. The others say nothing.
    pub(super) async fn read_notices(&self, rows: &mut [OutboxEvents]) -> Outcome<()> {
        let had = self.with(|gateway| Ok(gateway.has_records_through()))?;
        let mut wanted: BTreeMap<Did, Vec<(i64, AtUri)>> = BTreeMap::new();
        for event in rows.iter().filter(|row| row.id > had).flat_map(|row| &row.events) {
            match (&event.audience, &event.topic) {
                (_, Topic::Notification(..)) => {}
                (Audience::Private(did), _) => self.reconsider_digest(did)?, // they may have read something
                _ => {}
            }
        }
        for (did, id, message) in announced(rows, had) {
            wanted.entry(did.clone()).or_default().push((id, message.clone()));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let here = self.with(|gateway| Ok(gateway.proven_people()))?;
        let db = D1::of(&self.env)?;
        let browsers = self.browsers_of(&db, &wanted.keys().cloned().collect()).await?;
        wanted.retain(|did, _| here.contains(did) || browsers.contains_key(did));
        if wanted.is_empty() {
            return Ok(());
        }
        let mut found = notifications::these(&db, &wanted).await?;
        self.see_on_screen(&db, &mut found).await?;
        // The same rows may have been delivered again meanwhile: what was pushed then is not pushed twice.
        let had = self.with(|gateway| Ok(gateway.has_records_through()))?;
        let news: BTreeSet<_> = announced(rows, had).map(|(did, id, _)| (did.clone(), id)).collect();
        found.retain(|(did, notice)| news.contains(&(did.clone(), notice.id)));
        let loud =
            |(did, notice): (Did, Notice)| Some((did, Notice { urgency: notice.sent_as()?, ..notice }));
        let found: Vec<(Did, Notice)> = found.into_iter().filter_map(loud).collect();
        let is_quiet = |(_, notice): &&(Did, Notice)| notice.urgency == Urgency::Quiet;
        self.expect_digests(found.iter().filter(is_quiet).map(|(did, _)| did))?;
        for (did, notice) in found.iter().filter(|(_, notice)| notice.urgency == Urgency::Ping) {
            self.push_ping(did, notice, browsers.get(did).map_or(&[], Vec::as_slice))?;
        }
        let key = |did: &Did, notice: &Notice| (did.clone(), notice.id, notice.message.uri.clone());
        let found: BTreeMap<_, Notice> =
            found.into_iter().map(|(did, notice)| (key(&did, &notice), notice)).collect();
        for event in rows.iter_mut().flat_map(|row| &mut row.events) {
            if let (Audience::Private(did), Topic::Notification(message, id)) =
                (&event.audience, &event.topic)
                && let Some(notice) = found.get(&(did.clone(), *id, message.clone()))
                && let Ok(text) = self.written(did, notice)
            {
                event.event = text;
            }
        }
        Ok(())
    }

    /// U23: of what stands on a screen of its person, nobody is notified: they see it.
    async fn see_on_screen(&self, db: &D1, found: &mut Vec<(Did, Notice)>) -> Outcome<()> {
        let (seen, rest): (Vec<_>, Vec<_>) = self.with(|gateway| {
            Ok(std::mem::take(found)
                .into_iter()
                .partition(|(did, notice)| gateway.sees(did, &notice.message.channel_uri)))
        })?;
        *found = rest;
        let messages = seen.iter().map(|(did, notice)| (did, &notice.message.uri));
        if let Err(fault) = marks::see_messages(db, messages, now()).await {
            log::fault(&fault, "people are notified of what stands on their screens");
            found.extend(seen);
        }
        Ok(())
    }

    fn written(&self, did: &Did, notice: &Notice) -> Result<Box<RawValue>, serde_json::Error> {
        let newest = NewestEvent::NotificationEvent(Box::new(notice.clone().view(did)));
        let march = Personal::Notification(Box::new(notice.clone().body(&self.cdn)));
        to_person(Some(&newest), Some(&march))
    }
}
