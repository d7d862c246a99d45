//! Binds claims and volumes to each other, and says what became of those that lost the other half
//! (`pkg/controller/volume/persistentvolume`).
//!
//! Invariants: a volume is given to a claim first and the claim to the volume after, so whatever happens between the two
//! ends with one claim for one volume; a volume is given away only in the version in which it was free. Absent: making
//! volumes (provisioners) and emptying them (recycling, which is told as failed).

use base::Timestamp;
use serde_json::{Value, json};

use super::matching::{For, choose, is_for, satisfies};
use super::{KIND as VOLUMES, PROVISIONED_BY};
use crate::persistentvolumeclaim::{KIND as CLAIMS, SELECTED_NODE};
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::rules::storage::{class, is_block};
use crate::storageclass::{NO_PROVISIONER, waits};
use crate::value::{is_set, text};

/// The binder gave a volume to a claim, or a claim to a volume, by itself.
const BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// A claim was bound once.
const COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Who is to make a claim's volume, under the name of today and that of before.
const PROVISIONER: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];

/// What a turn is about.
#[derive(Debug)]
pub enum Observed {
    /// A claim.
    Claim {
        /// It.
        claim: Value,
        /// The volume that it names, those that are for it and those of its class.
        volumes: Vec<Value>,
        /// Its class.
        class: Option<Value>,
        /// An unbound Pod that uses it.
        pod: Option<String>,
    },
    /// A volume.
    Volume {
        /// It.
        volume: Value,
        /// The claim that it is for, whatever its UID.
        claim: Option<Value>,
    },
}

/// Decides.
#[must_use]
pub fn reconcile(_: Timestamp, observed: &Observed) -> Plan {
    match observed {
        Observed::Claim { claim, volumes, class, pod } => {
            let mut turn = Turn::new(claim, volumes, class.as_ref(), pod.as_deref());
            if is_set(&claim["metadata"]["annotations"][COMPLETED]) {
                turn.bound()
            } else {
                turn.unbound()
            }
            turn.plan
        }
        Observed::Volume { volume, claim } => of_volume(volume, claim.as_ref()),
    }
}

/// An event's subject.
pub(crate) fn about(obj: &Value) -> Reference {
    let meta = &obj["metadata"];
    let kind = if is_set(&meta["namespace"]) { "PersistentVolumeClaim" } else { "PersistentVolume" };
    Reference {
        api_version: "v1".into(),
        kind: kind.into(),
        namespace: text(&meta["namespace"]).into(),
        name: text(&meta["name"]).into(),
        uid: text(&meta["uid"]).into(),
        resource_version: text(&meta["resourceVersion"]).into(),
        field_path: String::new(),
    }
}

/// A change of this very claim or volume.
pub(crate) fn patch(obj: &Value, change: Value) -> Write {
    let meta = &obj["metadata"];
    let namespace = text(&meta["namespace"]);
    let kind = if namespace.is_empty() { &VOLUMES } else { &CLAIMS };
    let mut change = change;
    change["metadata"]["uid"] = meta["uid"].clone();
    Write::new(kind, namespace, text(&meta["name"]), Action::Merge(change))
}

struct Turn<'a> {
    claim: &'a Value,
    volumes: &'a [Value],
    class: Option<&'a Value>,
    pod: Option<&'a str>,
    plan: Plan,
}

impl<'a> Turn<'a> {
    fn new(claim: &'a Value, volumes: &'a [Value], class: Option<&'a Value>, pod: Option<&'a str>) -> Self {
        Self { claim, volumes, class, pod, plan: Plan::about(about(claim)) }
    }

    fn named(&self) -> Option<&'a Value> {
        let name = text(&self.claim["spec"]["volumeName"]);
        self.volumes.iter().find(|v| text(&v["metadata"]["name"]) == name)
    }

    fn say(&mut self, notice: Notice) {
        self.plan.events.push(notice);
    }

    fn phase(&mut self, phase: &str) {
        if text(&self.claim["status"]["phase"]) != phase {
            let write = patch(self.claim, json!({"status": {"phase": phase}})).through("status");
            self.plan.stage(vec![write]);
        }
    }

    /// A claim that was never bound.
    fn unbound(&mut self) {
        if is_set(&self.claim["metadata"]["deletionTimestamp"]) {
            return;
        }
        if text(&self.claim["spec"]["volumeName"]).is_empty() {
            self.without_volume();
        } else {
            self.asks_for_one();
        }
    }

    /// One that takes what there is.
    fn without_volume(&mut self) {
        let selected = is_set(&self.claim["metadata"]["annotations"][SELECTED_NODE]);
        let delays = self.class.is_some_and(waits) && !selected;
        let who = if delays { For::Waiting } else { For::Anyone };
        let volumes: Vec<&Value> = self.volumes.iter().collect();
        // Where a node was chosen, a volume is made for it; what is free elsewhere is no use.
        let who = if selected { For::Waiting } else { who };
        if let Some(volume) = choose(self.claim, &volumes, who, &[]) {
            return self.bind(volume);
        }
        if delays {
            self.say(match self.pod {
                Some(pod) => {
                    Notice::normal("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled"))
                }
                None => Notice::normal(
                    "WaitForFirstConsumer",
                    "waiting for first consumer to be created before binding",
                ),
            });
        } else if class(self.claim).is_empty() {
            let why = "no persistent volumes available for this claim and no storage class is set";
            self.say(Notice::normal("FailedBinding", why));
        } else {
            self.provision();
        }
        self.phase("Pending");
    }

    /// Somebody is to make a volume.
    fn provision(&mut self) {
        let Some(class) = self.class else {
            let why = format!("storageclass.storage.k8s.io \"{}\" not found", class(self.claim));
            return self.say(Notice::warning("ProvisioningFailed", why));
        };
        let provisioner = text(&class["provisioner"]);
        if provisioner == NO_PROVISIONER {
            let why = format!("no volume plugin matched name: {provisioner}");
            return self.say(Notice::warning("ProvisioningFailed", why));
        }
        let known = &self.claim["metadata"]["annotations"];
        if PROVISIONER.iter().any(|key| text(&known[*key]) != provisioner) {
            let marks = json!({PROVISIONER[0]: provisioner, PROVISIONER[1]: provisioner});
            self.plan.stage(vec![patch(self.claim, json!({"metadata": {"annotations": marks}}))]);
        }
        self.say(Notice::normal(
            "ExternalProvisioning",
            format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
                 system administrator. If volume creation is delayed, please verify that the provisioner is running and \
                 correctly registered."
            ),
        ));
    }

    /// One that wants a volume of this name.
    fn asks_for_one(&mut self) {
        let Some(volume) = self.named() else { return self.phase("Pending") };
        let name = text(&volume["metadata"]["name"]);
        if !is_set(&volume["spec"]["claimRef"]) {
            match satisfies(volume, self.claim) {
                Ok(()) => return self.bind(volume),
                Err(why) => {
                    let why = format!("Cannot bind to requested volume \"{name}\": {why}");
                    self.say(Notice::warning("VolumeMismatch", why));
                }
            }
        } else if is_for(volume, self.claim) {
            return self.bind(volume);
        } else {
            self.say(Notice::normal(
                "FailedBinding",
                format!("volume \"{name}\" already bound to a different claim."),
            ));
        }
        self.phase("Pending");
    }

    /// A claim that was bound before.
    fn bound(&mut self) {
        let lost = match self.named() {
            None if text(&self.claim["spec"]["volumeName"]).is_empty() => (
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ),
            None => ("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
            Some(volume) if !is_set(&volume["spec"]["claimRef"]) || is_for(volume, self.claim) => {
                return self.bind(volume);
            }
            Some(_) => {
                ("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
            }
        };
        if text(&self.claim["status"]["phase"]) != "Lost" {
            self.say(Notice::warning(lost.0, lost.1));
            let status = json!({"status": {"phase": "Lost", "accessModes": null, "capacity": null}});
            self.plan.stage(vec![patch(self.claim, status).through("status")]);
        }
    }

    /// Both halves know each other; what already is so is not written.
    fn bind(&mut self, volume: &Value) {
        let stages = [
            self.volume_to_claim(volume),
            bound_phase(volume),
            self.claim_to_volume(volume),
            self.claim_status(volume),
        ];
        stages.into_iter().for_each(|write| self.plan.stage(write.into_iter().collect()));
    }

    fn volume_to_claim(&self, volume: &Value) -> Option<Write> {
        let (meta, reference) = (&self.claim["metadata"], &volume["spec"]["claimRef"]);
        if is_set(reference) && reference["uid"] == meta["uid"] {
            return None;
        }
        let mut change = json!({
            "metadata": {"resourceVersion": volume["metadata"]["resourceVersion"]},
            "spec": {"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"],
                "name": meta["name"], "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}},
        });
        if !is_set(reference) {
            change["metadata"]["annotations"] = json!({BY_CONTROLLER: "yes"});
        }
        Some(patch(volume, change))
    }

    fn claim_to_volume(&self, volume: &Value) -> Option<Write> {
        let known = &self.claim["metadata"]["annotations"];
        let has_name = !text(&self.claim["spec"]["volumeName"]).is_empty();
        if has_name && is_set(&known[COMPLETED]) {
            return None;
        }
        let mut marks = json!({COMPLETED: "yes"});
        if !has_name {
            marks[BY_CONTROLLER] = json!("yes");
        }
        let spec = json!({"volumeName": volume["metadata"]["name"]});
        Some(patch(self.claim, json!({"metadata": {"annotations": marks}, "spec": spec})))
    }

    fn claim_status(&self, volume: &Value) -> Option<Write> {
        let (status, spec) = (&self.claim["status"], &volume["spec"]);
        if text(&status["phase"]) == "Bound" && is_set(&status["capacity"]["storage"]) {
            return None;
        }
        let mut new =
            json!({"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["capacity"]});
        if is_set(&spec["volumeAttributesClassName"]) {
            new["currentVolumeAttributesClassName"] = spec["volumeAttributesClassName"].clone();
        }
        Some(patch(self.claim, json!({"status": new})).through("status"))
    }
}

fn bound_phase(volume: &Value) -> Option<Write> {
    phase_of(volume, "Bound", None)
}

/// A volume's phase, unless it is that already.
fn phase_of(volume: &Value, phase: &str, message: Option<&str>) -> Option<Write> {
    if text(&volume["status"]["phase"]) == phase {
        return None;
    }
    let status = json!({"phase": phase, "message": message, "reason": null});
    Some(patch(volume, json!({"status": status})).through("status"))
}

fn of_volume(volume: &Value, claim: Option<&Value>) -> Plan {
    let mut plan = Plan::about(about(volume));
    let reference = &volume["spec"]["claimRef"];
    if !is_set(reference) || text(&reference["uid"]).is_empty() {
        plan.stage(phase_of(volume, "Available", None).into_iter().collect());
        return plan;
    }
    let Some(claim) = claim.filter(|claim| claim["metadata"]["uid"] == reference["uid"]) else {
        reclaim(volume, &mut plan);
        return plan;
    };
    let named = text(&claim["spec"]["volumeName"]);
    if named.is_empty() {
        if is_block(&volume["spec"]) != is_block(&claim["spec"]) {
            let name = text(&claim["metadata"]["name"]);
            let why = format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"{name}\" due to incompatible volumeMode."
            );
            plan.events.push(Notice::warning("VolumeMismatch", why));
        }
    } else if named == text(&volume["metadata"]["name"]) {
        plan.stage(bound_phase(volume).into_iter().collect());
    } else if is_set(&volume["metadata"]["annotations"][PROVISIONED_BY]) && deletes(volume) {
        reclaim(volume, &mut plan);
    } else {
        unbind(volume, &mut plan);
    }
    plan
}

fn deletes(volume: &Value) -> bool {
    text(&volume["spec"]["persistentVolumeReclaimPolicy"]) == "Delete"
}

/// It was given to a claim that took another.
fn unbind(volume: &Value, plan: &mut Plan) {
    let by_us = is_set(&volume["metadata"]["annotations"][BY_CONTROLLER]);
    let reference = if by_us { Value::Null } else { json!({"uid": null, "resourceVersion": null}) };
    let mut change = json!({"spec": {"claimRef": reference},
        "metadata": {"resourceVersion": volume["metadata"]["resourceVersion"]}});
    if by_us {
        change["metadata"]["annotations"] = json!({BY_CONTROLLER: null});
    }
    plan.stage(vec![patch(volume, change)]);
    plan.stage(phase_of(volume, "Available", None).into_iter().collect());
}

/// Its claim is gone.
fn reclaim(volume: &Value, plan: &mut Plan) {
    let phase = text(&volume["status"]["phase"]);
    if phase != "Released" && phase != "Failed" {
        plan.stage(phase_of(volume, "Released", None).into_iter().collect());
    }
    // What a provisioner of its own made, that removes.
    if phase == "Failed" || is_set(&volume["metadata"]["annotations"][PROVISIONED_BY]) {
        return;
    }
    let failed = match text(&volume["spec"]["persistentVolumeReclaimPolicy"]) {
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        "Delete" => {
            let name = text(&volume["metadata"]["name"]);
            let why = format!(
                "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
            );
            ("VolumeFailedDelete", why)
        }
        _ => return,
    };
    plan.stage(phase_of(volume, "Failed", Some(&failed.1)).into_iter().collect());
    plan.events.push(Notice::warning(failed.0, failed.1));
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
