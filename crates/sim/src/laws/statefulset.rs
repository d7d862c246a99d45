//! A StatefulSet never has more than one Pod of an ordinal, makes ordinals for the first time one after the other where
//! they wait for each other, and in the end has each of them, from its partition on of the present template.

use std::collections::{BTreeMap, BTreeSet};

use super::{Law, Version, controller, is_deleting, number, text};

#[derive(Debug, Default)]
struct Set {
    name: String,
    ordered: bool,
    wanted: i64,
    partition: i64,
    update: String,
    settled: bool,
    gone: bool,
    /// Ordinals that there ever were.
    ever: BTreeSet<i64>,
    /// The revision of each Pod that is there, by its ordinal.
    there: BTreeMap<i64, String>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StatefulSets(BTreeMap<String, Set>);

impl Law for StatefulSets {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        match version.bucket {
            "statefulsets.apps" => {
                let set = self.0.entry(text(object, "/metadata/uid").to_owned()).or_default();
                set.name = text(object, "/metadata/name").to_owned();
                set.ordered = text(object, "/spec/podManagementPolicy") == "OrderedReady";
                set.wanted = number(object, "/spec/replicas");
                set.partition = number(object, "/spec/updateStrategy/rollingUpdate/partition");
                set.update = text(object, "/status/updateRevision").to_owned();
                set.gone |= version.gone || is_deleting(object);
                let counted = ["replicas", "readyReplicas", "availableReplicas"];
                let told = |field: &&str| number(object, &format!("/status/{field}")) == set.wanted;
                let seen =
                    number(object, "/status/observedGeneration") == number(object, "/metadata/generation");
                set.settled = seen && counted.iter().all(told);
            }
            "pods" => {
                let Some(set) = self.0.get_mut(controller(object)) else { return };
                let name = text(object, "/metadata/name");
                let digits = name.strip_prefix(&format!("{}-", set.name)).and_then(|d| d.parse().ok());
                let Some(ordinal) = digits else {
                    found.push(format!("StatefulSet {} has a Pod that is named {name}", set.name));
                    return;
                };
                if version.gone {
                    set.there.remove(&ordinal);
                    return;
                }
                let revision = text(object, "/metadata/labels/controller-revision-hash");
                set.there.insert(ordinal, revision.to_owned());
                if set.ever.insert(ordinal)
                    && set.ordered
                    && ordinal > 0
                    && !set.ever.contains(&(ordinal - 1))
                {
                    found.push(format!(
                        "at revision {} Pod {name} was made before the one before",
                        version.revision
                    ));
                }
            }
            _ => {}
        }
    }

    fn rest(&self, found: &mut Vec<String>) {
        for set in self.0.values().filter(|s| !s.gone) {
            let all = (0..set.wanted).eq(set.there.keys().copied());
            let new = set.there.iter().all(|(n, revision)| *n < set.partition || *revision == set.update);
            if !(set.settled && all && new) {
                let Set { name, wanted, partition, update, there, settled, .. } = set;
                found.push(format!(
                    "StatefulSet {name} wants {wanted} Pods, from {partition} on of {update}, has {there:?}, settled: \
                     {settled}"
                ));
            }
        }
    }
}
