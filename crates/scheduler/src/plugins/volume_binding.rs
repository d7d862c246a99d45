//! `VolumeBinding`: nodes must reach the volumes that a Pod's claims have, and those that wait for the Pod must find or get
//! one there.
//!
//! Invariant: a Pod is bound once all its claims are: until then what its claims need is written for the node that was
//! chosen, and the Pod is decided again when they have it. Absent: reserving (a second Pod may choose the same free volume;
//! then one of them is told so by the API and chooses again), capacities of drivers, scores.

use kinds::persistentvolume::KIND as VOLUMES;
use kinds::persistentvolume::matching::{For, choose, reaches};
use kinds::persistentvolumeclaim::{KIND as CLAIMS, SELECTED_NODE};
use kinds::plan::{Action, Write};
use kinds::rules::storage::requested;
use kinds::storageclass::NO_PROVISIONER;
use serde_json::{Value, json};

use crate::change::{Change, Kinds};
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{Plugin, Points, PreFilter, Verdict};
use crate::pod::PodInfo;
use crate::refusal::{Reason, Refusal};
use crate::snapshot::Snapshot;
use crate::volumes::{Claim, Volumes};

const UNBOUND: Refusal = Refusal::final_("pod has unbound immediate PersistentVolumeClaims");
const UNREACHED: Refusal = Refusal::final_("node(s) didn't match PersistentVolume's node affinity");
const NONE_FREE: Refusal = Refusal::final_("node(s) didn't find available persistent volumes to bind");
const LOST: Refusal =
    Refusal::final_("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");

/// See the module.
#[derive(Debug)]
pub(crate) struct VolumeBinding;

/// A Pod's claims, sorted by how far they are.
#[derive(Clone)]
struct Wishes<'a> {
    world: &'a Volumes,
    bound: Vec<Option<&'a Value>>,
    /// The smallest first.
    waiting: Vec<&'a Value>,
}

/// How a claim that waits gets its volume on a node.
enum Means<'a> {
    /// This volume is free.
    Free(&'a Value),
    /// One is made.
    Made,
}

fn refuse(text: &'static str, name: String) -> Refusal {
    Refusal { reason: Reason::of(text, &name), more: Vec::new(), resolvable: false }
}

impl<'a> Wishes<'a> {
    fn of(pod: &PodInfo, world: &'a Volumes) -> Result<Self, Refusal> {
        let mut wishes = Self { world, bound: Vec::new(), waiting: Vec::new() };
        let mut immediate = false;
        for used in &pod.claims {
            let name = &used.name;
            let Some(claim) = world.claim(pod, used) else {
                return Err(match used.ephemeral {
                    true => refuse(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim ",
                        format!("\"{name}\""),
                    ),
                    false => refuse("persistentvolumeclaim ", format!("\"{name}\" not found")),
                });
            };
            if claim["status"]["phase"] == "Lost" {
                let volume = claim["spec"]["volumeName"].as_str().unwrap_or_default();
                let why = format!("\"{name}\" bound to non-existent persistentvolume \"{volume}\"");
                return Err(refuse("persistentvolumeclaim ", why));
            }
            if !claim["metadata"]["deletionTimestamp"].is_null() {
                return Err(refuse("persistentvolumeclaim ", format!("\"{name}\" is being deleted")));
            }
            if used.ephemeral && !is_owned(claim, pod) {
                let (namespace, pod) = (&pod.namespace, &pod.name);
                let why = format!(
                    "{namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
                );
                return Err(refuse("PVC ", why));
            }
            match world.state(claim) {
                Claim::Bound(volume) => wishes.bound.push(volume),
                Claim::Immediate => immediate = true,
                Claim::Waiting(claim) => wishes.waiting.push(claim),
            }
        }
        if immediate {
            return Err(UNBOUND);
        }
        wishes.waiting.sort_by_key(|claim| requested(claim));
        Ok(wishes)
    }

    fn check(&self, node: &NodeFacts) -> Verdict {
        if self.bound.iter().any(Option::is_none) {
            return Err(LOST);
        }
        if self.bound.iter().flatten().any(|volume| !reaches(volume, &node.labels, &node.name)) {
            return Err(UNREACHED);
        }
        self.means(node).map(drop).ok_or(NONE_FREE)
    }

    /// How each waiting claim gets a volume on a node; nothing if one of them cannot.
    fn means(&self, node: &NodeFacts) -> Option<Vec<(&'a Value, Means<'a>)>> {
        let volumes = if self.waiting.is_empty() { Vec::new() } else { self.world.all() };
        let (mut taken, mut out) = (Vec::new(), Vec::new());
        for claim in &self.waiting {
            let selected = Volumes::selected(claim);
            if !selected.is_empty() {
                if *selected != *node.name {
                    return None;
                }
                out.push((*claim, Means::Made));
                continue;
            }
            let found = choose(claim, &volumes, For::Node(&node.labels, &node.name), &taken);
            if let Some(volume) = found {
                taken.push(volume["metadata"]["name"].as_str().unwrap_or_default());
                out.push((*claim, Means::Free(volume)));
            } else if self.can_be_made(claim, node) {
                out.push((*claim, Means::Made));
            } else {
                return None;
            }
        }
        Some(out)
    }

    fn can_be_made(&self, claim: &Value, node: &NodeFacts) -> bool {
        let Some(class) = self.world.class(claim) else { return false };
        let terms = class["allowedTopologies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let has = |wanted: &Value| {
            let label = wanted["key"].as_str().and_then(|key| node.labels.get(key));
            let values = wanted["values"].as_array();
            label.is_some_and(|label| values.into_iter().flatten().any(|value| *value == **label))
        };
        let fits = |term: &Value| term["matchLabelExpressions"].as_array().into_iter().flatten().all(has);
        class["provisioner"] != NO_PROVISIONER && (terms.is_empty() || terms.iter().any(fits))
    }
}

fn is_owned(claim: &Value, pod: &PodInfo) -> bool {
    let owners = claim["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["controller"] == true && owner["uid"] == *pod.uid)
}

/// A volume is kept for a claim; in the version in which it was free.
fn keep(volume: &Value, claim: &Value) -> Write {
    let (meta, of) = (&volume["metadata"], &claim["metadata"]);
    let change = json!({
        "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"],
            "annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": of["namespace"],
            "name": of["name"], "uid": of["uid"], "resourceVersion": of["resourceVersion"]}},
    });
    Write::new(&VOLUMES, "", meta["name"].as_str().unwrap_or_default(), Action::Merge(change))
}

/// A volume is to be made for a claim on a node.
fn ask(claim: &Value, node: &str) -> Write {
    let meta = &claim["metadata"];
    let text = |key: &str| meta[key].as_str().unwrap_or_default();
    let change = json!({"metadata": {"uid": meta["uid"], "annotations": {SELECTED_NODE: node}}});
    Write::new(&CLAIMS, text("namespace"), text("name"), Action::Merge(change))
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::VOLUMES | Kinds::NODE_ADDED | Kinds::NODE_LABELS
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        match change {
            // Of claims only its own, and those whose volumes it may get.
            Change::Volumes(Some((namespace, name))) => {
                *namespace == pod.namespace && pod.claims.iter().any(|used| used.name == *name)
            }
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        if pod.claims.is_empty() {
            return PreFilter::Skip;
        }
        match Wishes::of(pod, world.volumes()) {
            Ok(wishes) => PreFilter::each(move |node: &NodeInfo| wishes.check(node)),
            Err(refusal) => PreFilter::Refuse(refusal),
        }
    }

    fn prepare(&self, pod: &PodInfo, node: &NodeInfo, world: &Snapshot) -> Option<Vec<Write>> {
        let wishes = Wishes::of(pod, world.volumes()).ok().filter(|wishes| !wishes.waiting.is_empty())?;
        let mut writes = Vec::new();
        for (claim, means) in wishes.means(node)? {
            match means {
                Means::Free(volume) if volume["spec"]["claimRef"].is_null() => {
                    writes.push(keep(volume, claim))
                }
                Means::Made if Volumes::selected(claim).is_empty() => writes.push(ask(claim, &node.name)),
                Means::Free(_) | Means::Made => {}
            }
        }
        Some(writes)
    }
}

#[cfg(test)]
#[path = "volume_binding_tests.rs"]
mod tests;
