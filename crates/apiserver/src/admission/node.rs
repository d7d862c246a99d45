//! TaintNodesByCondition: a new Node takes no Pods until it has said that it is ready.

use async_trait::async_trait;
use client::Status;
use serde_json::{Value, json};

use super::Operation::Create;
use super::{MAIN, Mutate, Review, Row, Want};

pub(super) fn row() -> Row {
    const WANTS: &[Want] = &[Want::new(&[Create], "nodes", MAIN)];
    Row::new("TaintNodesByCondition", WANTS).mutates(TaintNodesByCondition)
}

struct TaintNodesByCondition;

#[async_trait]
impl Mutate for TaintNodesByCondition {
    async fn mutate(&self, review: &mut Review<'_>) -> Result<(), Status> {
        let obj = &mut review.object;
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
