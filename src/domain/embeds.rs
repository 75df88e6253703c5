//! Which previews of links in a message its community hides (contract N54).

use std::collections::BTreeSet;

use crate::wire::views::links;

/// The newest decisions about one message that count.
pub const DECISIONS_MAX: usize = 50;
/// The most bytes of addresses that a decision may name; a longer one says nothing.
pub const BYTES_MAX: usize = 4_096;
/// The most previews that are hidden in one message.
const HIDDEN_MAX: usize = 100;

/// The addresses whose preview is hidden in a message, in the order of their letters. `decisions`: what the
/// community decided about its previews, by key: the action, and the addresses as a JSON array. One after
/// the other, `suppressEmbeds` adds addresses, and `unsuppressEmbeds` takes them out.
pub fn hidden<'d>(decisions: impl Iterator<Item = (&'d str, Option<&'d str>)>) -> Vec<String> {
    let decisions: Vec<_> = decisions.collect();
    let mut hidden = BTreeSet::new();
    for (action, embeds) in decisions.iter().skip(decisions.len().saturating_sub(DECISIONS_MAX)) {
        for link in links(embeds.filter(|text| text.len() <= BYTES_MAX)) {
            match *action {
                "suppressEmbeds" => drop(hidden.insert(link)),
                "unsuppressEmbeds" => drop(hidden.remove(&link)),
                _ => {}
            }
        }
    }
    hidden.into_iter().take(HIDDEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n54_one_decision_after_the_other() {
        let of = |said: &[(&'static str, &'static str)]| hidden(said.iter().map(|(a, e)| (*a, Some(*e))));
        let (on, off) = ("suppressEmbeds", "unsuppressEmbeds");
        for (said, expected, why) in [
            (
                &[(on, r#"["https://b.test","https://a.test"]"#)][..],
                &["https://a.test", "https://b.test"][..],
                "both",
            ),
            (&[(on, r#"["https://a.test"]"#), (off, r#"["https://a.test"]"#)], &[], "and back"),
            (&[(off, r#"["https://a.test"]"#), (on, r#"["https://a.test"]"#)], &["https://a.test"], "by key"),
            (
                &[(on, r#"["https://a.test"]"#), (on, r#"["https://b.test"]"#)],
                &["https://a.test", "https://b.test"],
                "a set",
            ),
            (
                &[(on, r#"["no link", 7]"#), ("hideMessage", r#"["https://a.test"]"#)],
                &[],
                "no link, no such action",
            ),
        ] {
            assert_eq!(of(said), expected, "{why}");
        }
        assert!(hidden([(on, None)].into_iter()).is_empty());
        let long = format!(r#"["https://a.test/{}"]"#, "x".repeat(BYTES_MAX));
        assert!(hidden([(on, Some(long.as_str()))].into_iter()).is_empty(), "too long");
        let many = vec![(off, Some("[]")); DECISIONS_MAX];
        let first = std::iter::once((on, Some(r#"["https://a.test"]"#)));
        assert!(hidden(first.chain(many)).is_empty(), "too many newer ones");
    }
}
