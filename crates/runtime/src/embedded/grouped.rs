//! Things by id, and those of one group without looking at the others: sandboxes by Pod, containers by sandbox.
//!
//! Invariant: what is in one map is in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something with an id that belongs to a group.
pub(super) trait Member {
    fn id(&self) -> &str;
    fn group(&self) -> &str;
}

/// All that is known of one sort.
pub(super) struct Grouped<T> {
    all: BTreeMap<String, Arc<T>>,
    groups: BTreeMap<String, BTreeSet<String>>,
}

impl<T> Default for Grouped<T> {
    fn default() -> Self {
        Self { all: BTreeMap::new(), groups: BTreeMap::new() }
    }
}

impl<T: Member> Grouped<T> {
    pub(super) fn insert(&mut self, member: Arc<T>) {
        self.groups.entry(member.group().to_owned()).or_default().insert(member.id().to_owned());
        self.all.insert(member.id().to_owned(), member);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Some(gone) = self.all.remove(id) else { return };
        if let Some(group) = self.groups.get_mut(gone.group()) {
            group.remove(id);
            if group.is_empty() {
                self.groups.remove(gone.group());
            }
        }
    }

    pub(super) fn get(&self, id: &str) -> Option<&Arc<T>> {
        self.all.get(id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.all.values()
    }

    /// Those of one group, by id.
    pub(super) fn of(&self, group: &str) -> impl Iterator<Item = &Arc<T>> {
        self.groups.get(group).into_iter().flatten().filter_map(|id| self.all.get(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(&'static str, &'static str);

    impl Member for Thing {
        fn id(&self) -> &str {
            self.0
        }

        fn group(&self) -> &str {
            self.1
        }
    }

    #[test]
    fn groups_follow() {
        let mut known = Grouped::default();
        for (id, group) in [("1", "a"), ("2", "b"), ("3", "a")] {
            known.insert(Arc::new(Thing(id, group)));
        }
        let of = |known: &Grouped<Thing>, group: &str| known.of(group).map(|t| t.0).collect::<Vec<_>>();
        assert_eq!((of(&known, "a"), of(&known, "b"), of(&known, "c")), (vec!["1", "3"], vec!["2"], vec![]));
        known.remove("1");
        known.remove("2");
        known.remove("2");
        assert_eq!((of(&known, "a"), of(&known, "b"), known.all().count()), (vec!["3"], vec![], 1));
        assert!(known.get("1").is_none() && known.groups.len() == 1);
    }
}
