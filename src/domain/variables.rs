//! The table of variables: names, defaults and ranges (contract section 10).
//!
//! `variables.json` is the only place of both. The document `docs/configuration.md` is made from it
//! (`npm run variables`), and `npm run serve` checks the environment against it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

const TABLE: &str = include_str!("variables.json");

/// What the code needs of a row.
#[derive(Debug, Deserialize)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// What an unset variable means; empty if nothing.
    #[serde(default)]
    pub default: String,
    /// The least number that counts.
    #[serde(default)]
    pub min: i64,
    /// The greatest number that counts.
    #[serde(default = "no_limit")]
    pub max: i64,
}

fn no_limit() -> i64 {
    i64::MAX
}

static ROWS: LazyLock<BTreeMap<String, Variable>> = LazyLock::new(|| {
    let rows: Vec<Variable> = serde_json::from_str(TABLE).unwrap_or_default();
    rows.into_iter().map(|row| (row.name.clone(), row)).collect()
});

/// What a name without a row has; a test refuses code that reads such a name.
static NONE: Variable = Variable { name: String::new(), default: String::new(), min: 0, max: i64::MAX };

/// The row of a variable.
pub fn row(name: &str) -> &'static Variable {
    ROWS.get(name).unwrap_or(&NONE)
}

impl Variable {
    /// The number that a text means, if it is one in the range.
    pub fn number(&self, given: &str) -> Option<i64> {
        given.parse().ok().filter(|number| (self.min..=self.max).contains(number))
    }

    /// The default as a number.
    pub fn default_number(&self) -> i64 {
        self.default.parse().unwrap_or(self.min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c30_a_number_counts_in_its_range_only() {
        let shards = row("GATEWAY_SHARDS");
        assert_eq!((shards.min, shards.default_number()), (1, 4));
        for (given, number) in
            [("1", Some(1)), ("64", Some(64)), ("0", None), ("-1", None), ("4.5", None), ("", None)]
        {
            assert_eq!(shards.number(given), number, "{given}");
        }
        assert_eq!(row("LEASE_MS").number("0"), Some(0));
    }

    #[test]
    fn every_default_number_is_in_its_range() {
        let rows: Vec<serde_json::Value> = serde_json::from_str(TABLE).unwrap();
        assert!(rows.len() > 40, "{} rows", rows.len());
        for json in rows {
            let variable = row(json["name"].as_str().unwrap());
            if json["kind"] == "number" {
                assert!(variable.number(&variable.default).is_some(), "{}", variable.name);
            }
        }
    }
}
