//! The claims of a Pod's generic ephemeral volumes (`pkg/controller/volume/ephemeral`): each is the Pod's own.
//!
//! Invariant: a claim that is somebody else's is never used. Absent: deleting them, which garbage collection does with
//! the Pod.

use serde_json::{Value, json};

use super::KIND;
use crate::persistentvolumeclaim::KIND as CLAIMS;
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::rules::phase;
use crate::value::{is_set, items, text};

/// A Pod and the claims of its ephemeral volumes that there are.
#[derive(Debug)]
pub struct Observed {
    /// The Pod.
    pub pod: Value,
    /// The claims.
    pub claims: Vec<Value>,
}

/// The name of the claim of a Pod's volume.
#[must_use]
pub fn claim_name(pod: &str, volume: &str) -> String {
    format!("{pod}-{volume}")
}

/// Whether a claim was made for a Pod.
///
/// # Errors
/// In upstream's words.
pub fn is_for(claim: &Value, pod: &Value) -> Result<(), String> {
    let owned = items(&claim["metadata"]["ownerReferences"])
        .iter()
        .any(|owner| owner["controller"] == true && owner["uid"] == pod["metadata"]["uid"]);
    let name =
        |obj: &Value| format!("{}/{}", text(&obj["metadata"]["namespace"]), text(&obj["metadata"]["name"]));
    let why = || format!("PVC {} was not created for pod {} (pod is not owner)", name(claim), name(pod));
    if owned { Ok(()) } else { Err(why()) }
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let (pod, meta) = (&observed.pod, &observed.pod["metadata"]);
    let mut plan = Plan::about(reference(pod));
    let ends = is_set(&meta["deletionTimestamp"]) || phase::is_finished(text(&pod["status"]["phase"]));
    let mut writes = Vec::new();
    for volume in items(&pod["spec"]["volumes"]).iter().filter(|v| !ends && is_set(&v["ephemeral"])) {
        let name = claim_name(text(&meta["name"]), text(&volume["name"]));
        match observed.claims.iter().find(|c| text(&c["metadata"]["name"]) == name) {
            Some(claim) => {
                if let Err(why) = is_for(claim, pod) {
                    plan.events.push(Notice::warning(
                        "FailedBinding",
                        format!("ephemeral volume {}: {why}", text(&volume["name"])),
                    ));
                }
            }
            None => writes.push(create(pod, volume, &name)),
        }
    }
    plan.stage(writes);
    plan
}

fn create(pod: &Value, volume: &Value, name: &str) -> Write {
    let (meta, template) = (&pod["metadata"], &volume["ephemeral"]["volumeClaimTemplate"]);
    let mut claim = json!({"metadata": {"name": name, "namespace": meta["namespace"], "ownerReferences": [{
        "apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"], "controller": true,
        "blockOwnerDeletion": true}]}, "spec": template["spec"]});
    for part in ["labels", "annotations"] {
        if is_set(&template["metadata"][part]) {
            claim["metadata"][part] = template["metadata"][part].clone();
        }
    }
    let failed = Notice::warning(
        "FailedBinding",
        format!("ephemeral volume {}: create PVC {name}: ", text(&volume["name"])),
    );
    let write = Write::new(&CLAIMS, text(&meta["namespace"]), name, Action::Create(claim));
    Write { failed: Some(failed), ..write }
}

fn reference(pod: &Value) -> Reference {
    let meta = &pod["metadata"];
    Reference {
        api_version: KIND.api_version(),
        kind: KIND.kind.clone(),
        namespace: text(&meta["namespace"]).into(),
        name: text(&meta["name"]).into(),
        uid: text(&meta["uid"]).into(),
        resource_version: text(&meta["resourceVersion"]).into(),
        field_path: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_a_pod() {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}});
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"volumes": [
            {"name": "v", "ephemeral": {"volumeClaimTemplate": template}}, {"name": "w", "emptyDir": {}}]}});
        let plan = reconcile(&Observed { pod: pod.clone(), claims: Vec::new() });
        let Action::Create(made) = &plan.stages[0][0].action else { panic!("a claim") };
        assert_eq!(
            (&made["metadata"]["name"], &made["metadata"]["labels"]),
            (&json!("p-v"), &json!({"a": "b"}))
        );
        assert_eq!(is_for(made, &pod), Ok(()));
        assert!(reconcile(&Observed { pod: pod.clone(), claims: vec![made.clone()] }).is_idle());
        let foreign = json!({"metadata": {"name": "p-v", "namespace": "n"}});
        let plan = reconcile(&Observed { pod: pod.clone(), claims: vec![foreign] });
        assert_eq!(
            plan.events[0].message,
            "ephemeral volume v: PVC n/p-v was not created for pod n/p (pod is not owner)"
        );
        let mut over = pod;
        over["status"] = json!({"phase": "Succeeded"});
        assert!(reconcile(&Observed { pod: over, claims: Vec::new() }).is_idle());
    }
}
