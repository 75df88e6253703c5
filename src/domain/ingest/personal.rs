//! What people of the newest form write about themselves (section 12.5).

use super::super::rows::{ActorProfileRow, Looks, MuteRow, PreferenceRow};
use super::{Fold, Version};
use crate::wire::ids::AtUri;
use crate::wire::records::{ActorProfile, Mute, Preference};
use crate::wire::subscribe_events::{MuteEvent, NewestEvent};

impl Fold {
    /// N50. Only the rkey `self` counts. The person is known by it (I37).
    pub(super) fn put_actor_profile(&mut self, version: &Version, record: &ActorProfile) {
        if !version.uri.is_itself() {
            return self.note_rev(version);
        }
        let before = self.working_set.actor_profiles.get(version.uri).map(|row| row.indexed_at);
        self.accept(version);
        self.working_set.actor_profiles.put(ActorProfileRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            display_name: record.profile.display_name.clone(),
            description: record.profile.description.clone(),
            avatar: record.avatar.clone(),
            banner: record.banner.clone(),
            sync_bluesky: record.sync_bluesky,
            theme: record.theme.clone(),
            presence_service: record.presence_service.clone(),
            preferred_badge: record.preferred_badge.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.unwrap_or(version.received),
        });
        self.working_set.people.know(version.author);
        let own = (!record.sync_bluesky).then(|| record.profile.clone().into());
        self.show_profile(version.uri, own);
    }

    /// N50: the Bluesky profile is shown again.
    pub(super) fn delete_actor_profile(&mut self, uri: &AtUri) {
        if self.working_set.actor_profiles.remove(uri).is_some() {
            self.show_profile(uri, None);
        }
    }

    /// E16, if a shown value changed.
    fn show_profile(&mut self, uri: &AtUri, own: Option<Looks>) {
        let did = uri.authority();
        if let Some(before) = self.working_set.people.get(&did).cloned() {
            self.working_set.people.change(&did, |person| person.show(own));
            self.announce_profile(&did, &before);
        }
    }

    /// N51.
    pub(super) fn put_mute(&mut self, version: &Version, record: &Mute) {
        let before = self.working_set.mutes.get(version.uri).cloned();
        self.accept(version);
        let said = before.as_ref().map(|row| row.subject.clone());
        if said.as_ref() != Some(&record.subject) {
            let unmuted = said.map(|subject| MuteEvent::Unmuted { subject });
            let muted = MuteEvent::Muted { subject: record.subject.clone() };
            for event in unmuted.into_iter().chain([muted]) {
                self.announce_to_person(version.author, NewestEvent::MuteEvent(event), None);
            }
        }
        self.working_set.mutes.put(MuteRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            subject: record.subject.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.map_or(version.received, |row| row.indexed_at),
        });
    }

    /// N51.
    pub(super) fn delete_mute(&mut self, uri: &AtUri) {
        if let Some(row) = self.working_set.mutes.remove(uri) {
            let event = MuteEvent::Unmuted { subject: row.subject };
            self.announce_to_person(&row.did, NewestEvent::MuteEvent(event), None);
        }
    }

    /// N51. Only the rkey `self` counts.
    pub(super) fn put_preference(&mut self, version: &Version, record: &Preference) {
        if !version.uri.is_itself() {
            return self.note_rev(version);
        }
        let before = self.working_set.preferences.get(version.uri).map(|row| row.indexed_at);
        self.accept(version);
        self.working_set.preferences.put(PreferenceRow {
            uri: version.uri.clone(),
            did: version.author.clone(),
            level: record.level.clone(),
            rev: version.rev.to_owned(),
            indexed_at: before.unwrap_or(version.received),
        });
    }
}
