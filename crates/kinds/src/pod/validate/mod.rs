//! What makes a Pod or a Pod template valid (`pkg/apis/core/validation`, `ValidatePodSpec` and what it calls).
//!
//! Invariant: works on defaulted objects whose structure was checked; every error is found, in upstream's order and
//! with its path and words. The rules are data beside the type they are of; a function stands where fields are related.
//! Absent: metadata (`crate::meta`) and Windows security options.

mod claim;
mod containers;
mod env;
pub(crate) mod limits;
mod mounts;
mod probes;
mod projected;
mod references;
mod resize;
mod scheduling;
mod security;
mod spec;
#[cfg(test)]
mod tests;
mod update;
mod volumes;

use schema::validation::{At, Run, field, here};
use serde_json::Value;

pub(crate) use claim::{SPEC as CLAIM, VOLUME_MODES, access_modes};
pub(crate) use limits::{check_amount, check_resource_name, overhead};
pub(crate) use references::no_backsteps;
pub(crate) use scheduling::{NODE_SELECTOR, TOLERATION};
pub(crate) use spec::{label_selector, labels};
pub(super) use update::check as update;
pub(crate) use volumes::{FIBRE_CHANNEL, FLOCKER, HOST_PATH, NFS, chap_secret, driver, iqn, lun, needs};

use super::annotations::{APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD};
use crate::field::{ErrorList, Path, quote};
use crate::value::{entries, is_set, items, size, text};
use crate::{meta, names};

/// Ties a mirror Pod to a node's manifest.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

schema::rules! {
    /// What holds for a Pod at any time.
    WHOLE: "io.k8s.api.core.v1.Pod" = [
        field("metadata.annotations").with(own_annotations),
        field("spec").inner(&spec::SPEC).with(only_in_pods),
    ];
    /// What holds for a new one besides.
    NEW: "io.k8s.api.core.v1.Pod" = [
        here().inner(&WHOLE),
        field("spec").with(only_in_new_pods),
    ];
    /// A Pod template, of a PodTemplate or a controller.
    pub(crate) TEMPLATE: "io.k8s.api.core.v1.PodTemplateSpec" = [
        here().with(template_metadata),
        field("spec").inner(&spec::SPEC),
        field("spec.ephemeralContainers").with(no_ephemeral_containers),
    ];
}

/// What is wrong with a node affinity, wherever one is given.
#[must_use]
pub fn node_affinity(affinity: &Value, path: &Path<'_>) -> ErrorList {
    scheduling::NODE_AFFINITY.validate_at(*path, affinity, None)
}

/// A new Pod.
pub(super) fn create(pod: &Value) -> ErrorList {
    NEW.validate(pod, None)
}

/// What holds for a Pod at any time.
fn whole(pod: &Value) -> ErrorList {
    WHOLE.validate(pod, None)
}

fn only_in_new_pods<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if size(at.get("ephemeralContainers")) > 0 {
        run.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
    }
    if !at.text_of("nodeName").is_empty() && size(at.get("schedulingGates")) > 0 {
        run.forbidden(&at.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
}

fn no_ephemeral_containers<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > 0 {
        run.forbidden(at, "ephemeral containers not allowed in pod template");
    }
}

/// What is let pass in templates.
fn only_in_pods<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.text_of("serviceAccountName").is_empty() {
        for volume in at.child("volumes").items() {
            for source in volume.child("projected").child("sources").items() {
                if source.has("serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    run.forbidden(&source.child("serviceAccountToken"), detail);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in at.child(list).items() {
            containers::only_for_pods(run, &container, container.value());
        }
    }
}

/// Annotations of a Pod that mean something to its spec, which is two steps away.
fn own_annotations<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if let Some(pod) = at.up().and_then(At::up) {
        pod_annotations(run, at, at.value(), pod.get("spec"));
    }
}

/// Labels and annotations of a template, told of without the metadata they are in, as upstream does.
fn template_metadata<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let metadata = at.child("metadata");
    let (labels, annotations) = (at.child_path("labels"), at.child_path("annotations"));
    names::check_labels(run, &labels, metadata.get("labels"));
    meta::annotations(run, metadata.get("annotations"), &annotations);
    pod_annotations(run, &annotations, metadata.get("annotations"), at.get("spec"));
}

fn pod_annotations(errors: &mut ErrorList, path: &Path<'_>, annotations: &Value, spec: &Value) {
    if is_set(&annotations[MIRROR]) && text(&spec["nodeName"]).is_empty() {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.invalid(&path.key(MIRROR), annotations[MIRROR].clone(), detail);
    }
    if let Some(cost) = annotations[DELETION_COST].as_str() {
        let plain = cost.strip_prefix('-').unwrap_or(cost);
        let leading = plain.len() > 1 && plain.starts_with('0') || cost.starts_with('+');
        if cost.parse::<i32>().is_err() || leading {
            errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
        }
    }
    for (key, profile) in entries(annotations) {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp_annotation(errors, &path.child(key), text(profile));
        }
    }
    for (key, profile) in entries(annotations) {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let lists = ["containers", "initContainers", "ephemeralContainers"];
        if !lists.iter().flat_map(|l| items(&spec[*l])).any(|c| text(&c["name"]) == name) {
            errors.invalid(&path.key(key), name, "container not found");
        }
        let profile = text(profile);
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {}", quote(profile));
            errors.invalid(&path.key(key), profile, detail);
        }
    }
}

/// A profile as annotations named it, before there was a field.
fn seccomp_annotation(errors: &mut ErrorList, path: &Path<'_>, profile: &str) {
    match profile.strip_prefix("localhost/") {
        Some(file) => references::local_path(errors, path, file),
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => errors.invalid(path, profile, "must be a valid seccomp profile"),
    }
}
