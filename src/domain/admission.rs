//! Admission to the response cache: only an answer that is requested a second time is cached.
//!
//! Most answers are requested once per browser, which caches them itself, and by one browser.
//! Caching all of them would cost more than it saves. This remembers hashes, in the memory of one
//! isolate; one that is forgotten only costs another read.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Names per generation, of which there are two: eight bytes each, plus the overhead of a set.
const GENERATION: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Admission {
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Admission {
    /// Without any request yet.
    pub const fn new() -> Self {
        Self { young: BTreeSet::new(), old: BTreeSet::new() }
    }

    /// Whether this was requested recently; notes this request.
    pub fn again(&mut self, name: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let hash = hasher.finish();
        let known = self.young.contains(&hash) || self.old.contains(&hash);
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_twice_is_admitted() {
        let mut admission = Admission::new();
        assert!(!admission.again("a"));
        assert!(!admission.again("b"));
        assert!(admission.again("a") && admission.again("a"));
        for n in 0..GENERATION {
            admission.again(&format!("other {n}"));
        }
        assert!(admission.again("a"), "one generation back");
        for n in 0..3 * GENERATION {
            admission.again(&format!("flood {n}"));
            assert!(admission.young.len() + admission.old.len() <= 2 * GENERATION, "bounded");
        }
        assert!(!admission.again("b"), "forgotten");
    }
}
