//! What is worth a place in the cache: what is asked for a second time.
//!
//! Most things are asked for once by each browser, which keeps them itself, and by one browser.
//! Writing all of them down would cost more than it spares. Remembered are hashes, in the memory
//! of one isolate: whatever is forgotten is fetched once more.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Names remembered in each of two generations: eight bytes each, and what a set needs.
const GENERATION: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Admission {
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Admission {
    /// Nothing was asked for yet.
    pub const fn new() -> Self {
        Self { young: BTreeSet::new(), old: BTreeSet::new() }
    }

    /// Whether this was asked for lately; it was from now on.
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
