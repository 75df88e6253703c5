//! Which of a gateway's people may read a community for members only (X43).
//!
//! The object asks D1 for each delivery, each page of a replay and each subscription, and caches nothing: what
//! is sent after a right ended in D1 does not rely on that right. Deliveries of a busy community come many at
//! a time, so this costs a few queries a second.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{GatewayObject, Outcome};
use crate::domain::actions::Subscribe;
use crate::domain::announcement::{Audience, Numbered};
use crate::domain::gateway::publication::Publication;
use crate::domain::gateway::{Gateway as Core, Input};
use crate::domain::members_only::{Readers, may_read};
use crate::durable::gateway::commands::ShowToApprovers;
use crate::durable::replies::Done;
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::storage::members_only::{self, BEHIND_MAX};
use crate::storage::reads::lexicons::waiting;
use crate::wire::ids::{AtUri, Did};

/// How many times D1 is asked because somebody subscribed meanwhile. After that, anybody who was not asked about
/// counts as no reader, gets `subscription_ended`, and may subscribe again. Otherwise a crowd that comes and
/// goes could delay the others' events.
const TRIES: u32 = 8;

impl GatewayObject {
    /// Those of the people here who named the community and may read it.
    pub(super) async fn readers(&self, community: &AtUri) -> Outcome<Readers> {
        self.readers_among(community, |gateway| gateway.askers(community.as_str())).await
    }

    /// The people here who may admit others to the community, if some of these events are for them (N162). They are
    /// read for each such event, as who may read a community is.
    pub(super) async fn approvers(&self, community: &AtUri, events: &[Numbered]) -> Outcome<BTreeSet<Did>> {
        if !events.iter().any(|event| event.audience == Audience::Approvers) {
            return Ok(BTreeSet::new());
        }
        self.approvers_here(community).await
    }

    /// An application to a community was dismissed, or waits again (N168).
    pub(super) async fn show_to_approvers(&self, command: ShowToApprovers) -> Outcome<Done> {
        let ShowToApprovers { community, event } = command;
        for did in self.approvers_here(&community).await? {
            self.on(Input::Shown(did, event.clone()))?;
        }
        Ok(Done {})
    }

    async fn approvers_here(&self, community: &AtUri) -> Outcome<BTreeSet<Did>> {
        let people = self.with(|gateway| Ok(gateway.watchers(community.as_str())))?;
        if people.is_empty() {
            return Ok(BTreeSet::new());
        }
        let people: Vec<Did> = people.into_iter().collect();
        Ok(waiting::approvers(&D1::of(&self.env)?, community, &people, now()).await?.into_iter().collect())
    }

    /// Asks about the people that `among` finds, until nobody came meanwhile.
    async fn readers_among(
        &self,
        community: &AtUri,
        among: impl Fn(&Core) -> BTreeSet<Did>,
    ) -> Outcome<Readers> {
        let (mut asked, mut readers) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..TRIES {
            let people = self.with(|gateway| Ok(among(gateway)))?;
            let new: Vec<Did> = people.difference(&asked).cloned().collect();
            if new.is_empty() {
                return Ok(Readers::Only(readers));
            }
            let places = members_only::places(&D1::of(&self.env)?, community, &new, now()).await?;
            readers
                .extend(places.into_iter().filter(|place| may_read(community, place)).map(|place| place.did));
            asked.extend(new);
        }
        Ok(Readers::Only(readers))
    }

    /// For each community for members only through which people are watched, who may read it.
    pub(super) async fn readers_of(&self, publications: &[Publication]) -> Outcome<BTreeMap<AtUri, Readers>> {
        let closed: BTreeSet<&AtUri> =
            publications.iter().flat_map(|publication| &publication.closed).collect();
        let mut readers = BTreeMap::new();
        for community in closed {
            let to = self.readers_among(community, |gateway| gateway.watchers(community.as_str())).await?;
            readers.insert(community.clone(), to);
        }
        Ok(readers)
    }

    /// Whether the person of a session proved who they are, and may read the community.
    pub(super) async fn is_reader(&self, id: i64, community: &AtUri) -> Outcome<bool> {
        let Some(did) = self.with(|gateway| Ok(gateway.proven_by(id)))? else { return Ok(false) };
        let places = members_only::places(&D1::of(&self.env)?, community, &[did], now()).await?;
        Ok(places.iter().any(|place| may_read(community, place)))
    }

    /// For each subscription, whether everything that it may mean is for members only, and this session may read
    /// none of it. A name with too many meanings to check is accepted here: each delivery checks again.
    pub(super) async fn refused(&self, id: i64, all: &[Subscribe]) -> Outcome<Vec<bool>> {
        let keys: Vec<_> = all.iter().map(|one| (one.kind, one.key.as_deref())).collect();
        let behind = members_only::behind(&D1::of(&self.env)?, &keys).await?;
        let mut known: BTreeMap<&AtUri, bool> = BTreeMap::new();
        let mut refused = Vec::new();
        for means in &behind {
            let is_open = means.iter().any(|(_, is_closed)| !is_closed);
            let mut is_refused = !means.is_empty() && means.len() <= BEHIND_MAX && !is_open;
            for (community, _) in means {
                if !is_refused {
                    break;
                }
                let may = match known.get(community) {
                    Some(may) => *may,
                    None => self.is_reader(id, community).await?,
                };
                known.insert(community, may);
                is_refused = !may;
            }
            refused.push(is_refused);
        }
        Ok(refused)
    }
}
