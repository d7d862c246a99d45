//! Which volume answers a claim: the one that is for it, else the smallest that has what it asks for
//! (`FindMatchingVolume`, `CheckVolumeModeMismatches`, `CheckAccessModes`).
//!
//! Invariant: the binder and the scheduler choose by this alone. Absent: writing what was chosen.

use std::collections::BTreeMap;

use base::labels::Selector;
use serde_json::Value;

use crate::rules::node_affinity::Required;
use crate::rules::storage::{capacity, class, is_block, requested};
use crate::value::{is_set, items, text};

/// Who asks for a volume.
#[derive(Debug, Clone, Copy)]
pub enum For<'a> {
    /// The binder, for a claim that waits for no Pod.
    Anyone,
    /// The binder, for a claim that waits: only what is for it in any case.
    Waiting,
    /// A node that a Pod may go to, by its labels and its name.
    Node(&'a BTreeMap<String, String>, &'a str),
}

/// Whether a volume is for a claim: by its name, and by its UID if it knows that.
#[must_use]
pub fn is_for(volume: &Value, claim: &Value) -> bool {
    let (reference, meta) = (&volume["spec"]["claimRef"], &claim["metadata"]);
    let uid = text(&reference["uid"]);
    is_set(reference)
        && reference["name"] == meta["name"]
        && reference["namespace"] == meta["namespace"]
        && (uid.is_empty() || uid == text(&meta["uid"]))
}

/// Whether a volume can be reached from a node.
#[must_use]
pub fn reaches(volume: &Value, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let nodes = &volume["spec"]["nodeAffinity"]["required"];
    !is_set(nodes) || Required::of_selector(nodes).matches(labels, name)
}

/// Why a volume does not do for a claim that names it.
///
/// # Errors
/// In upstream's words.
pub fn satisfies(volume: &Value, claim: &Value) -> Result<(), &'static str> {
    if capacity(volume) < requested(claim) {
        return Err("requested PV is too small");
    }
    if class(volume) != class(claim) {
        return Err("storageClassName does not match");
    }
    if is_block(&volume["spec"]) != is_block(&claim["spec"]) {
        return Err("incompatible volumeMode");
    }
    if !has_modes(volume, claim) {
        return Err("incompatible accessMode");
    }
    if !same_attributes(volume, claim) {
        return Err("VolumeAttributesClassName does not match");
    }
    Ok(())
}

fn has_modes(volume: &Value, claim: &Value) -> bool {
    let has = items(&volume["spec"]["accessModes"]);
    items(&claim["spec"]["accessModes"]).iter().all(|mode| has.contains(mode))
}

fn same_attributes(volume: &Value, claim: &Value) -> bool {
    const CLASS: &str = "volumeAttributesClassName";
    text(&volume["spec"][CLASS]) == text(&claim["spec"][CLASS])
}

/// The volume that a claim gets; `taken` are names that others get in the same moment.
#[must_use]
pub fn choose<'v>(claim: &Value, volumes: &[&'v Value], who: For<'_>, taken: &[&str]) -> Option<&'v Value> {
    let fits = |volume: &Value| {
        is_block(&volume["spec"]) == is_block(&claim["spec"])
            && !is_set(&volume["metadata"]["deletionTimestamp"])
            && capacity(volume) >= requested(claim)
            && same_attributes(volume, claim)
            && has_modes(volume, claim)
            && match who {
                For::Node(labels, name) => reaches(volume, labels, name),
                For::Anyone | For::Waiting => true,
            }
    };
    if let Some(own) = volumes.iter().find(|v| is_for(v, claim) && fits(v)) {
        return Some(own);
    }
    if matches!(who, For::Waiting) {
        return None;
    }
    let selector = &claim["spec"]["selector"];
    let selector =
        if is_set(selector) { Selector::from_label_selector(selector).ok()? } else { Selector::everything() };
    let free = |volume: &&&'v Value| {
        !is_set(&volume["spec"]["claimRef"])
            && text(&volume["status"]["phase"]) == "Available"
            && class(volume) == class(claim)
            && selector.matches_json(volume["metadata"]["labels"].as_object())
            && !taken.contains(&text(&volume["metadata"]["name"]))
            && fits(volume)
    };
    volumes.iter().filter(free).min_by_key(|v| (capacity(v), text(&v["metadata"]["name"]))).copied()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(name: &str, size: &str, change: Value) -> Value {
        let mut all = json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
            "capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "c"}});
        for (key, value) in crate::value::entries(&change) {
            all["spec"][key] = value.clone();
        }
        all
    }

    fn claim() -> Value {
        json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {"storageClassName": "c",
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}})
    }

    #[test]
    fn the_smallest_that_does() {
        let all = [
            volume("big", "5Gi", json!({})),
            volume("right", "2Gi", json!({})),
            volume("small", "1Gi", json!({})),
            volume("other", "2Gi", json!({"storageClassName": "d"})),
            volume("block", "2Gi", json!({"volumeMode": "Block"})),
            volume("reader", "2Gi", json!({"accessModes": ["ReadOnlyMany"]})),
            volume("had", "2Gi", json!({"claimRef": {"name": "x", "namespace": "n"}})),
        ];
        let all: Vec<&Value> = all.iter().collect();
        let name = |found: Option<&Value>| found.map(|v| text(&v["metadata"]["name"]).to_owned());
        assert_eq!(name(choose(&claim(), &all, For::Anyone, &[])).as_deref(), Some("right"));
        assert_eq!(name(choose(&claim(), &all, For::Anyone, &["right"])).as_deref(), Some("big"));
        assert_eq!(name(choose(&claim(), &all, For::Waiting, &[])), None);
        let own = volume(
            "own",
            "9Gi",
            json!({"claimRef": {"name": "a", "namespace": "n"}, "storageClassName": "z"}),
        );
        let with: Vec<&Value> = all.iter().copied().chain([&own]).collect();
        assert_eq!(name(choose(&claim(), &with, For::Waiting, &[])).as_deref(), Some("own"));
        let mut picky = claim();
        picky["spec"]["selector"] = json!({"matchLabels": {"a": "b"}});
        assert_eq!(name(choose(&picky, &all, For::Anyone, &[])), None);
    }

    #[test]
    fn where_it_can_be_reached() {
        let nodes = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]}]}});
        let bound = volume("v", "2Gi", json!({"nodeAffinity": nodes}));
        let labels = |name: &str| BTreeMap::from([("kubernetes.io/hostname".to_owned(), name.to_owned())]);
        assert!(reaches(&bound, &labels("n1"), "n1") && !reaches(&bound, &labels("n2"), "n2"));
        assert!(choose(&claim(), &[&bound], For::Node(&labels("n2"), "n2"), &[]).is_none());
        assert_eq!(satisfies(&volume("v", "1Gi", json!({})), &claim()), Err("requested PV is too small"));
        assert_eq!(satisfies(&bound, &claim()), Ok(()));
    }
}
