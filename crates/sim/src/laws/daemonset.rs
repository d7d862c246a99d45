//! A DaemonSet never has more active Pods for one node than its surge allows, and in the end each node that it wants has
//! one of the present template, and no other node has any.

use std::collections::BTreeMap;

use super::{Law, Version, controller, is_deleting, number, text};

#[derive(Debug, Default)]
struct Daemons {
    name: String,
    /// Most active Pods on one node.
    most: usize,
    wanted: i64,
    settled: bool,
    gone: bool,
    /// The node of each active Pod.
    active: BTreeMap<String, String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct DaemonSets(BTreeMap<String, Daemons>);

impl Law for DaemonSets {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        let uid = text(object, "/metadata/uid").to_owned();
        match version.bucket {
            "daemonsets.apps" => {
                let set = self.0.entry(uid).or_default();
                let surge = number(object, "/spec/updateStrategy/rollingUpdate/maxSurge");
                set.name = text(object, "/metadata/name").to_owned();
                set.most = if surge > 0 { 2 } else { 1 };
                set.gone |= version.gone || is_deleting(object);
                set.wanted = number(object, "/status/desiredNumberScheduled");
                let counted = ["currentNumberScheduled", "updatedNumberScheduled", "numberAvailable"];
                let told = |field: &&str| number(object, &format!("/status/{field}")) == set.wanted;
                let seen =
                    number(object, "/status/observedGeneration") == number(object, "/metadata/generation");
                set.settled =
                    seen && counted.iter().all(told) && number(object, "/status/numberMisscheduled") == 0;
            }
            "pods" => {
                let Some(set) = self.0.get_mut(controller(object)) else { return };
                let over = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
                if over || version.gone || is_deleting(object) {
                    set.active.remove(&uid);
                } else {
                    set.active.insert(uid, node(object).to_owned());
                    set.check(node(object), version.revision, found);
                }
            }
            _ => {}
        }
    }

    fn rest(&self, found: &mut Vec<String>) {
        for set in self.0.values().filter(|s| !s.gone) {
            let have = i64::try_from(set.active.len()).unwrap_or(i64::MAX);
            if !set.settled || have != set.wanted {
                let (name, wanted) = (&set.name, set.wanted);
                found.push(format!(
                    "DaemonSet {name} wants {wanted} Pods, has {have}, settled: {}",
                    set.settled
                ));
            }
        }
    }
}

impl Daemons {
    fn check(&self, node: &str, revision: u64, found: &mut Vec<String>) {
        let there = self.active.values().filter(|n| *n == node).count();
        if there > self.most {
            let (name, most) = (&self.name, self.most);
            found.push(format!(
                "at revision {revision} DaemonSet {name} has {there} active Pods for {node}, {most} at most"
            ));
        }
    }
}

/// The node that a Pod is made for.
fn node(pod: &serde_json::Value) -> &str {
    let affinity = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    text(pod, &format!("{affinity}/nodeSelectorTerms/0/matchFields/0/values/0"))
}
