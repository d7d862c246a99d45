//! Revisions of a Deployment: annotations of its ReplicaSets and of itself (`deploymentutil.SetNewReplicaSetAnnotations`).
//!
//! Invariant: the newest ReplicaSet has the highest revision; one that is rolled back to gets a new number and keeps the
//! old ones in its history.

use std::collections::BTreeMap;

use crate::view::Meta;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MOST: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const OWN: [&str; 6] = [LAST_APPLIED, REVISION, HISTORY, DESIRED, MOST, "deprecated.deployment.rollback.to"];

type Annotations = BTreeMap<String, String>;

/// An object's revision, 0 if it has none.
pub(super) fn of(meta: &Meta) -> i64 {
    meta.annotations.get(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// What the new ReplicaSet's annotations have to be: the Deployment's, and at least this revision.
pub(super) fn annotations(deployment: &Meta, set: &Annotations, revision: i64) -> Annotations {
    let mut wanted = set.clone();
    let copied = deployment.annotations.iter().filter(|(key, _)| !OWN.contains(&key.as_str()));
    wanted.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
    let before = set.get(REVISION);
    let number = before.and_then(|r| r.parse::<i64>().ok());
    if number.is_none_or(|n| n < revision) {
        wanted.insert(REVISION.into(), revision.to_string());
        if let Some(before) = before {
            let history = set.get(HISTORY).filter(|h| !h.is_empty());
            let history = history.map_or_else(|| before.clone(), |h| format!("{h},{before}"));
            wanted.insert(HISTORY.into(), history);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Annotations {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn annotations_of_the_new_set() {
        let annotations_of = |own: &[(&str, &str)], set: &[(&str, &str)], revision| {
            let meta = Meta { annotations: map(own), ..Meta::default() };
            annotations(&meta, &map(set), revision)
        };
        let own = [("note", "x"), (REVISION, "7"), (LAST_APPLIED, "{}")];
        assert_eq!(annotations_of(&own, &[], 1), map(&[("note", "x"), (REVISION, "1")]));
        // Rolled back to: a new number, the old ones are remembered.
        assert_eq!(annotations_of(&[], &[(REVISION, "1")], 3), map(&[(REVISION, "3"), (HISTORY, "1")]));
        assert_eq!(
            annotations_of(&[], &[(REVISION, "3"), (HISTORY, "1")], 5),
            map(&[(REVISION, "5"), (HISTORY, "1,3")])
        );
        // Nine is less than ten, and a higher number stays.
        assert_eq!(annotations_of(&[], &[(REVISION, "9")], 10)[REVISION], "10");
        assert_eq!(annotations_of(&[], &[(REVISION, "10")], 2), map(&[(REVISION, "10")]));
    }
}
