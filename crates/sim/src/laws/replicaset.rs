//! A ReplicaSet or ReplicationController never has more active Pods than it was ever to have, and in the end has as many as
//! it is to have.

use std::collections::{BTreeMap, BTreeSet};

use super::{Law, Version, controller, is_deleting, number, text};

#[derive(Debug, Default)]
struct Set {
    name: String,
    wanted: i64,
    /// The most it was ever to have.
    most: i64,
    gone: bool,
    active: BTreeSet<String>,
    told: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ReplicaSets(BTreeMap<String, Set>);

impl Law for ReplicaSets {
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>) {
        let object = version.object;
        let uid = text(object, "/metadata/uid").to_owned();
        match version.bucket {
            "replicasets.apps" | "replicationcontrollers" => {
                let set = self.0.entry(uid).or_default();
                set.name = text(object, "/metadata/name").to_owned();
                set.wanted = number(object, "/spec/replicas");
                set.most = set.most.max(set.wanted);
                set.told = number(object, "/status/replicas");
                set.gone |= version.gone || is_deleting(object);
            }
            "pods" => {
                let Some(set) = self.0.get_mut(controller(object)) else { return };
                let over = matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
                if over || version.gone || is_deleting(object) {
                    set.active.remove(&uid);
                } else if set.active.insert(uid)
                    && i64::try_from(set.active.len()).is_ok_and(|n| n > set.most)
                {
                    let (name, have, most) = (&set.name, set.active.len(), set.most);
                    found.push(format!(
                        "at revision {} set {name} has {have} active Pods, {most} at most",
                        version.revision
                    ));
                }
            }
            _ => {}
        }
    }

    fn rest(&self, found: &mut Vec<String>) {
        for set in self.0.values().filter(|s| !s.gone) {
            let have = i64::try_from(set.active.len()).unwrap_or(i64::MAX);
            if have != set.wanted || set.told != have {
                let (name, wanted, told) = (&set.name, set.wanted, set.told);
                found.push(format!("set {name} wants {wanted} Pods, has {have} and tells of {told}"));
            }
        }
    }
}
