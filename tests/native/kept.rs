//! What is kept between batches equals the database (`domain::facts_cache`): in random histories, with conflicts and
//! faults, each row that is kept, and that there is no other of the people and keys that are known.

use std::collections::BTreeSet;
use std::fmt::Display;

use colibri_edge::domain::moderation::Decision;
use colibri_edge::domain::working_set::WorkingSet;
use proptest::prelude::*;
use serde_json::json;

use super::histories::{Moment, config, moments, steps};
use super::sqlite::Break;
use super::story::{Service, Story, by_operator};

const BREAKS: [Break; 4] = [Break::CommitLost, Break::CommitStored, Break::Conflict, Break::Read];

/// A row as `Sqlite::look` shows it.
fn line<const N: usize>(columns: [&dyn Display; N]) -> String {
    columns.map(ToString::to_string).join("|")
}

/// What is kept, and what the database says instead: rows as text.
fn compare(service: &Service) -> Result<(), TestCaseError> {
    let mut kept = WorkingSet::default();
    let complete = service.known.clone().give(&mut kept);
    let stored = |sql: &str| service.store.look(sql).into_iter().collect::<BTreeSet<String>>();
    let tables = [
        (
            kept.memberships
                .iter()
                .map(|row| {
                    line([&row.member_did, &row.uri, &row.community_uri, &i64::from(row.hidden), &row.rev])
                })
                .collect::<BTreeSet<String>>(),
            stored("SELECT member_did, uri, community_uri, hidden, rev FROM memberships"),
        ),
        (
            kept.members
                .iter()
                .map(|row| {
                    line([
                        &row.member_did,
                        &row.uri,
                        &i64::from(row.withdrawn),
                        &i64::from(row.hidden),
                        &row.rev,
                    ])
                })
                .collect(),
            stored("SELECT member_did, uri, withdrawn, hidden, rev FROM members"),
        ),
        (
            kept.approvals.iter().map(|row| line([&row.membership_uri, &row.uri, &row.rev])).collect(),
            stored("SELECT membership_uri, uri, rev FROM approvals"),
        ),
        (
            kept.channels
                .iter()
                .map(|row| {
                    line([
                        &row.uri.rkey(),
                        &row.uri,
                        &row.community_uri,
                        &i64::from(row.owner_only),
                        &row.rev,
                    ])
                })
                .collect(),
            stored("SELECT rkey, uri, community_uri, owner_only, rev FROM channels"),
        ),
        (
            kept.communities.iter().map(|row| line([&row.uri, &i64::from(row.hidden), &row.rev])).collect(),
            stored("SELECT uri, hidden, rev FROM communities"),
        ),
    ];
    for (kept, stored) in &tables {
        prop_assert!(kept.is_subset(stored), "kept is {:?}", kept.difference(stored));
    }
    let [memberships, members, approvals, channels, communities] = &tables;
    for did in &complete.people {
        let of = |(kept, stored): &(BTreeSet<String>, BTreeSet<String>)| {
            let of = |row: &&String| row.starts_with(&format!("{did}|"));
            (kept.iter().filter(of).count(), stored.iter().filter(of).count())
        };
        for (kept, stored) in [of(memberships), of(members)] {
            prop_assert_eq!(kept, stored, "of {}", did);
        }
        let theirs = |row: &&String| {
            memberships
                .1
                .iter()
                .any(|of| of.starts_with(&format!("{did}|{}|", row.split('|').next().unwrap_or_default())))
        };
        prop_assert_eq!(
            approvals.0.iter().filter(theirs).count(),
            approvals.1.iter().filter(theirs).count(),
            "of {}",
            did
        );
        let bans = stored(&format!(
            "SELECT community_uri FROM bans WHERE member_did = '{did}' AND (by_record OR by_service)"
        ));
        for owner in [
            "alice/social.colibri.community/c",
            "zoe/social.colibri.community/c",
            "nest/social.colibri.community/self",
        ] {
            let place = colibri_edge::wire::ids::AtUri::parse(&format!("at://did:plc:{owner}")).unwrap();
            let is_banned = bans.contains(place.as_str());
            prop_assert_eq!(kept.bans.contains(&(place, did.clone())), is_banned, "{} in {}", did, owner);
        }
    }
    for rkey in &complete.channel_rkeys {
        let of = |row: &&String| row.starts_with(&format!("{rkey}|"));
        prop_assert_eq!(
            channels.0.iter().filter(of).count(),
            channels.1.iter().filter(of).count(),
            "at {}",
            rkey
        );
        for row in channels.0.iter().filter(of) {
            let home = format!("{}|", row.split('|').nth(2).unwrap_or_default());
            let there = |rows: &BTreeSet<String>| rows.iter().any(|row| row.starts_with(&home));
            prop_assert_eq!(there(&communities.0), there(&communities.1), "the community of {}", row);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn what_is_kept_is_what_is_stored_in_random_histories(
        steps in steps(),
        sizes in prop::collection::vec(1..20usize, 1..20),
        breaks in prop::collection::vec(prop::option::weighted(0.2, 0..BREAKS.len()), 1..20),
    ) {
        let mut service = Service::new();
        let (mut sizes, mut breaks) = (sizes.into_iter().cycle(), breaks.into_iter().cycle());
        let mut size = sizes.next().unwrap();
        let mut batch = Vec::new();
        let mut commit = |service: &mut Service, batch: &mut Vec<String>, decisions: &[Decision]| {
            if let Some(at) = breaks.next().unwrap() {
                service.store.break_next(BREAKS[at]);
            }
            let frames = std::mem::take(batch);
            while service.try_batch_with(&frames, decisions).is_err() {}
            service.store.unbreak();
            compare(service)
        };
        for moment in moments(&steps) {
            match moment {
                Moment::Frame(frame) => batch.push(frame),
                Moment::Decision(decision) => {
                    // With the batch, or alone by another writer.
                    if batch.len() % 2 == 0 {
                        commit(&mut service, &mut batch, &[by_operator(decision)])?;
                    } else {
                        service.decide(decision);
                    }
                }
            }
            if batch.len() >= size {
                commit(&mut service, &mut batch, &[])?;
                size = sizes.next().unwrap();
            }
        }
        commit(&mut service, &mut batch, &[])?;
    }
}

/// The channels that messages name are read once; those of the newest form each time, because nothing of the ledger
/// says when such a community's repository was read.
#[test]
fn places_are_kept_but_not_those_of_the_newest_form() {
    let key = colibri_edge::wire::ids::Rkey::parse("k").unwrap();
    let mut story = Story::default();
    story.community("alice", false).join("bob", "alice").say("bob", "1", "hello").say("bob", "2", "again");
    let service = Service::live(&story);
    assert!(service.known.knows_channels(&key));
    let mut story = Story::default();
    story
        .newest("nest")
        .ask_to_join("bob", "nest")
        .admit("nest", "bob", &[])
        .say("bob", "1", "hello")
        .say("bob", "2", "again");
    let service = Service::live(&story);
    assert_eq!(service.visible_texts(), ["hello", "again"]);
    assert!(!service.known.knows_channels(&key));
    assert_eq!(service.known.channels().count(), 0);
}

/// A row that is kept although no person and no key of it is known ends with another writer's commit, too.
#[test]
fn a_community_alone_is_read_again_after_another_writer() {
    let mut story = Story::default();
    story.create("alice", "community/c", json!({ "name": "Garden", "requiresApprovalToJoin": true }));
    let mut service = Service::live(&story);
    assert_eq!(service.known.communities().count(), 1);
    service.store.exec("UPDATE communities SET requires_approval_to_join = 0");
    story.create("alice", "channel/k", json!({ "name": "hall", "type": "text", "community": "c" }));
    story.join("bob", "alice").say("bob", "1", "hello");
    service.batch(&story.frames[1..]);
    assert_eq!(service.visible_texts(), ["hello"], "the community is open now");
}
