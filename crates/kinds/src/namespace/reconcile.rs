//! What a Namespace needs next: the root CA in every living one, and the ordered deletion of a terminating one's content
//! (`pkg/controller/namespace/deletion`).
//!
//! Invariants: Pods go before everything else, so that what they depend on outlives them; the `kubernetes` finalizer
//! goes only when nothing is left. Absent: failures of discovery (the table of kinds cannot fail).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::{Facts, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kind::Kind;
use crate::plan::{Action, Plan, Reference, Write};
use crate::rules::conditions;
use crate::rules::deletion::{Deletion, Propagation};
use crate::view::Meta;

/// The finalizer in `spec.finalizers` that this controller holds.
const FINALIZER: &str = "kubernetes";
/// When to look again at what is left.
const AGAIN: Duration = Duration::from_secs(5);
/// The ConfigMap with the cluster's CA.
pub const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using \
    internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

/// The fields looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceView {
    /// Its metadata.
    pub metadata: Meta,
    spec: SpecView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SpecView {
    finalizers: Vec<String>,
}

/// The objects of one kind in a namespace.
#[derive(Debug)]
pub struct Content {
    /// Which kind.
    pub kind: Arc<Kind>,
    /// What is known of each.
    pub objects: Vec<Arc<Facts>>,
}

/// Publishes the root CA in a living namespace; `existing` is the stored ConfigMap.
#[must_use]
pub fn root_ca(namespace: &NamespaceView, existing: Option<&Value>, pem: &str) -> Plan {
    let mut plan = Plan::default();
    let data = json!({"ca.crt": pem});
    if namespace.metadata.deleting() || existing.is_some_and(|map| map["data"] == data) {
        return plan;
    }
    let name = &namespace.metadata.name;
    let action = if let Some(existing) = existing {
        let mut map = existing.clone();
        map["apiVersion"] = json!("v1");
        map["kind"] = json!("ConfigMap");
        map["data"] = data;
        Action::Update(map)
    } else {
        let annotations = json!({"kubernetes.io/description": ROOT_CA_DESCRIPTION});
        let metadata = json!({"name": ROOT_CA, "namespace": name, "annotations": annotations});
        Action::Create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
    };
    plan.stage(vec![Write::new(&crate::configmap::KIND, name, ROOT_CA, action)]);
    plan
}

/// Deletes what is left in a terminating namespace, and at the end releases it. `stored` is the Namespace.
///
/// # Errors
/// If the stored Namespace does not fit its type.
pub fn terminate(now: Timestamp, stored: &Value, content: &[Content]) -> Result<Plan, serde_json::Error> {
    let view = NamespaceView::deserialize(stored)?;
    let mut plan = Plan::about(Reference::new(&super::KIND, &view.metadata));
    if !view.metadata.deleting() || !view.spec.finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(plan);
    }
    let name = &view.metadata.name;
    let pods_left = content.iter().any(|c| c.kind.is(&crate::pod::KIND) && !c.objects.is_empty());
    let turn: Vec<&Content> = content
        .iter()
        .filter(|c| !c.objects.is_empty() && (!pods_left || c.kind.is(&crate::pod::KIND)))
        .collect();
    let options = Deletion::of_any().then(Propagation::Background).body();
    let deletions = turn.iter().filter(|c| c.objects.iter().any(|o| !o.deleting));
    plan.stage(
        deletions.map(|c| Write::new(&c.kind, name, "", Action::DeleteAll(options.clone()))).collect(),
    );
    let mut object = stored.clone();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("Namespace");
    if set_conditions(now, &mut object["status"], &turn) {
        let write = Write::new(&super::KIND, "", name, Action::Update(object.clone()));
        plan.stage(vec![write.through("status")]);
    }
    if turn.is_empty() {
        let rest: Vec<&String> = view.spec.finalizers.iter().filter(|f| *f != FINALIZER).collect();
        object["spec"]["finalizers"] = json!(rest);
        if let Some(meta) = object["metadata"].as_object_mut() {
            // The status was just written, so the version read is no longer the newest.
            meta.remove("resourceVersion");
        }
        let write = Write::new(&super::KIND, "", name, Action::Update(object));
        plan.stage(vec![write.through("finalize")]);
    } else {
        plan.wake(now + AGAIN);
    }
    Ok(plan)
}

/// (type, reason and message while False).
const CONDITIONS: [(&str, &str, &str); 5] = [
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    (
        "NamespaceDeletionGroupVersionParsingFailure",
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
    ("NamespaceFinalizersRemaining", "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
];

/// Sets all five conditions; whether anything but times changed.
fn set_conditions(now: Timestamp, status: &mut Value, left: &[&Content]) -> bool {
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let mut changed = false;
    for (kind, reason, message) in CONDITIONS {
        let bad = match kind {
            "NamespaceContentRemaining" => remaining(left).map(|m| ("SomeResourcesRemain", m)),
            "NamespaceFinalizersRemaining" => finalizers(left).map(|m| ("SomeFinalizersRemain", m)),
            _ => None,
        };
        let (state, reason, message) = bad.map_or_else(
            || ("False", reason, message.to_owned()),
            |(reason, message)| ("True", reason, message),
        );
        let said = json!({"type": kind, "status": state, "reason": reason, "message": message});
        changed |= conditions::set(&mut conditions, said, now);
    }
    if changed {
        status["conditions"] = Value::Array(conditions);
    }
    changed
}

fn remaining(left: &[&Content]) -> Option<String> {
    let mut parts: Vec<String> = left
        .iter()
        .map(|c| format!("{}.{} has {} resource instances", c.kind.plural, c.kind.group, c.objects.len()))
        .collect();
    parts.sort();
    (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
}

fn finalizers(left: &[&Content]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in left.iter().flat_map(|c| &c.objects).flat_map(|o| o.finalizers.iter()) {
        *counts.entry(&**finalizer).or_default() += 1;
    }
    let parts: Vec<String> =
        counts.iter().map(|(name, n)| format!("{name} in {n} resource instances")).collect();
    let text = || format!("Some content in the namespace has finalizers remaining: {}", parts.join(", "));
    (!parts.is_empty()).then(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(plan: &Plan) -> Vec<String> {
        let text = |w: &Write| {
            let verb = match &w.action {
                Action::Create(_) => "create",
                Action::Update(_) => "put",
                Action::Merge(_) | Action::Strategic(_) | Action::Apply(..) => "merge",
                Action::Delete(_) => "delete",
                Action::DeleteAll(_) => "clear",
            };
            format!("{verb} {}/{}{}", w.kind.plural, w.name, w.subresource)
        };
        plan.stages.iter().map(|s| s.iter().map(text).collect::<Vec<_>>().join(" ")).collect()
    }

    fn namespace(conditions: &Value) -> Value {
        json!({"metadata": {"name": "n", "uid": "u", "deletionTimestamp": "2024-01-01T00:00:00Z", "resourceVersion": "3"},
            "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Terminating", "conditions": conditions}})
    }

    fn content(kind: &Arc<Kind>, count: usize, deleting: bool, finalizer: &str) -> Content {
        let finalizers: Vec<Box<str>> =
            if finalizer.is_empty() { Vec::new() } else { vec![finalizer.into()] };
        let object =
            || Arc::new(Facts { deleting, finalizers: finalizers.clone().into(), ..Facts::default() });
        Content { kind: kind.clone(), objects: std::iter::repeat_with(object).take(count).collect() }
    }

    fn conditions(plan: &Plan) -> Value {
        let status = plan.stages.iter().flatten().find(|w| w.subresource == "status").unwrap();
        let Action::Update(object) = &status.action else { panic!("not an update") };
        object["status"]["conditions"].clone()
    }

    #[test]
    fn pods_first_then_the_rest_then_release() {
        let now = Timestamp::from_seconds(0);
        let pods = |n, deleting, f: &str| content(&crate::pod::KIND, n, deleting, f);
        let maps = |n| content(&crate::configmap::KIND, n, false, "");
        let run = |c: &[Content]| terminate(now, &namespace(&json!([])), c).unwrap();
        assert_eq!(show(&run(&[maps(1), pods(2, false, "")])), ["clear pods/", "put namespaces/nstatus"]);
        assert_eq!(
            show(&run(&[maps(1), pods(0, false, "")])),
            ["clear configmaps/", "put namespaces/nstatus"]
        );
        assert_eq!(show(&run(&[pods(1, true, "")])), ["put namespaces/nstatus"]);
        assert_eq!(show(&run(&[])), ["put namespaces/nstatus", "put namespaces/nfinalize"]);
    }

    #[test]
    fn conditions_as_upstream_words_them() {
        let now = Timestamp::from_seconds(0);
        let left = [content(&crate::pod::KIND, 2, true, "a/b"), content(&crate::job::KIND, 1, false, "")];
        let plan = terminate(now, &namespace(&json!([])), &left).unwrap();
        let made = conditions(&plan);
        assert_eq!(made[0]["reason"], "ResourcesDiscovered");
        assert_eq!(made[3]["message"], "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(
            made[4]["message"],
            "Some content in the namespace has finalizers remaining: a/b in 2 resource instances"
        );
        let again = terminate(Timestamp::from_seconds(9), &namespace(&made), &left).unwrap();
        assert!(again.is_idle());
        let after = terminate(Timestamp::from_seconds(9), &namespace(&made), &left[1..]).unwrap();
        assert_eq!(
            conditions(&after)[3]["message"],
            "Some resources are remaining: jobs.batch has 1 resource instances"
        );
        assert_eq!(conditions(&after)[3]["lastTransitionTime"], "1970-01-01T00:00:00Z");
        assert_eq!(conditions(&after)[4]["lastTransitionTime"], "1970-01-01T00:00:09Z");
    }

    #[test]
    fn living_namespaces() {
        let mut view = NamespaceView::default();
        view.metadata.name = "n".into();
        assert_eq!(show(&root_ca(&view, None, "PEM")), ["create configmaps/kube-root-ca.crt"]);
        assert_eq!(
            show(&root_ca(&view, Some(&json!({"ca.crt": "old"})), "PEM")),
            ["put configmaps/kube-root-ca.crt"]
        );
        assert!(root_ca(&view, Some(&json!({"data": {"ca.crt": "PEM"}})), "PEM").is_idle());
        view.metadata.deletion_timestamp = Some("2024-01-01T00:00:00Z".into());
        assert!(root_ca(&view, None, "PEM").is_idle());
    }
}
