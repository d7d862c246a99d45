//! Who owns whom, as far as wake-ups tell: enough to know whose turn a change makes it, never the basis of a deletion.
//!
//! Invariant: holds only objects with owners. Absent: the objects themselves.

use std::collections::BTreeMap;

use client::Owner;
use kinds::Catalogue;

use crate::driver::Key;

/// Owners and dependents by key; a key's bucket is its kind's.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    owners: BTreeMap<Key, Vec<Key>>,
    /// Owner → dependent → the owner's UID as the dependent knows it.
    dependents: BTreeMap<Key, BTreeMap<Key, String>>,
}

impl Graph {
    /// Replaces what is known of an object's owners; returns the owners that it has no longer.
    pub(crate) fn note(&mut self, catalogue: &Catalogue, object: &Key, owners: &[Owner]) -> Vec<Key> {
        let known: Vec<(Key, &Owner)> =
            owners.iter().filter_map(|o| Some((owner_key(catalogue, object, o)?, o))).collect();
        let now: Vec<Key> = known.iter().map(|(key, _)| key.clone()).collect();
        let before = if now.is_empty() {
            self.owners.remove(object)
        } else {
            self.owners.insert(object.clone(), now.clone())
        };
        let lost: Vec<Key> = before.unwrap_or_default().into_iter().filter(|k| !now.contains(k)).collect();
        for owner in &lost {
            if let Some(all) = self.dependents.get_mut(owner) {
                all.remove(object);
                if all.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        for (key, owner) in known {
            self.dependents.entry(key).or_default().insert(object.clone(), owner.uid.clone());
        }
        lost
    }

    /// Whether anything names this object as an owner.
    pub(crate) fn has_dependents(&self, owner: &Key) -> bool {
        self.dependents.contains_key(owner)
    }

    /// The dependents of an object, without those that name it by the given UID.
    pub(crate) fn dependents(&self, owner: &Key, except: Option<&str>) -> Vec<Key> {
        let all = self.dependents.get(owner).into_iter().flatten();
        all.filter(|(_, uid)| Some(uid.as_str()) != except).map(|(key, _)| key.clone()).collect()
    }
}

/// The key of an owner: in the dependent's namespace, or in none.
pub(crate) fn owner_key(catalogue: &Catalogue, dependent: &Key, owner: &Owner) -> Option<Key> {
    let kind = catalogue.by_group_kind(&owner.group, &owner.kind)?;
    let namespace = if kind.namespaced { &*dependent.namespace } else { "" };
    Some(Key { bucket: kind.bucket.clone(), ..Key::new("", namespace, &owner.name) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(group: &str, kind: &str, name: &str, uid: &str) -> Owner {
        let (group, kind) = (group.into(), kind.into());
        Owner { group, kind, name: name.into(), uid: uid.into(), controller: true, ..Owner::default() }
    }

    #[test]
    fn follows_changes_of_owners() {
        let (mut graph, kinds) = (Graph::default(), kinds::built_in());
        let pod = Key::new("pods", "n", "p");
        let job = Key::new("jobs.batch", "n", "j");
        let node = Key::new("nodes", "", "x");
        let one = |key: &Key| vec![key.clone()];
        assert!(
            graph
                .note(kinds, &pod, &[owner("batch", "Job", "j", "u"), owner("", "Node", "x", "v")])
                .is_empty()
        );
        assert_eq!(graph.dependents(&job, None), one(&pod));
        assert_eq!(graph.dependents(&node, Some("w")), one(&pod));
        assert!(graph.dependents(&node, Some("v")).is_empty());
        assert_eq!(graph.note(kinds, &pod, &[owner("", "Node", "x", "v")]), one(&job));
        assert!(!graph.has_dependents(&job));
        assert_eq!(graph.note(kinds, &pod, &[]), one(&node));
        assert!(!graph.has_dependents(&node));
        for (group, kind) in [("", "Unheard"), ("example.com", "Job")] {
            assert!(graph.note(kinds, &pod, &[owner(group, kind, "j", "u")]).is_empty());
            assert!(!graph.has_dependents(&job), "{group} {kind}");
        }
    }
}
