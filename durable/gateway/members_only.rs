//! Who of a gateway's people may hear a community for members only (X43).
//!
//! D1 is asked for each delivery, each page of a replay and each subscription, and nothing is remembered: a
//! right that ended counts for nothing that is sent after D1 said so. Deliveries of a busy community come
//! many at a time, so the question is asked a few times a second.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{GatewayObject, Outcome};
use crate::domain::actions::Subscribe;
use crate::domain::gateway::Gateway as Core;
use crate::domain::gateway::publication::Publication;
use crate::domain::members_only::{Audible, may_read};
use crate::platform::clock::now;
use crate::platform::d1::D1;
use crate::storage::members_only::{self, BEHIND_MAX};
use crate::wire::ids::{AtUri, Did};

/// How often it is asked again because somebody subscribed meanwhile. After that nobody is waited for: who
/// was not asked about counts as no reader, is told that their subscription has ended, and may subscribe
/// again. Else a crowd that comes and goes could hold up the others' events.
const TRIES: u32 = 8;

impl GatewayObject {
    /// Those of the people here who named the community and may read it.
    pub(super) async fn readers(&self, community: &AtUri) -> Outcome<Audible> {
        self.readers_among(community, |gateway| gateway.askers(community.as_str())).await
    }

    /// Asks about the people that `among` finds, until nobody came meanwhile.
    async fn readers_among(
        &self,
        community: &AtUri,
        among: impl Fn(&Core) -> BTreeSet<Did>,
    ) -> Outcome<Audible> {
        let (mut asked, mut readers) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..TRIES {
            let people = self.with(|gateway| Ok(among(gateway)))?;
            let new: Vec<Did> = people.difference(&asked).cloned().collect();
            if new.is_empty() {
                return Ok(Audible::To(readers));
            }
            let places = members_only::places(&D1::of(&self.env)?, community, &new, now()).await?;
            readers
                .extend(places.into_iter().filter(|place| may_read(community, place)).map(|place| place.did));
            asked.extend(new);
        }
        Ok(Audible::To(readers))
    }

    /// Who may hear what is said of people through communities for members only.
    pub(super) async fn hearers_of(&self, publications: &[Publication]) -> Outcome<BTreeMap<AtUri, Audible>> {
        let closed: BTreeSet<&AtUri> =
            publications.iter().flat_map(|publication| &publication.closed).collect();
        let mut audible = BTreeMap::new();
        for community in closed {
            let to = self.readers_among(community, |gateway| gateway.watchers(community.as_str())).await?;
            audible.insert(community.clone(), to);
        }
        Ok(audible)
    }

    /// Whether the person of a session proved who they are, and may read the community.
    pub(super) async fn may_hear(&self, id: i64, community: &AtUri) -> Outcome<bool> {
        let Some(did) = self.with(|gateway| Ok(gateway.proven_by(id)))? else { return Ok(false) };
        let places = members_only::places(&D1::of(&self.env)?, community, &[did], now()).await?;
        Ok(places.iter().any(|place| may_read(community, place)))
    }

    /// Of each subscription: whether everything that it may mean is for members only, and not for this session. A
    /// name that means more than can be looked at is let through: each delivery looks again.
    pub(super) async fn refused(&self, id: i64, all: &[Subscribe]) -> Outcome<Vec<bool>> {
        let keys: Vec<_> = all.iter().map(|one| (one.kind, one.key.as_deref())).collect();
        let behind = members_only::behind(&D1::of(&self.env)?, &keys).await?;
        let mut may_hear: BTreeMap<&AtUri, bool> = BTreeMap::new();
        let mut refused = Vec::new();
        for means in &behind {
            let is_open = means.iter().any(|(_, is_closed)| !is_closed);
            let mut is_refused = !means.is_empty() && means.len() <= BEHIND_MAX && !is_open;
            for (community, _) in means {
                if !is_refused {
                    break;
                }
                let may = match may_hear.get(community) {
                    Some(may) => *may,
                    None => self.may_hear(id, community).await?,
                };
                may_hear.insert(community, may);
                is_refused = !may;
            }
            refused.push(is_refused);
        }
        Ok(refused)
    }
}
