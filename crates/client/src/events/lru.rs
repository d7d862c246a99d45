//! A map that forgets what was used longest ago once it is full.
//!
//! Invariant: never more than its bound of entries. Absent: time.

use std::collections::{BTreeMap, HashMap};

/// See the module.
#[derive(Debug)]
pub(super) struct Lru<V> {
    most: usize,
    uses: u64,
    entries: HashMap<String, (u64, V)>,
    by_use: BTreeMap<u64, String>,
}

impl<V> Lru<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, uses: 0, entries: HashMap::new(), by_use: BTreeMap::new() }
    }

    /// The value of a key, made by `make` if it is not known.
    pub(super) fn entry(&mut self, key: &str, make: impl FnOnce() -> V) -> &mut V {
        self.uses += 1;
        if let Some((used, _)) = self.entries.get(key) {
            self.by_use.remove(used);
        } else if self.entries.len() >= self.most
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.by_use.insert(self.uses, key.to_owned());
        let (used, value) = self.entries.entry(key.to_owned()).or_insert_with(|| (0, make()));
        *used = self.uses;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_was_used_longest_ago() {
        let mut map = Lru::new(2);
        for key in ["a", "b", "a", "c"] {
            *map.entry(key, || 0) += 1;
        }
        assert_eq!(
            ["a", "b", "c"].map(|key| map.entries.get(key).map(|(_, n)| *n)),
            [Some(2), None, Some(1)]
        );
        assert_eq!((*map.entry("b", || 7), map.entries.len(), map.by_use.len()), (7, 2, 2));
    }
}
