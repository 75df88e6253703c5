//! The codes of the log: what kind of trouble a line is about. docs/operating.md says of each what it means, and
//! what to do.

use serde::Serialize;

/// A code. Its name in the log is its spelling here in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Nothing can be stored any more.
    DiskFull,
    /// D1 did not answer, or refused a statement.
    Database,
    /// An object of this service did not answer, or its own storage failed.
    Object,
    /// Another host did not answer, or with nonsense: a PDS, a directory, DNS, the profile API.
    Host,
    /// The stream cannot be read.
    Stream,
    /// Events of the stream were missed.
    Gap,
    /// A repository cannot be read.
    Repository,
    /// The relay cannot be read.
    Relay,
    /// The TURN service refused.
    Turn,
    /// A variable has a value that cannot be used.
    Variable,
    /// An event or a stored row was set aside (Q21).
    SetAside,
    /// The program ended, and started again.
    Panic,
    /// Anything else that failed inside.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::DiskFull,
        Self::Database,
        Self::Object,
        Self::Host,
        Self::Stream,
        Self::Gap,
        Self::Repository,
        Self::Relay,
        Self::Turn,
        Self::Variable,
        Self::SetAside,
        Self::Panic,
        Self::Internal,
    ];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The table of docs/operating.md has these codes, and no others.
    #[test]
    fn every_code_is_documented() {
        let document = include_str!("../../docs/operating.md");
        let section = document.split("\n## The log\n").nth(1).unwrap().split("\n## ").next().unwrap();
        let named: BTreeSet<String> = section
            .lines()
            .filter_map(|line| Some(line.strip_prefix("- **`")?.split_once("`**")?.0.to_owned()))
            .collect();
        let codes = Code::ALL.map(|code| serde_json::to_value(code).unwrap().as_str().unwrap().to_owned());
        assert_eq!(named, codes.into_iter().collect());
    }
}
