//! The order of a sidebar (R13).

use std::collections::BTreeMap;

use serde::Serialize;

use super::form::Form;
use super::rows::{CategoryRow, ChannelRow};
use crate::wire::bodies::{Category, Channel, verbatim};
use crate::wire::ids::AtUri;

/// R13: the body of `/api/sidebar`.
#[derive(Clone, Debug, Serialize)]
pub struct Sidebar {
    /// In the order of the community's `categoryOrder`, then the others by name.
    pub categories: Vec<Category>,
    /// Channels whose category is missing, unknown or deleted, by name.
    pub uncategorized: Vec<Channel>,
}

/// Puts a community's channels into its categories. Each channel appears exactly once, in the
/// category that its own record names:
///   1. categories in the order of `category_order` (the community's `categoryOrder`), then the
///      others by name, ties by rkey;
///   2. the channels of a category in the order of its `channelOrder`, then the others by name,
///      ties by rkey;
///   3. channels whose category does not exist: by name, ties by rkey.
///
/// `categories` and `channels` arrive by name, ties by rkey. An order lists rkeys; of a repeated
/// one the first position counts, and unknown ones are skipped.
pub fn sidebar(
    category_order: Option<&str>,
    categories: Vec<CategoryRow>,
    channels: Vec<ChannelRow>,
) -> Sidebar {
    let mut inside: BTreeMap<String, Vec<ChannelRow>> =
        categories.iter().map(|row| (row.uri.rkey().to_string(), Vec::new())).collect();
    let mut uncategorized = Vec::new();
    for channel in channels {
        match channel.category_rkey.as_ref().and_then(|rkey| inside.get_mut(rkey)) {
            Some(category) => category.push(channel),
            None => uncategorized.push(channel.into()),
        }
    }
    let categories = ordered(categories, category_order, |row| row.uri.rkey().to_string())
        .into_iter()
        .map(|row| {
            let channels = inside.remove(row.uri.rkey().as_str()).unwrap_or_default();
            let order = row.channel_order.as_deref();
            let channels = ordered(channels, order, |row| row.uri.rkey().to_string());
            Category {
                rkey: row.uri.rkey(),
                uri: row.uri,
                name: row.name,
                channel_order: verbatim(row.channel_order.as_deref()),
                channels: channels.into_iter().map(Into::into).collect(),
            }
        })
        .collect();
    Sidebar { categories, uncategorized }
}

/// Rows in the order of a JSON array of keys; rows that it does not name follow in their previous
/// order. Elements other than texts are ignored.
fn ordered<R>(mut rows: Vec<R>, order: Option<&str>, key: impl Fn(&R) -> String) -> Vec<R> {
    let keys: Vec<serde_json::Value> =
        order.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, key) in keys.iter().enumerate() {
        if let Some(key) = key.as_str() {
            places.entry(key).or_insert(place);
        }
    }
    rows.sort_by_key(|row| places.get(key(row).as_str()).copied().unwrap_or(usize::MAX)); // stable
    rows
}

/// The communities that a person's own order names, as stored (N55).
pub fn named(order: Option<&str>) -> Vec<String> {
    order.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The place of a community in a person's own order: by its account in the newest form, by its key in the old one.
/// Those without one come last (N55).
pub fn place(order: &[String], community: &AtUri) -> usize {
    let name = match Form::of(community) {
        Form::New => community.authority().to_string(),
        Form::Old => community.rkey().to_string(),
    };
    order.iter().position(|one| *one == name).unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ids::AtUri;
    use crate::wire::time::Micros;

    const COMMUNITY: &str = "at://did:plc:owner/social.colibri.community/c";

    fn uri(collection: &str, rkey: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:owner/social.colibri.{collection}/{rkey}")).unwrap()
    }

    fn category(rkey: &str, order: Option<&str>) -> CategoryRow {
        CategoryRow {
            uri: uri("category", rkey),
            community_uri: AtUri::parse(COMMUNITY).unwrap(),
            name: rkey.to_uppercase(),
            channel_order: order.map(str::to_owned),
            rev: String::new(),
            indexed_at: Micros(0),
        }
    }

    fn channel(rkey: &str, category: Option<&str>) -> ChannelRow {
        ChannelRow {
            uri: uri("channel", rkey),
            community_uri: AtUri::parse(COMMUNITY).unwrap(),
            name: rkey.to_uppercase(),
            description: None,
            channel_type: "text".into(),
            category_rkey: category.map(str::to_owned),
            owner_only: false,
            allowed_roles: None,
            allowed_members: None,
            link_embeds: None,
            migrated_from: None,
            rev: String::new(),
            indexed_at: Micros(0),
        }
    }

    /// The sidebar in short form: `category: channels | … || uncategorized`.
    fn check(
        order: Option<&str>,
        categories: Vec<CategoryRow>,
        channels: Vec<ChannelRow>,
        expected: &str,
        why: &str,
    ) {
        let names = |channels: &[Channel]| {
            channels.iter().map(|channel| channel.rkey.to_string()).collect::<Vec<_>>().join(" ")
        };
        let got = sidebar(order, categories, channels);
        let shown: Vec<_> = got
            .categories
            .iter()
            .map(|category| format!("{}: {}", category.rkey, names(&category.channels)))
            .collect();
        assert_eq!(format!("{} || {}", shown.join(" | "), names(&got.uncategorized)), expected, "{why}");
    }

    #[test]
    fn r13_the_order_of_a_sidebar() {
        let two = || vec![category("a", None), category("b", None)];
        let some = || {
            vec![
                channel("1", Some("a")),
                channel("2", Some("b")),
                channel("3", None),
                channel("4", Some("a")),
            ]
        };
        check(None, two(), some(), "a: 1 4 | b: 2 || 3", "by name where nothing is said");
        check(Some(r#"["b","a"]"#), two(), some(), "b: 2 | a: 1 4 || 3", "categoryOrder");
        check(Some(r#"["b"]"#), two(), some(), "b: 2 | a: 1 4 || 3", "the rest after them");
        check(Some(r#"["x","b","a","b"]"#), two(), some(), "b: 2 | a: 1 4 || 3", "the first place counts");
        check(Some(r#"[7,null,"b"]"#), two(), some(), "b: 2 | a: 1 4 || 3", "not texts");
        check(Some(r#"{"b":1}"#), two(), some(), "a: 1 4 | b: 2 || 3", "no array at all");
        check(
            None,
            vec![category("a", Some(r#"["4","2"]"#)), category("b", None)],
            some(),
            "a: 4 1 | b: 2 || 3",
            "channelOrder; a channel belongs where its own record says",
        );
        check(None, vec![category("b", None)], some(), "b: 2 || 1 3 4", "B-47: the category is gone");
        check(None, vec![], vec![], " || ", "nothing");
    }
}
