//! A cache of bounded size that evicts the least recently used entries.
//!
//! It counts the bytes of each value, of its key, and the overhead of an entry; so neither large
//! values nor a flood of keys can make it grow.

use std::collections::BTreeMap;
use std::rc::Rc;

/// The size of a cache.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The total bytes.
    pub all: usize,
    /// The largest value that is cached.
    pub one: usize,
    /// The longest key.
    pub key: usize,
}

/// The overhead of an entry: two places in trees, and small fields.
const ENTRY: usize = 512;

/// See the module.
#[derive(Debug)]
pub struct Lru<T> {
    entries: BTreeMap<Rc<str>, Entry<T>>,
    by_use: BTreeMap<u64, Rc<str>>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    bytes: usize,
    used: u64,
}

impl<T> Lru<T> {
    /// An empty cache.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new(), by_use: BTreeMap::new(), bytes: 0, uses: 0 }
    }

    /// The value under a key. This counts as a use.
    pub fn get(&mut self, key: &str) -> Option<&T> {
        let entry = self.entries.get_mut(key)?;
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.uses, key);
        }
        entry.used = self.uses;
        Some(&entry.value)
    }

    /// Caches a value of this many bytes, if it fits, and replaces the one under the key. Returns
    /// the keys that were evicted for it.
    pub fn put(&mut self, key: &str, value: T, bytes: usize, size: &Size) -> Vec<Rc<str>> {
        let mut gone = Vec::new();
        self.forget(key);
        if bytes > size.one || key.len() > size.key {
            return gone;
        }
        let bytes = bytes + key.len() + ENTRY;
        while self.bytes + bytes > size.all {
            let Some((_, oldest)) = self.by_use.pop_first() else { return gone };
            self.forget(&oldest);
            gone.push(oldest);
        }
        self.uses += 1;
        let key: Rc<str> = key.into();
        self.by_use.insert(self.uses, Rc::clone(&key));
        self.entries.insert(key, Entry { value, bytes, used: self.uses });
        self.bytes += bytes;
        gone
    }

    /// Whether there is a value under a key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Keeps nothing any more under the keys that `goes` says; those keys.
    pub fn forget_where(&mut self, goes: impl Fn(&str) -> bool) -> Vec<Rc<str>> {
        let gone: Vec<Rc<str>> = self.entries.keys().filter(|key| goes(key)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
        gone
    }

    fn forget(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

impl<T> Default for Lru<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { all: 10 * (ENTRY + 101), one: 150, key: 5 };

    fn keys(kept: &Lru<u32>) -> Vec<String> {
        kept.entries.keys().map(|key| key.to_string()).collect()
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut kept = Lru::new();
        for (n, key) in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].into_iter().enumerate() {
            kept.put(key, u32::try_from(n).unwrap(), 100, &SIZE);
        }
        assert_eq!(keys(&kept).len(), 10, "all fit");
        assert_eq!(kept.get("a"), Some(&0));
        assert_eq!(kept.put("k", 10, 100, &SIZE), ["b".into()], "it is named");
        assert_eq!(kept.get("b"), None, "the one that was not used");
        assert_eq!(kept.get("a"), Some(&0), "the one that was");
        kept.put("a", 11, 10, &SIZE);
        assert_eq!(kept.get("a"), Some(&11), "another value");
        assert_eq!(keys(&kept).len(), 10);
        kept.put("l", 12, 150, &SIZE);
        assert_eq!(keys(&kept), ["a", "d", "e", "f", "g", "h", "i", "j", "k", "l"]);
    }

    #[test]
    fn removes_the_key_it_is_given() {
        let mut kept = Lru::new();
        ["a1", "b1", "a2"].iter().for_each(|key| drop(kept.put(key, 0, 10, &SIZE)));
        assert_eq!(kept.forget_where(|key| key.starts_with('a')), ["a1".into(), "a2".into()]);
        assert_eq!((keys(&kept), kept.bytes), (vec!["b1".to_owned()], 10 + 2 + ENTRY));
        assert_eq!(kept.by_use.len(), 1);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut kept = Lru::new();
        kept.put("a", 1, 100, &SIZE);
        kept.put("a", 2, 151, &SIZE);
        assert_eq!(kept.get("a"), None, "nor what it takes the place of");
        kept.put("abcdef", 3, 1, &SIZE);
        assert_eq!(kept.get("abcdef"), None, "a long key");
        assert_eq!((kept.bytes, kept.by_use.len()), (0, 0));
        kept.put("a", 1, 1, &Size { all: 10, ..SIZE });
        assert_eq!((keys(&kept).len(), kept.bytes), (0, 0), "more than everything");
    }

    /// 10^5 operations on values of any size: the sums stay correct and nothing grows.
    #[test]
    fn memory_is_bounded() {
        let mut kept = Lru::new();
        for n in 0..100_000_u32 {
            kept.put(&format!("{:x}", n % 50_000), n, usize::try_from(n % 160).unwrap(), &SIZE);
            kept.get(&format!("{:x}", n / 2));
            assert!(kept.bytes <= SIZE.all && kept.entries.len() <= 10 + 2);
            assert_eq!(kept.by_use.len(), kept.entries.len());
        }
        assert_eq!(kept.bytes, kept.entries.values().map(|entry| entry.bytes).sum::<usize>());
    }
}
