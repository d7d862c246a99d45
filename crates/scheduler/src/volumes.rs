//! Claims, volumes and classes, as far as it depends on them where Pods can be.
//!
//! Invariant: objects are shared as they came; nothing is read of them before a Pod asks. Absent: what drivers say of their
//! capacity (CSIStorageCapacity), disks of clouds.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinds::persistentvolumeclaim::SELECTED_NODE;
use kinds::rules::storage::class;
use kinds::storageclass::waits;
use serde_json::Value;

use crate::cache::Key;
use crate::pod::{ClaimUse, PodInfo};

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Volumes {
    claims: BTreeMap<Key, Arc<Value>>,
    volumes: BTreeMap<Arc<str>, Arc<Value>>,
    classes: BTreeMap<Arc<str>, Arc<Value>>,
    drivers: BTreeMap<Arc<str>, Arc<Value>>,
}

/// A claim of a Pod, and how far it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Claim<'a> {
    /// It has this volume, if that is there.
    Bound(Option<&'a Value>),
    /// It gets one without a Pod.
    Immediate,
    /// It gets one where the Pod goes.
    Waiting(&'a Value),
}

/// The resources whose objects are kept.
pub const RESOURCES: &[(&str, &str)] = &[
    ("persistentvolumeclaims", ""),
    ("persistentvolumes", ""),
    ("storageclasses", "storage.k8s.io"),
    ("csinodes", "storage.k8s.io"),
];

impl Volumes {
    /// Takes what an object is now. Whether that is news.
    pub(crate) fn set(&mut self, resource: &str, key: &Key, after: Option<Value>) -> bool {
        let after = after.map(|mut object| {
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
            Arc::new(object)
        });
        if resource == "persistentvolumeclaims" {
            return put(&mut self.claims, key, after);
        }
        let named = match resource {
            "persistentvolumes" => &mut self.volumes,
            "storageclasses" => &mut self.classes,
            _ => &mut self.drivers,
        };
        put(named, &key.1, after)
    }

    /// A claim of a Pod's namespace.
    pub(crate) fn claim(&self, pod: &PodInfo, used: &ClaimUse) -> Option<&Value> {
        self.claims.get(&(pod.namespace.clone(), used.name.clone())).map(|claim| &**claim)
    }

    /// How far a claim is.
    pub(crate) fn state<'a>(&'a self, claim: &'a Value) -> Claim<'a> {
        let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
        let completed = &claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"];
        if !volume.is_empty() && completed.is_string() {
            return Claim::Bound(self.volumes.get(volume).map(|volume| &**volume));
        }
        let waiting = volume.is_empty() && self.class(claim).is_some_and(waits);
        if waiting { Claim::Waiting(claim) } else { Claim::Immediate }
    }

    /// A claim's class.
    pub(crate) fn class(&self, claim: &Value) -> Option<&Value> {
        self.classes.get(class(claim)).map(|class| &**class)
    }

    /// All volumes.
    pub(crate) fn all(&self) -> Vec<&Value> {
        self.volumes.values().map(|volume| &**volume).collect()
    }

    /// The node that was chosen for a claim before.
    pub(crate) fn selected(claim: &Value) -> &str {
        claim["metadata"]["annotations"][SELECTED_NODE].as_str().unwrap_or_default()
    }

    /// How many volumes of a driver a node takes.
    pub(crate) fn limit(&self, node: &str, driver: &str) -> Option<usize> {
        let all = self.drivers.get(node)?["spec"]["drivers"].as_array()?;
        let found = all.iter().find(|d| d["name"] == driver)?;
        found["allocatable"]["count"].as_u64().and_then(|count| usize::try_from(count).ok())
    }

    /// Whether any node tells of limits.
    pub(crate) fn has_limits(&self) -> bool {
        !self.drivers.is_empty()
    }

    /// Driver and handle of each CSI volume that a Pod has; a claim without a volume counts by its own name.
    pub(crate) fn handles(&self, pod: &PodInfo) -> Vec<(String, String)> {
        let of = |used: &ClaimUse| {
            let claim = self.claim(pod, used)?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            match self.state(claim) {
                Claim::Bound(volume) => {
                    let source = &volume?["spec"]["csi"];
                    source.is_object().then(|| (text(&source["driver"]), text(&source["volumeHandle"])))
                }
                _ => {
                    let driver = text(&self.class(claim)?["provisioner"]);
                    Some((driver, format!("{}/{}", pod.namespace, used.name)))
                }
            }
        };
        pod.claims.iter().filter_map(of).collect()
    }
}

fn put<K: Ord + Clone>(map: &mut BTreeMap<K, Arc<Value>>, key: &K, after: Option<Arc<Value>>) -> bool {
    if map.get(key) == after.as_ref() {
        return false;
    }
    match after {
        Some(object) => drop(map.insert(key.clone(), object)),
        None => drop(map.remove(key)),
    }
    true
}
