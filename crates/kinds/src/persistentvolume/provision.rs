//! The built-in provisioner, `minke.dev/local`: a volume is a directory of the node that a Pod was put on.
//!
//! Invariants: the volume of a claim has one name, so it is made once; it has a finalizer that only its node takes away,
//! when the directory is gone. Absent: the directory itself (the node), bounds of its size, block devices, copies of other
//! claims.

use serde_json::{Value, json};

use super::reconcile::{about, patch};
use super::{KIND as VOLUMES, PROVISIONED_BY};
use crate::persistentvolumeclaim::SELECTED_NODE;
use crate::plan::{Action, Notice, Plan, Write};
use crate::rules::deletion::Deletion;
use crate::rules::storage::{capacity, is_block, requested};
use crate::storageclass::{DEFAULT, KIND as CLASSES, WAIT, waits};
use crate::value::{entries, is_set, items, same, text};

/// Its name.
pub const LOCAL: &str = "minke.dev/local";
/// The class that it comes with.
pub const CLASS: &str = "minke-local";
/// The annotation of a node that says where it has volumes.
pub const DIRECTORY: &str = "minke.dev/local-volumes";
/// Holds a volume until its directory is gone.
pub const HELD: &str = "minke.dev/local";
/// The label of a node with its name.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What a turn is about.
#[derive(Debug)]
pub enum Observed {
    /// A claim of a class of this provisioner.
    Claim {
        /// It.
        claim: Value,
        /// Its class.
        class: Value,
        /// Its volume, if that is made.
        volume: Option<Value>,
        /// Nodes that could have it.
        nodes: Vec<Value>,
    },
    /// A volume that was made here, and whether its claim is still there.
    Volume {
        /// It.
        volume: Value,
        /// Whether its claim is there.
        claimed: bool,
    },
    /// A node with room for volumes, and whether there is the class.
    Node {
        /// Whether there is the class.
        has_class: bool,
    },
}

/// The name of a claim's volume.
#[must_use]
pub fn volume_name(claim: &Value) -> String {
    format!("pvc-{}", text(&claim["metadata"]["uid"]))
}

/// Whether a volume was made here.
#[must_use]
pub fn is_ours(volume: &Value) -> bool {
    text(&volume["metadata"]["annotations"][PROVISIONED_BY]) == LOCAL
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    match observed {
        Observed::Claim { claim, class, volume: Some(volume), .. } => grow(claim, class, volume),
        Observed::Claim { claim, class, volume: None, nodes } => make(claim, class, nodes),
        Observed::Volume { volume, claimed } => remove(volume, *claimed),
        Observed::Node { has_class } => {
            let mut plan = Plan::default();
            if !has_class {
                plan.stage(vec![Write::new(&CLASSES, "", CLASS, Action::Create(default_class()))]);
            }
            plan
        }
    }
}

/// The class as it is made at first.
#[must_use]
pub fn default_class() -> Value {
    json!({"metadata": {"name": CLASS, "annotations": {DEFAULT[0]: "true"}}, "provisioner": LOCAL,
        "reclaimPolicy": "Delete", "volumeBindingMode": WAIT, "allowVolumeExpansion": true})
}

fn make(claim: &Value, class: &Value, nodes: &[Value]) -> Plan {
    let mut plan = Plan::about(about(claim));
    let (meta, spec) = (&claim["metadata"], &claim["spec"]);
    let done = is_set(&meta["deletionTimestamp"]) || !text(&spec["volumeName"]).is_empty();
    let selected = text(&meta["annotations"][SELECTED_NODE]);
    if done || (waits(class) && selected.is_empty()) {
        return plan;
    }
    let class_name = text(&class["metadata"]["name"]);
    let fail = |why: &str| {
        let why = format!("failed to provision volume with StorageClass \"{class_name}\": {why}");
        Notice::warning("ProvisioningFailed", why)
    };
    if is_block(spec) {
        plan.events.push(fail("block volumes are not supported"));
        return plan;
    }
    if is_set(&spec["dataSource"]) || is_set(&spec["dataSourceRef"]) {
        plan.events.push(fail("data sources are not supported"));
        return plan;
    }
    let chosen = |node: &&Value| selected.is_empty() || text(&node["metadata"]["name"]) == selected;
    let usable = |node: &&Value| is_set(&node["metadata"]["annotations"][DIRECTORY]) && allowed(class, node);
    let Some(node) = nodes.iter().filter(chosen).find(usable) else {
        plan.events.push(fail("no node with room for volumes was found"));
        if !selected.is_empty() {
            // The scheduler is to choose again.
            plan.stage(vec![patch(claim, json!({"metadata": {"annotations": {SELECTED_NODE: null}}}))]);
        }
        return plan;
    };
    let name = volume_name(claim);
    let told = format!(
        "External provisioner is provisioning volume for claim \"{}/{}\"",
        text(&meta["namespace"]),
        text(&meta["name"])
    );
    plan.events.push(Notice::normal("Provisioning", told));
    plan.events
        .push(Notice::normal("ProvisioningSucceeded", format!("Successfully provisioned volume {name}")));
    plan.stage(vec![Write::new(&VOLUMES, "", &name, Action::Create(volume(claim, class, node)))]);
    plan
}

/// Whether a class allows a node.
fn allowed(class: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let terms = items(&class["allowedTopologies"]);
    let fits = |term: &Value| {
        items(&term["matchLabelExpressions"])
            .iter()
            .all(|wanted| items(&wanted["values"]).contains(&labels[text(&wanted["key"])]))
    };
    terms.is_empty() || terms.iter().any(fits)
}

/// A new volume.
fn volume(claim: &Value, class: &Value, node: &Value) -> Value {
    let (meta, spec) = (&claim["metadata"], &claim["spec"]);
    let name = volume_name(claim);
    let directory = text(&node["metadata"]["annotations"][DIRECTORY]).trim_end_matches('/');
    let host = &node["metadata"]["labels"][HOSTNAME];
    let host = if is_set(host) { host } else { &node["metadata"]["name"] };
    let reach = json!({"key": HOSTNAME, "operator": "In", "values": [host]});
    let mut volume = json!({
        "metadata": {"name": name, "finalizers": [HELD], "annotations": {PROVISIONED_BY: LOCAL}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
            "storageClassName": class["metadata"]["name"],
            "volumeMode": "Filesystem",
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"],
                "name": meta["name"], "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "local": {"path": format!("{directory}/{name}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [reach]}]}},
        },
    });
    if entries(&class["mountOptions"]).next().is_some() || !items(&class["mountOptions"]).is_empty() {
        volume["spec"]["mountOptions"] = class["mountOptions"].clone();
    }
    volume
}

/// A bound claim that asks for more gets it: its volume says so, then it.
fn grow(claim: &Value, class: &Value, volume: &Value) -> Plan {
    let mut plan = Plan::about(about(claim));
    let wanted = &claim["spec"]["resources"]["requests"]["storage"];
    let bound = text(&claim["status"]["phase"]) == "Bound" && class["allowVolumeExpansion"] == true;
    if !bound || !is_ours(volume) || requested(claim) <= Default::default() {
        return plan;
    }
    if capacity(volume) < requested(claim) {
        plan.stage(vec![patch(volume, json!({"spec": {"capacity": {"storage": wanted}}}))]);
    }
    let held = crate::pod::resources::quantity(&claim["status"]["capacity"]["storage"]).unwrap_or_default();
    if held < requested(claim) {
        let status = json!({"status": {"capacity": {"storage": wanted}}});
        plan.stage(vec![patch(claim, status).through("status")]);
        let told = "MountVolume.NodeExpandVolume succeeded for volume ";
        let told = format!("{told}\"{}\"", text(&volume["metadata"]["name"]));
        plan.events.push(Notice::normal("FileSystemResizeSuccessful", told));
    }
    plan
}

/// A volume whose claim is gone goes too, if its policy says so.
fn remove(volume: &Value, claimed: bool) -> Plan {
    let mut plan = Plan::about(about(volume));
    let meta = &volume["metadata"];
    let deletes = text(&volume["spec"]["persistentVolumeReclaimPolicy"]) == "Delete";
    let released = same(&volume["status"]["phase"], &json!("Released"));
    if is_ours(volume) && deletes && released && !claimed && !is_set(&meta["deletionTimestamp"]) {
        let options = Deletion::of(text(&meta["uid"])).body();
        plan.stage(vec![Write::new(&VOLUMES, "", text(&meta["name"]), Action::Delete(options))]);
    }
    plan
}

#[cfg(test)]
#[path = "provision_tests.rs"]
mod tests;
