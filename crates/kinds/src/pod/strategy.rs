//! What an endpoint may set, and what the server sets itself (`pkg/registry/core/pod/strategy.go`).

use serde_json::{Value, json};

use super::default::is_sidecar;
use super::disabled::drop_disabled;
use super::resources::qos;
use crate::kind::Endpoint;
use crate::rules::phase::is_finished;
use crate::value::{child, entries, get_mut, is_empty, items, items_mut, keep, remove, size, text};

/// A fresh status, and selectors completed from the Pod's own labels (`matchLabelKeys`).
pub(super) fn prepare_create(pod: &mut Value) {
    let class = qos(&pod["spec"]).to_string();
    let mut status = json!({"phase": "Pending", "qosClass": class});
    let now = pod["metadata"]["creationTimestamp"].clone();
    if size(&pod["spec"]["schedulingGates"]) > 0 {
        status["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": now,
        }]);
    }
    pod["status"] = status;
    super::annotations::sync_app_armor(pod);
    drop_disabled(child(pod, "spec"), &Value::Null);
    end_in_time(child(pod, "spec"));
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = get_mut(pod, "spec") else { return };
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        match_labels(constraint, "matchLabelKeys", "In", &labels);
    }
    let Some(affinity) = get_mut(spec, "affinity") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(rules) = get_mut(affinity, kind) else { continue };
        for term in items_mut(rules, "requiredDuringSchedulingIgnoredDuringExecution") {
            match_labels(term, "matchLabelKeys", "In", &labels);
            match_labels(term, "mismatchLabelKeys", "NotIn", &labels);
        }
        for weighted in items_mut(rules, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = get_mut(weighted, "podAffinityTerm") {
                match_labels(term, "matchLabelKeys", "In", &labels);
                match_labels(term, "mismatchLabelKeys", "NotIn", &labels);
            }
        }
    }
}

/// Nothing ends before it is asked to: a negative time to end is one second.
fn end_in_time(spec: &mut Value) {
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
}

/// Adds to the term's labelSelector what the Pod itself has for each of the keys listed in `list`.
fn match_labels(term: &mut Value, list: &str, operator: &str, labels: &Value) {
    if term["labelSelector"].is_null() {
        return;
    }
    let keys: Vec<String> = items(&term[list]).iter().map(|k| text(k).to_owned()).collect();
    for key in keys {
        let Some((_, value)) = entries(labels).find(|(k, _)| *k == key) else { continue };
        let wanted = json!({"key": key, "operator": operator, "values": [value]});
        let selector = child(term, "labelSelector");
        let expressions = &mut selector["matchExpressions"];
        match expressions.as_array_mut() {
            Some(all) if all.contains(&wanted) => {}
            Some(all) => all.push(wanted),
            None => *expressions = json!([wanted]),
        }
    }
}

/// Main keeps status, status keeps the rest, ephemeralcontainers keeps everything but those.
pub(super) fn prepare_update(new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
    match endpoint {
        Endpoint::Sub("status") => {
            let meta = child(new, "metadata");
            keep(meta, &old["metadata"], "deletionTimestamp");
            keep(meta, &old["metadata"], "ownerReferences");
            let status = child(new, "status");
            if is_empty(&status["qosClass"]) {
                keep(status, &old["status"], "qosClass");
            }
        }
        Endpoint::Sub("ephemeralcontainers") => {
            let wanted = new["spec"]["ephemeralContainers"].take();
            let meta = new["metadata"].take();
            *new = old.clone();
            for field in ["resourceVersion", "managedFields", "uid"] {
                keep(child(new, "metadata"), &meta, field);
            }
            let spec = child(new, "spec");
            if wanted.is_null() {
                remove(spec, "ephemeralContainers");
            } else {
                spec["ephemeralContainers"] = wanted;
            }
        }
        Endpoint::Sub("resize") => resize(new, old),
        Endpoint::Main | Endpoint::Sub(_) => {
            drop_disabled(child(new, "spec"), &old["spec"]);
            end_in_time(child(new, "spec"));
        }
    }
}

/// Keeps everything but resources and resizePolicy of containers and sidecars (`dropNonResizeUpdates`). Containers
/// that came, went or moved stay as they are said: validation refuses them.
fn resize(new: &mut Value, old: &Value) {
    let (spec, meta) = (new["spec"].take(), new["metadata"].take());
    *new = old.clone();
    for field in ["resourceVersion", "managedFields", "uid"] {
        keep(child(new, "metadata"), &meta, field);
    }
    // What the whole Pod asks for stays as it is said too: to drop that in silence would look like a success.
    keep(child(new, "spec"), &spec, "resources");
    for list in ["containers", "initContainers"] {
        let said = items(&spec[list]);
        let same_names = said.len() == items(&old["spec"][list]).len()
            && said.iter().zip(items(&old["spec"][list])).all(|(a, b)| a["name"] == b["name"]);
        if !same_names {
            new["spec"][list] = spec[list].clone();
            continue;
        }
        for (container, said) in items_mut(child(new, "spec"), list).zip(said) {
            if list == "containers" || is_sidecar(container) {
                keep(container, said, "resources");
                keep(container, said, "resizePolicy");
            }
        }
    }
}

/// Seconds a deletion leaves the Pod: what was asked, else what it says itself; none if it is not on a node or has
/// ended; negative counts as 1 (`CheckGracefulDelete`).
pub(super) fn grace(pod: &Value, asked: Option<i64>) -> i64 {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    if text(&spec["nodeName"]).is_empty() || is_finished(text(&status["phase"])) {
        return 0;
    }
    let seconds = asked.or(spec["terminationGracePeriodSeconds"].as_i64()).unwrap_or(0);
    if seconds < 0 { 1 } else { seconds }
}

/// Fields of a fieldSelector.
pub(super) const FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

/// The value of one of [`FIELDS`].
pub(super) fn field(pod: &Value, field: &str) -> String {
    let ip = || match items(&pod["status"]["podIPs"]).first() {
        Some(first) => text(&first["ip"]).to_owned(),
        None => text(&pod["status"]["podIP"]).to_owned(),
    };
    match field {
        "spec.hostNetwork" => crate::value::is_true(&pod["spec"]["hostNetwork"]).to_string(),
        "status.podIP" => ip(),
        // Offered, and never filled in.
        "status.podIPs" => String::new(),
        _ => match field.split_once('.') {
            Some((part, name)) => text(&pod[part][name]).to_owned(),
            None => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create() {
        let mut pod = json!({
            "metadata": {"labels": {"app": "x"}, "creationTimestamp": "2020-01-01T00:00:00Z"},
            "spec": {
                "terminationGracePeriodSeconds": -3,
                "containers": [{}],
                "schedulingGates": [{"name": "g"}],
                "topologySpreadConstraints": [{"matchLabelKeys": ["app", "none"], "labelSelector": {}}],
            },
            "status": {"phase": "Running"},
        });
        prepare_create(&mut pod);
        assert_eq!(pod["status"]["phase"], "Pending");
        assert_eq!(pod["status"]["qosClass"], "BestEffort");
        assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
        assert_eq!(pod["status"]["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 1);
        assert_eq!(
            pod["spec"]["topologySpreadConstraints"][0]["labelSelector"],
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x"]}]})
        );
    }

    #[test]
    fn grace_periods() {
        for (node, phase, own, asked, want) in [
            ("n", "Running", json!(30), None, 30),
            ("n", "Running", json!(30), Some(5), 5),
            ("n", "Running", json!(30), Some(0), 0),
            ("n", "Running", json!(-3), None, 1),
            ("n", "Running", Value::Null, None, 0),
            ("n", "Succeeded", json!(30), Some(5), 0),
            ("", "Pending", json!(30), Some(5), 0),
        ] {
            let pod = json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": own},
                             "status": {"phase": phase}});
            assert_eq!(grace(&pod, asked), want, "{pod} {asked:?}");
        }
    }

    #[test]
    fn endpoints_keep_what_is_not_theirs() {
        let old = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"x": 1},
                         "status": {"phase": "Running", "qosClass": "Burstable"}});
        let new = json!({"metadata": {"name": "p", "resourceVersion": "7"}, "spec": {"x": 2,
                         "ephemeralContainers": [{"name": "e"}]}, "status": {"phase": "Failed"}});
        let after = |endpoint| {
            let mut result = new.clone();
            super::super::KIND.prepare_update(&mut result, &old, endpoint);
            result
        };
        assert_eq!(after(Endpoint::Main)["status"], old["status"]);
        assert_eq!(after(Endpoint::Main)["spec"], new["spec"]);
        let status = after(Endpoint::Sub("status"));
        assert_eq!((&status["spec"], &status["status"]["qosClass"]), (&old["spec"], &json!("Burstable")));
        assert_eq!(
            after(Endpoint::Sub("ephemeralcontainers")),
            json!({"metadata": {"name": "p", "labels": {"a": "b"}, "resourceVersion": "7"},
                   "spec": {"x": 1, "ephemeralContainers": [{"name": "e"}]}, "status": old["status"]})
        );
    }
}
