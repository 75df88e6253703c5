//! The text format of OpenMetrics 1.0, which Prometheus and its kin scrape.
//!
//! Written here because the libraries for it count in the memory of a process that lives on, and the numbers of
//! this service are in D1 and in an object. Names and help texts come from this code, so nothing is escaped.

use std::fmt::{Display, Write as _};

/// The media type of the format.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, and begins at 0 again after a restart of what counts. Its sample ends in `_total`.
    Counter,
}

impl Kind {
    /// Its name, and the end of its samples.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Gauge => ("gauge", ""),
            Kind::Counter => ("counter", "_total"),
        }
    }
}

/// Numbers in the order in which they were added.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Adds a number. `name` has no suffix.
    pub fn add(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        let (word, suffix) = kind.words();
        self.begin(name, word, help);
        self.line(format_args!("{name}{suffix} {value}"));
    }

    /// Adds a number of each of several things: `label` says what they are, and each value comes with the name of its
    /// thing, as for [`Exposition::info`].
    pub fn add_each<'n, V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, V)>,
    ) {
        let (word, suffix) = kind.words();
        self.begin(name, word, help);
        for (of, value) in values {
            self.line(format_args!("{name}{suffix}{{{label}=\"{of}\"}} {value}"));
        }
    }

    /// Adds a fact that is no number: its labels, with `value` 1. The texts contain no quotes, backslashes or ends
    /// of lines.
    pub fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) {
        self.begin(name, "info", help);
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        self.line(format_args!("{name}_info{{{}}} 1", labels.join(",")));
    }

    /// The whole text.
    pub fn end(mut self) -> String {
        self.line(format_args!("# EOF"));
        self.0
    }

    fn begin(&mut self, name: &str, word: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {word}"));
        self.line(format_args!("# HELP {name} {help}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing into a String does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_that_of_the_standard() {
        let mut numbers = Exposition::default();
        numbers.add(Kind::Gauge, "queued", "Frames that wait.", 3);
        numbers.add(Kind::Counter, "events", "Events.", 12_u64);
        numbers.add_each(Kind::Counter, "refused", "Frames.", "of", [("a", 1), ("b", 0)]);
        numbers.info("build", "What runs.", &[("version", "1.0"), ("mode", "open")]);
        let expected = "# TYPE queued gauge\n# HELP queued Frames that wait.\nqueued 3\n\
            # TYPE events counter\n# HELP events Events.\nevents_total 12\n\
            # TYPE refused counter\n# HELP refused Frames.\nrefused_total{of=\"a\"} 1\nrefused_total{of=\"b\"} 0\n\
            # TYPE build info\n# HELP build What runs.\nbuild_info{version=\"1.0\",mode=\"open\"} 1\n# EOF\n";
        assert_eq!(numbers.end(), expected);
    }
}
