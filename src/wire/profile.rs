//! Answers of the profile API (`app.bsky.actor.getProfile`), as far as the service reads them.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::handle::Handle;
use super::ids::Did;
use super::json::object;
use super::records::{BOT, DISPLAY_NAME, PROFILE_TEXT};
use super::text::{self, Limit};

/// A looked-up profile. Empty values count as absent (O10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookedUp {
    /// The handle. The API verifies it in both directions, and answers `handle.invalid` if that
    /// fails.
    pub handle: Option<String>,
    /// `displayName`
    pub display_name: Option<String>,
    /// `description`
    pub description: Option<String>,
    /// The CID in the link to the avatar.
    pub avatar_cid: Option<String>,
    /// The CID in the link to the banner.
    pub banner_cid: Option<String>,
    /// Whether the person labels themselves `bot`.
    pub is_bot: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileView {
    did: String,
    handle: String,
    display_name: Option<String>,
    description: Option<String>,
    avatar: Option<String>,
    banner: Option<String>,
    labels: Option<Box<RawValue>>,
}

/// A label of a person, which anybody may have set.
#[derive(Deserialize)]
struct Label {
    src: String,
    val: String,
    #[serde(default)]
    neg: bool,
}

impl LookedUp {
    /// Reads the answer about `did`. `None` if it is not a profile of that DID.
    pub fn parse(text: &str, did: &Did) -> Option<Self> {
        let view: ProfileView = object(text)?;
        if view.did != did.as_str() {
            return None;
        }
        let cut = |text: Option<String>, limit: Limit| {
            text.map(|text| text::cut(&text, limit)).filter(|text| !text.is_empty())
        };
        let labels =
            view.labels.as_deref().and_then(|labels| serde_json::from_str::<Vec<Label>>(labels.get()).ok());
        let labels = labels.unwrap_or_default();
        Some(Self {
            handle: Some(view.handle).filter(|handle| {
                !handle.eq_ignore_ascii_case("handle.invalid") && Handle::parse(handle).is_some()
            }),
            display_name: cut(view.display_name, DISPLAY_NAME),
            description: cut(view.description, PROFILE_TEXT),
            avatar_cid: view.avatar.as_deref().and_then(cid_in),
            banner_cid: view.banner.as_deref().and_then(cid_in),
            is_bot: labels.iter().any(|label| label.src == view.did && label.val == BOT && !label.neg),
        })
    }
}

/// The CID in a link such as `https://cdn.bsky.app/img/avatar/plain/<did>/<cid>@jpeg`.
pub(super) fn cid_in(link: &str) -> Option<String> {
    let last = link.rsplit('/').next()?;
    let cid = last.split('@').next()?;
    let ok = (8..=128).contains(&cid.len()) && cid.bytes().all(|byte| byte.is_ascii_alphanumeric());
    ok.then(|| cid.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<LookedUp> {
        LookedUp::parse(text, &Did::parse("did:plc:a").unwrap())
    }

    #[test]
    fn r04_reads_a_profile() {
        let text = r#"{"did":"did:plc:a","handle":"a.test","displayName":"Ann","description":"",
            "avatar":"https://cdn.test/img/avatar/plain/did:plc:a/bafkreiavatar@jpeg",
            "banner":"https://cdn.test/img/banner/plain/did:plc:a/bafkreibanner","followersCount":1}"#;
        assert_eq!(
            parse(text),
            Some(LookedUp {
                handle: Some("a.test".into()),
                display_name: Some("Ann".into()),
                description: None,
                avatar_cid: Some("bafkreiavatar".into()),
                banner_cid: Some("bafkreibanner".into()),
                is_bot: false,
            })
        );
        let labelled = |label: &str| {
            let text = format!(r#"{{"did":"did:plc:a","handle":"a.test","labels":{label}}}"#);
            parse(&text).map(|profile| profile.is_bot)
        };
        for (label, expected) in [
            (r#"[{"src":"did:plc:a","val":"bot","uri":"at://x","cts":"2026-01-01T00:00:00Z"}]"#, true),
            (r#"[{"src":"did:plc:a","val":"bot","neg":true}]"#, false),
            (r#"[{"src":"did:plc:labeler","val":"bot"}]"#, false),
            (r#"[{"src":"did:plc:a","val":"other"}]"#, false),
            ("7", false),
        ] {
            assert_eq!(labelled(label), Some(expected), "N50: {label}");
        }
        let bare = parse(r#"{"did":"did:plc:a","handle":"handle.invalid","avatar":"x"}"#);
        assert_eq!(bare, Some(LookedUp::default()), "O10: an unproven handle, and no CID in the link");
        for (text, why) in [
            (r#"{"did":"did:plc:b","handle":"b.test"}"#, "somebody else"),
            (r#"{"handle":"a.test"}"#, "nobody"),
            (r#"{"did":"did:plc:a","handle":7}"#, "another type"),
            ("<html>", "no JSON"),
            ("", "empty"),
        ] {
            assert_eq!(parse(text), None, "{why}");
        }
    }
}
