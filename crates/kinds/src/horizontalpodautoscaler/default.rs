//! Defaults (`SetDefaults_HorizontalPodAutoscaler`): one replica at least, 80 % of the requested CPU, and whole rules
//! where a behaviour is given at all.

use serde_json::{Value, json};

use crate::value::{child, default_to, get_mut, is_set, items};

/// What an autoscaler that names no metric aims at, in percent.
const CPU_UTILIZATION: i64 = 80;

/// All defaults of v2.
pub(super) fn set(obj: &mut Value) {
    minimum(obj);
    metrics(obj);
    let Some(behavior) = get_mut(obj, "spec").and_then(|s| get_mut(s, "behavior")).filter(|b| b.is_object())
    else {
        return;
    };
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    let up = child(behavior, "scaleUp");
    default_to(up, "stabilizationWindowSeconds", 0);
    rules(up, json!([policy("Pods", 4), policy("Percent", 100)]));
    rules(child(behavior, "scaleDown"), json!([policy("Percent", 100)]));
}

fn rules(rules: &mut Value, policies: Value) {
    if !is_set(&rules["selectPolicy"]) {
        rules["selectPolicy"] = json!("Max");
    }
    if !is_set(&rules["policies"]) {
        rules["policies"] = policies;
    }
}

/// The one default that both versions set themselves.
pub(super) fn minimum(obj: &mut Value) {
    let spec = child(obj, "spec");
    if !is_set(&spec["minReplicas"]) {
        spec["minReplicas"] = json!(1);
    }
}

/// The metric of an object without one.
pub(super) fn metrics(obj: &mut Value) {
    let spec = child(obj, "spec");
    if items(&spec["metrics"]).is_empty() {
        let target = json!({"type": "Utilization", "averageUtilization": CPU_UTILIZATION});
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
}
