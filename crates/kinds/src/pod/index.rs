//! The index of Pods by what they name: which Pods use an object, and which nodes may therefore read it.
//!
//! Invariant: a mirror Pod is under no such key, or a node could write itself rights. Absent: claims' volumes and their
//! Secrets.

use serde_json::Value;

use super::references;
use super::validate::MIRROR;
use crate::rules::phase;
use crate::value::{is_set, items, text};

/// The key under which a Pod bound to the node is that names the object; `plural` is of the core group.
#[must_use]
pub fn use_key(plural: &str, namespace: &str, name: &str, node: &str) -> String {
    format!("{plural}={namespace}/{name}/{node}")
}

/// The key under which a Pod is that uses a claim, bound or not.
#[must_use]
pub fn claim_key(namespace: &str, claim: &str) -> String {
    format!("claim={namespace}/{claim}")
}

/// The key of a bound Pod that is told to be disrupted and goes on.
pub const DISRUPTED_KEY: &str = "disrupted";

/// The keys of a Pod; before it is bound only those of the claims that it uses.
pub(super) fn keys(namespace: &str, name: &str, pod: &Value) -> Vec<String> {
    let (meta, spec) = (&pod["metadata"], &pod["spec"]);
    let node = text(&spec["nodeName"]);
    let used: Vec<String> = claims(name, spec).iter().map(|claim| claim_key(namespace, claim)).collect();
    if node.is_empty() || is_set(&meta["annotations"][MIRROR]) {
        return used;
    }
    let named = references::of(spec);
    let named = named.iter().map(|object| use_key(object.plural, namespace, object.name, node));
    let claims = references::ephemeral_claims(name, spec);
    let claims = claims.iter().map(|claim| use_key("persistentvolumeclaims", namespace, claim, node));
    let named = named.chain(claims).chain(is_disrupted(pod).then(|| DISRUPTED_KEY.to_owned()));
    named.chain(used).collect()
}

/// The names of the claims that a Pod uses: those that it names, and those of its ephemeral volumes.
#[must_use]
pub fn claims(name: &str, spec: &Value) -> Vec<String> {
    let named = items(&spec["volumes"]).iter().map(|v| text(&v["persistentVolumeClaim"]["claimName"]));
    let named = named.filter(|claim| !claim.is_empty()).map(str::to_owned);
    named.chain(references::ephemeral_claims(name, spec)).collect()
}

fn is_disrupted(pod: &Value) -> bool {
    let status = &pod["status"];
    let announced = |c: &Value| c["type"] == "DisruptionTarget" && c["status"] == "True";
    let goes_on =
        !is_set(&pod["metadata"]["deletionTimestamp"]) && !phase::is_finished(text(&status["phase"]));
    goes_on && items(&status["conditions"]).iter().any(announced)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_what_a_bound_pod_names() {
        let pod = |node: &str, annotations: Value| {
            json!({"metadata": {"annotations": annotations},
                "spec": {"nodeName": node, "serviceAccountName": "a",
                    "volumes": [{"name": "e", "ephemeral": {}}, {"name": "s", "secret": {"secretName": "s"}}]}})
        };
        let all =
            ["serviceaccounts=n/a/n1", "secrets=n/s/n1", "persistentvolumeclaims=n/p-e/n1", "claim=n/p-e"];
        assert_eq!(keys("n", "p", &pod("n1", json!({}))), all);
        assert_eq!(keys("n", "p", &pod("", json!({}))), all[3..]);
        let mut announced = pod("n1", json!({}));
        announced["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True"}]);
        assert_eq!(keys("n", "p", &announced)[3..], [DISRUPTED_KEY, "claim=n/p-e"]);
        assert_eq!(keys("n", "p", &pod("n1", json!({MIRROR: "h"}))), all[3..]);
    }
}
