//! TaintNodesByCondition: a new Node takes no Pods until it has said that it is ready.

use client::Status;
use serde_json::{Value, json};

use super::{Plugin, is_core};
use crate::generic::Ctx;

/// The plugin.
pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn create(&self, ctx: &Ctx<'_>, obj: &mut Value) -> Result<(), Status> {
        if !is_core(ctx, "nodes") {
            return Ok(());
        }
        let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
        let spec = obj["spec"].as_object().cloned().unwrap_or_default();
        let mut taints = spec.get("taints").and_then(Value::as_array).cloned().unwrap_or_default();
        if !taints.iter().any(|t| t["key"] == taint["key"] && t["effect"] == taint["effect"]) {
            taints.push(taint);
        }
        obj["spec"] = Value::Object(spec);
        obj["spec"]["taints"] = Value::Array(taints);
        Ok(())
    }
}
