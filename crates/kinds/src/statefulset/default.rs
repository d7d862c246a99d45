//! What a StatefulSet has if nothing is said (`SetDefaults_StatefulSet`).

use serde_json::{Value, json};

use crate::pod;
use crate::value::{child, default_missing, default_to, get_mut, is_set, items_mut, text};

pub(super) fn set(obj: &mut Value) {
    let spec = child(obj, "spec");
    default_to(spec, "podManagementPolicy", "OrderedReady");
    default_missing(spec, "replicas", 1);
    default_missing(spec, "revisionHistoryLimit", 10);
    strategy(child(spec, "updateStrategy"));
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    for when in ["whenDeleted", "whenScaled"] {
        default_to(retention, when, "Retain");
    }
    items_mut(spec, "volumeClaimTemplates").for_each(claim);
    if let Some(template) = get_mut(spec, "template") {
        pod::default::template(template);
    }
}

/// A strategy that is named and says nothing more is left as it is.
fn strategy(strategy: &mut Value) {
    if text(&strategy["type"]).is_empty() {
        strategy["type"] = json!("RollingUpdate");
        child(strategy, "rollingUpdate");
    }
    if text(&strategy["type"]) == "RollingUpdate" && is_set(&strategy["rollingUpdate"]) {
        default_missing(child(strategy, "rollingUpdate"), "partition", 0);
    }
}

fn claim(claim: &mut Value) {
    if !claim.is_object() {
        return;
    }
    claim["apiVersion"] = json!("v1");
    claim["kind"] = json!("PersistentVolumeClaim");
    default_to(child(claim, "spec"), "volumeMode", "Filesystem");
    default_to(child(claim, "status"), "phase", "Pending");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let of = |spec: Value| {
            let mut obj = json!({"spec": spec});
            set(&mut obj);
            obj["spec"].clone()
        };
        assert_eq!(
            of(json!({})),
            json!({"podManagementPolicy": "OrderedReady", "replicas": 1, "revisionHistoryLimit": 10,
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}})
        );
        for (strategy, want) in [
            (json!({"type": "OnDelete"}), json!({"type": "OnDelete"})),
            (json!({"type": "RollingUpdate"}), json!({"type": "RollingUpdate"})),
            (
                json!({"rollingUpdate": {"maxUnavailable": 2}}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2, "partition": 0}}),
            ),
        ] {
            assert_eq!(of(json!({"updateStrategy": strategy}))["updateStrategy"], want);
        }
        let claims = of(json!({"replicas": 0, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}));
        assert_eq!(
            claims["volumeClaimTemplates"][0],
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
                "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}})
        );
        assert_eq!(claims["replicas"], 0);
    }
}
